"""Fixes that SARIF files propose: made whole or not at all, found again, proved and told."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from driven import Planned, a_plan, a_task, repository_of, started_run
from sarif_shop import FILES, PRODUCERS

from prefect_acms.blocks.config import DiscoverySettings, EnvironmentSettings, GateSettings, IsolationMode
from prefect_acms.blocks.tool_spec import TaskKind
from prefect_acms.tasks.anchors import is_there
from prefect_acms.tasks.attempts import perform
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.sarif.columns import Span
from prefect_acms.tasks.sarif.edits import Edit, Replacement, edited, edits_of
from prefect_acms.tasks.sarif.fixing import main
from prefect_acms.tasks.sources import Scan
from prefect_acms.tasks.sources.sarif import SarifSource
from prefect_acms.tasks.works import analyse, implement

ScanOf = Callable[..., Scan]


@pytest.mark.parametrize(
    ("text", "replacements", "after"),
    [
        ("a\nb\nc\n", [(2, 3, "B")], "a\nB\nc\n"),
        ("a\nb\nc\n", [(2, 4, "")], "a\nc\n"),
        ("a\nb", [(3, 3, "\n")], "a\nb\n"),
        ("a\nb\n", [(4, 4, "c\n")], "a\nb\nc\n"),
        ("a\r\nb\r\n", [(0, 1, "A"), (3, 4, "B")], "A\r\nB\r\n"),
        ("ab\n", [(0, 1, "A"), (1, 2, "B")], "AB\n"),
        ("a\n\n\nb\n", [(0, 0, "x\n"), (4, 5, "")], "x\na\n\n\n\n"),
    ],
)
def test_replacements_become_lines(text: str, replacements: list[tuple[int, int, str]], after: str) -> None:
    """Which make the same text, and the same change where other lines have come before them."""
    edits = edits_of("a", text, [Replacement(Span(start, end), new) for start, end, new in replacements])
    assert edits is not None
    assert edited(text, edits) == after
    assert edited(f"\ufeffnew\n{text}", edits) == f"\ufeffnew\n{after}"


def test_what_can_not_be_replaced_is_no_edit() -> None:
    """Two replacements of one place, one that changes nothing, and lines that are not there any more."""
    over = [Replacement(Span(0, 2), "x"), Replacement(Span(1, 3), "y")]
    assert edits_of("a", "abcd\n", over) is None
    assert edits_of("a", "abcd\n", [Replacement(Span(0, 1), "a")]) is None
    assert edits_of("a", "", [Replacement(Span(0, 0), "a")]) is None
    assert edited("b\n", [Edit("a", 1, "a\n", "A\n")]) is None
    assert edited("ba\na\nx\na\n", [Edit("a", 4, "a\n", "A\n")]) == "ba\na\nx\nA\n"


def asked(folder: Path, *gaps: dict[str, Any]) -> str:
    """A request about these gaps."""
    path = folder / "request.json"
    path.write_text(json.dumps({"gaps": gaps}))
    return str(path)


def proposing(*edits: Edit) -> dict[str, Any]:
    """A gap whose log proposes these edits."""
    return {"rule_id": "R", "file_paths": ["a"], "details": {"edits": [edit._asdict() for edit in edits]}}


def test_a_fix_is_made_whole_or_not_at_all(tmp_path: Path) -> None:
    """By the program, which says what became of each, and never leaves the folder that it works in."""
    top = tmp_path / "top"
    top.mkdir()
    (top / "a").write_bytes(b"one\r\ntwo\r\n")
    (top / "b").write_text("three\n")
    (tmp_path / "outside").write_text("one\n")
    (top / "link").symlink_to(tmp_path / "outside")
    request = asked(
        tmp_path,
        proposing(Edit("a", 1, "one\r\n", "1\r\n"), Edit("b", 1, "four\n", "4\n")),
        proposing(Edit("a", 2, "two\r\n", "2\r\n"), Edit("b", 1, "three\n", "3\n")),
        proposing(Edit("../outside", 1, "one\n", "1\n")),
        proposing(Edit("link", 1, "one\n", "1\n")),
        {"rule_id": "R", "file_paths": ["a"], "details": {}},
    )
    program = (sys.executable, "-E", "-P", "-m", "prefect_acms.tasks.sarif.fixing", request)
    done = subprocess.run(program, cwd=top, capture_output=True, text=True, check=True)
    assert [line.partition(": ")[2] for line in done.stdout.splitlines()] == [
        "the lines that it replaces are not in b any more",
        "fixed",
        "there is no file ../outside",
        "there is no file link",
        "its log proposes no fix",
    ]
    assert ((top / "a").read_bytes(), (top / "b").read_text()) == (b"one\r\n2\r\n", "3\n")
    assert (tmp_path / "outside").read_text() == "one\n"


def test_a_gap_is_there_as_long_as_its_code_is(scan_of: ScanOf, shop: Path) -> None:
    """Wherever its lines have moved and however they are indented; asked again, the source says the same."""
    scan = scan_of(PRODUCERS / "semgrep.sarif")
    found = SarifSource().discover(scan).gaps
    again = replace(scan, files=("app.py",), known=found)

    def left() -> list[int | None]:
        return [gap.start_line for gap in SarifSource().discover(again).gaps]

    assert left() == [8, 9]
    text = (shop / "app.py").read_text()
    (shop / "app.py").write_text("# new\n\n" + text.replace("    if name == name:", "  if   name == name:"))
    assert left() == [8, 9]
    (shop / "app.py").write_text(text.replace("name == name", "name is not None"))
    assert left() == [9]
    (shop / "app.py").unlink()
    assert left() == []
    assert is_there(found[0].model_copy(update={"details": {}}), shop)


def test_proposed_fixes_are_made_proved_and_committed(tmp_path: Path, canonical_url: str) -> None:
    """By the tool, in a task; the gap without a fix is not called resolved because its neighbour was."""
    repository = repository_of(tmp_path / "shop", FILES)
    files = (PRODUCERS / "semgrep.sarif", PRODUCERS / "ruff.sarif")
    drive = started_run(
        repository,
        canonical_url,
        discovery=DiscoverySettings(sources=("sarif",), sarif=files),
        gates=GateSettings(lint_enabled=False, unit_enabled=False, security=("true",), integration_enabled=False),
        environment=EnvironmentSettings(isolation=IsolationMode.OFF),
    )
    from prefect_acms.tasks.environment import environment_for  # noqa: PLC0415 - only here

    environment = environment_for(repository, repository, EnvironmentSettings())
    gaps = SarifSource().discover(Scan(repository, environment, drive.config.discovery, timeout_sec=9)).gaps
    fixable = [gap for gap in gaps if gap.fixable]
    facts: dict[str, Any] = {"kind": TaskKind.IMPLEMENTATION, "pattern_id": "sarif-fix", "tool_id": "sarif-fix"}
    tasks = [a_task("ws-01/look", gaps), a_task("ws-01/fix", fixable, "ws-01/look", **facts)]
    planned = Planned(drive, a_plan(drive, tasks, gaps))
    looked = perform(drive, planned.queued("ws-01/look").id, lambda task: analyse(drive, task))
    assert looked.info["present"] == sorted(gap.fingerprint for gap in gaps)
    done = perform(drive, planned.queued("ws-01/fix").id, lambda task: implement(drive, task))
    assert (done.state, done.last_error) == ("completed", None)
    with drive.reading() as dao:
        (entry,) = dao.ledger.of_run(drive.run_id)
    assert entry.info["proof"]["gone"] == sorted(gap.fingerprint for gap in fixable)
    branch = planned.workstream("ws-01").branch
    shown = drive.repository.ref(f"refs/heads/{branch}")
    assert shown is not None
    told = subprocess.run(
        ["git", "show", f"{shown}:app.py"], cwd=repository, capture_output=True, text=True, check=True
    )
    assert told.stdout == FILES["app.py"].removeprefix("import os\n").replace("name == name", "name is not None")


def test_the_program_needs_a_request() -> None:
    """And nothing else."""
    with pytest.raises(ValueError, match="unpack"):
        main([])


def test_details_come_back_from_the_store(tmp_path: Path, canonical_url: str) -> None:
    """As they were found, so that a fix can be made long after; a gap without any has none."""
    from prefect_acms.tasks.gap_rows import gap_of, store_gap  # noqa: PLC0415 - only here

    drive = started_run(repository_of(tmp_path / "shop", FILES), canonical_url)
    made = Gap(source="sarif", rule_id="R", fingerprint="f", title="t", details={"edits": [{"path": "a"}]})
    with drive.begin() as dao:
        assert gap_of(store_gap(dao, drive.run_id, made)) == made
        bare = made.model_copy(update={"details": {}, "fingerprint": "g"})
        assert gap_of(store_gap(dao, drive.run_id, bare)) == bare
