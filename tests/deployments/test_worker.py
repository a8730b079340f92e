"""The Prefect worker type `acms`, as Prefect finds it, and what it tells the store and Prefect."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest
from driven import repository_of, started_run
from faults import until
from prefect.client.schemas.objects import FlowRun, State
from prefect.plugins import load_prefect_collections
from prefect.states import Cancelling, Completed, Pending, Running
from prefect.workers.base import BaseWorker
from prefect.workers.process import ProcessWorker
from sqlalchemy import select

from prefect_acms.canonical.run import RunTrigger
from prefect_acms.dao.store import Store, open_store
from prefect_acms.dao.workers import WorkerRow
from prefect_acms.deployments.worker import AcmsWorker, left_state
from prefect_acms.tasks.driving import Drive, release_run
from prefect_acms.tasks.ending import end_run


def test_prefect_finds_the_worker_type_by_its_entry_point() -> None:
    """As `prefect worker start --type acms` looks for it."""
    assert load_prefect_collections()["prefect_acms_worker"] is sys.modules[AcmsWorker.__module__]
    assert BaseWorker.get_worker_class_from_type("acms") is AcmsWorker


def test_importing_the_worker_type_imports_nothing_of_a_run() -> None:
    """The server and the catalogue import it too: no store, no flow, no database driver."""
    program = (
        "import sys, prefect_acms.deployments.worker\n"
        "rooms = tuple(f'prefect_acms.{room}' for room in ('dao', 'tasks', 'flows'))\n"
        "print([name for name in sys.modules if name.startswith(rooms)])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_pool_of_ours_takes_the_job_variables_of_a_process_pool() -> None:
    """So that a deployment can move from one to the other."""
    assert AcmsWorker.get_default_base_job_template() == ProcessWorker.get_default_base_job_template()
    assert AcmsWorker.get_description()
    assert AcmsWorker.get_documentation_url().startswith("https://")
    assert AcmsWorker.get_logo_url().startswith("https://")


@pytest.fixture
def drive(tmp_path: Path, canonical_url: str) -> Drive:
    """A run of which nobody is the driver any more."""
    return started_run(repository_of(tmp_path / "repository", {"a.py": ""}), canonical_url, flow_run_id=str(uuid4()))


def _flow_run(drive: Drive, state: State[None], *, other: bool = False) -> FlowRun:
    with drive.reading() as dao:
        known = dao.runs.get(drive.run_id).prefect_flow_run_id
    return FlowRun(
        id=uuid4() if other else known,
        flow_id=uuid4(),
        state=state,
        parameters={"config": {"database_url": drive.store.url}},
    )


def test_a_run_that_is_left_behind_is_crashed_with_the_way_to_go_on(drive: Drive) -> None:
    """Its canonical run stays as it is."""
    state = left_state(_flow_run(drive, Running()))
    assert state is not None
    assert state.is_crashed()
    assert state.message is not None
    assert "the worker was told to stop" in state.message
    assert f"`acms resume {drive.run_id}`" in state.message
    with drive.reading() as dao:
        assert dao.runs.get(drive.run_id).state == "running"


def test_a_run_that_has_ended_is_told_as_it_ended(drive: Drive) -> None:
    """Whatever the end of the worker looked like."""
    end_run(drive, RunTrigger.RUN_CRASHED, "the reason")
    state = left_state(_flow_run(drive, Running()))
    assert state is not None
    assert state.is_failed()
    assert state.message == "the reason"


def test_a_run_that_was_to_be_cancelled_is_canceled(drive: Drive) -> None:
    """Told to cancel and to stop at once, the worker does both."""
    release_run(drive)
    state = left_state(_flow_run(drive, Cancelling()))
    assert state is not None
    assert state.is_cancelled()
    with drive.reading() as dao:
        assert dao.runs.get(drive.run_id).state == "canceled"


def test_what_prefect_says_rightly_is_not_said_again(drive: Drive) -> None:
    """A final state stays, and so does one that waits for another worker."""
    assert left_state(_flow_run(drive, Completed())) is None


@pytest.mark.parametrize(
    ("before", "after"), [(Pending(), "crashed"), (Running(), "crashed"), (Cancelling(), "cancelled")]
)
def test_a_flow_run_without_a_run_is_told_too(drive: Drive, before: State[None], after: str) -> None:
    """There is nothing to be resumed."""
    state = left_state(_flow_run(drive, before, other=True))
    assert state is not None
    assert state.type.value.lower() == after
    assert "acms resume" not in (state.message or "")


@pytest.mark.usefixtures("prefect_server")
def test_a_worker_goes_on_while_its_store_is_away(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A store that can't be opened is logged and tried again with the next heartbeat."""
    home = tmp_path / "home"
    home.write_text("in the way")
    monkeypatch.setenv("ACMS_HOME", str(home))

    async def work() -> None:
        async with AcmsWorker(work_pool_name="away", name="away", heartbeat_interval_seconds=1) as worker:
            await asyncio.sleep(0.5)
            assert worker.is_setup
            home.unlink()
            await asyncio.to_thread(until, lambda: _known(home), "the worker is registered", 20)

    asyncio.run(work())
    store = open_store(f"sqlite:///{home}/canonical.db")
    assert [(row.info["name"], row.state) for row in _workers(store)] == [("away", "shutdown")]


def _known(home: Path) -> bool:
    return (home / "canonical.db").exists() and bool(_workers(open_store(f"sqlite:///{home}/canonical.db")))


def _workers(store: Store) -> list[WorkerRow]:
    with store.begin(read_only=True) as dao:
        rows = list(dao.session.scalars(select(WorkerRow)))
        dao.session.expunge_all()
    return rows
