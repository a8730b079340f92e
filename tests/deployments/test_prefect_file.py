"""deployments/prefect.yaml: what the catalog says, in the form that `prefect deploy` reads."""

from __future__ import annotations

from pathlib import Path

import yaml

from prefect_acms.deployments.catalog import CATALOG, POOL
from prefect_acms.deployments.prefect_file import prefect_file

FILE = Path(__file__).parents[2] / "deployments" / "prefect.yaml"


def test_the_file_is_what_the_catalog_says() -> None:
    """Otherwise run `acms deploy --yaml > deployments/prefect.yaml`."""
    assert FILE.read_text(encoding="utf-8") == prefect_file(POOL)


def test_nothing_is_pulled_and_no_schedule_is_on() -> None:
    """Whoever deploys it decides what runs by itself."""
    content = yaml.safe_load(prefect_file("other"))
    assert content["pull"] == []
    assert [entry["entrypoint"] for entry in content["deployments"]] == [row.entrypoint for row in CATALOG]
    schedules = [schedule for entry in content["deployments"] for schedule in entry["schedules"]]
    assert {kind for schedule in schedules for kind in schedule} >= {"cron", "interval", "rrule"}
    assert not any(schedule["active"] for schedule in schedules)
    assert {entry["work_pool"]["name"] for entry in content["deployments"]} == {"other"}
