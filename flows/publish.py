"""Publishing as a flow: deployed, or at the end of a run whose policy says so; its failure never fails a run."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from prefect_acms.blocks.publishing import PublishSettings
from prefect_acms.canonical.run import RunState
from prefect_acms.dao.error_redaction import clean_error
from prefect_acms.flows.phases import run_phase
from prefect_acms.tasks.artifacts import publish_links
from prefect_acms.tasks.driving import Drive, drive_run, shared_store
from prefect_acms.tasks.publishing import publish

_log = logging.getLogger(__name__)


@flow(name="acms-publish", flow_run_name="publish {run_id}", persist_result=False)
async def publish_run(
    run_id: str,
    settings: PublishSettings | None = None,
    database_url: str | None = None,
    epoch: int | None = None,
) -> State[Any]:
    """Push what a run has made, and open or bring up its pull request; the Prefect state says how that went.

    Without settings those of the run hold. Raises what `publish` raises; the next call goes on from there. An epoch is
    given only by the driver of the run, whose store it is then: parameters are shown, and a URL may hold a password.
    """
    store = shared_store(database_url) if epoch is None else drive_run(run_id, epoch=epoch).store
    done = await asyncio.to_thread(publish, store, run_id, settings, epoch=epoch)
    await publish_links(store, done)
    return Completed(name="Held" if done.exit_code else None, message=done.sentence, data=done)


async def publish_by_policy(drive: Drive) -> None:
    """Publish a run that has succeeded, if its settings say so; what goes wrong is told in the log and no more."""
    with drive.reading() as dao:
        run = dao.runs.get(drive.run_id)
    if not drive.config.publish.enabled or run.state != RunState.SUCCEEDED:
        return
    if drive.repository.ref(drive.result_ref) is None:
        _log.info("nothing was kept, so there is nothing to publish")
        return
    try:
        done = await run_phase(publish_run, drive.run_id, epoch=drive.epoch)
    except Exception as error:  # noqa: BLE001 - whatever a forge, a library or the net does, the run has ended well
        clean_error(error)
        _log.warning("run %s could not be published, `acms publish %s` tries again: %s", run.id, run.id, error)
    else:
        _log.info("%s", done.sentence)
