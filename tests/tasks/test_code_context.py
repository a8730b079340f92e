"""The code of a gap is the same after lines moved, after a formatter, and in a renamed file; other code is another."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from prefect_acms.tasks.code_context import LONGEST, CodeContext
from prefect_acms.tasks.fingerprints import compare, content_of
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.sources import Scan
from prefect_acms.tasks.sources.ruff import RuffSource

MakeRepository = Callable[..., Path]
ScanOf = Callable[..., Scan]

UGLY = """\
import os, sys
def f(x , y=[ ], *, why = 'it\\'s') :
    if x == None: return {'a' : 1,'b':x}
    z = "first" if x!=None else call_that_has_a_long_name('one argument', "and another one", x, y, 'and more')
    try: pass
    except: raise ValueError('no')
    return lambda a: a==None
"""


def context_of(tmp_path: Path, code: str, place: tuple[int, int | None], name: str = "a.py") -> list[str]:
    """The code at a place of a file."""
    (tmp_path / name).write_text(code)
    return CodeContext(tmp_path).of(name, *place)


def found(scan: Scan) -> dict[str, Gap]:
    """What ruff finds, by fingerprint."""
    return {gap.fingerprint: gap for gap in RuffSource().discover(scan).gaps}


def test_fingerprints_survive_a_formatter(make_repository: MakeRepository, scan_of: ScanOf) -> None:
    """Other quotes, other line breaks, statements that no longer share a line: those that are left are the same."""
    top = make_repository({"a.py": UGLY})
    scan = scan_of(top, ruff_select=("E711", "E722", "F401", "B"))
    before = found(scan)
    subprocess.run([sys.executable, "-m", "ruff", "format", "-q", "--isolated", "a.py"], cwd=top, check=True)
    assert len((top / "a.py").read_text().splitlines()) > len(UGLY.splitlines()) + 8
    after = found(scan)
    assert len(before) >= 8
    assert sorted(before) == sorted(after)
    assert [gap.start_line for gap in before.values()] != [gap.start_line for gap in after.values()]


def test_a_renamed_file_keeps_its_gaps(make_repository: MakeRepository, scan_of: ScanOf) -> None:
    """By rule and code, where the old file is gone; a copy of a file that is still there has gaps of its own."""
    top = make_repository({"old.py": UGLY})
    before = list(found(scan_of(top)).values())
    (top / "old.py").rename(top / "new.py")
    after = list(found(scan_of(top)).values())
    assert {content_of(gap.fingerprint) for gap in before} == {content_of(gap.fingerprint) for gap in after}
    moved = compare(before, after, is_there=lambda path: (top / path).is_file())
    assert (len(moved.kept), moved.gone, moved.new) == (len(before), (), ())
    copied = compare(before, [*before, *after], is_there=lambda path: (top / path).is_file() or path == "old.py")
    assert (len(copied.kept), len(copied.new)) == (len(before), len(after))


@pytest.mark.parametrize(
    ("code", "place", "expected"),
    [
        ("x = 1; y = 2\n", (1, 7), ["y=2"]),
        ("if a: b()\n", (1, 0), ["ifa:"]),
        ("if a: b()\n", (1, 6), ["b"]),
        ("x = f(\n    1,  # why\n    2,\n)\n", (3, 4), ["x=f12"]),
        ("x = f(\n    1,  # why not\n    2,\n)\n", (2, 8), ["#whynot"]),
        ("x = 1\n# TODO: it\n", (2, None), ["#TODO:it"]),
        ("d = {1: lambda: 2}\nz = x[1:2]\n", (1, 0), ["d=1:lambda:2"]),
        ("\n\nx = 1\n", (1, 0), [""]),
        ("def (:\n    x =  1\n", (2, 4), ["x=1"]),
    ],
)
def test_the_statement_at_a_place_is_meant(
    tmp_path: Path, code: str, place: tuple[int, int | None], expected: list[str]
) -> None:
    """The part of a line that it is in, a comment for itself, and lines where the file is no Python."""
    assert context_of(tmp_path, code, place) == expected


def test_of_a_long_table_what_is_near_counts(tmp_path: Path) -> None:
    """Two places of it are told apart, and another entry at its end changes neither."""
    rows = [f"    'key number {number}': {number},\n" for number in range(LONGEST // 10)]
    table = f"TABLE = {{\n{''.join(rows)}}}\n"
    first, other = (context_of(tmp_path, table, (row, 4)) for row in (3, 20))
    assert first != other
    assert context_of(tmp_path, table.replace("}\n", "    'more': 1,\n}\n"), (3, 4)) == first


def test_a_file_of_another_language_is_told_by_its_lines(tmp_path: Path) -> None:
    """White space, quotes and brackets don't count there either; a place behind the end has no code."""
    assert context_of(tmp_path, "\tcall( 'a', b );\r\n", (1, None), name="a.js") == ["callab"]
    assert context_of(tmp_path, "a\n", (9, None), name="a.js") == []
