"""What gates say is kept row by row: what waited and was never run, and what was run again."""

from __future__ import annotations

from pathlib import Path

import pytest
from driven import Planned, a_gap, a_plan, a_task, repository_of, started_run

from prefect_acms.blocks.config import GateSettings
from prefect_acms.dao.test_gates import TestGateRow
from prefect_acms.tasks.bench import Bench
from prefect_acms.tasks.gate_rows import Judged
from prefect_acms.tasks.preparation import baseline_of

TESTS = "import pathlib\nimport app\n\ndef test_a():\n    assert app.A == 1\n"
FLAKY = (
    "import os, pathlib, app\n\ndef test_a():\n    seen = pathlib.Path('seen')\n    ok = app.A == 1 or seen.exists()\n"
    "    seen.touch()\n    assert ok\n"
)


class Judge:
    """The gates of a run, asked about one change of app.py."""

    def __init__(self, folder: Path, url: str, tests: str, **gates: object) -> None:
        settings = GateSettings.model_validate({"security_enabled": False, **gates})
        drive = started_run(
            repository_of(folder / "r", {"app.py": "A = 1\n", "test_app.py": tests}), url, gates=settings
        )
        gaps = [a_gap("x", "app.py")]
        self.planned = Planned(drive, a_plan(drive, [a_task("ws-01/one", gaps)], gaps))
        self.drive = drive

    def judged(self, text: str) -> Judged:
        """What they say of this text."""
        bench = Bench.of(self.drive, self.planned.task("ws-01/one"))
        baseline = baseline_of(self.drive)
        (bench.worktree.path / "app.py").write_text(text)
        bench.worktree.apply(bench.worktree.capture())
        return bench.judged(baseline, ["app.py"])

    @property
    def rows(self) -> list[TestGateRow]:
        """The rows of what was judged, without those of the base commit."""
        with self.drive.reading() as dao:
            return [row for row in dao.test_gates.of_run(self.drive.run_id) if not row.info.get("base")]

    def waits_for(self, row: TestGateRow) -> list[str]:
        """The gates that a row waits for."""
        with self.drive.reading() as dao:
            return [other.gate_type for other in dao.test_gates.dependencies(row.id)]


def test_tests_wait_for_lint_and_are_blocked_where_it_fails(tmp_path: Path, canonical_url: str) -> None:
    """Each with a row that was never started; SECURITY, which waits for nothing, is not run after an objection."""
    judge = Judge(tmp_path, canonical_url, TESTS, security=("true",), security_enabled=True, integration=("true",))
    said = judge.judged("import os\n\nA = 1\n")
    assert "LINT: 1 new finding" in str(said.objection)
    assert [(row.gate_type, row.state, row.started_at is None) for row in judge.rows] == [
        ("LINT", "FAILED", False),
        ("UNIT", "BLOCKED", True),
        ("INTEGRATION", "BLOCKED", True),
    ]
    assert [judge.waits_for(row) for row in judge.rows] == [[], ["LINT"], ["LINT"]]
    assert said.gate_ids == tuple(row.id for row in judge.rows)


def test_where_lint_passes_they_run(tmp_path: Path, canonical_url: str) -> None:
    """Cheapest first, and each says what it waited for."""
    judge = Judge(tmp_path, canonical_url, TESTS, security=("true",), security_enabled=True, integration=("true",))
    assert judge.judged("A = 1  # still\n").objection is None
    assert [(row.gate_type, row.state) for row in judge.rows] == [
        ("LINT", "PASSED"),
        ("SECURITY", "PASSED"),
        ("UNIT", "PASSED"),
        ("INTEGRATION", "PASSED"),
    ]
    assert [judge.waits_for(row) for row in judge.rows] == [[], [], ["LINT"], ["LINT"]]


@pytest.mark.parametrize(
    ("tests", "states", "flaky"),
    [(TESTS, ["FAILED", "FAILED", "FAILED"], []), (FLAKY, ["FAILED", "PASSED"], ["test_app.py::test_a"])],
)
def test_a_newly_failing_test_is_run_again_alone_twice(
    tmp_path: Path, canonical_url: str, tests: str, states: list[str], flaky: list[str]
) -> None:
    """Each time with a row that is a re-run of the one before; one that passes once is flaky, recorded, not blamed."""
    judge = Judge(tmp_path, canonical_url, tests, lint_enabled=False)
    said = judge.judged("A = 2\n")
    assert (said.objection is None) is bool(flaky)
    rows = judge.rows
    assert [row.state for row in rows] == states
    assert [row.rerun_of for row in rows] == [None, *(row.id for row in rows[:-1])]
    assert (rows[0].info["flaky"], {row.info.get("test") for row in rows[1:]}) == (flaky, {"test_app.py::test_a"})
    assert all("-- test_app.py::test_a" in str(row.command) for row in rows[1:])
