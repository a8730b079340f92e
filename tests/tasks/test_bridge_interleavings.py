"""The hooks of Prefect come never, once or more often, in any order: the canonical state is the same."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from driven import Planned, a_gap, a_plan, a_task, repository_of, started_run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prefect.client.schemas.objects import FlowRun, State
from prefect.states import Cancelling, Completed, Crashed, Failed, Running

from prefect_acms.dao.audit import verify
from prefect_acms.dao.store import Store, open_store
from prefect_acms.flows.pipeline import acms_pipeline
from prefect_acms.tasks.bridge import on_run_cancelled, on_run_completed, on_run_ended_badly, on_run_running
from prefect_acms.tasks.driving import release_run

FLOW_RUN_ID = UUID(int=7)
CURRENT = 2
"""The attempt that drives the run; what is told of attempt 1 comes late."""


class Delivery(NamedTuple):
    """One hook, as Prefect calls it."""

    hook: Callable[..., None]
    state: State[Any]
    run_count: int


NEWS: list[tuple[Callable[..., None], State[Any]]] = [
    (on_run_running, Running()),
    (on_run_completed, Completed()),
    (on_run_ended_badly, Failed(message="boom")),
    (on_run_ended_badly, Crashed(message="killed")),
    (on_run_cancelled, Cancelling()),
]
DELIVERIES = [Delivery(hook, state, count) for count in (1, CURRENT, CURRENT + 1) for hook, state in NEWS]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Path:
    """A folder with a repository, and a database in which a run is in the middle of its tasks."""
    folder = tmp_path_factory.mktemp("template")
    url = f"sqlite:///{shutil.copy(empty_database, folder / 'canonical.db')}"
    repository = repository_of(folder / "repository", {"a.py": "A = 1\n", "b.py": "B = 1\n"})
    drive = started_run(repository, url, flow_run_id=str(FLOW_RUN_ID))
    a, b = a_gap("a", "a.py"), a_gap("b", "b.py")
    tasks = [a_task("ws-01/one", [a]), a_task("ws-01/two", [a], "ws-01/one"), a_task("ws-02/one", [b])]
    planned = Planned(drive, a_plan(drive, tasks, [a, b]))
    planned.running("ws-01/one")
    planned.queued("ws-02/one")
    with drive.begin() as dao:
        dao.runs.change(drive.run_id, prefect_run_count=CURRENT)
        dao.runs.let_go(drive.run_id, drive.epoch)
    release_run(drive)
    drive.store.close()
    return folder


def _copy(source: Path, target: Path) -> str:
    """The URL of a copy, with what still waits in the write-ahead log."""
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)
    return f"sqlite:///{target}"


def _states_after(template: Path, deliveries: Sequence[Delivery]) -> list[tuple[str, str]]:
    """Deliver the hooks to a copy of the run; every row's state afterwards."""
    with TemporaryDirectory() as place:
        url = _copy(template / "canonical.db", Path(place) / "canonical.db")
        for hook, state, run_count in deliveries:
            flow_run = FlowRun(
                id=FLOW_RUN_ID, flow_id=UUID(int=1), parameters={"database_url": url}, run_count=run_count
            )
            hook(acms_pipeline, flow_run, state)
        store = open_store(url)
        found = _states(store)
        store.close()
    return found


def _states(store: Store) -> list[tuple[str, str]]:
    assert verify(store).ok
    with store.begin(read_only=True) as dao:
        (run,) = dao.runs.latest(2)
        of_run = (dao.tasks, dao.workstreams, dao.gaps, dao.workers)
        return [(run.id, run.state), *[(row.id, row.state) for noun in of_run for row in noun.of_run(run.id)]]


@settings(max_examples=15, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_the_order_and_the_number_of_deliveries_do_not_matter(template: Path, data: st.DataObject) -> None:
    """What counts is whether the current attempt was cancelled; the rest is said in the trail and changes no state."""
    told = data.draw(st.lists(st.sampled_from(range(len(DELIVERIES))), min_size=1, max_size=4, unique=True))
    again = data.draw(st.lists(st.sampled_from(told), max_size=3))
    first, second = data.draw(st.permutations(told + again)), data.draw(st.permutations(told))
    states = _states_after(template, [DELIVERIES[number] for number in first])
    assert states == _states_after(template, [DELIVERIES[number] for number in second])
    deliveries = [DELIVERIES[number] for number in told]
    cancelled = any(hook is on_run_cancelled and run_count >= CURRENT for hook, _, run_count in deliveries)
    assert states[0][1] == ("canceled" if cancelled else "running")
