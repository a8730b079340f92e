"""The source `report`: what others found, in our own form."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from prefect_acms.canonical.errors import InvalidDocument
from prefect_acms.canonical.outside_errors import SourceFailed
from prefect_acms.tasks.sources import Scan
from prefect_acms.tasks.sources.report import ReportSource

MakeRepository = Callable[..., Path]
ScanOf = Callable[..., Scan]


def write(path: Path, *gaps: dict[str, object]) -> Path:
    """A report file of these entries."""
    path.write_text(json.dumps({"version": "1", "generated_at": "2026-01-31T12:00:00Z", "gaps": gaps}))
    return path


def test_every_named_report_is_read(make_repository: MakeRepository, scan_of: ScanOf, tmp_path: Path) -> None:
    """In the order in which they are named; an entry keeps the source that it says it is from."""
    one = write(tmp_path / "1.json", {"id": "a", "title": "A", "file_paths": ["a.py"]})
    two = write(tmp_path / "2.json", {"id": "a", "title": "B", "source": "ruff", "rule_id": "F401"})
    scan = scan_of(make_repository({}), reports=(one, two))
    assert [(gap.title, gap.source) for gap in ReportSource().discover(scan).gaps] == [("A", "report"), ("B", "ruff")]
    some = scan_of(scan.root, files=("a.py",), reports=(one, two))
    assert [gap.title for gap in ReportSource().discover(some).gaps] == ["A"]


def test_a_broken_report_is_bad_input(make_repository: MakeRepository, scan_of: ScanOf, tmp_path: Path) -> None:
    """The caller can mend it, so it is not passed over as a source that failed."""
    path = write(tmp_path / "1.json", {"id": "a"})
    with pytest.raises(InvalidDocument, match="title"):
        ReportSource().discover(scan_of(make_repository({}), reports=(path,)))


def test_no_report_at_all_fails_the_source(make_repository: MakeRepository, scan_of: ScanOf) -> None:
    with pytest.raises(SourceFailed, match=r"discovery\.reports"):
        ReportSource().discover(scan_of(make_repository({})))
