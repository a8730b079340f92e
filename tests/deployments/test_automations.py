"""`acms automations`: what comes with us fits a Prefect server, and does there what it says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest
from commands import Acms
from faults import until
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import FlowRun
from prefect.events import Event as PrefectEvent
from prefect.events import Resource
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Crashed
from prefect.types.entrypoint import EntrypointType
from prefect_side import asked
from refusals import one_sentence
from services import Service

from prefect_acms.canonical.clock import system_clock, utc_text
from prefect_acms.canonical.events import Context, Event, Notice
from prefect_acms.canonical.machine import Severity
from prefect_acms.dao.ids import Ids
from prefect_acms.dao.redaction import Scrubber
from prefect_acms.deployments.automations import shipped
from prefect_acms.deployments.catalog import CATALOG
from prefect_acms.deployments.worker import AcmsWorker
from prefect_acms.tasks.event_sending import post_events
from prefect_acms.tasks.prefect_events import PUSHED, prefect_event

PATIENCE_SEC = 60.0
NAMES = [automation.name for automation in shipped()]


async def _deploy() -> None:
    """The deployments that automations run, by the names that they have in the catalog; no worker runs them."""
    async with get_client() as client:
        template = AcmsWorker.get_default_base_job_template()
        pool = WorkPoolCreate(name="automated", type="acms", base_job_template=template)
        await client.create_work_pool(pool, overwrite=True)
    for row in CATALOG:
        if row.name in {"improve", "resume"}:
            made = await row.load().ato_deployment(
                name=row.name, work_pool_name="automated", entrypoint_type=EntrypointType.MODULE_PATH
            )
            await made.aapply()


@pytest.fixture
def deployed(prefect_server: None, acms: Acms) -> Iterator[None]:  # noqa: ARG001 - a fixture is asked for by its name
    """A server with the deployments; what was installed there does nothing in other tests."""
    asyncio.run(_deploy())
    yield
    acms("automations", "remove")


def ours(entity: str, trigger: str, to_state: str) -> PrefectEvent:
    """An event as a run's process sends it, of what is called like its entity."""
    return prefect_event(
        Event(
            Ids().new("evt"), utc_text(system_clock()), "", Severity.CRITICAL, entity, f"{entity}_1", None, to_state,
            trigger, "the tests fail", context=Context("run_1"),
        ),
        None,
        Scrubber(),
    )  # fmt: skip


def runs_of(deployment: str) -> list[FlowRun]:
    """The flow runs of a deployment."""
    with get_client(sync_client=True) as client:
        wanted = client.read_deployment_by_name(deployment).id
        return [run for run in client.read_flow_runs() if run.deployment_id == wanted]


def standing(acms: Acms) -> dict[str, str]:
    """How each automation stands, as the command says."""
    return {row["name"]: row["state"] for row in json.loads(acms("automations", "list", "--json").stdout)}


@pytest.mark.usefixtures("deployed")
def test_each_does_on_the_server_what_it_says(acms: Acms) -> None:
    """An event of a repository and a crash make flow runs, quarantine and rollback are sent to the block."""
    with Service() as webhook:
        block = CustomWebhookNotificationBlock(
            name="automated", url=f"{webhook.url}/hook", method="POST", json_data={"told": "{{subject}}: {{body}}"}
        )
        block.save("automated", overwrite=True)
        done = acms("automations", "install", "--notify", "custom-webhook/automated")
        assert done.stdout.splitlines()[:4] == [f"installed {name}" for name in NAMES[:4]]
        assert done.stdout.splitlines()[4].startswith("left out  acms-crash-silent: on SQLite")

        place = Resource({"prefect.resource.id": "/srv/shop"})
        with get_client(sync_client=True) as client:
            pushed_to = PrefectEvent(event=PUSHED, resource=place, payload={"mode": "analyze_only"})
            quarantined = ours("patch_ledger", "gate_failed", "quarantined")
            post_events(client, [pushed_to, quarantined, ours("run", Notice.POST_SUCCESS_ROLLBACK, "succeeded")])
        deployment = asked(lambda client: client.read_deployment_by_name("acms-pipeline/improve"))
        crashed = asked(
            lambda client: client.create_flow_run_from_deployment(
                deployment.id, parameters={"config": {"repository": "/nowhere"}}, state=Crashed(message="by the test")
            )
        )

        (resumed,) = until(lambda: runs_of("acms-resume/resume"), "the crashed run is resumed", PATIENCE_SEC)
        assert resumed.parameters == {"run_id": str(crashed.id), "wait_sec": 60}
        pushed = until(
            lambda: [run for run in runs_of("acms-pipeline/improve") if run.id != crashed.id],
            "the repository is improved",
            PATIENCE_SEC,
        )
        config = {"repository": "/srv/shop", "mode": "analyze_only", "wait_sec": 60}
        assert [run.parameters for run in pushed] == [{"config": config}]
        until(lambda: len(webhook.bodies) > 1, "the notifications are sent", PATIENCE_SEC)
        told = sorted(json.loads(body)["told"] for body in webhook.bodies)
        assert told[0].startswith("Quarantined: patch_ledger_1: ")
        assert "the tests fail\nRun run_1." in told[0]
        assert told[1].startswith("Rollback: run_1: ")


@pytest.mark.usefixtures("deployed")
def test_they_are_brought_up_to_date_stay_paused_and_are_removed(acms: Acms) -> None:
    """Installing twice makes no second one; what is somebody else's stays."""
    acms("automations", "install", "acms-run-pushed", "acms-resume-crashed")
    wanted = {"acms-run-pushed": "enabled", "acms-resume-crashed": "enabled"}
    assert standing(acms) == dict.fromkeys(NAMES, "not installed") | wanted
    with get_client(sync_client=True) as client:
        (found,) = client.read_automations_by_name("acms-run-pushed")
        client.pause_automation(found.id)
        acms("automations", "install", "acms-run-pushed")
        assert [automation.id for automation in client.read_automations_by_name("acms-run-pushed")] == [found.id]
    assert standing(acms)["acms-run-pushed"] == "paused"
    assert acms("automations", "install", "acms-crash-silent", "--postgresql").stdout == "installed acms-crash-silent\n"
    assert acms("automations", "remove", "acms-run-pushed").stdout == "removed acms-run-pushed\n"
    assert acms("automations", "remove").stdout == "removed acms-crash-silent\nremoved acms-resume-crashed\n"
    assert acms("automations", "remove").stdout == "None of them is on the server.\n"


@pytest.mark.usefixtures("deployed")
def test_what_does_not_fit_is_refused_with_the_reason(acms: Acms) -> None:
    """And nothing is installed, though another one that was named would fit."""
    for arguments, reason in (
        (("acms-run-pushed", "acms-crash-silent"), "acms-reconcile/reconcile"),
        (("acms-run-pushed", "acms-notify-rollback"), "--notify names the block"),
        (
            ("acms-run-pushed", "acms-notify-rollback", "--notify", "slack-webhook/nobody"),
            "no block slack-webhook/nobody",
        ),
        (("acms-run-pushed", "acms-nothing"), "acms-notify-quarantine"),
    ):
        assert reason in one_sentence(acms("automations", "install", *arguments))
    assert set(standing(acms).values()) == {"not installed"}


def test_a_server_that_is_away_or_not_named_is_told(acms: Acms) -> None:
    """One sentence each."""
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        assert "can't be used" in one_sentence(acms("automations", "list"))
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        assert "PREFECT_API_URL" in one_sentence(acms("automations", "list"))


def test_what_automations_run_is_in_the_catalog() -> None:
    """By the full name of the deployment."""
    known = {f"{row.load().name}/{row.name}" for row in CATALOG}
    named = {
        action["deployment"] for automation in shipped() for action in automation.actions if "deployment" in action
    }
    assert named <= known
