"""The one table of flows that can be deployed; `acms deploy`, `acms up`, `acms serve` and prefect.yaml come from it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from prefect_acms.canonical.errors import UnknownName

if TYPE_CHECKING:
    from prefect import Flow

POOL = "acms"
"""The work pool that is meant where none is named."""

FLOWS = "prefect_acms.flows"


class Schedule(NamedTuple):
    """When a deployment runs by itself: one of cron, interval (seconds) or rrule; shipped switched off."""

    cron: str | None = None
    interval: float | None = None
    rrule: str | None = None
    timezone: str = "UTC"
    parameters: Mapping[str, Any] = MappingProxyType({})
    """Go before those of the deployment."""


class Deployable(NamedTuple):
    """A flow as people find it on a server: what it is called there, and what a run of it does."""

    name: str
    """Of the deployment; the flow has its own, so that it is called `acms-pipeline/improve` in full."""
    module: str
    """Where the flow is, below `prefect_acms.flows`."""
    function: str
    description: str
    tags: tuple[str, ...]
    parameters: Mapping[str, Any] = MappingProxyType({})
    """Defaults other than those of the flow."""
    one_at_a_time: bool = False
    """Whether a run that meets another one of this deployment is cancelled by Prefect instead of waiting for it."""
    schedules: tuple[Schedule, ...] = ()

    @property
    def entrypoint(self) -> str:
        """Where a worker finds the flow: the path of an installed module, so that nothing is to be pulled.

        With a colon before the function, Prefect would look for a file first.
        """
        return f"{FLOWS}.{self.module}.{self.function}"

    def load(self) -> Flow[..., Any]:
        """The flow itself; importing it takes a second."""
        flow: Flow[..., Any] = getattr(import_module(f"{FLOWS}.{self.module}"), self.function)
        return flow


CATALOG = (
    Deployable(
        "improve",
        "pipeline",
        "acms_pipeline",
        "Improve a git repository: find gaps, plan, fix, judge each patch, and leave the result on a branch of its own."
        " A repository path is all that is needed.",
        ("acms", "pipeline"),
    ),
    Deployable(
        "nightly",
        "nightly",
        "improve_repositories",
        "Improve a list of repositories, one after the other. What earlier runs know is held back, and once a month it"
        " is tried again.",
        ("acms", "pipeline"),
        one_at_a_time=True,
        schedules=(
            Schedule(cron="30 2 * * 1-6"),
            Schedule(
                rrule="FREQ=MONTHLY;BYDAY=1SU;BYHOUR=2;BYMINUTE=30;BYSECOND=0",
                parameters=MappingProxyType({"settings": {"discovery": {"remember": False}}}),
            ),
        ),
    ),
    Deployable(
        "resume",
        "resume",
        "acms_resume",
        "Go on with a run that was cut off, from where it was. What was completed is not done again.",
        ("acms", "operations"),
    ),
    Deployable(
        "rollback",
        "rollback",
        "roll_back_patches",
        "Take committed patches back, with all that builds on them: of a patch, a workstream or a whole run.",
        ("acms", "operations"),
    ),
    Deployable(
        "publish",
        "publish",
        "publish_run",
        "Push what a run has made, and open a pull or merge request for it, or bring up the one that is open.",
        ("acms", "operations"),
    ),
    Deployable(
        "reconcile",
        "reconcile",
        "reconcile_runs",
        "Compare runs with Prefect, git and their files, and repair what differs.",
        ("acms", "operations"),
        one_at_a_time=True,
        schedules=(Schedule(cron="17 * * * *"),),
    ),
    Deployable(
        "sweep",
        "sweep",
        "sweep_workers",
        "Move silent workers to where their silence puts them, and end their claims.",
        ("acms", "operations"),
        one_at_a_time=True,
        schedules=(Schedule(interval=300),),
    ),
    Deployable(
        "watch",
        "watch",
        "watch_branches",
        "Look at branches that runs were merged into, and propose what to roll back.",
        ("acms", "operations"),
        one_at_a_time=True,
        schedules=(Schedule(rrule="FREQ=DAILY;BYHOUR=5;BYMINUTE=30;BYSECOND=0"),),
    ),
    Deployable(
        "configure",
        "configure",
        "configure_run",
        "Phase 0 alone: check a configuration and make its run; the other phases take the run's id.",
        ("acms", "phase"),
    ),
    Deployable(
        "discover",
        "discovery",
        "discover_gaps",
        "Phase 1 alone: ask every gap source about the run's base commit, and store the gaps.",
        ("acms", "phase"),
    ),
    Deployable(
        "cluster",
        "clustering",
        "cluster_gaps",
        "Phase 2 alone: choose gaps by the run's filters and group them into workstreams.",
        ("acms", "phase"),
    ),
    Deployable(
        "plan",
        "planning",
        "compile_run_plan",
        "Phase 3 alone: compile the run's workstreams into a plan.",
        ("acms", "phase"),
    ),
    Deployable(
        "execute",
        "execution",
        "execute_plan",
        "Phase 4 alone: carry the run's stored plan out.",
        ("acms", "phase"),
    ),
    Deployable(
        "summarize",
        "summary",
        "summarize_run",
        "Phase 5 alone: tell what became of a run, and end it.",
        ("acms", "phase"),
    ),
)


def deployable(name: str) -> Deployable:
    """The row of that name; raises UnknownName."""
    for row in CATALOG:
        if row.name == name:
            return row
    raise UnknownName(kind="deployment", name=name, known=", ".join(row.name for row in CATALOG))
