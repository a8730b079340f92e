"""A repository's policy is what its commit says, read by git; what can't be read or understood is refused."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from driven import repository_of, started_run
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from repositories import git

from prefect_acms.blocks.config import PipelineConfig
from prefect_acms.blocks.globs import covered
from prefect_acms.blocks.guardrails import GuardrailSettings
from prefect_acms.canonical.errors import InvalidDocument
from prefect_acms.flows.configure import check_config
from prefect_acms.tasks.policies import (
    policy_changes,
    policy_record,
    read_policy,
    recorded_policy,
    repository_policy,
)
from prefect_acms.tasks.repository import Repository

MakeRepository = Callable[[dict[str, str]], Repository]


@pytest.fixture
def committed(tmp_path: Path) -> MakeRepository:
    """Makes a repository with these files in one commit."""
    return lambda files: Repository.open(repository_of(tmp_path / "repository", {"a.py": "x = 1\n", **files}))


def commit_all(repository: Repository, message: str = "more") -> str:
    """The commit of everything that lies in the working tree."""
    git(repository.top, "add", "-A")
    git(repository.top, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", message)
    return repository.head()


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("acms.toml", 'version = 1\nscope = ["src/"]\n[limits]\nmax_files = 3\n'),
        ("pyproject.toml", '[project]\nname = "x"\n[tool.acms]\nscope = ["src/"]\nlimits.max_files = 3\n'),
    ],
)
def test_it_is_read_from_the_one_file_or_the_other(committed: MakeRepository, file: str, text: str) -> None:
    """Only what is said is said."""
    stated = repository_policy(committed({file: text}), "HEAD")
    assert stated is not None
    assert stated.file == file
    assert (stated.policy.scope, stated.policy.limits.max_files) == (("src/",), 3)
    assert stated.policy.model_fields_set >= {"scope", "limits"}
    assert stated.policy.limits.model_fields_set == {"max_files"}
    assert recorded_policy(policy_record(stated)) == stated


def test_a_repository_that_says_nothing_has_none(committed: MakeRepository) -> None:
    """No file, or a pyproject.toml about other things."""
    assert repository_policy(committed({"pyproject.toml": "[tool.ruff]\nline-length = 99\n"}), "HEAD") is None
    assert recorded_policy(policy_record(None)) is None


def test_the_working_tree_has_no_say(committed: MakeRepository) -> None:
    """Neither what lies there nor what is in the index; an older commit says what it said."""
    repository = committed({"acms.toml": 'scope = ["src/"]\n'})
    first = repository.head()
    (repository.top / "acms.toml").write_text("scope = []\n")
    git(repository.top, "add", "acms.toml")
    stated = repository_policy(repository, first)
    assert stated is not None
    assert stated.policy.scope == ("src/",)
    commit_all(repository)
    now, then = repository_policy(repository, "HEAD"), repository_policy(repository, first)
    assert now is not None
    assert then == stated != now


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"acms.toml": "scope = [\n"}, "acms.toml: file: not TOML"),
        ({"acms.toml": "version = 2\n"}, "acms.toml: version: expected 1, the only version there is, found 2"),
        ({"acms.toml": "version = true\n"}, "acms.toml: version: Input should be a valid integer, found True"),
        ({"acms.toml": "colour = 'red'\n"}, "acms.toml: colour: Extra inputs are not permitted"),
        ({"acms.toml": "[review]\npath = ['x']\n"}, "acms.toml: review.path: Extra inputs are not permitted"),
        ({"acms.toml": "scope = ['[a']\n"}, r"acms.toml: scope\[0\]: expected a path pattern that can match something"),
        ({"acms.toml": "scope = 'src/'\n"}, "acms.toml: scope: Input should be a valid"),
        ({"acms.toml": "limits = {max_files = '3'}\n"}, "acms.toml: limits.max_files: Input should be a valid integer"),
        ({"acms.toml": "required_checks = ['unit']\n"}, r"acms.toml: required_checks\[0\]: Input should be"),
        ({"pyproject.toml": "[tool]\nacms = 3\n"}, "pyproject.toml: document: Input should be an object"),
        ({"pyproject.toml": "[tool.acms\n"}, "pyproject.toml: file: not TOML"),
        ({"pyproject.toml": "[tool.acms]\nseen = 2026-01-01\n"}, "pyproject.toml: seen: Extra inputs"),
        ({"acms.toml": "", "pyproject.toml": "[tool.acms]\n"}, r"pyproject.toml has a table \[tool.acms\] too"),
    ],
)
def test_what_can_not_be_understood_is_refused_before_anything_is_done(
    committed: MakeRepository, files: dict[str, str], sentence: str
) -> None:
    """Fail closed: one sentence that names the file and the place; the check of a run's configuration raises it."""
    repository = committed(files)
    with pytest.raises(InvalidDocument, match=sentence):
        repository_policy(repository, "HEAD")
    with pytest.raises(InvalidDocument, match=sentence):
        check_config(PipelineConfig(repository=repository.top))


def test_a_policy_that_is_no_plain_file_is_refused(committed: MakeRepository) -> None:
    """A link would let a patch to another file change the policy; a folder of that name is no policy either."""
    repository = committed({"real.toml": "scope = ['src/']\n", "folder/acms.toml": "scope = [\n"})
    assert repository_policy(repository, "HEAD") is None
    (repository.top / "acms.toml").symlink_to("real.toml")
    with pytest.raises(InvalidDocument, match="no plain file"):
        repository_policy(repository, commit_all(repository))
    (repository.top / "acms.toml").unlink()
    (repository.top / "acms.toml").mkdir()
    (repository.top / "acms.toml" / "x").touch()
    with pytest.raises(InvalidDocument, match="no plain file"):
        repository_policy(repository, commit_all(repository))


def test_what_a_change_does_to_the_policy_is_seen_by_its_meaning(committed: MakeRepository) -> None:
    """Not by its bytes: another table of pyproject.toml may change; a file that breaks says something else."""
    repository = committed({"pyproject.toml": "[tool.acms]\nscope = ['src/']\n[tool.ruff]\nline-length = 99\n"})
    path, first = repository.top / "pyproject.toml", repository.head()
    path.write_text("# moved\n[tool.ruff]\nline-length = 88\n[tool.acms]\nscope = [ 'src/', ]\n")
    assert policy_changes(repository, first, commit_all(repository)) == ()
    for text in ("[tool.acms]\nscope = ['src/', 'docs/']\n", "[tool.ruff]\n", "[tool.acms\n"):
        path.write_text(text)
        assert policy_changes(repository, first, commit_all(repository)) == ("pyproject.toml",)
    path.unlink()
    (repository.top / "acms.toml").write_text("")
    assert policy_changes(repository, first, commit_all(repository)) == ("acms.toml", "pyproject.toml")


def test_a_run_goes_by_its_own_policy_and_by_that_of_its_base_commit(tmp_path: Path) -> None:
    """What is committed after the run has started, or lies in the working tree, does not count."""
    files = {"a.py": "x = 1\n", "acms.toml": "protected_paths = ['a.py']\nlimits.max_files = 90\n"}
    repository = repository_of(tmp_path / "repository", files)
    settings = GuardrailSettings.model_validate({"limits": {"max_files": 7}})
    drive = started_run(repository, f"sqlite:///{tmp_path}/store.db", guardrails=settings)
    (repository / "acms.toml").write_text("limits.max_files = 1\n")
    commit_all(drive.repository)
    assert drive.guardrails.limits.max_files == 7
    assert [rules.protected_paths for rules in drive.guardrails.further_paths] == [("a.py",)]


def test_a_policy_file_is_read_with_the_same_care(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("version = 1\nforbidden = ['delete']\n")
    assert read_policy(path).forbidden == ("delete",)
    path.write_text("forbidden = ['explode']\n")
    with pytest.raises(InvalidDocument, match=r"policy.toml: forbidden\[0\]: Input should be"):
        read_policy(path)
    with pytest.raises(InvalidDocument, match="No such file"):
        read_policy(tmp_path / "none.toml")


# -- patterns, as git reads them --------------------------------------------------------------------------------------

TREE = (
    "a.py",
    "setup.py",
    "src/a.py",
    "src/deep/b.py",
    "src/deep/c.txt",
    "docs/setup.py",
    "docs/[id].md",
    "docs/x y.md",
    "build/src/a.py",
    "Ünicode/ß.py",
    "#odd",
    "!odd",
    "trailing ",
)

PATTERNS = (
    ["*.py"],
    ["src/"],
    ["/src/"],
    ["src/*"],
    ["src/**"],
    ["**/deep/"],
    ["src/**/c.txt"],
    ["/setup.py"],
    ["docs/setup.py"],
    ["*.py", "!setup.py"],
    ["src/", "!src/a.py"],
    ["src/*", "!src/deep/"],
    ["*", "!*.py"],
    ["docs/?.md"],
    ["docs/\\[id\\].md"],
    ["[a-s]*.py"],
    ["[!a]*.py"],
    ["Ünicode/"],
    ["\\#odd", "\\!odd"],
    ["trailing\\ "],
    ["trailing "],
    ["docs/x*y.md"],
    ["SRC/"],
    ["dee[p]/**"],
    ["**"],
    ["/**"],
    ["/*"],
    ["**/"],
    ["*/"],
    ["src/**/"],
    ["**/src/**/b.py"],
    ["/*", "!/src/", "/src/*", "!/src/deep/"],
    ["*", "!src/a.py"],
    ["deep"],
    ["src/deep", "!c.txt"],
    ["src/**", "!src/a.py"],
    ["src/**", "!src/deep/", "!src/deep/b.py"],
    ["*/", "!src/"],
    ["**/*"],
    ["**/*", "!src/", "!/src/a.py"],
    ["!src/", "*"],
    ["/src/deep/**", "!**"],
)


class CheckIgnore:
    """What git makes of patterns: an empty repository whose excludes they are."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        git(folder, "init", "-q")

    def covered(self, paths: Sequence[str], patterns: Sequence[str]) -> tuple[str, ...]:
        """The paths that `git check-ignore` names, sorted."""
        (self._folder / ".git" / "info" / "exclude").write_text("".join(f"{pattern}\n" for pattern in patterns))
        names = b"".join(os.fsencode(name) + b"\0" for name in paths)
        command = ["git", "check-ignore", "--no-index", "--stdin", "-z"]
        done = subprocess.run(command, cwd=self._folder, input=names, capture_output=True, check=False)
        assert done.returncode in {0, 1}, done.stderr
        return tuple(sorted(os.fsdecode(name) for name in done.stdout.split(b"\0") if name))


@pytest.fixture(scope="module")
def by_git(tmp_path_factory: pytest.TempPathFactory) -> CheckIgnore:
    """Git's own word."""
    return CheckIgnore(tmp_path_factory.mktemp("ignore"))


def test_a_pattern_covers_exactly_what_git_says_it_does(by_git: CheckIgnore) -> None:
    """Compared with `git check-ignore`, pattern list by pattern list."""
    for patterns in PATTERNS:
        scope = GuardrailSettings.model_validate({"scope": patterns}).scope
        assert (patterns, covered(TREE, scope)) == (patterns, by_git.covered(TREE, patterns))


SMALL = ("a", "b", "a/a", "a/b", "b/a/c", "a/b/c", "a/b/a", "c/c/c/c", "ab", "ab/a", "b/ab/c.x", "x/.a/b", ".a")

parts = st.lists(
    st.sampled_from(["a", "b", "c", "*", "?", ".a", "ab", "[ab]", "[!a]", "[^b]", "[a-c]", "[!]a]", "[]a]", "\\a"]),
    min_size=1,
    max_size=3,
).map("".join)

any_pattern = st.builds(
    lambda sign, top, middle, end: sign + top + "/".join(middle) + end,
    st.sampled_from(["", "", "!"]),
    st.sampled_from(["", "/"]),
    st.lists(parts | st.just("**"), min_size=1, max_size=3),
    st.sampled_from(["", "", "/"]),
)


@given(patterns=st.lists(any_pattern, min_size=1, max_size=4))
@settings(max_examples=100)
def test_whatever_pattern_is_let_in_means_what_git_means_by_it(by_git: CheckIgnore, patterns: list[str]) -> None:
    """Any list of patterns that the settings take."""
    try:
        scope = GuardrailSettings.model_validate({"scope": patterns}).scope
    except ValueError:
        assume(False)  # noqa: FBT003  # hypothesis' way to leave an example out
    assert covered(SMALL, scope) == by_git.covered(SMALL, patterns)


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        " ",
        "/",
        "!",
        "#note",
        "[a",
        "[]",
        "[z-a]",
        "a\\",
        "a//b",
        "[[:alpha:]]",
        "a**y",
        "***",
        "[+-9]",
        "a\nb",
        "a\0b",
        "!/",
    ],
)
def test_a_pattern_that_matches_nothing_or_is_read_otherwise_by_git_is_refused(pattern: str) -> None:
    """It would protect nothing, and nobody would notice."""
    with pytest.raises(ValueError, match="expected a path pattern"):
        GuardrailSettings(protected_paths=(pattern,))
