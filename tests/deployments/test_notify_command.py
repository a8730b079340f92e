"""`acms notify`: a channel tried, and what channels were not told."""

from __future__ import annotations

import json

import pytest
from commands import Acms
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from refusals import one_sentence
from services import Service

from prefect_acms.canonical.run import RunTrigger
from prefect_acms.dao.store import open_store
from prefect_acms.tasks.marks import Mark, set_mark


@pytest.mark.usefixtures("prefect_server")
def test_a_channel_is_tried(acms: Acms) -> None:
    """It gets a message; one that refuses it is exit 1 and a sentence, one that there is not is 2 and a sentence."""
    with Service() as service:
        block = CustomWebhookNotificationBlock(name="x", url=f"{service.url}/secret-path", json_data={"t": "{{body}}"})
        block.save("tried", overwrite=True)
        done = acms("notify", "test", "custom-webhook/tried")
        assert (done.returncode, done.stdout) == (0, "custom-webhook/tried has taken a test message.\n")
        assert service.requests[0].json["t"].startswith("This is a test")
        service.statuses = [404]
        refused = acms("notify", "test", "custom-webhook/tried")
        assert (refused.returncode, refused.stdout) == (1, "")
        told = "acms: custom-webhook/tried could not be told: it answers 404 Not Found\n"
        assert refused.stderr == told
    missing = acms("notify", "test", "custom-webhook/nobody")
    assert missing.returncode == 2
    assert "there is no saved block 'custom-webhook/nobody'" in one_sentence(missing)
    wrong = acms("notify", "test", "nobody")
    assert wrong.returncode == 2
    assert "TYPE/NAME of saved blocks" in one_sentence(wrong)


def test_what_channels_were_told_is_listed(acms: Acms, canonical_url: str) -> None:
    """When each was told last, and why it was not since."""
    store = open_store(canonical_url)
    with store.begin() as dao:
        run = dao.runs.create(repo_root="/nowhere/shop", mode="full", config={}).id
        dao.runs.advance(run, RunTrigger.RUN_STARTED)
    assert acms("notify", "list", "--database-url", canonical_url).stdout == (
        "No channel was told anything about this run.\n"
    )
    mark = Mark(sent_at="2026-01-31T09:05:00.000000Z", problem="acms-email/ops could not be told: it answers 500")
    set_mark(store, run, "acms-email/ops", mark)
    shown = acms("notify", "list", "--database-url", canonical_url).stdout
    assert "acms-email/ops" in shown
    assert "2026-01-31 09:05:00 UTC" in shown
    (record,) = json.loads(acms("notify", "list", "latest", "--json", "--database-url", canonical_url).stdout)
    assert record == {"run_id": run, "channel": "acms-email/ops", "sent_at": mark.sent_at, "problem": mark.problem}
