"""Deployments on a real server: made, made again, and what a person changed there in between."""

from __future__ import annotations

import asyncio
import os
import signal
from uuid import uuid4

import pytest
from commands import Acms
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentUpdate
from prefect.client.schemas.responses import DeploymentResponse
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_side import asked

from prefect_acms.canonical.errors import InvalidValue
from prefect_acms.deployments.catalog import CATALOG, Schedule, deployable
from prefect_acms.deployments.deploying import (
    Wanted,
    deployed,
    parameters_wanted,
    schedule_of,
    schedules_wanted,
)
from prefect_acms.deployments.serving import _serve

SERVE_SEC = 3.0
"""Long enough for a runner to begin."""


def _deployment(name: str) -> DeploymentResponse:
    found = asked(lambda client: deployed(client, deployable(name)))
    assert found is not None
    return found


@pytest.mark.usefixtures("no_deployments")
def test_deploying_makes_all_and_keeps_what_a_person_changed(acms: Acms) -> None:
    """By module path, with nothing to pull and schedules off; the second time, only what options ask for changes."""
    pool = f"pool-{uuid4().hex[:8]}"
    first = acms("deploy", "--pool", pool, "--database-url", "sqlite:////srv/acms/canonical.db")
    assert (first.returncode, first.stderr) == (0, "")
    assert f"Work pool {pool} of type acms made; its worker: acms worker --pool {pool}" in first.stdout
    for row in CATALOG:
        made = _deployment(row.name)
        assert (made.entrypoint, made.work_pool_name) == (row.entrypoint, pool)
        assert not made.pull_steps
        assert made.job_variables == {"env": {"ACMS_DATABASE_URL": "sqlite:////srv/acms/canonical.db"}}
        assert made.enforce_parameter_schema
        assert len(made.schedules) == len(row.schedules)
        assert not any(schedule.active for schedule in made.schedules)
    sweep = _deployment("sweep")

    async def change() -> None:
        async with get_client() as client:
            await client.update_deployment_schedule(sweep.id, sweep.schedules[0].id, active=True)
            theirs = DeploymentUpdate(parameters={"health": None}, job_variables={"env": {"LANG": "C"}}, paused=True)
            await client.update_deployment(sweep.id, theirs)

    asyncio.run(change())
    nightly = 'improve.config={"repository": "/srv/shop"}'
    again = acms("deploy", "--schedule", "improve=0 2 * * *", "--parameter", nightly)
    assert (again.returncode, again.stderr) == (0, "")
    kept = _deployment("sweep")
    assert (kept.id, kept.parameters, kept.job_variables) == (sweep.id, {"health": None}, {"env": {"LANG": "C"}})
    assert kept.paused
    assert kept.work_pool_name == pool, "only --pool moves what is in a pool"
    assert [schedule.active for schedule in kept.schedules] == [True]
    improve = _deployment("improve")
    assert improve.parameters == {"config": {"repository": "/srv/shop"}}
    assert [(schedule.active, schedule.schedule.cron) for schedule in improve.schedules] == [(True, "0 2 * * *")]  # type: ignore[union-attr]


@pytest.mark.usefixtures("prefect_server")
def test_that_serving_has_ended_pauses_no_deployment_for_good(acms: Acms) -> None:
    """Prefect pauses what it has served: it goes on when it is served again, and at once where it is in a pool."""
    before = signal.getsignal(signal.SIGTERM)

    async def served(name: str) -> None:
        serving = asyncio.create_task(_serve([deployable(name)], Wanted(), None))
        while signal.getsignal(signal.SIGTERM) is before and not serving.done():  # noqa: ASYNC110 - nobody tells it
            await asyncio.sleep(0.1)
        await asyncio.wait({serving}, timeout=SERVE_SEC)
        os.kill(os.getpid(), signal.SIGTERM)
        await serving

    asyncio.run(_removed("sweep"))
    asyncio.run(served("sweep"))
    assert (_deployment("sweep").work_pool_name, _deployment("sweep").paused) == (None, True)
    pool = f"pool-{uuid4().hex[:8]}"
    assert acms("deploy", "--pool", pool).returncode == 0
    assert (_deployment("sweep").work_pool_name, _deployment("sweep").paused) == (pool, False)
    asyncio.run(served("sweep"))
    assert (_deployment("sweep").work_pool_name, _deployment("sweep").paused) == (pool, False)


async def _removed(name: str) -> None:
    async with get_client() as client:
        if found := await deployed(client, deployable(name)):
            await client.delete_deployment(found.id)


@pytest.mark.usefixtures("prefect_server")
def test_a_url_with_a_password_is_told_by_a_secret_block(acms: Acms) -> None:
    """No deployment holds it, and nobody prints it."""
    url = "postgresql://acms:sesame-open@db/acms"
    done = acms("deploy", "--pool", f"pool-{uuid4().hex[:8]}", "--pool-type", "kubernetes", "--database-url", url)
    assert done.returncode == 0
    assert "sesame-open" not in done.stdout + done.stderr
    variables = _deployment("improve").job_variables
    assert variables["env"]["ACMS_DATABASE_URL"] == "{{ prefect.blocks.secret.acms-database-url }}"
    block = asked(lambda client: client.read_block_document_by_name("acms-database-url", "secret"))
    assert block.data == {"value": url}


@pytest.mark.usefixtures("prefect_server")
def test_a_pool_of_another_type_is_refused(acms: Acms) -> None:
    """In one sentence, and no worker of ours works for it."""
    pool = f"pool-{uuid4().hex[:8]}"
    assert acms("deploy", "--pool", pool, "--pool-type", "docker").returncode == 0
    refused = acms("deploy", "--pool", pool, "--pool-type", "acms")
    assert refused.returncode == 2
    assert (
        refused.stderr == f"acms: work pool {pool!r} can't be used: it is there already, and of type docker, not acms\n"
    )
    worker = acms("worker", "--pool", pool)
    assert (worker.returncode, worker.stderr.count("\n")) == (2, 1)
    assert "prefect worker start" in worker.stderr
    nowhere = acms("worker", "--pool", "nowhere")
    assert (nowhere.returncode, nowhere.stderr) == (
        2,
        "acms: work pool 'nowhere' can't be used: there is none of that name: `acms deploy --pool` makes it\n",
    )


def test_without_a_server_nothing_is_deployed(acms: Acms) -> None:
    """An embedded server would be forgotten by the next command."""
    with temporary_settings({PREFECT_API_URL: None}):
        for command in ("deploy", "worker", "serve"):
            done = acms(command)
            assert done.returncode == 2
            assert "PREFECT_API_URL names no Prefect server" in done.stderr


@pytest.mark.parametrize(
    ("when", "schedule"),
    [
        ("0 2 * * 1-5", Schedule(cron="0 2 * * 1-5", timezone="Europe/Berlin")),
        ("every 90", Schedule(interval=90, timezone="Europe/Berlin")),
        ("every 6 h", Schedule(interval=21600, timezone="Europe/Berlin")),
        ("FREQ=WEEKLY;BYDAY=MO", Schedule(rrule="FREQ=WEEKLY;BYDAY=MO", timezone="Europe/Berlin")),
    ],
)
def test_a_schedule_is_read_in_each_of_its_forms(when: str, schedule: Schedule) -> None:
    """Cron, interval and rrule."""
    assert schedule_of(when, "Europe/Berlin") == schedule


@pytest.mark.parametrize("when", ["whenever", "99 99 * * *", "every 0", "FREQ=SOMETIMES"])
def test_a_schedule_that_can_not_be_meant_is_refused(when: str) -> None:
    """With what is expected."""
    with pytest.raises(InvalidValue, match="a cron expression"):
        schedule_of(when, "UTC")
    with pytest.raises(InvalidValue, match="a timezone such as"):
        schedule_of("0 2 * * *", "Europe/Atlantis")


def test_a_schedule_by_name_is_that_of_the_catalog() -> None:
    """One that has none needs a WHEN, and a parameter that there is not is told with those that there are."""
    assert schedules_wanted(["sweep"], "UTC") == {"sweep": deployable("sweep").schedules}
    with pytest.raises(InvalidValue, match="improve=WHEN"):
        schedules_wanted(["improve"], "UTC")
    assert parameters_wanted(["resume.run_id=latest", "resume.take_over=true"]) == {
        "resume": {"run_id": "latest", "take_over": True}
    }
    with pytest.raises(InvalidValue, match="with one of config"):
        parameters_wanted(["improve.repository=/srv/shop"])
