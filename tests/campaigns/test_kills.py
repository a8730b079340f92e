"""Killed at any instant or point, a run goes on where it was: nothing is lost, nothing is done twice."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from campaign_kills import Campaign
from campaign_plans import drawn
from campaign_records import Record, figures
from campaign_repositories import SHAPES

SHORT = 6
"""Kills; some cases have several."""

CASES = 5
JOBS = 2


def _assert_all_well(records: Sequence[Record]) -> None:
    failed = [record for record in records if record.problems]
    assert not failed, "\n\n".join(map(str, failed))


@pytest.mark.timeout(600)
def test_half_a_dozen_kills_lose_nothing_and_do_nothing_twice(campaign: Campaign) -> None:
    """The short form of the campaign: the same draws each time, every check after each of them."""
    records = list(campaign.carry_out_all(range(CASES), JOBS))
    _assert_all_well(records)
    assert sum(len(record.hits) for record in records) >= SHORT


@pytest.mark.campaign
@pytest.mark.timeout(4 * 60 * 60)
def test_a_long_campaign_loses_nothing_and_does_nothing_twice(
    campaign: Campaign, record_property: Callable[[str, object], None]
) -> None:
    """`ACMS_CAMPAIGN_KILLS` cases from the seed `ACMS_CAMPAIGN_SEED`; figures are printed with `-s`."""
    number = int(os.environ.get("ACMS_CAMPAIGN_KILLS", "300"))
    seed = os.environ.get("ACMS_CAMPAIGN_SEED", "1")
    long = replace(campaign, seed=seed, folder=campaign.folder / "long", shapes=SHAPES)
    began, records = time.monotonic(), []
    with long, (long.folder / "kills.jsonl").open("a", encoding="utf-8") as lines:
        for record in long.carry_out_all(range(number), JOBS):
            records.append(record)
            lines.write(json.dumps(record.as_dict()) + "\n")
            lines.flush()
    record_property("figures", "\n".join(figures(records, time.monotonic() - began)))
    _assert_all_well(records)


def test_a_kill_follows_from_its_seed_and_number_alone() -> None:
    """Drawn twice it is the same; other numbers and other seeds are other kills."""
    assert drawn("1", 7) == drawn("1", 7)
    assert len({drawn(seed, number).draws for seed in "12" for number in range(50)}) == 100
