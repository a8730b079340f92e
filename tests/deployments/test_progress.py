"""What is told of a run while it goes on: a line a step, or a live view; and never at the cost of the run."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from prefect_acms.canonical.events import Event, Notice
from prefect_acms.canonical.gap import GapTrigger
from prefect_acms.canonical.run import RunTrigger
from prefect_acms.canonical.workstream import WorkstreamTrigger
from prefect_acms.dao.store import Store, open_store
from prefect_acms.deployments.board import Board
from prefect_acms.deployments.output import console
from prefect_acms.deployments.progress import Progress
from prefect_acms.deployments.screen import Screen
from prefect_acms.deployments.story import Story


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A real store, in a file of its own."""
    opened = open_store(f"sqlite:///{tmp_path / 'canonical.db'}")
    yield opened
    opened.close()


def go_through(store: Store) -> str:
    """A short run: two gaps found, one workstream that is skipped, a notice, and a failure."""
    with store.begin() as dao:
        run = dao.runs.create(repo_root="/home/shop", base_commit="a" * 40, mode="full", config={})
        dao.runs.advance(run.id, RunTrigger.RUN_STARTED)
    with store.begin() as dao:
        phase = dao.phases.create(run_id=run.id, name="discovery")
    with store.begin() as dao:
        for number in range(2):
            gap = dao.gaps.create(
                run_id=run.id, source="ruff", rule_id="F401", fingerprint=str(number) * 16, title="\x1b[31mred"
            )
            dao.gaps.advance(gap.id, GapTrigger.FILTERED, deferred_reason="not asked for")
        dao.phases.finish(phase.id, "completed", {})
    with store.begin() as dao:
        workstream = dao.workstreams.create(run_id=run.id, name="evil \x1b[31m name [bold]")
        dao.workstreams.advance(workstream.id, WorkstreamTrigger.DISABLED, reason="nothing to do")
        dao.runs.note(run.id, Notice.DRIFT_DETECTED, reason="Prefect says otherwise")
        dao.runs.advance(run.id, RunTrigger.RUN_CRASHED, error="it broke")
    return run.id


def told_to(screen: Screen, store: Store) -> None:
    """Tell a run on a screen."""
    with Progress(store.url, screen) as progress:
        stop = store.subscribe(progress.listen)
        go_through(store)
        stop()


def test_a_pipe_gets_a_line_a_step(store: Store) -> None:
    """Start, phases, what they found, endings, notices; none of the single gaps."""
    out = io.StringIO()
    told_to(Screen(out), store)
    lines = out.getvalue().splitlines()
    assert lines[0].startswith("run run_")
    assert lines[0].endswith("on /home/shop at aaaaaaaaaa, mode full")
    assert "phase 1: discovery" in lines
    assert "  2 gaps found: ruff 2" in lines
    assert "  drift detected: Prefect says otherwise" in lines
    assert lines[-1] == "run failed: it broke"
    assert len(lines) == 6


def test_foreign_text_is_shown_and_not_obeyed(store: Store) -> None:
    """Neither an escape sequence nor rich's own markup in a name changes the screen."""
    out = io.StringIO()
    told_to(Screen(out), store)
    assert "\x1b" not in out.getvalue()
    assert "evil \\x1b[31m name [bold]: skipped" in out.getvalue()


def test_a_terminal_gets_a_live_view(store: Store) -> None:
    """The phase that is going on, the numbers of gaps and patches, and the last steps."""
    out = io.StringIO()
    told_to(Screen(out, width=120, force_terminal=True), store)
    assert "discovery" in out.getvalue()
    assert "2 gaps" in out.getvalue()
    assert "\x1b[31m name" not in out.getvalue()


def test_the_board_shows_where_the_run_stands(store: Store) -> None:
    """Read from the store, not added up from events."""
    run_id = go_through(store)
    board = Board(now=iter(range(100)).__next__)
    board.look(run_id, store)
    out = io.StringIO()
    Screen(out, width=120).print(board)
    assert "2 gaps, 0 fixed, 2 deferred; 0 patches kept, 0 quarantined" in out.getvalue()
    assert "skipped" in out.getvalue()


def test_a_closed_screen_does_not_stop_the_run(store: Store) -> None:
    """`acms run | head -1`: the reader is gone, the run goes on to its end."""
    reading, writing = os.pipe()
    os.close(reading)
    with io.TextIOWrapper(io.FileIO(writing, "w"), write_through=True) as out:
        told_to(Screen(out), store)
    with store.begin(read_only=True) as dao:
        assert dao.runs.latest(1)[0].state == "failed"


def test_a_phase_is_told_once(store: Store) -> None:
    """However often the story looks."""
    lines: list[str] = []
    story = Story(lines.append)
    told: list[Event] = []
    stop = store.subscribe(told.extend)
    go_through(store)
    stop()
    story.take(told, store)
    story.take((), store)
    story.finish(store)
    assert sum(line.startswith("phase") for line in lines) == 1


def test_without_a_terminal_no_line_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    """A program that reads our output gets whole lines."""
    console().print("x" * 500)
    assert capsys.readouterr().out == "x" * 500 + "\n"
