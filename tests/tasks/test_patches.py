"""Good patches go in, whatever their bytes; a patch that breaks a rule is refused with the rule and the place."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefect_acms.blocks.guardrails import GuardrailSettings, PatchLimits
from prefect_acms.tasks.diff_names import unquoted
from prefect_acms.tasks.diffs import read_diff
from prefect_acms.tasks.git import Repository
from prefect_acms.tasks.patches import Rule, Validation, validate_patch
from prefect_acms.tasks.splitting import split_by_hunk
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


def quoted(name: str) -> bytes:
    """A patch of one file whose name is in quotes, as it stands."""
    return f'diff --git "a/{name}" "b/{name}"\n--- "a/{name}"\n+++ "b/{name}"\n@@ -1 +1 @@\n-x\n+y\n'.encode()


# -- good patches ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def worktree(repository_at: Make, tmp_path_factory: pytest.TempPathFactory) -> Worktree:
    place = tmp_path_factory.mktemp("patches")
    files: dict[str, str | bytes] = {
        "text.py": "".join(f"line {n}\n" for n in range(60)),
        "crlf.txt": b"a\r\nb\r\nc\r\n",
        "mixed.txt": b"a\r\nb\nc\r\n",
        "cr.txt": b"a\rb\rc\n",
        "feed.txt": b"a\x0cb\x0b\x1c\x1d\x1e\xc2\x85\xe2\x80\xa8c\n",
        "latin.txt": "é\n".encode("latin-1"),
        "open.txt": "no newline",
        "empty.txt": "",
        "blanks.txt": "a\n\n\n  \n\t\nb\n",
        "like.diff": "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\ndiff --git a/x b/x\n",
        "script.sh": "#!/bin/sh\n",
        "a b/c d.txt": "spaces\n",
        "pkg b/x b/y.txt": "b/ in the name\n",
        "ünï/çödé.txt": "unicode\n",
        'q"uo\\te\t.txt': "quotes\n",
    }
    top = repository_at(place / "repository", files)
    (top / "script.sh").chmod(0o755)
    os.system(f"cd '{top}' && git -c user.name=u -c user.email=u@x commit -qam mode")  # noqa: S605  # fixture
    repository = Repository.open(top)
    return open_worktree(repository, place / "w", repository.head())


GOOD: dict[str, dict[str, bytes | None]] = {
    "an edit": {"text.py": b"changed\n"},
    "many hunks": {"text.py": b"".join(b"line %d\n" % n if n % 20 else b"new %d\n" % n for n in range(60))},
    "a growing file": {"text.py": b"".join(b"line %d\n" % n for n in range(200))},
    "a shrinking file": {"text.py": b"line 0\n"},
    "an emptied file": {"text.py": b""},
    "a deleted file": {"text.py": None},
    "a deleted empty file": {"empty.txt": None},
    "a new file": {"new.py": b"new\n"},
    "a new empty file": {"new.py": b""},
    "a new file in a new folder": {"p/q/new.py": b"new\n"},
    "a file instead of a folder": {"a b/c d.txt": None, "a b": b"now a file\n"},
    "a filled file": {"empty.txt": b"full\n"},
    "CRLF lines": {"crlf.txt": b"a\r\nB\r\nc\r\n"},
    "CRLF to LF": {"crlf.txt": b"a\nb\nc\n"},
    "mixed line ends": {"mixed.txt": b"a\r\nB\nc\r\n"},
    "lone carriage returns": {"cr.txt": b"a\rb\rd\n"},
    "form feeds and other separators": {"feed.txt": b"a\x0cb\x0b\x1c\x1d\x1e\xc2\x85\xe2\x80\xa8d\n"},
    "bytes that are not UTF-8": {"latin.txt": "èé\n".encode("latin-1")},
    "no newline at the end, before": {"open.txt": b"now with newline\n"},
    "no newline at the end, after": {"text.py": b"line 0"},
    "no newline at the end, both": {"open.txt": b"other"},
    "blank lines": {"blanks.txt": b"a\n\n\n\n\nb\n\n"},
    "trailing white space": {"text.py": b"a  \t \n"},
    "text that looks like a diff": {"like.diff": b"--- a/y\n+++ b/y\n@@ -1 +1 @@\n-a\n+b\n-- \n++ x\n"},
    "a deleted file that looks like a diff": {"like.diff": None},
    "spaces in the name": {"a b/c d.txt": b"x\n"},
    "a name that holds its own prefix": {"pkg b/x b/y.txt": b"x\n", "new b/x": b"x\n"},
    "unicode in the name": {"ünï/çödé.txt": b"x\n"},
    "quotes and tabs in the name": {'q"uo\\te\t.txt': b"x\n"},
    "a new name of every kind": {"new ü\n\"'\\.txt": b"x\n"},
    "a name like an option": {"-rf": b"x\n", "--- a": b"y\n"},
    "names that begin alike": {"text.py": b"x\n", "text.pyi": b"y\n"},
    "an executable that stays one": {"script.sh": b"#!/bin/bash\n"},
    "several files": {"text.py": None, "new.py": b"n\n", "crlf.txt": b"a\r\n", "empty.txt": b"e\n"},
}


@pytest.mark.parametrize("name", GOOD)
def test_a_good_patch_is_accepted_and_applied_byte_for_byte(worktree: Worktree, write: Write, name: str) -> None:
    """Captured, validated, applied: the tree is the one that the edits made; and so is every part of it on its own."""
    files = GOOD[name]
    for path in (path for path, content in files.items() if content is None):
        (worktree.path / path).unlink()
    write_over = {path: content for path, content in files.items() if content is not None}
    for path in write_over:
        if (worktree.path / path).is_dir():
            (worktree.path / path).rmdir()
    write(worktree.path, write_over)
    diff = worktree.capture()
    found = validated(diff)
    assert found.violations == ()
    assert found.files == tuple(sorted(files))
    assert b"".join(file.raw for file in read_diff(diff)) == diff
    worktree.apply(diff)
    for path, content in write_over.items():
        assert (worktree.path / path).read_bytes() == content
    worktree.reset()
    assert all(validated(part).ok for part in split_by_hunk(diff))


def test_renames_and_copies_are_read() -> None:
    """Ours have none, but a patch from elsewhere may; both names count."""
    rename = b"diff --git a/old.py b/new.py\nsimilarity index 100%\nrename from old.py\nrename to new.py\n"
    assert validated(rename).violations == ()
    assert validated(rename).files == ("new.py", "old.py")
    assert rules(validated(rename, scope=("new.py",))) == [Rule.OUT_OF_SCOPE]
    copy = b"diff --git a/old.py b/new.py\nsimilarity index 100%\ncopy from old.py\ncopy to new.py\n"
    assert validated(copy).violations == ()


# -- bad patches -------------------------------------------------------------------------------------------------------

NEW = "new file mode 100644\n"
BAD: dict[str, tuple[bytes, Rule]] = {
    "nothing": (b"", Rule.EMPTY),
    "blanks": (b" \n\n", Rule.EMPTY),
    "prose": (b"Here is the patch you asked for.\n", Rule.NOT_A_DIFF),
    "prose before": (b"Sure!\n" + edit(), Rule.NOT_A_DIFF),
    "prose after": (edit() + b"Done.\n", Rule.NOT_A_DIFF),
    "prose between": (edit() + b"and\n" + edit("b.py"), Rule.NOT_A_DIFF),
    "a markdown fence": (b"```diff\n" + edit() + b"```\n", Rule.NOT_A_DIFF),
    "no git header": (b"--- a/a.py\n+++ b/a.py\n@@ -1 +1 @@\n-x\n+y\n", Rule.NOT_A_DIFF),
    "a second file without a header": (edit() + b"--- a/b\n+++ b/b\n@@ -1 +1 @@\n-x\n+y\n", Rule.NOT_A_DIFF),
    "a torn end": (edit()[:-1], Rule.NOT_A_DIFF),
    "a torn hunk": (edit(hunk="@@ -1,3 +1,3 @@\n-x\n+y\n"), Rule.NOT_A_DIFF),
    "a hunk that is too long": (edit(hunk="@@ -1 +1 @@\n-x\n+y\n+z\n"), Rule.NOT_A_DIFF),
    "a hunk of context": (edit(hunk="@@ -1 +1 @@\n x\n"), Rule.NOT_A_DIFF),
    "a hunk without numbers": (edit(hunk="@@ @@\n-x\n+y\n"), Rule.NOT_A_DIFF),
    "a combined diff": (b"diff --cc a.py\nindex 1,2..3\n--- a/a.py\n+++ b/a.py\n@@@ -1 -1 +1 @@@\n", Rule.NOT_A_DIFF),
    "a header alone": (b"diff --git a/a.py b/a.py\n", Rule.NOT_A_DIFF),
    "an index line alone": (b"diff --git a/a.py b/a.py\nindex 1234567..89abcde 100644\n", Rule.NOT_A_DIFF),
    "headers that disagree": (edit().replace(b"+++ b/a.py", b"+++ b/b.py"), Rule.NOT_A_DIFF),
    "another header": (edit().replace(b"b/a.py\n---", b"b/b.py\n---"), Rule.NOT_A_DIFF),
    "new and deleted": (edit(headers=NEW + "deleted file mode 100644\n"), Rule.NOT_A_DIFF),
    "new with an old name": (edit(headers=NEW), Rule.NOT_A_DIFF),
    "deleted with something left": (
        edit(headers="deleted file mode 100644\n", hunk="@@ -1,2 +1 @@\n-x\n y\n").replace(
            b"+++ b/a.py", b"+++ /dev/null"
        ),
        Rule.NOT_A_DIFF,
    ),
    "new with something before": (
        edit(headers=NEW, hunk="@@ -1 +1,2 @@\n x\n+y\n").replace(b"--- a/a.py", b"--- /dev/null"),
        Rule.NOT_A_DIFF,
    ),
    "one mode only": (edit(headers="new mode 100755\n"), Rule.NOT_A_DIFF),
    "half a rename": (edit(headers="rename from a.py\n"), Rule.NOT_A_DIFF),
    "a header said twice": (edit(headers="old mode 100644\nold mode 100644\nnew mode 100755\n"), Rule.NOT_A_DIFF),
    "no prefix": (edit().replace(b"a/a.py", b"a.py").replace(b"b/a.py", b"a.py"), Rule.NOT_A_DIFF),
    "a bad quote": (quoted("a\\q.py"), Rule.NOT_A_DIFF),
    "an open quote": (quoted('a".py'), Rule.NOT_A_DIFF),
    "one file twice": (edit() + edit(), Rule.PATH_TWICE),
    "two into one": (
        (
            b"diff --git a/x b/z\nsimilarity index 100%\nrename from x\nrename to z\n"
            b"diff --git a/y b/z\nsimilarity index 100%\nrename from y\nrename to z\n"
        ),
        Rule.PATH_TWICE,
    ),
    "up": (edit("../a.py"), Rule.PATH_ESCAPES),
    "up in the middle": (edit("p/../../a.py"), Rule.PATH_ESCAPES),
    "up by backslashes": (quoted("..\\\\a.py"), Rule.PATH_ESCAPES),
    "absolute": (edit("/etc/passwd"), Rule.PATH_ESCAPES),
    "a drive": (edit("C:/x"), Rule.PATH_ESCAPES),
    "a dot": (edit("./a.py"), Rule.PATH_ESCAPES),
    "out by a rename": (
        b"diff --git a/../x b/x\nsimilarity index 100%\nrename from ../x\nrename to x\n",
        Rule.PATH_ESCAPES,
    ),
    "git": (edit(".git/hooks/pre-commit"), Rule.PATH_IN_GIT),
    "git of a folder": (edit("sub/.git/config"), Rule.PATH_IN_GIT),
    "git in capitals": (edit(".GIT/config"), Rule.PATH_IN_GIT),
    "git to NTFS": (edit("git~1/config"), Rule.PATH_IN_GIT),
    "git with a dot to NTFS": (edit(".git./config"), Rule.PATH_IN_GIT),
    "git as a stream": (edit(".git::$INDEX_ALLOCATION/config"), Rule.PATH_IN_GIT),
    "git to HFS": (edit(".g\u200cit/config"), Rule.PATH_IN_GIT),
    "git in full width": (edit("\uff0egit/config"), Rule.PATH_IN_GIT),
    "a name that is no text": (edit("a.py").replace(b"a.py", b"\xff.py"), Rule.PATH_NOT_TEXT),
    "out of scope": (edit("other.py"), Rule.OUT_OF_SCOPE),
    "protected": (edit(".github/workflows/ci.yml"), Rule.PROTECTED),
    "protected, deeper": (edit("sub/.gitattributes"), Rule.PROTECTED),
    "protected, in capitals": (edit(".GitHub/workflows/ci.yml"), Rule.PROTECTED),
    "a new link": (
        (
            b"diff --git a/a.py b/a.py\nnew file mode 120000\nindex 0000000..1234567\n--- /dev/null\n+++ b/a.py\n"
            b"@@ -0,0 +1 @@\n+/etc\n\\ No newline at end of file\n"
        ),
        Rule.SYMLINK,
    ),
    "a link that is changed": (edit(headers="index 1234567..89abcde 120000\n"), Rule.SYMLINK),
    "a file that becomes a link": (edit(headers="old mode 100644\nnew mode 120000\n"), Rule.SYMLINK),
    "a submodule": (
        (
            b"diff --git a/a.py b/a.py\nnew file mode 160000\nindex 0000000..1234567\n--- /dev/null\n+++ b/a.py\n"
            b"@@ -0,0 +1 @@\n+Subproject commit 1234567\n"
        ),
        Rule.SUBMODULE,
    ),
    "a submodule that moves": (edit(headers="index 1234567..89abcde 160000\n"), Rule.SUBMODULE),
    "another mode": (edit(headers="old mode 100644\nnew mode 100666\n"), Rule.OTHER_MODE),
    "made executable": (
        (b"diff --git a/a.py b/a.py\nold mode 100644\nnew mode 100755\n"),
        Rule.EXECUTABLE,
    ),
    "a new executable": (
        (b"diff --git a/a.py b/a.py\nnew file mode 100755\nindex 0000000..e69de29\n"),
        Rule.EXECUTABLE,
    ),
    "binary without data": (
        (b"diff --git a/a.py b/a.py\nindex 1234567..89abcde 100644\nBinary files a/a.py and b/a.py differ\n"),
        Rule.BINARY,
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_patch_is_refused_by_its_rule(name: str) -> None:
    """Each rule has its name, and says the place."""
    patch, rule = BAD[name]
    scope = ("a.py",) if rule is Rule.OUT_OF_SCOPE else EVERYWHERE
    found = validated(patch, scope=scope)
    assert rule in rules(found)
    assert not found.ok
    assert not (found.format_ok and found.scope_ok and found.constraints_ok)
    violation = next(violation for violation in found.violations if violation.rule is rule)
    assert violation.where.startswith("line ")
    assert violation.problem


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


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.sampled_from(
            [
                *(
                    b"diff --git a/a.py b/a.py\n",
                    b"--- a/a.py\n",
                    b"+++ b/a.py\n",
                    b"@@ -1 +1 @@\n",
                    b"@@ -0,0 +1 @@\n",
                ),
                *(b"-x\n", b"+y\n", b" x\n", b"\n", b"+../../x\n", b"--- /dev/null\n", b"+++ /dev/null\n"),
                *(b"new file mode 100644\n", b"deleted file mode 100644\n", b"index 1..2 100644\n", b"junk\n"),
                *(b"GIT binary patch\n", b"literal 3\n", b"\\ No newline at end of file\n", b"diff --git a/b b/b\n"),
                *(b"rename from a.py\n", b"rename to b\n", b"+++ b/../c\n", b"--- a/c\n", b"\xff\x00\n"),
            ]
        ),
        max_size=12,
    )
)
def test_whatever_is_accepted_git_reads_the_same(lines: list[bytes]) -> None:
    """No shuffling of a diff's lines gets anything past: accepted means that three readers agree, else a sentence."""
    patch = b"".join(lines)
    found = validated(patch)
    if found.ok:
        assert b"".join(file.raw for file in read_diff(patch)) == patch
        assert found.files
    else:
        assert all(violation.problem for violation in found.violations)
