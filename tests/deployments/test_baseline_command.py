"""Known gaps are written to a file that runs hold back, and a run tells which of its gaps are new."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from commands import Acms
from driven import a_gap, repository_of, started_run

from prefect_acms.tasks.documents import read_report
from prefect_acms.tasks.driving import phase
from prefect_acms.tasks.fingerprints import Fingerprinter
from prefect_acms.tasks.gap_rows import store_gap
from prefect_acms.tasks.gaps import Gap


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A store of its own."""
    return f"sqlite:///{tmp_path / 'canonical.db'}"


def gap(path: str, code: str, rule: str = "F401") -> Gap:
    """A gap of ruff about that code."""
    name = Fingerprinter().next(rule, path, [code])
    return a_gap(name, path, source="ruff", rule_id=rule, title=f"{code} is wrong")


def looked(repository: Path, url: str, *gaps: Gap, worked: Sequence[str] = ("ruff",)) -> str:
    """A run in which these sources worked and found these gaps."""
    drive = started_run(repository, url)
    with phase(drive, "discovery") as artifacts:
        artifacts["sources"] = [{"name": name, "ok": True} for name in worked]
        with drive.begin() as dao:
            for one in gaps:
                store_gap(dao, drive.run_id, one)
            artifacts.complete(dao)
    return drive.run_id


def test_a_baseline_is_written_and_shown(acms: Acms, tmp_path: Path, url: str) -> None:
    """It is a gap report with the fingerprints of the run; shown by rule, the most severe first."""
    repository = repository_of(tmp_path / "shop", {"a.py": "x = 1\n"})
    found = (gap("a.py", "one"), gap("a.py", "two"), gap("b.py", "three", "E711"))
    run = looked(repository, url, *found)
    path = tmp_path / "known.json"
    done = acms("baseline", "write", run, "--file", str(path), "--database-url", url)
    assert f"holds 3 gap(s) of {run}" in done.stdout
    assert {one.fingerprint for one in read_report(path)} == {one.fingerprint for one in found}
    rows = json.loads(acms("baseline", "show", str(path), "--json").stdout)
    assert [(row["rule_id"], row["gaps"], row["files"]) for row in rows] == [("E711", 1, 1), ("F401", 2, 1)]
    assert "F401" in acms("baseline", "show", str(path)).stdout
    missing = acms("baseline", "show", str(tmp_path / "nowhere.json"))
    assert (missing.returncode, "nowhere.json" in missing.stderr) == (2, True)


def test_only_what_the_run_before_did_not_find_is_new(acms: Acms, tmp_path: Path, url: str) -> None:
    """A gap of a renamed file is known; a run in which a source failed says nothing of what that finds."""
    repository = repository_of(tmp_path / "shop", {"new.py": "x = 1\n"})
    looked(repository, url, gap("old.py", "one"))
    looked(repository, url, worked=("mypy",))
    last = looked(repository, url, gap("new.py", "one"), gap("new.py", "two"))

    def listed(run: str) -> tuple[list[str], str]:
        said = acms("gaps", run, "--new", "--json", "--database-url", url)
        return [one["title"] for one in json.loads(said.stdout)], said.stderr

    assert listed(last) == (["two is wrong"], "")
    new, told = listed(looked(repository, url, gap("x.py", "one"), worked=("ruff", "mypy")))
    assert (new, told.strip()) == (["one is wrong"], "No earlier run has asked the same sources: everything is new.")
