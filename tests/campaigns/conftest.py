"""A campaign in the hands of the suite: its folder, its fork server, the session's Prefect server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from campaign_kills import Campaign
from campaign_repositories import SHAPES

QUICK = tuple(
    replace(shape, sections={**shape.sections, "events": {"enabled": False}})
    for shape in SHAPES
    if shape.name in {"lint-and-command", "left-over-gap"}
)
"""What the suite has time for: a split patch and a quarantine are in both; the server that all share gets no events."""


@pytest.fixture(scope="session")
def campaign(prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Campaign]:  # noqa: ARG001 - a fixture is asked for by its name
    """The campaign of the suite."""
    from prefect.settings import PREFECT_API_URL  # noqa: PLC0415 - nothing of Prefect before the session has its home

    folder, url = tmp_path_factory.mktemp("campaign"), str(PREFECT_API_URL.value())
    with Campaign(folder, url, "suite", shapes=QUICK) as campaign:
        yield campaign
