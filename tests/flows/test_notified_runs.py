"""A whole run whose channels are told: what it is told of, and that a channel which fails changes nothing."""

from __future__ import annotations

import pytest
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from repositories import Committed
from services import Service

from prefect_acms.blocks.config import DiscoverySettings, PipelineConfig
from prefect_acms.blocks.notifications import Digest, NotificationSettings
from prefect_acms.dao.store import open_store
from prefect_acms.flows.pipeline import run_pipeline
from prefect_acms.tasks.marks import marks_of


@pytest.mark.usefixtures("prefect_server")
def test_a_run_tells_its_end_once_and_no_channel_fails_it(committed: Committed, canonical_url: str) -> None:
    """One channel gets the summary, one answers 500, one does not exist: the run succeeds, and says what is untold."""
    repository = committed({"app.py": "# TODO(mia): tidy up\nA = 1\n"})
    with Service() as good, Service() as bad:
        bad.statuses = [500] * 10
        for name, service in (("good", good), ("bad", bad)):
            data = {"s": "{{subject}}", "t": "{{body}}"}
            block = CustomWebhookNotificationBlock(name=name, url=service.url, json_data=data)
            block.save(f"run-{name}", overwrite=True)
        channels = ("custom-webhook/run-good", "custom-webhook/run-bad", "slack-webhook/run-none")
        outcome = run_pipeline(
            PipelineConfig(
                repository=repository,
                database_url=canonical_url,
                discovery=DiscoverySettings(sources=("markers",)),
                notifications=NotificationSettings(channels=channels, digest=Digest.ALWAYS),
            )
        )
    assert outcome.state == "succeeded"
    (told,) = (request.json for request in good.requests)
    assert told["s"] == "acms: repository: succeeded, 0 of 1 gap fixed"
    for line in (
        "1 gap found: 0 fixed, 1 deferred",
        "No branch: nothing was kept",
        f"More: `acms show {outcome.run_id}`",
    ):
        assert line in told["t"]
    assert bad.requests
    with open_store(canonical_url).begin(read_only=True) as dao:
        marks = marks_of(dao.runs.get(outcome.run_id))
    assert marks["custom-webhook/run-good"].problem is None
    assert "500" in (marks["custom-webhook/run-bad"].problem or "")
    assert marks["slack-webhook/run-none"].problem == "there is no saved block 'slack-webhook/run-none'"
