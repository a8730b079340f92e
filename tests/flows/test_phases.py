"""Phases and outermost flows before a Prefect server that goes away: the body runs once, and its word counts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import httpx
import pytest
from away import Away, Fault
from faults import until
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Failed

from prefect_acms.canonical.errors import NotFound, ServerUnavailable
from prefect_acms.flows.phases import run_flow, run_phase
from prefect_acms.tasks.prefect_server import ANSWER_SEC, is_told, require_server

FAULTS = [Fault.REFUSED, Fault.UNAVAILABLE, Fault.HANGING]

Body = Callable[[], Any]


@pytest.fixture
def away(prefect_server: None) -> Iterator[Away]:  # noqa: ARG001 - a fixture is asked for by its name
    """A proxy in front of the session's server that this process uses, with a client that repeats nothing."""
    with (
        Away(str(PREFECT_API_URL.value())) as proxy,
        temporary_settings({PREFECT_API_URL: proxy.api_url, PREFECT_CLIENT_MAX_RETRIES: 0}),
    ):
        yield proxy
        proxy.be(Fault.NONE)
        for worker in (EventsWorker, APILogWorker):
            # What they have still to tell goes through this proxy, which is about to end.
            worker.drain_all(timeout=20)


@task
def add_one(number: int) -> int:
    """A task, which a phase submits as ours do."""
    return number + 1


class Phase:
    """A phase flow that counts how often it ran, and calls `acting` in the middle of its work."""

    def __init__(self, acting: Body = lambda: None) -> None:
        self.runs = 0
        self.told: bool | None = None
        self.flow_run_id: str | None = None

        @flow(name="phase", persist_result=False)
        async def phase(number: int) -> int:
            self.runs += 1
            self.told, self.flow_run_id = is_told(), flow_run.id
            result = await asyncio.to_thread(add_one.submit(number).result)
            acting()
            return int(result)

        self.flow = phase


def _in_pipeline(*phases: Phase) -> list[int]:
    """What the phases return when a flow runs them one after the other."""

    @flow(name="pipeline", persist_result=False)
    async def pipeline() -> list[int]:
        return [await run_phase(phase.flow, number) for number, phase in enumerate(phases)]

    returned: list[int] = asyncio.run(run_flow(pipeline))
    return returned


async def _state(flow_run_id: str) -> State[Any] | None:
    async with get_client() as client:
        return (await client.read_flow_run(UUID(flow_run_id))).state


def test_with_a_server_that_answers_a_phase_is_a_subflow(away: Away) -> None:
    """It has a Prefect run of its own, which ends Completed."""
    phase = Phase()
    assert _in_pipeline(phase) == [1]
    assert phase.told
    assert phase.flow_run_id is not None
    state = asyncio.run(_state(phase.flow_run_id))
    assert state is not None
    assert state.is_completed()
    assert away.connections


@pytest.mark.parametrize("fault", [Fault.REFUSED, Fault.UNAVAILABLE])
def test_with_the_server_away_phases_go_on_without_it(away: Away, fault: Fault) -> None:
    """One in whose middle it goes away runs once, and so do those after it; with the server back they are subflows."""

    def return_to_work() -> None:
        away.be(Fault.NONE)
        # one that others load needs a while before it answers in the time of a question
        until(lambda: httpx.get(f"{away.api_url}/health", timeout=60).elapsed.total_seconds() < 1, "it answers again")

    during, after, *later = Phase(lambda: away.be(fault)), Phase(return_to_work), Phase(), Phase(), Phase()
    assert _in_pipeline(during, after, *later) == [1, 2, 3, 4, 5]
    assert [phase.runs for phase in (during, after, *later)] == [1] * 5
    assert [phase.told for phase in (during, after)] == [True, False]
    # of a client that repeats nothing, a server on SQLite that is busy may refuse a request and take the next
    assert any(phase.told for phase in later)


def test_a_server_that_hangs_costs_a_phase_the_time_of_one_question(away: Away) -> None:
    """A phase that begins then waits no longer than the server has to answer."""
    phase = Phase()
    times: list[float] = []

    @flow(name="pipeline", persist_result=False)
    async def pipeline() -> int:
        away.be(Fault.HANGING)
        began = time.monotonic()
        result: int = await run_phase(phase.flow, 1)
        times.append(time.monotonic() - began)
        away.be(Fault.NONE)
        return result

    assert asyncio.run(run_flow(pipeline)) == 2
    assert times[0] < ANSWER_SEC + 2


def test_a_short_outage_at_the_end_of_a_phase_is_waited_out(away: Away) -> None:
    """Then its Prefect run says Completed, and nothing is left to be mended."""
    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 3}):
        phase = Phase(lambda: away.be_for(Fault.REFUSED, 2))
        assert _in_pipeline(phase) == [1]
    assert phase.flow_run_id is not None
    state = asyncio.run(_state(phase.flow_run_id))
    assert state is not None
    assert state.is_completed()


@pytest.mark.parametrize("fault", [Fault.NONE, Fault.REFUSED])
@pytest.mark.parametrize("error", [NotFound(entity="run", id="x"), httpx.ConnectError("its own"), KeyboardInterrupt()])
def test_what_a_body_raises_comes_through_unchanged(away: Away, fault: Fault, error: BaseException) -> None:
    """An error that looks like Prefect's is the body's own too, if the body raised it; it is not run again."""

    def act() -> None:
        away.be(fault)
        raise error

    phase = Phase(act)
    caught: list[BaseException] = []

    @flow(name="pipeline", persist_result=False)
    async def pipeline() -> None:
        try:
            await run_phase(phase.flow, 1)
        except BaseException as raised:  # noqa: BLE001 - looked at below
            caught.append(raised)
        away.be(Fault.NONE)

    asyncio.run(run_flow(pipeline))
    assert caught == [error]
    assert phase.runs == 1


@pytest.mark.parametrize("fault", FAULTS)
def test_the_outermost_body_s_word_counts_when_the_server_goes_at_its_end(away: Away, fault: Fault) -> None:
    """The data of the state that it returned comes back, though the engine could not tell the server."""

    @flow(name="pipeline", persist_result=False)
    async def pipeline() -> State[Any]:
        away.be(fault)
        return Failed(message="quarantined", data={"outcome": 3})

    with temporary_settings({"api.request_timeout": 1.0}):
        assert asyncio.run(run_flow(pipeline)) == {"outcome": 3}


def test_the_outermost_body_s_error_comes_through(away: Away) -> None:
    """Also with the server away at that moment."""

    @flow(name="pipeline", persist_result=False)
    async def pipeline() -> None:
        away.be(Fault.REFUSED)
        raise NotFound(entity="run", id="x")

    with pytest.raises(NotFound):
        asyncio.run(run_flow(pipeline))


@pytest.mark.parametrize("fault", [Fault.REFUSED, Fault.UNAVAILABLE])
def test_nothing_begins_while_the_server_is_away(away: Away, fault: Fault) -> None:
    """The refusal names the variable and the address; the body has not run."""
    phase = Phase()
    away.be(fault)
    with pytest.raises(ServerUnavailable, match="PREFECT_API_URL") as refusal:
        require_server()
    assert away.api_url in str(refusal.value)
    with pytest.raises(ServerUnavailable):
        asyncio.run(run_flow(phase.flow, 1))
    assert phase.runs == 0
    away.be(Fault.NONE)
    require_server()
