"""The disk is full from any write on: the run stops where it is, and with room again it goes on, as after a kill."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from campaign_kills import Campaign
from campaign_points import Blow, Kind, Reach
from disks import small_disk

WRITES = (Kind.COMMIT, Kind.GIT, Kind.OUTBOX)
MEGABYTES = 16


def _assert_nothing_is_lost(campaign: Campaign, folder: Path, blow: Blow) -> None:
    with small_disk(folder / f"{blow.kind}-{blow.number}", MEGABYTES) as disk:
        record = campaign.fill(campaign.shapes[0], blow, disk)
    assert not record.problems, str(record)


def test_a_disk_that_is_full_from_a_commit_on_loses_nothing(campaign: Campaign, tmp_path: Path) -> None:
    """One in the middle of the run; `tests/faults` fills the disk at other writes."""
    middle = campaign.reference(campaign.shapes[0]).counts[Kind.COMMIT] // 2
    _assert_nothing_is_lost(campaign, tmp_path, Blow(Kind.COMMIT, number=middle, reach=Reach.DISK))


@pytest.mark.campaign
@pytest.mark.timeout(2 * 60 * 60)
@pytest.mark.parametrize("kind", WRITES)
def test_a_disk_that_is_full_from_any_write_on_loses_nothing(
    campaign: Campaign, tmp_path: Path, kind: Kind, record_property: Callable[[str, object], None]
) -> None:
    """Each write of the run, or every `ACMS_CAMPAIGN_STEP`th."""
    step = int(os.environ.get("ACMS_CAMPAIGN_STEP", "1"))
    numbers = range(1, campaign.reference(campaign.shapes[0]).counts[kind] + 1, step)
    for number in numbers:
        _assert_nothing_is_lost(campaign, tmp_path, Blow(kind, number=number, reach=Reach.DISK))
    record_property("writes", len(numbers))
