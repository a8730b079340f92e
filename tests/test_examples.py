"""The examples run as they are: on one small repository, and on the session's Prefect server."""

from __future__ import annotations

import asyncio
import runpy
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
DOCS = (EXAMPLES.parent / "docs/python.md").read_text()


def example(name: str) -> dict[str, Any]:
    """What an example defines."""
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one finding that ruff can fix."""
    from driven import repository_of  # noqa: PLC0415 - needs Prefect, which takes a second

    return repository_of(tmp_path / "shop", {"app.py": "import os\n"})


@pytest.mark.usefixtures("prefect_server")
def test_a_repository_is_improved_and_asked_about(repository: Path) -> None:
    """By the first example, and the client then tells what it did."""
    outcome = example("run_pipeline")["improve"](repository)
    assert outcome.state == "succeeded"
    assert outcome.branch.startswith("acms/run_")
    lines = example("query")["tell"](outcome.run_id)
    assert lines[0] == f"{outcome.run_id} is succeeded"
    assert [line.split(" in ")[0] for line in lines if line.startswith("fixed")] == ["fixed F401"]
    assert lines[-1] == "the audit trail is whole"


@pytest.mark.usefixtures("prefect_server")
def test_phases_run_in_a_flow_of_ones_own(repository: Path) -> None:
    """And their findings are what that flow makes of them."""
    assert sum(asyncio.run(example("own_flow")["count_findings"](repository)).values()) == 1


def test_a_source_of_ones_own_finds_its_gaps(repository: Path) -> None:
    """The same ones each time it is asked."""
    from prefect_acms.blocks.config import DiscoverySettings, EnvironmentSettings  # noqa: PLC0415 - as above
    from prefect_acms.tasks.environment import environment_for  # noqa: PLC0415 - as above
    from prefect_acms.tasks.sources import Scan  # noqa: PLC0415 - as above

    source = example("own_source")["LicenceSource"]()
    environment = environment_for(repository, repository, EnvironmentSettings())
    scan = Scan(repository, environment, DiscoverySettings(), timeout_sec=10)
    (gap,) = source.discover(scan).gaps
    assert (gap.file_paths, gap.rule_id) == (("app.py",), "no-licence")
    assert source.discover(scan).gaps == (gap,)
    (repository / "app.py").write_text("# SPDX-License-Identifier: Apache-2.0\n")
    assert source.discover(scan).gaps == ()


@pytest.mark.usefixtures("prefect_server")
def test_the_pipeline_is_deployed_nightly(repository: Path) -> None:
    """With its schedule, its repository, and the path of an installed module."""
    from prefect.client.schemas.actions import WorkPoolCreate  # noqa: PLC0415 - as above
    from prefect_side import asked  # noqa: PLC0415 - as above

    asked(lambda client: client.create_work_pool(WorkPoolCreate(name="of the examples", type="process")))
    made = asyncio.run(example("deploy")["deploy"](repository, "of the examples"))
    found = asked(lambda client: client.read_deployment(made))
    assert found.parameters["config"] == {"repository": str(repository)}
    assert [getattr(entry.schedule, "cron", None) for entry in found.schedules] == ["0 3 * * *"]
    assert found.entrypoint == "prefect_acms.flows.pipeline.acms_pipeline"


def test_every_example_is_on_the_page() -> None:
    """So that nobody has to look for it."""
    assert [path.name for path in sorted(EXAMPLES.glob("*.py")) if f"examples/{path.name}" not in DOCS] == []
