"""`acms policy`: what is in force, what it says of a patch, and what another would have said."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import NamedTuple

import jsonschema  # type: ignore[import-untyped]
import pytest
from commands import Acms
from driven import repository_of
from repositories import git
from tried import Tried

from prefect_acms.blocks.guardrails import GuardrailSettings
from prefect_acms.deployments.reference import pages, policy_rows
from prefect_acms.tasks.policies import Policy

from .conftest import Stored

DOCS = Path(__file__).parents[2] / "docs"

POLICY = """version = 1
scope = ["src/"]
[limits]
max_files = 90
max_lines_per_file = 3
[review]
paths = ["src/core/"]
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a policy of its own."""
    files = {"acms.toml": POLICY, "src/a.py": "a = 1\n", "src/core/c.py": "c = 1\n", "b.py": "b = 1\n"}
    return repository_of(tmp_path_factory.mktemp("policy") / "shop", files)


class Changes(NamedTuple):
    """Makes diffs of the repository, and leaves it as it was."""

    repository: Path
    path: Path

    def to(self, name: str, text: str) -> str:
        """The path of a diff that gives the file this text."""
        (self.repository / name).write_text(text)
        self.path.write_text(git(self.repository, "diff", "--full-index"))
        git(self.repository, "checkout", "-q", "--", ".")
        return str(self.path)


@pytest.fixture
def change(repository: Path, tmp_path: Path) -> Changes:
    """A change of the repository as a file."""
    return Changes(repository, tmp_path / "change.diff")


def test_show_says_what_holds_and_who_says_so(acms: Acms, repository: Path, tmp_path: Path) -> None:
    """What would loosen has no effect, and is told; a configuration file is the run's word."""
    config = tmp_path / "run.toml"
    config.write_text("[guardrails.review]\nai_made = false\n")
    done = acms("policy", "show", str(repository), "--config", str(config), "--json")
    found = {(one["setting"], one["source"]): one for one in json.loads(done.stdout)}
    assert done.returncode == 0
    assert found["limits.max_lines_per_file", "acms.toml"]["value"] == 3
    assert found["limits.max_files", "default"]["note"] == "acms.toml says 90: no effect, it can only tighten"
    assert found["scope", "acms.toml"]["value"] == ["src/"]
    assert found["review.ai_made", str(config)]["value"] is False
    table = acms("policy", "show", str(repository)).stdout
    assert "limits.max_files" in table
    assert "it can only tighten" in table


@pytest.mark.parametrize(
    ("file", "options", "ends"),
    [
        (("src/a.py", "a = 2\n"), ["--pattern", "lint-fix", "--tool", "ruff-fix"], (0, "It would be accepted")),
        (("src/a.py", "a = 2\n"), ["--pattern", "format"], (0, "It would be accepted")),
        (
            ("src/a.py", "a = 2\n"),
            [],
            (1, "wait for a review: unavailable_gates: no tests can judge it; review.ai_"),
        ),
        (("src/core/c.py", "c = 2\n"), ["--tool", "ruff-fix"], (1, "review.paths: it touches src/core/c.py")),
        (("b.py", "b = 2\n"), ["--tool", "ruff-fix"], (1, "OUT_OF_SCOPE at line 1 (b.py): it is outside of src/")),
        (("src/a.py", "a = 2\n" * 5), ["--tool", "ruff-fix"], (1, "TOO_MANY_LINES at line 1 (src/a.py): 6 lines")),
        (("acms.toml", ""), ["--tool", "ruff-fix"], (1, "PROTECTED at line 1 (acms.toml): no patch may change it")),
        (("src/a.py", "a = 2\n"), ["--pattern", "lint-fix", "--tool", "ruff-format"], (1, "refused: allowed_tools: ")),
    ],
)
def test_check_explains_what_becomes_of_a_patch(
    acms: Acms, change: Changes, file: tuple[str, str], options: list[str], ends: tuple[int, str]
) -> None:
    """Exit code 0 where it would be accepted, 1 where it would be refused or wait; the last line says why."""
    done = acms("policy", "check", change.to(*file), "--repository", str(change.repository), *options)
    code, said = ends
    assert done.returncode == code, done.stderr
    assert said in done.stdout.splitlines()[-1]


def test_check_names_every_rule_with_its_word(acms: Acms, change: Changes) -> None:
    """Those that come after a broken one are not asked, and that is said."""
    given = ("--repository", str(change.repository), "--tool", "ruff-fix", "--json")
    done = json.loads(acms("policy", "check", change.to("b.py", "b = 2\n"), *given).stdout)
    rules = {one["rule"]: one["outcome"] for one in done["decisions"]}
    assert done["outcome"] == rules["OUT_OF_SCOPE"] == "refused"
    assert (rules["BINARY"], rules["DOES_NOT_APPLY"], rules["review.paths"]) == ("passed", "not asked", "not asked")
    change.path.write_text("this is no diff\n")
    done = json.loads(acms("policy", "check", str(change.path), *given).stdout)
    assert {one["outcome"] for one in done["decisions"] if one["rule"] != "NOT_A_DIFF"} == {"not asked"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--tool", "nobody"], "unknown tool 'nobody'"),
        (["--pattern", "none"], "unknown pattern 'none'"),
        (["--base", "nowhere"], "--base is 'nowhere'"),
        (["--repository", "/"], "is not a git repository"),
        (["--config", "none.toml"], "none.toml"),
    ],
)
def test_bad_input_is_one_sentence(acms: Acms, change: Changes, options: list[str], said: str) -> None:
    """And exit code 2."""
    path = change.to("b.py", "b = 2\n")
    done = acms("policy", "check", path, "--repository", str(change.repository), *options)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert said in done.stderr


def test_a_patch_that_is_neither_a_file_nor_stored_is_not_found(acms: Acms, tmp_path: Path, stored: Stored) -> None:
    """With a store or without one."""
    for url in (stored.url, f"sqlite:///{tmp_path}/none.db"):
        done = acms("policy", "check", "nonsense", "--database-url", url)
        assert (done.returncode, "'nonsense'" in done.stderr) == (2, True)


def test_a_stored_patch_is_checked_where_and_as_it_was_made(acms: Acms, tmp_path: Path) -> None:
    """With its run's policy, its task's scope and its tool; an option can say otherwise."""
    url = f"sqlite:///{tmp_path}/canonical.db"
    shop = Tried(tmp_path, url, guardrails=GuardrailSettings.model_validate({"review": {"max_lines": 1}}))
    shop.tried(shop.diff(a="A = 2\n"), waits=False)
    (entry,) = shop.entries()
    # the task of a test names the pattern `inspection`, which allows no tool
    given = ("policy", "check", entry.id, "--database-url", url, "--pattern", "lint-fix")
    done = acms(*given, "--json")
    found = json.loads(done.stdout)
    assert (entry.state, done.returncode, found["outcome"]) == ("awaiting_review", 1, "review")
    assert [one["rule"] for one in found["decisions"] if one["outcome"] == "review"] == ["review.max_lines"]
    (tmp_path / "run.toml").write_text("[guardrails]\nprotected_paths = ['a.py']\n")
    done = acms(*given, "--config", str(tmp_path / "run.toml"))
    assert "PROTECTED at line 1 (a.py)" in done.stdout.splitlines()[-1]


def test_a_repository_whose_policy_can_not_be_read_is_not_worked_on(acms: Acms, tmp_path: Path) -> None:
    """The run ends with exit code 2 and one sentence before it has a row; `show` says the same."""
    broken = repository_of(tmp_path / "shop", {"acms.toml": "scop = ['src/']\n", "a.py": "import os\n"})
    url = f"sqlite:///{tmp_path}/canonical.db"
    for arguments in (["run", str(broken), "--database-url", url], ["policy", "show", str(broken)]):
        done = acms(*arguments)
        assert (done.returncode, done.stderr) == (2, "acms: acms.toml: scop: Extra inputs are not permitted\n")
    assert not (tmp_path / "canonical.db").exists()
    assert not (broken / ".acms_runs").exists()


def test_what_if_tells_what_would_change(acms: Acms, stored: Stored, tmp_path: Path) -> None:
    """Of every stored patch; a broken policy file is bad input."""
    path = tmp_path / "other.toml"
    path.write_text("version = 1\nforbidden = ['delete']\n")
    done = acms("policy", "what-if", str(path), "--database-url", stored.url)
    assert (done.returncode, done.stdout) == (0, "1 patch replayed: nothing would change.\n")
    listed = acms("policy", "what-if", str(path), "--all", "--run", "latest", "--json", "--database-url", stored.url)
    found = json.loads(listed.stdout)
    assert (found["patches"], found["changed"], found["counts"]) == (1, 0, {})
    assert found["changes"][0]["patch_id"] == stored.patch
    path.write_text("forbid = ['delete']\n")
    done = acms("policy", "what-if", str(path), "--database-url", stored.url)
    assert (done.returncode, "forbid: Extra inputs" in done.stderr) == (2, True)


def test_the_page_has_every_setting_as_it_is_and_its_example_is_a_policy() -> None:
    """The table is that of the model; the ten lines are read as a repository's would be."""
    page = (DOCS / "policy.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert rows == list(policy_rows())
    example = page.split("```toml\n")[1].split("```")[0]
    assert len(example.splitlines()) == 10
    Policy.model_validate(tomllib.loads(example))


def test_the_schema_takes_what_the_model_takes() -> None:
    """What an editor checks with it is what is checked here."""
    schema = json.loads(pages()["policy.schema.json"])
    jsonschema.validate({"version": 1, "limits": {"max_files": 3}, "review": {"tiers": ["high"]}}, schema)
    for wrong in ({"version": 2}, {"forbidden": ["explode"]}, {"colour": "red"}, {"limits": {"max_files": 0}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)
        with pytest.raises(ValueError, match="validation error"):
            Policy.model_validate(wrong)
