"""Discovery asks every source; one that fails is told of and hides nobody."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from prefect_acms.canonical.errors import InvalidDocument, UnknownName
from prefect_acms.canonical.outside_errors import EverySourceFailed, SourceFailed
from prefect_acms.tasks.discovery import discover, discover_from
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.sources import Discovered, GapSource, Scan, load_sources

MakeGap = Callable[..., Gap]
MakeRepository = Callable[..., Path]
ScanOf = Callable[..., Scan]


@dataclass(frozen=True)
class Fixed:
    """A source of somebody else's package that always finds the same, or fails."""

    name: str
    gaps: tuple[Gap, ...] = ()
    error: Exception | None = None

    def discover(self, _scan: Scan) -> Discovered:
        """Its gaps."""
        if self.error:
            raise self.error
        return Discovered(self.gaps, "9.9")


@pytest.fixture
def scan(make_repository: MakeRepository, scan_of: ScanOf) -> Scan:
    """Of an empty repository."""
    return scan_of(make_repository({}))


def test_gaps_come_in_the_order_of_the_files_and_each_once(scan: Scan, make_gap: MakeGap) -> None:
    """Of two sources that know the same fingerprint, the first one's gap stands."""
    first = Fixed("first", (make_gap("b", "b.py"), make_gap("a", "a.py")))
    second = Fixed("second", (make_gap("a", "a.py", title="again"), make_gap("c", "a.py", start_line=9)))
    result = discover_from([first, second], scan)
    assert [(gap.fingerprint, gap.title) for gap in result.gaps] == [("a", "gap a"), ("c", "gap c"), ("b", "gap b")]
    assert [(outcome.name, outcome.ok, outcome.count) for outcome in result.sources] == [
        ("first", True, 2),
        ("second", True, 2),
    ]


@pytest.mark.parametrize("error", [SourceFailed(source="bad", problem="it broke"), RuntimeError("it broke")])
def test_a_source_that_fails_hides_nobody(scan: Scan, make_gap: MakeGap, error: Exception) -> None:
    """Its problem is kept, whatever it raised."""
    result = discover_from([Fixed("bad", error=error), Fixed("good", (make_gap("a"),))], scan)
    assert len(result.gaps) == 1
    assert [(outcome.ok, outcome.problem) for outcome in result.sources][1] == (True, None)
    assert "it broke" in (result.sources[0].problem or "")


def test_when_every_source_fails_the_run_fails(scan: Scan) -> None:
    """Nothing is known then, which is not the same as nothing found."""
    broken = [Fixed(name, error=RuntimeError(f"{name} broke")) for name in ("one", "two")]
    with pytest.raises(EverySourceFailed, match=r"one broke.*two broke"):
        discover_from(broken, scan)
    assert discover_from([Fixed("empty")], scan).gaps == ()


def test_bad_input_is_not_a_failure_of_the_source(scan: Scan) -> None:
    """A broken report is the caller's to mend: exit code 2."""
    error = InvalidDocument(path="r.json", where="gaps", problem="wrong")
    with pytest.raises(InvalidDocument):
        discover_from([Fixed("bad", error=error), Fixed("good")], scan)


def test_the_shipped_sources_are_found_by_entry_point(make_repository: MakeRepository, scan_of: ScanOf) -> None:
    """All of them, each once, in the order asked for; and they work together on one tree."""
    names = [source.name for source in load_sources(["markers", "ruff", "pytest", "report", "ruff"])]
    assert names == ["markers", "ruff", "pytest", "report"]
    top = make_repository({"a.py": "import os  # TODO: why\n", "test_a.py": "def test_x():\n    assert 0\n"})
    result = discover(scan_of(top), ["ruff", "pytest", "markers", "report"])
    assert [gap.rule_id for gap in result.gaps] == ["TODO", "F401", "failing-test"]
    assert [outcome.ok for outcome in result.sources] == [True, True, True, False]
    assert all(outcome.version for outcome in result.sources[:3])


def test_an_unknown_source_lists_the_known_ones() -> None:
    with pytest.raises(UnknownName, match=r"'nonsense'.*markers.*pytest.*report.*ruff"):
        load_sources(["ruff", "nonsense"])


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Installs a distribution with a gap source `mine` of that code."""

    def install(code: str) -> None:
        (tmp_path / "acms_test_plugin.py").write_text(code)
        facts = tmp_path / "acms_test_plugin-1.0.dist-info"
        facts.mkdir()
        (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: acms-test-plugin\nVersion: 1.0\n")
        (facts / "entry_points.txt").write_text("[prefect_acms.gap_sources]\nmine = acms_test_plugin:Mine\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, "acms_test_plugin", raising=False)

    return install


def test_a_source_of_another_package_works_like_ours(plugin: Callable[[str], None], scan: Scan) -> None:
    """An entry point is all it takes."""
    plugin(
        "from prefect_acms.tasks.gaps import Gap\n"
        "from prefect_acms.tasks.sources import Discovered\n"
        "class Mine:\n"
        "    name = 'mine'\n"
        "    def discover(self, scan):\n"
        "        return Discovered((Gap(source='mine', rule_id='M1', fingerprint='f', title='t'),))\n"
    )
    assert [gap.source for gap in discover(scan, ["mine"]).gaps] == ["mine"]


def test_a_package_that_cannot_be_imported_fails_alone(plugin: Callable[[str], None], scan: Scan) -> None:
    """It is reported like any source that fails."""
    plugin("import nowhere_to_be_found\n")
    sources: tuple[GapSource, ...] = load_sources(["mine", "markers"])
    result = discover_from(sources, scan)
    assert [outcome.ok for outcome in result.sources] == [False, True]
    assert "nowhere_to_be_found" in (result.sources[0].problem or "")
