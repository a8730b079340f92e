"""`acms sarif`: checking files of others, and exporting runs of ours."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import Acms
from driven import Planned, a_gap, a_plan, a_task, repository_of, started_run
from sarif_shop import PRODUCERS, write_shop

from prefect_acms.tasks.sarif.checking import log_of


def test_a_file_is_checked_against_a_repository(acms: Acms, tmp_path: Path) -> None:
    """A line a run: how much is open, is found here, and brings a fix."""
    shop = write_shop(tmp_path / "shop")
    called = acms(
        "sarif",
        "check",
        str(PRODUCERS / "semgrep.sarif"),
        str(PRODUCERS / "trivy.sarif"),
        "--repository",
        str(shop),
        "--json",
    )
    assert called.returncode == 0, called.stderr
    told = [
        {name: row[name] for name in ("tool", "results", "open", "in_repository", "with_fix")}
        for row in json.loads(called.stdout)
    ]
    assert told == [
        {"tool": "Semgrep OSS", "results": 3, "open": 2, "in_repository": 2, "with_fix": 1},
        {"tool": "Trivy", "results": 3, "open": 3, "in_repository": 2, "with_fix": 0},
    ]
    assert "Semgrep OSS" in acms("sarif", "check", str(PRODUCERS / "semgrep.sarif")).stdout


@pytest.mark.parametrize("command", [("sarif", "check"), ("run", "{}", "--sarif")])
def test_what_is_no_sarif_is_refused_with_its_place(acms: Acms, tmp_path: Path, command: tuple[str, ...]) -> None:
    """In one sentence, before anything happens."""
    (tmp_path / "a.sarif").write_text('{"version": "2.1.0", "runs": [{"tool": {"driver": {}}}]}')
    shop = repository_of(tmp_path / "shop", {"a.py": ""})
    called = acms(*(word.format(shop) for word in command), str(tmp_path / "a.sarif"))
    assert called.returncode == 2
    assert "a.sarif: /runs/0/tool/driver: 'name' is a required property" in called.stderr


def test_a_run_is_exported(acms: Acms, tmp_path: Path, canonical_url: str) -> None:
    """To a file or the standard output, valid, with its gaps; a file that can't be written is bad input."""
    drive = started_run(repository_of(tmp_path / "shop", {"a.py": "import os\n"}), canonical_url)
    gap = a_gap("one", "a.py", start_line=1)
    Planned(drive, a_plan(drive, [a_task("ws-01/one", [gap])], [gap]))
    where = ("--database-url", canonical_url)
    printed = acms("sarif", "export", drive.run_id, *where)
    log = log_of(printed.stdout.encode(), "stdout")
    assert [one["fingerprints"]["acms/v1"] for run in log["runs"] for one in run["results"]] == ["one"]
    assert acms("sarif", "export", "latest", *where, "--output", str(tmp_path / "out.sarif")).returncode == 0
    assert (tmp_path / "out.sarif").read_text() == printed.stdout
    refused = acms("sarif", "export", "latest", *where, "--output", str(tmp_path / "shop"))
    assert (refused.returncode, "can be written" in refused.stderr) == (2, True)
