"""Ctrl-C in the middle of a git command, or at a commit of the store: the run is canceled, nothing of it is left."""

from __future__ import annotations

import os

import pytest
from campaign_kills import Campaign
from campaign_points import Blow, Kind, Reach, When

PLACES = [(Kind.GIT, When.DURING), (Kind.COMMIT, When.BEFORE), (Kind.COMMIT, When.AFTER)]


def _assert_canceled(campaign: Campaign, blow: Blow) -> None:
    record = campaign.interrupt(campaign.shapes[0], blow)
    assert not record.problems, str(record)


def test_a_run_that_is_cancelled_during_a_git_command_leaves_nothing(campaign: Campaign) -> None:
    """The command comes to its end, its own locks with it; then children first, as at any other time."""
    number = campaign.reference(campaign.shapes[0]).counts[Kind.GIT] * 2 // 3
    _assert_canceled(campaign, Blow(Kind.GIT, When.DURING, number, 0.002, Reach.INTERRUPT))


@pytest.mark.campaign
@pytest.mark.timeout(2 * 60 * 60)
@pytest.mark.parametrize(("kind", "when"), PLACES)
def test_a_run_that_is_cancelled_at_any_point_leaves_nothing(campaign: Campaign, kind: Kind, when: When) -> None:
    """Each of them while the plan is carried out, or every `ACMS_CAMPAIGN_STEP`th."""
    points = campaign.reference(campaign.shapes[0]).counts[kind]
    for number in range(points // 4, points * 3 // 4, int(os.environ.get("ACMS_CAMPAIGN_STEP", "1"))):
        _assert_canceled(campaign, Blow(kind, when, number, 0.002, Reach.INTERRUPT))
