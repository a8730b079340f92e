"""The source `coverage`: what tests don't run, told by a real coverage.py, and a tree left alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from prefect_acms.canonical.outside_errors import SourceFailed
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.sources import Scan
from prefect_acms.tasks.sources.coverage import CoverageSource

MakeRepository = Callable[..., Path]
ScanOf = Callable[..., Scan]
RunIn = Callable[..., str]

SHOP = """\
class Shop:
    def price(self):
        return 1

    def sell(self):
        return self.price()


def never(x):
    if x:
        return 1
    return 2
"""
FILES = {
    "src/shop.py": SHOP,
    "src/forgotten.py": "def f():\n    return 1\n",
    "tests/test_shop.py": "from shop import Shop\n\n\ndef test_it():\n    assert Shop().sell() == 1\n",
}


def told(gaps: tuple[Gap, ...]) -> list[tuple[str, str, int | None]]:
    """Rule, title and line of each."""
    return [(gap.rule_id, gap.title, gap.start_line) for gap in gaps]


def test_what_tests_do_not_run_becomes_gaps(make_repository: MakeRepository, scan_of: ScanOf, run_in: RunIn) -> None:
    """A file that nothing imports, a function of one that runs; a failing test is somebody else's finding."""
    bad = "def test_bad():\n    assert 0\n"
    top = make_repository({**FILES, "tests/test_bad.py": bad})
    answer = CoverageSource().discover(scan_of(top))
    assert told(answer.gaps) == [
        ("low-coverage", "the tests run 0 % of src/forgotten.py, which is less than 80 %", None),
        ("low-coverage", "the tests run 66 % of src/shop.py, which is less than 80 %", None),
        ("never-run", "no test runs never", 9),
    ]
    assert (answer.version.split()[0], answer.command[1:5]) == ("coverage", ("-I", "-m", "coverage", "run"))
    assert run_in(top, "status", "--porcelain", "--ignored") == ""


def test_the_threshold_is_a_setting_and_some_files_are_told_as_otherwise(
    make_repository: MakeRepository, scan_of: ScanOf
) -> None:
    top = make_repository(FILES)
    gaps = CoverageSource().discover(scan_of(top, ("src/shop.py",), coverage_threshold=50)).gaps
    assert told(gaps) == [("never-run", "no test runs never", 9)]


def test_the_repositorys_own_configuration_rules(make_repository: MakeRepository, scan_of: ScanOf) -> None:
    """What it leaves out, and that each process writes for itself."""
    settings = "[run]\nparallel = true\nsource = src\nomit = */forgotten.py\n[report]\nfail_under = 100\n"
    top = make_repository({**FILES, ".coveragerc": settings})
    assert [gap.file_paths for gap in CoverageSource().discover(scan_of(top)).gaps] == [("src/shop.py",)] * 2


def test_without_tests_nothing_is_known(make_repository: MakeRepository, scan_of: ScanOf) -> None:
    """And tests that can't run at all fail the source."""
    assert CoverageSource().discover(scan_of(make_repository({"a.py": SHOP}, "bare"))).gaps == ()
    with pytest.raises(SourceFailed, match="nowhere"):
        CoverageSource().discover(scan_of(make_repository({"a.py": SHOP, "test_a.py": "import nowhere\n"})))
