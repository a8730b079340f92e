"""The rules one by one, and what passed them is what is applied; `tests/hostile` and `tests/good` hold the corpora."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from prefect_acms.blocks.guardrails import GuardrailSettings, PatchLimits
from prefect_acms.canonical.outside_errors import PatchDoesNotApply
from prefect_acms.tasks.diff_names import unquoted
from prefect_acms.tasks.patches import Rule, Validation, apply_validated, validate_patch
from prefect_acms.tasks.repository import Repository
from prefect_acms.tasks.worktrees import Worktree, open_worktree

Make = Callable[..., Path]
Write = Callable[..., None]

LIMITS = PatchLimits()
PROTECTED = GuardrailSettings().protected_paths
EVERYWHERE = ("**",)


def validated(patch: bytes, limits: PatchLimits = LIMITS, scope: tuple[str, ...] = EVERYWHERE) -> Validation:
    return validate_patch(patch, limits=limits, protected=PROTECTED, scope=scope)


def rules(validation: Validation) -> list[Rule]:
    return [violation.rule for violation in validation.violations]


def edit(name: str = "a.py", old: str | None = None, headers: str = "", hunk: str = "@@ -1 +1 @@\n-x\n+y\n") -> bytes:
    """A patch of one file by hand."""
    before = old or name
    return f"diff --git a/{before} b/{name}\n{headers}--- a/{before}\n+++ b/{name}\n{hunk}".encode()


# -- good patches ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def worktree(repository_at: Make, tmp_path_factory: pytest.TempPathFactory) -> Worktree:
    place = tmp_path_factory.mktemp("patches")
    repository = Repository.open(repository_at(place / "repository", {"a.py": "x\n", "b.py": "x\n"}))
    return open_worktree(repository, place / "w", repository.head())


def test_renames_and_copies_are_read() -> None:
    """Ours have none, but a patch from elsewhere may; both names count."""
    rename = b"diff --git a/old.py b/new.py\nsimilarity index 100%\nrename from old.py\nrename to new.py\n"
    assert validated(rename).violations == ()
    assert validated(rename).files == ("new.py", "old.py")
    assert rules(validated(rename, scope=("new.py",))) == [Rule.OUT_OF_SCOPE]
    copy = b"diff --git a/old.py b/new.py\nsimilarity index 100%\ncopy from old.py\ncopy to new.py\n"
    assert validated(copy).violations == ()


# -- bad patches -------------------------------------------------------------------------------------------------------


def test_a_binary_file_needs_to_be_allowed(worktree: Worktree, write: Write) -> None:
    """And then it is applied like any other."""
    content = bytes(range(256)) * 8
    write(worktree.path, {"new.bin": content})
    diff = worktree.capture()
    assert rules(validated(diff)) == [Rule.BINARY]
    assert validated(diff, PatchLimits(allow_binary=True)).ok
    worktree.apply(diff)
    assert (worktree.path / "new.bin").read_bytes() == content
    worktree.reset()


def test_limits_hold_to_the_file_the_line_and_the_byte() -> None:
    """Exactly at the limit is allowed, one more is not; the place is the first file too many."""
    three = edit("a") + edit("b") + edit("c")
    assert validated(three, PatchLimits(max_files=3)).ok
    found = validated(three, PatchLimits(max_files=2))
    assert [str(violation) for violation in found.violations] == [
        "TOO_MANY_FILES at line 13 (c): it touches 3 files, 2 are allowed"
    ]
    assert validated(edit(), PatchLimits(max_lines_per_file=2)).ok
    assert rules(validated(edit(), PatchLimits(max_lines_per_file=1))) == [Rule.TOO_MANY_LINES]
    assert validated(edit(), PatchLimits(max_bytes=len(edit()))).ok
    assert rules(validated(edit(), PatchLimits(max_bytes=len(edit()) - 1))) == [Rule.TOO_LARGE]
    executable = b"diff --git a/a.py b/a.py\nold mode 100644\nnew mode 100755\n"
    assert validated(executable, PatchLimits(allow_executable=True)).ok


def test_the_flags_tell_form_place_and_constraints_apart() -> None:
    """They are what the ledger stores; what can't be read fails all three."""

    def flags(found: Validation) -> tuple[bool, bool, bool]:
        return found.format_ok, found.scope_ok, found.constraints_ok

    assert flags(validated(edit())) == (True, True, True)
    assert flags(validated(edit(), scope=())) == (True, False, True)
    assert flags(validated(edit(), PatchLimits(max_lines_per_file=1))) == (True, True, False)
    assert flags(validated(b"prose\n")) == (False, False, False)


CREATES = b"diff --git a/n.py b/n.py\nnew file mode 100644\n--- /dev/null\n+++ b/n.py\n@@ -0,0 +1 @@\n+x\n"
DELETES = b"diff --git a/n.py b/n.py\ndeleted file mode 100644\n--- a/n.py\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n"
RENAMES = edit("b.py", "a.py", "similarity index 50%\nrename from a.py\nrename to b.py\n")


@pytest.mark.parametrize(("operation", "patch"), [("create", CREATES), ("delete", DELETES), ("rename", RENAMES)])
def test_an_operation_that_the_pattern_forbids_is_refused(operation: str, patch: bytes) -> None:
    """What is done to a file as a whole is refused by name, and only where it is forbidden."""
    found = validate_patch(patch, limits=LIMITS, protected=(), scope=EVERYWHERE, forbidden={operation})
    assert rules(found) == [Rule.FORBIDDEN]
    assert not found.constraints_ok
    others = {"create", "delete", "rename"} - {operation}
    assert validate_patch(patch, limits=LIMITS, protected=(), scope=EVERYWHERE, forbidden=others).ok


def test_a_pattern_that_can_not_be_read_refuses() -> None:
    """Guardrails fail closed."""
    found = validate_patch(edit(), limits=LIMITS, protected=("!",), scope=EVERYWHERE)
    assert rules(found) == [Rule.PROTECTED]


def test_links_of_the_commit_are_not_written_through(make_repository: Make, tmp_path: Path) -> None:
    """With the repository at hand, what is a link there is known, though the patch says nothing of it."""
    top = make_repository({"real/a.py": "x\n"})
    (top / "folder").symlink_to("real")
    (top / "file").symlink_to("/etc/passwd")
    os.system(f"cd '{top}' && git add . && git -c user.name=u -c user.email=u@x commit -qm links")  # noqa: S605
    repository = Repository.open(top)
    for name in ("folder/a.py", "file"):
        found = validate_patch(edit(name), limits=LIMITS, protected=(), scope=EVERYWHERE, repository=repository)
        assert rules(found) == [Rule.SYMLINK]
    good = validate_patch(edit("real/a.py"), limits=LIMITS, protected=(), scope=EVERYWHERE, repository=repository)
    assert good.ok
    del tmp_path


@pytest.mark.parametrize(
    ("quoted", "plain"),
    [
        (b"plain", b"plain"),
        (b'"a\\303\\251"', "aé".encode()),
        (b'"\\t\\n\\"\\\\"', b'\t\n"\\'),
        (b'"\\a\\033"', b"\a\x1b"),
    ],
)
def test_names_are_unquoted_as_git_quotes_them(quoted: bytes, plain: bytes) -> None:
    """Octal bytes and letters."""
    assert unquoted(quoted) == plain


# -- what passed is what is applied ------------------------------------------------------------------------------------


def good(worktree: Worktree, patch: bytes) -> Validation:
    """The validation of a good patch for what is in the worktree now."""
    found = validate_patch(
        patch,
        limits=LIMITS,
        protected=(),
        scope=EVERYWHERE,
        repository=worktree.repository,
        base=worktree.tree(),
    )
    assert found.ok
    return found


def test_only_the_bytes_that_were_validated_are_applied(worktree: Worktree) -> None:
    """Other bytes are refused though they are as good, and so is a patch that has a complaint or no tree."""
    patch = edit("a.py")
    found, before = good(worktree, patch), worktree.tree()
    others = ((edit("b.py"), found), (patch, validated(patch)), (patch, validated(b"prose\n")))
    for content, validation in others:
        with pytest.raises(PatchDoesNotApply):
            apply_validated(worktree, content, validation)
        assert worktree.tree() == before
    assert apply_validated(worktree, patch, found) == found.tree
    worktree.reset()


def test_a_patch_that_leads_to_another_tree_is_taken_back(worktree: Worktree) -> None:
    """A worktree that has moved on since is as it was before, files and index."""
    found = good(worktree, edit("a.py"))
    moved = worktree.apply(edit("b.py"))
    with pytest.raises(PatchDoesNotApply, match="another tree"):
        apply_validated(worktree, edit("a.py"), found)
    assert worktree.tree() == moved
    assert (worktree.path / "a.py").read_text() == "x\n"
    worktree.reset()


def test_a_second_patch_is_judged_on_what_the_first_one_left(worktree: Worktree) -> None:
    """The base may be a tree that no commit has."""
    apply_validated(worktree, edit("a.py"), good(worktree, edit("a.py")))
    second = edit("a.py", hunk="@@ -1 +1 @@\n-y\n+z\n")
    assert apply_validated(worktree, second, good(worktree, second))
    assert (worktree.path / "a.py").read_text() == "z\n"
    worktree.reset()


def test_no_configuration_changes_what_is_accepted_or_applied(
    worktree: Worktree, run_in: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither the user's git configuration, nor variables, nor the folder that we stand in."""
    loose = edit("a.py", hunk="@@ -1 +1 @@\n-x \n+y  \n")
    trailing = edit("a.py", hunk="@@ -1 +1 @@\n-x\n+y  \n")
    (tmp_path / "config").write_text("[apply]\nignoreWhitespace = change\nwhitespace = fix\n[core]\nautocrlf = true\n")
    (tmp_path / "sub").mkdir()
    for key, value in (("apply.ignoreWhitespace", "change"), ("apply.whitespace", "fix"), ("core.autocrlf", "true")):
        run_in(worktree.repository.top, "config", key, value)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "config"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "no-index"))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "no-repository"))
    monkeypatch.chdir(tmp_path / "sub")
    found = validate_patch(loose, limits=LIMITS, protected=(), scope=EVERYWHERE, repository=worktree.repository)
    assert rules(found) == [Rule.MISPLACED]
    apply_validated(worktree, trailing, good(worktree, trailing))
    assert (worktree.path / "a.py").read_bytes() == b"y  \n"
    worktree.reset()


def test_validation_writes_nothing_into_the_repository(worktree: Worktree) -> None:
    """Not even an object: git works in a place of its own."""
    objects = worktree.repository.common_dir / "objects"
    before = sorted(objects.rglob("*"))
    new = edit("a.py", hunk="@@ -1 +1 @@\n-x\n+seen_by_nobody\n")
    assert good(worktree, new).tree
    assert sorted(objects.rglob("*")) == before


@pytest.mark.parametrize(("name", "init"), [('a:b "c" \\d', ()), ("sha256", ("--object-format=sha256",))])
def test_every_repository_is_known_in_the_place_of_our_own(
    make_repository: Make, name: str, init: tuple[str, ...]
) -> None:
    """One whose path holds what parts paths in a list, and one that names its objects in another way."""
    repository = Repository.open(make_repository({"a.py": "x\n"}, name, *init))
    found = validate_patch(edit(), limits=LIMITS, protected=(), scope=EVERYWHERE, repository=repository)
    assert found.violations == ()
    assert found.tree is not None
    assert len(found.tree) == len(repository.head())
