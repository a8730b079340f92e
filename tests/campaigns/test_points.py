"""A blow hits exactly at its point: else the campaign would not strike where it says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from campaign_kills import Campaign
from campaign_points import Blow, Kind, Reach, When
from campaign_repositories import SHAPES, Shape
from campaign_sites import Site

Struck = Callable[[Blow], Site]


@pytest.fixture
def struck(campaign: Campaign, tmp_path: Path) -> Struck:
    """Lets a run begin and be killed; where it was."""

    def strike(blow: Blow) -> Site:
        site = Site.made(tmp_path / f"{blow.when}-{blow.kind}", SHAPES[0], campaign.database)
        assert site.attempt(campaign.server, blow).killed
        return site

    return strike


def test_before_a_commit_nothing_is_stored_and_after_it_everything(struck: Struck) -> None:
    """The run's row is there after the commit that makes it (one of the first), and not yet before it."""
    makes = next(n for n in range(1, 6) if struck(Blow(Kind.COMMIT, When.AFTER, n)).seen().run_id is not None)
    assert struck(Blow(Kind.COMMIT, When.BEFORE, makes)).seen().run_id is None


def test_in_the_middle_of_an_outbox_write_a_line_is_torn(struck: Struck) -> None:
    """The file ends inside a line, which the next driver has to put right."""
    site = struck(Blow(Kind.OUTBOX, When.DURING, 1))
    (written,) = site.repository.glob(".acms_runs/*/transitions.jsonl")
    assert written.stat().st_size > 0
    assert not written.read_bytes().endswith(b"\n")


@pytest.mark.parametrize("reach", [Reach.GROUP, Reach.TREE])
def test_a_tool_outlives_its_driver_unless_the_whole_tree_is_killed(
    campaign: Campaign, tmp_path: Path, reach: Reach
) -> None:
    """A supervisor's kill leaves a tool that is not isolated running, in its own session; a reboot leaves nothing."""
    slow = tmp_path / "python"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    sections = {"discovery": {"sources": ["ruff"]}, "environment": {"interpreter": str(slow), "isolation": "off"}}
    site = Site.made(tmp_path / "site", Shape("slow", SHAPES[0].files, sections), campaign.database)
    assert site.attempt(campaign.server, Blow(Kind.TOOL, When.DURING, 1, reach=reach)).killed
    sleeping = [process for process in psutil.process_iter() if _works_in(process, site.folder)]
    for process in sleeping:
        process.kill()
    assert bool(sleeping) == (reach is Reach.GROUP)


def _works_in(process: psutil.Process, folder: Path) -> bool:
    try:
        return process.cwd().startswith(str(folder))
    except (psutil.Error, OSError):
        return False
