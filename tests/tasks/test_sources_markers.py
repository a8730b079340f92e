"""The source `markers`: notes in comments of any language, with their author and age, the same each time."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from prefect_acms.tasks.sources import Scan
from prefect_acms.tasks.sources.comments import comments_in
from prefect_acms.tasks.sources.markers import MarkersSource

MakeRepository = Callable[..., Path]
ScanOf = Callable[..., Scan]

DAY = 86_400


def found(scan: Scan) -> list[tuple[str, int | None, str]]:
    """File, line and title of each marker."""
    return [(gap.file_paths[0], gap.start_line, gap.title) for gap in MarkersSource().discover(scan).gaps]


def test_python_comments_are_read_as_python_does(make_repository: MakeRepository, scan_of: ScanOf) -> None:
    """A string is no comment, a comment behind another is one, and a word inside a sentence is no marker."""
    code = (
        "# TODO: first\n"
        'text = "# TODO: not a comment"\n'
        "x = 1  # noqa: E501  # FIXME(ann) second\n"
        "# this finds every TODO there is\n"
        "# TODOS are no marker\n"
        "#XXX third\n"
    )
    assert found(scan_of(make_repository({"a.py": code}))) == [
        ("a.py", 1, "TODO: first"),
        ("a.py", 3, "FIXME(ann) second"),
        ("a.py", 6, "XXX third"),
    ]


@pytest.mark.parametrize(
    ("path", "text", "comments"),
    [
        ("a.c", "int x; /* TODO: c */", ["TODO: c */"]),
        ("a.js", "// FIXME one\n * TODO two\nurl = 'http://TODO'", ["FIXME one", "TODO two"]),
        ("a.sql", "select 1 -- TODO sql", ["TODO sql"]),
        ("a.html", "<!-- TODO html -->", ["TODO html -->"]),
        ("a.md", "# TODO list\n* TODO item\n<!-- TODO md -->", ["TODO md -->"]),
        ("a.ini", "; TODO ini", ["TODO ini"]),
        ("Makefile", "all: # TODO make", ["TODO make"]),
        ("broken.py", "def (:\n# TODO still\n  '''", ["TODO still"]),
    ],
)
def test_comments_of_other_files_are_told_by_what_leads_them(path: str, text: str, comments: list[str]) -> None:
    """In prose only an HTML comment is one; a Python file that does not parse is read line by line."""
    assert [comment for _, comment in comments_in(path, text) if "TODO" in comment or "FIXME" in comment] == comments


def test_author_and_age_come_from_blame(tmp_path: Path, scan_of: ScanOf) -> None:
    """The age is that at the base commit: no clock is read, so the answer is the same tomorrow."""
    top = tmp_path / "repository"
    top.mkdir()

    def commit(author: str, day: int, content: str) -> None:
        (top / "a.py").write_text(content)
        moment = f"@{1_700_000_000 + day * DAY} +0000"
        variables = {
            f"GIT_{role}_{part}": value
            for role in ("AUTHOR", "COMMITTER")
            for part, value in (("NAME", author), ("EMAIL", "x@y"), ("DATE", moment))
        }
        subprocess.run(["git", "add", "-A"], cwd=top, check=True)
        subprocess.run(["git", "commit", "-qm", "x"], cwd=top, check=True, env=os.environ | variables)

    subprocess.run(["git", "init", "-q"], cwd=top, check=True)
    commit("Ann", 0, "# TODO: old\n")
    commit("Bob", 40, "# TODO: old\nx = 1\n# TODO: young\n# TODO: too\n")
    gaps = MarkersSource().discover(scan_of(top)).gaps
    assert [gap.description for gap in gaps] == [
        "written by Ann 40 day(s) before the base commit",
        "written by Bob on the day of the base commit",
        "written by Bob on the day of the base commit",
    ]


def test_a_line_that_is_not_committed_has_no_author(make_repository: MakeRepository, scan_of: ScanOf) -> None:
    """As in the re-scan of a patch that is applied and not committed."""
    top = make_repository({"a.py": "# TODO: one\n"})
    (top / "a.py").write_text("# TODO: new\n# TODO: one\n")
    gaps = MarkersSource().discover(scan_of(top)).gaps
    assert gaps[0].description == "not committed yet"


def test_a_fingerprint_is_the_note_and_not_its_place(make_repository: MakeRepository, scan_of: ScanOf) -> None:
    """Code before and around it may change; equal notes are numbered."""
    top = make_repository({"a.py": "x = 1  # TODO: same\ny = 2  # TODO: same\n"})
    before = MarkersSource().discover(scan_of(top)).gaps
    (top / "a.py").write_text("\n\nz = 3  # TODO:  same\n# TODO: same\n")
    after = MarkersSource().discover(scan_of(top)).gaps
    assert [gap.fingerprint for gap in before] == [gap.fingerprint for gap in after]
    assert len({gap.fingerprint for gap in before}) == 2


def test_what_is_no_text_of_the_repository_is_left_out(make_repository: MakeRepository, scan_of: ScanOf) -> None:
    """Untracked, binary, generated in one long line, of a name that is no text: no markers there."""
    odd = {os.fsdecode(b"bytes\xff.py"): "# TODO: no name\n", "two\nlines.py": "# TODO: no name\n"}
    top = make_repository(
        {**odd, "binary.bin": b"# TODO\0", "long.js": "// TODO " + "x" * 2000, "a.py": "# TODO: here\n"}
    )
    (top / "untracked.py").write_text("# TODO: not tracked\n")
    assert found(scan_of(top)) == [("a.py", 1, "TODO: here")]


def test_a_scan_of_some_files_reads_only_these(make_repository: MakeRepository, scan_of: ScanOf) -> None:
    top = make_repository({"a.py": "# TODO: a\n", "b.py": "# TODO: b\n"})
    assert found(scan_of(top, files=("b.py", "gone.py"))) == [("b.py", 1, "TODO: b")]
