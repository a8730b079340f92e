"""`acms top` shows what is in a store as it changes, and does what the commands do."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from commands import Acms
from driven import Planned, a_gap, a_plan, a_task, repository_of, started_run
from textual.pilot import Pilot
from textual.widgets import Input, RichLog, Static
from tried import Unanswered

from prefect_acms.canonical.circuit_breaker import CircuitBreakerTrigger
from prefect_acms.canonical.task import TaskTrigger
from prefect_acms.dao.store import open_store
from prefect_acms.deployments.top.app import TopApp
from prefect_acms.deployments.top.dialogs import AskScreen, DiffScreen
from prefect_acms.deployments.top.look import Watch
from prefect_acms.deployments.top.panes import Dag, Table

PATIENCE_SEC = 30.0
NARROW, WIDE = (80, 24), (160, 45)


@asynccontextmanager
async def viewed(url: str, size: tuple[int, int] = NARROW) -> AsyncIterator[Pilot[None]]:
    """The view, after its first look."""
    app = TopApp(url, look_every_sec=0.1)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: app.has_looked or app.query_one("#trouble").has_class("-there"))
        yield pilot


async def until(pilot: Pilot[None], seen: Callable[[], bool]) -> None:
    """Wait until it is to be seen."""
    async with asyncio.timeout(PATIENCE_SEC):
        while not seen():
            await pilot.pause(0.02)


def focused(pilot: Pilot[None]) -> str | None:
    """The id of what the keys go to."""
    return pilot.app.focused.id if pilot.app.focused else None


async def asked(pilot: Pilot[None], operator: str = "", reason: str = "") -> None:
    """Wait for the question who and why, and answer it."""
    await until(pilot, lambda: isinstance(pilot.app.screen, AskScreen) and focused(pilot) == "reason")
    if operator:
        pilot.app.screen.query_one("#operator", Input).value = operator
        pilot.app.screen.query_one("#reason", Input).value = reason
        await pilot.press("enter")
        await until(pilot, lambda: focused(pilot) == "do")
        await pilot.press("enter")


def view(test: Callable[[], Awaitable[None]]) -> None:
    """Run a test of the view."""
    asyncio.run(test())  # type: ignore[arg-type]


def cells(pilot: Pilot[None], pane: str) -> list[str]:
    """The rows of a table, in words."""
    table = pilot.app.query_one(f"#{pane}", Table)
    return [" | ".join(str(cell) for cell in table.get_row_at(at)) for at in range(table.row_count)]


def tree(pilot: Pilot[None]) -> list[str]:
    """The lines of the DAG, in words."""
    dag = pilot.app.query_one(Dag)
    return [str(node.label) for stream in dag.root.children for node in (stream, *stream.children)]


def add_run(url: str) -> None:
    """A run in a store that nobody else has open."""
    store = open_store(url)
    with store.begin() as dao:
        dao.runs.create(repo_root="/nowhere/shop", base_commit="a" * 40, config={})
    store.close()


def moved(before: Path, after: Path) -> None:
    """The database of that name has another one."""
    before.rename(after)


def log(pilot: Pilot[None]) -> str:
    """The events that were told."""
    return "\n".join(line.text for line in pilot.app.query_one("#events", RichLog).lines)


@pytest.fixture
def planned(tmp_path: Path, canonical_url: str) -> Planned:
    """A run with two workstreams, one after the other, whose first task runs."""
    drive = started_run(repository_of(tmp_path / "shop", {"a.py": "A = 1\n", "b.py": "B = 1\n"}), canonical_url)
    gaps = [a_gap("x", "a.py"), a_gap("y", "b.py")]
    tasks = [
        a_task("ws-01/scan", gaps[:1]),
        a_task("ws-01/fix", gaps[:1], "ws-01/scan"),
        a_task("ws-02/scan", gaps[1:], "ws-01/fix"),
    ]
    planned = Planned(drive, a_plan(drive, tasks, gaps, ws_02=["ws-01"]))
    planned.running("ws-01/scan")
    return planned


def test_a_run_is_seen_as_it_goes_on(planned: Planned, canonical_url: str) -> None:
    """Its tasks with what they wait for; a change is there at the next look, the cursor stays, the event is told."""

    async def test() -> None:
        async with viewed(canonical_url, WIDE) as pilot:
            assert [line.split("  ")[:2] for line in tree(pilot)] == [
                ["○ ready", "ws-01"],
                ["● running", "scan"],
                ["○ pending", "fix"],
                ["○ planned", "ws-02"],
                ["○ pending", "scan"],
            ]
            assert tree(pilot)[2].endswith("after scan")
            assert tree(pilot)[3].endswith("after ws-01")
            assert tree(pilot)[4].endswith("after ws-01/fix")
            assert "● running" in cells(pilot, "runs")[0]
            assert sum("● busy" in row for row in cells(pilot, "workers")) == 1
            await pilot.press("2", "down", "down")
            dag = pilot.app.query_one(Dag)
            assert dag.cursor_node is not None
            chosen, fix = dag.cursor_node.data, planned.task("ws-01/fix").id
            with planned.drive.begin() as dao:
                breaker = dao.circuit_breakers.create(tool_id="ruff-fix", failure_threshold=1)
                dao.circuit_breakers.advance(
                    breaker.id, CircuitBreakerTrigger.FAILURE_THRESHOLD_EXCEEDED, failure_count=1
                )
                dao.tasks.advance(fix, TaskTrigger.USER_CANCELLED, reason="not wanted [bold]any more")
            await until(pilot, lambda: any("✗ OPEN" in row for row in cells(pilot, "breakers")))
            assert tree(pilot)[2].startswith("‖ cancelled  fix")
            assert dag.cursor_node.data == chosen
            await until(pilot, lambda: "not wanted [bold]any more" in log(pilot))
            assert "pending → ‖ cancelled" in log(pilot)

    view(test)


def test_a_waiting_patch_is_seen_refused_without_a_reason_and_approved(tmp_path: Path, canonical_url: str) -> None:
    """Through its diff; the approval is carried out as `acms review approve` does it, and the commit is told."""
    unanswered = Unanswered(tmp_path, canonical_url)

    async def test() -> None:
        async with viewed(canonical_url) as pilot:
            app = pilot.app
            assert "awaiting_review" in cells(pilot, "patches")[0]
            await pilot.press("3", "enter")
            await until(pilot, lambda: isinstance(app.screen, DiffScreen))
            await pilot.press("a")
            await asked(pilot, "ada", " ")
            await until(pilot, lambda: "reason is ' '" in str(app.screen.query_one("#wrong", Static).content))
            app.screen.query_one("#reason", Input).value = "seen"
            # a button that was just pressed takes a moment before it can be pressed again
            await until(pilot, lambda: not app.screen.query_one("#do").has_class("-active"))
            await pilot.press("enter")
            await until(pilot, lambda: "✓ committed" in cells(pilot, "patches")[0])
            assert unanswered.shown() == "A = 2\n"
            assert ("review_approved", "ada") in unanswered.trail()
            await pilot.press("x")
            await until(pilot, lambda: any("waits for no review" in told.message for told in app._notifications))

    view(test)


def test_a_run_is_cancelled_only_after_a_question(planned: Planned, canonical_url: str) -> None:
    """Escape leaves it alone; the button cancels it, under the name that was given."""
    run = planned.drive.run_id

    def state() -> str:
        with planned.drive.reading() as dao:
            return dao.runs.get(run).state

    async def test() -> None:
        async with viewed(canonical_url) as pilot:
            await pilot.press("c")
            await asked(pilot)
            await pilot.press("escape")
            await until(pilot, lambda: not isinstance(pilot.app.screen, AskScreen))
            assert state() == "running"
            await pilot.press("c")
            await asked(pilot, "ada", "no longer wanted")
            await until(pilot, lambda: "canceled" in cells(pilot, "runs")[0])

    view(test)
    with planned.drive.reading() as dao:
        (ended,) = (row for row in dao.transitions.of_entity("run", run) if row.to_state == "canceled")
    assert ended.operator == "ada"


def test_a_store_that_goes_away_is_said_and_comes_back(stored_file: Path) -> None:
    """What was seen last stays; another run under the same name is shown once it is there."""
    url, away = f"sqlite:///{stored_file}", stored_file.with_suffix(".away")

    async def test() -> None:
        async with viewed(url) as pilot:
            trouble = pilot.app.query_one("#trouble", Static)
            before = cells(pilot, "runs")
            moved(stored_file, away)
            await until(pilot, lambda: trouble.has_class("-there"))
            assert "can't be used: its file is not there" in str(trouble.content)
            assert cells(pilot, "runs") == before
            add_run(f"sqlite:///{away}")
            moved(away, stored_file)
            await until(pilot, lambda: len(cells(pilot, "runs")) == len(before) + 1)
            assert not trouble.has_class("-there")

    view(test)


@pytest.fixture
def stored_file(tmp_path: Path, canonical_url: str) -> Path:
    """A store with one run, closed."""
    add_run(canonical_url)
    return tmp_path / "canonical.db"


@pytest.mark.usefixtures("planned")
def test_every_pane_has_room_in_a_small_terminal(canonical_url: str) -> None:
    """Of the lower ones one at a time, brought there by its number; in a wide one all."""

    async def test() -> None:
        for size, seen in ((NARROW, 1), (WIDE, 4)):
            async with viewed(canonical_url, size) as pilot:
                for key, name in enumerate(("patches", "workers", "breakers", "events"), start=3):
                    await pilot.press(str(key))
                    await pilot.pause()
                    rooms = {
                        pane: pilot.app.query_one(f"#{pane}").region
                        for pane in ("patches", "workers", "breakers", "events")
                    }
                    assert rooms[name].height >= 5
                    assert sum(room.height > 0 for room in rooms.values()) == seen
                    assert all(room.bottom <= size[1] and room.right <= size[0] for room in rooms.values())

    view(test)


def test_a_look_is_empty_while_nothing_happens(planned: Planned, canonical_url: str) -> None:
    """Until something has, another run is chosen, or five seconds are over, for what leaves no event."""
    now = 0.0
    watch = Watch(canonical_url, lambda: now)
    first = watch.look(None)
    assert first is not None
    assert first.events[-1].entity_id == planned.task("ws-01/scan").worker_id
    assert watch.look(None) is None
    chosen = watch.look(planned.drive.run_id)
    assert chosen is not None
    assert chosen.events == ()
    now = 5.0
    assert watch.look(planned.drive.run_id) is not None
    watch.close()


def test_it_wants_a_terminal_and_its_extra(acms: Acms, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence each, exit 2."""
    done = acms("top")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "expected a terminal" in done.stderr
    monkeypatch.setitem(sys.modules, "textual", None)
    done = acms("top")
    assert (done.returncode, done.stderr) == (
        2,
        "acms: acms top needs textual, which is not installed: pip install 'prefect-acms[top]'\n",
    )
