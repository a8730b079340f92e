"""What a person sees of a run in the Prefect UI, read back from a real server."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from driven import Planned, a_gap, a_plan, a_task, started_run
from prefect import flow
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.objects import Artifact
from prefect.runtime import flow_run as here
from prefect_side import asked, flow_run

from prefect_acms.flows.phases import run_phase
from prefect_acms.tasks.artifacts import progress_shown, publish_end, publish_links, publish_name, publish_plan
from prefect_acms.tasks.driving import Drive
from prefect_acms.tasks.published import Published, PublishedState
from prefect_acms.tasks.publishing import Publication
from prefect_acms.tasks.summary import build_summary

pytestmark = pytest.mark.usefixtures("prefect_server")


def shown_of(flow_run_id: UUID) -> dict[str, Artifact]:
    """The artifacts of a flow run, by the last word of their key."""
    of_it = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run_id]))

    async def ask(client: PrefectClient) -> list[Artifact]:
        return await client.read_artifacts(artifact_filter=of_it)

    return {str(found.key).rpartition("-")[2]: found for found in asked(ask)}


@pytest.fixture
def drive(top: Path, canonical_url: str) -> Drive:
    """A run with one task in its plan."""
    drive = started_run(top, canonical_url)
    gap = a_gap("one", "a.py")
    Planned(drive, a_plan(drive, [a_task("ws-01/look", [gap])], [gap]))
    return drive


def test_the_page_of_the_run_has_its_name_its_tags_and_everything_that_its_phases_show(drive: Drive) -> None:
    """The UI lists no artifact of a subflow on the page of its parent, so they are made for the parent."""

    @flow(flow_run_name="summarize")
    async def last_phase() -> None:
        await publish_end(drive, build_summary(drive.store, drive.run_id, drive.repository))

    @flow
    async def outer() -> str:
        await publish_name(drive)
        await run_phase(last_phase)
        return str(here.id)

    ended = UUID(asyncio.run(outer()))
    run = flow_run(ended)
    assert run.name == f"{drive.repository.top.name} full {drive.run_id[-8:]}"
    assert set(run.tags) == {drive.repository.top.name, "full", drive.run_id}
    shown = shown_of(ended)
    assert set(shown) == {"summary", "result", "patches", "gates"}
    assert "Nothing was kept: there is no branch" in str(shown["result"].data)


def test_progress_is_told_from_time_to_time_and_at_the_end(drive: Drive, monkeypatch: pytest.MonkeyPatch) -> None:
    """One artifact, that has moved to where the work is when it is over; a step that nobody waited for is not told."""
    monkeypatch.setattr("prefect_acms.tasks.artifacts.PROGRESS_SEC", 0.05)
    asks: list[float] = []

    @flow
    async def working() -> str:
        def done() -> float:
            asks.append(100.0 * min(len(asks), 4) / 4)
            return asks[-1]

        async with progress_shown(drive, done):
            await asyncio.sleep(0.5)
        return str(here.id)

    shown: Any = shown_of(UUID(asyncio.run(working())))
    assert set(shown) == {"progress"}
    assert shown["progress"].data == asks[-1]
    assert 3 <= len(asks) <= 12


def test_a_plan_is_shown_as_a_table_and_as_a_diagram(drive: Drive) -> None:
    """In which each task stands below the one that it waits for, and the rest of what it waits for is named."""
    gap, other = a_gap("one", "a.py"), a_gap("two", "b.py")
    tasks = [
        a_task("ws-01/look", [gap]),
        a_task("ws-01/fix", [gap], "ws-01/look"),
        a_task("ws-01/test", [gap], "ws-01/look", "ws-01/fix"),
        a_task("ws-02/look", [other], "ws-01/test"),
    ]

    @flow
    async def planning() -> str:
        await publish_plan(drive, a_plan(drive, tasks, [gap, other], ws_02=["ws-01"]))
        return str(here.id)

    shown = shown_of(UUID(asyncio.run(planning())))
    assert set(shown) == {"plan", "diagram"}
    assert str(shown["diagram"].data).splitlines()[1:-1] == [
        "ws-01: ws-01",
        "└─ look",
        "   └─ fix",
        "      └─ test  (after look)",
        "ws-02: ws-02  (after ws-01)",
        "└─ look  (after ws-01/test)",
    ]


def test_what_can_not_be_shown_fails_nothing(drive: Drive) -> None:
    """Not only when Prefect is away: the work that was to be shown is done all the same."""

    @flow
    async def executes() -> str:
        async with progress_shown(drive, lambda: float("no number")):
            await asyncio.sleep(0)
        return "done"

    assert asyncio.run(executes()) == "done"


def test_a_pull_request_is_shown_as_a_link_and_what_has_none_is_not(drive: Drive) -> None:
    """By its number, so that each has a history of its own."""
    where = {"forge": "gitea", "forge_url": "https://git.example.org", "repository": "team/shop", "base": "main"}
    url = "https://git.example.org/team/shop/pulls/7"
    opened = Published(**where, branch="acms/1", head="a" * 40, number=7, url=url, state=PublishedState.OPEN)
    pushed = Published(**where, branch="acms/2", head="b" * 40, state=PublishedState.PUSHED)

    @flow
    async def publishing() -> str:
        await publish_links(drive.store, Publication(run_id=drive.run_id, published=(opened, pushed)))
        return str(here.id)

    (shown,) = shown_of(UUID(asyncio.run(publishing()))).values()
    assert shown.key == "acms-shop-pull-request-7"
    assert f"({url})" in str(shown.data)
    assert "team/shop 7: open" in str(shown.data)
