"""Reviews in the Prefect UI: while a patch waits for a person, the flow that executes the plan pauses, with a form."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from prefect import pause_flow_run
from prefect.client.orchestration import get_client
from prefect.client.schemas.responses import SetStateStatus
from prefect.input.actions import aread_flow_run_input
from prefect.runtime import flow_run

from prefect_acms.canonical.clock import utc_moment
from prefect_acms.tasks.driving import Drive
from prefect_acms.tasks.prefect_server import UNREACHABLE
from prefect_acms.tasks.review_form import ReviewDecision, closing_answer, form_about, form_key, record_answer
from prefect_acms.tasks.reviews import review_of

POLL_SEC = 2
"""How often Prefect is asked whether somebody has answered there."""

MARGIN_SEC = 3600
"""Prefect's own time limit is later than ours by so much: it would fail the flow."""

CLOSING_SEC = 10.0
"""Seconds that Prefect has to close a form that was answered elsewhere."""

_log = logging.getLogger(__name__)


@asynccontextmanager
async def asking_in_prefect(drive: Drive) -> AsyncIterator[None]:
    """A block in which Prefect asks about every patch that waits, one after the other; no form is left open by it.

    Without a server nobody is asked there: the patch waits for `acms review` alone.
    """
    changed = asyncio.Event()
    loop = asyncio.get_running_loop()
    with drive.waits.heard(lambda: loop.call_soon_threadsafe(changed.set)):
        asker = asyncio.create_task(_Asker(drive, changed).run())
        try:
            yield
        finally:
            asker.cancel()
            with suppress(asyncio.CancelledError):
                await asker


async def _paused(form: type[ReviewDecision], seconds: int, key: str) -> ReviewDecision:
    """Pause the flow run that this is part of until somebody has filled the form in; what they said."""
    # its types say the answer, which it gives only where nobody awaits it
    answered: Any = pause_flow_run(wait_for_input=form, timeout=seconds, poll_interval=POLL_SEC, key=key)
    answer: ReviewDecision = await answered
    return answer


class _Asker:
    """Asks about the patch that has waited longest, until somebody has answered, here or elsewhere."""

    def __init__(self, drive: Drive, changed: asyncio.Event) -> None:
        self._drive, self._changed = drive, changed

    async def run(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            for entry_id in self._drive.waits.entries[:1]:
                # The next one is asked about when this one waits no longer.
                try:
                    await self._ask(entry_id)
                except Exception as problem:  # noqa: BLE001  # whatever goes wrong there, acms review still answers
                    _log.warning("patch %s can't be asked about in Prefect, only by acms review: %s", entry_id, problem)

    async def _ask(self, entry_id: str) -> None:
        form, seconds = self._form(entry_id)
        pause = asyncio.create_task(_paused(form, seconds, form_key(entry_id)))
        try:
            await self._while_waiting(entry_id, pause)
            if pause.done():
                await asyncio.to_thread(self._record, entry_id, pause.result())
                await self._while_waiting(entry_id)
        finally:
            if not pause.done():
                pause.cancel()
                await self._close(entry_id)

    async def _while_waiting(self, entry_id: str, pause: asyncio.Task[ReviewDecision] | None = None) -> None:
        """Until the patch waits no longer, or the pause is over."""
        while entry_id in self._drive.waits.entries and not (pause and pause.done()):
            self._changed.clear()
            change = asyncio.create_task(self._changed.wait())
            await asyncio.wait({change, pause} if pause else {change}, return_when=asyncio.FIRST_COMPLETED)
            change.cancel()
        self._changed.set()

    def _form(self, entry_id: str) -> tuple[type[ReviewDecision], int]:
        """The form about a patch, and for how long it stays."""
        with self._drive.reading() as dao:
            entry = dao.ledger.get(entry_id)
            form, review = form_about(dao, entry), review_of(entry)
        expires = review.expires_at if review else entry.created_at
        left = (utc_moment(expires) - self._drive.store.clock()).total_seconds()
        return form, int(left) + MARGIN_SEC

    def _record(self, entry_id: str, answer: Any) -> None:
        """Store the answer, unless somebody else was quicker."""
        refusal = record_answer(self._drive.ending(), entry_id, answer)
        if refusal is not None:
            _log.warning("%s", refusal)

    async def _close(self, entry_id: str) -> None:
        """Answer the form with what was decided elsewhere, so that the flow is no longer shown as paused.

        One that somebody has filled in since the last look is taken as their answer.
        """
        with self._drive.reading() as dao:
            review = review_of(dao.ledger.get(entry_id))
        try:
            async with asyncio.timeout(CLOSING_SEC), get_client() as client:
                closed = await client.resume_flow_run(flow_run.id, run_input=closing_answer(review))
            if closed.status is SetStateStatus.ABORT:
                given = await aread_flow_run_input(f"paused-{form_key(entry_id)}-response", flow_run_id=flow_run.id)
                if given is not None:
                    await asyncio.to_thread(self._record, entry_id, given)
        except UNREACHABLE as problem:
            _log.warning("the form about %s is still open in Prefect: %s", entry_id, problem)
