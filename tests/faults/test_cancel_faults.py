"""Cancelled from Prefect's side and from ours, before and in the middle: both sides say so, and nothing goes on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from faults import Site, alive, until
from prefect_side import Pool, Worker, cancel, flow_run, schedule_later, state_of, trigger, until_final
from repositories import git

from prefect_acms.canonical.errors import RunEnded
from prefect_acms.tasks.cancelling import cancel_run

pytestmark = pytest.mark.usefixtures("prefect_server")


def test_a_flow_run_that_is_cancelled_before_it_starts_never_becomes_a_run(
    site: Callable[..., Site], pool: Pool, worker: Callable[..., Worker]
) -> None:
    """Prefect says Cancelled, and the store holds no run."""
    here = site(hangs_in="nothing")
    worker()
    flow_run_id = schedule_later(pool.deployment, here.config(), here.environment)
    cancel(flow_run_id)
    assert until_final(flow_run_id).is_cancelled()
    with here.store.begin(read_only=True) as dao:
        assert dao.runs.latest(10) == []
    assert not (here.repository / ".acms_runs").exists()
    here.assert_put_away()


@pytest.mark.campaign
def test_a_flow_run_that_is_cancelled_while_its_process_starts_does_nothing(
    site: Callable[..., Site], pool: Pool, worker: Callable[..., Worker]
) -> None:
    """Pending, with a process: Prefect says Cancelled, and what run there may be is canceled too."""
    here = site(hangs_in="nothing")
    mine = worker()
    flow_run_id = trigger(pool.deployment, here.config(), here.environment)
    until(lambda: flow_run(flow_run_id).infrastructure_pid, "the worker has started its process")
    cancel(flow_run_id)
    assert until_final(flow_run_id).is_cancelled(), mine.told()
    with here.store.begin(read_only=True) as dao:
        assert {run.state for run in dao.runs.latest(10)} <= {"canceled"}
    here.assert_put_away()


@pytest.mark.parametrize("hangs_in", ["gate", pytest.param("tool", marks=pytest.mark.campaign)])
def test_a_flow_run_that_is_cancelled_in_the_middle_ends_its_run(
    site: Callable[..., Site], pool: Pool, worker: Callable[..., Worker], hangs_in: str
) -> None:
    """From Prefect's API: the process group of the tool ends, children first, and its applied patch is quarantined."""
    here, mine = site(hangs_in=hangs_in), worker()
    execution = {"tool_files": [str(here.tool_file)]} if hangs_in == "tool" else {}
    flow_run_id = trigger(pool.deployment, here.config(execution=execution), here.environment)
    pids = here.wait_for_mark()
    cancel(flow_run_id)
    assert until_final(flow_run_id).is_cancelled(), mine.told()
    until(lambda: here.run.state == "canceled", "our side says so too")
    _assert_cancelled(here, pids, patches={"quarantined"} if hangs_in == "gate" else set())


@pytest.mark.parametrize("hangs_in", ["tool", pytest.param("gate", marks=pytest.mark.campaign)])
def test_a_run_that_is_cancelled_from_another_process_ends_on_both_sides(
    site: Callable[..., Site], hangs_in: str
) -> None:
    """`acms cancel`: the driver is fenced off, finds its run canceled, exits 130, and Prefect says Cancelled."""
    here = site(hangs_in=hangs_in)
    driver = here.run_it(*(("--tool-file", str(here.tool_file)) if hangs_in == "tool" else ()))
    pids = here.wait_for_mark()
    assert here.acms("cancel", "latest", "--reason", "no longer wanted", "--operator", "ann").code == 0
    assert here.run.state == "canceled"
    assert here.ended(driver).code == 130
    assert state_of(str(here.run.prefect_flow_run_id)).is_cancelled()
    _assert_cancelled(here, pids, patches={"quarantined"} if hangs_in == "gate" else set())
    with pytest.raises(RunEnded):
        cancel_run(here.store, here.run.id, "once more")
    assert here.resume() == 130


def _assert_cancelled(here: Site, pids: list[int], *, patches: set[str]) -> None:
    run = here.run
    assert [pid for pid in pids if alive(pid)] == []
    assert here.open_rows(run.id) == []
    assert here.patch_states(run.id) == patches
    with here.store.begin(read_only=True) as dao:
        ends = [row.entity_type for row in dao.transitions.of_run(run.id) if row.to_state in {"canceled", "cancelled"}]
        assert {task.state for task in dao.tasks.of_run(run.id)} <= {"completed", "cancelled"}
    assert ends[-1] == "run"
    assert ends.index("workstream") > max(place for place, kind in enumerate(ends) if kind == "task")
    until(lambda: here.processes() == [], "its driver has ended too")
    here.assert_put_away()
    assert git(here.repository, "rev-list", "--count", "main..", "--branches=acms/*").strip() == "0"
