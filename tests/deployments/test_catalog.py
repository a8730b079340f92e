"""The table of deployable flows: each row names a flow that is there, and that people can tell from the others."""

from __future__ import annotations

import pytest
from prefect.client.schemas.schedules import construct_schedule

from prefect_acms import flows
from prefect_acms.canonical.errors import UnknownName
from prefect_acms.deployments.catalog import CATALOG, Deployable, deployable


@pytest.mark.parametrize("row", CATALOG, ids=lambda row: row.name)
def test_a_row_names_a_flow_that_is_there(row: Deployable) -> None:
    """By its module and among those that `prefect_acms.flows` offers; its defaults are parameters of it."""
    flow = row.load()
    assert flow is getattr(flows, row.function)
    assert row.parameters.keys() <= flow.parameters.properties.keys()
    for schedule in row.schedules:
        construct_schedule(interval=schedule.interval, cron=schedule.cron, rrule=schedule.rrule)
        assert schedule.parameters.keys() <= flow.parameters.properties.keys()


def test_every_flow_that_is_offered_can_be_deployed() -> None:
    """A flow without a row is found by nobody on a server."""
    assert sorted(row.function for row in CATALOG) == sorted(flows.__all__)
    assert len({row.name for row in CATALOG}) == len(CATALOG)


def test_an_unknown_name_is_told_with_the_known_ones() -> None:
    """As everywhere on the command line."""
    assert deployable("improve").entrypoint == "prefect_acms.flows.pipeline.acms_pipeline"
    with pytest.raises(UnknownName, match=r"deployment 'mend'.*improve"):
        deployable("mend")
