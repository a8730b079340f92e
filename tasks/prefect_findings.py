"""A run as the store has it beside Prefect's books, and what was found to differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from prefect.client.schemas.objects import FlowRun, State

from prefect_acms.canonical.machines import MACHINES
from prefect_acms.dao.phases import PhaseRow
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.tasks import TaskRow
from prefect_acms.tasks.drift import Drift
from prefect_acms.tasks.standing import Standing
from prefect_acms.tasks.suspension import suspension_of


@dataclass(frozen=True)
class Finding:
    """A drift, and what mends it: states to be set in Prefect, or ours to be cancelled; `key` tells it from others."""

    drift: Drift
    key: str
    flow_runs: Sequence[tuple[UUID, State[Any]]] = ()
    task_runs: Sequence[tuple[UUID, State[Any]]] = ()
    cancels: bool = False
    wakes: bool = False
    """Whether Prefect has to be told that its suspended flow run goes on."""


@dataclass(frozen=True)
class Known:
    """A run as the store has it."""

    run: RunRow
    standing: Standing
    phases: Sequence[PhaseRow] = ()
    tasks: Sequence[TaskRow] = ()
    answered: str | None = None
    """Of a suspended run: the first of its patches that waits no longer."""
    foreign: frozenset[UUID] = frozenset()
    """Attempts that have begun a newer run since."""

    @property
    def attempts(self) -> dict[UUID, int]:
        """The flow runs that have driven this run, and how often each had begun when it took the run over last."""
        told = [(each["flow_run_id"], each["run_count"]) for each in self.run.info.get("attempts", ())]
        current = (self.run.prefect_flow_run_id, self.run.prefect_run_count or 0)
        found: dict[UUID, int] = {}
        for name, run_count in told or [current]:
            if (flow_run_id := uuid_of(name)) is not None and flow_run_id not in self.foreign:
                found[flow_run_id] = max(run_count, found.get(flow_run_id, 0))
        return found

    def is_suspended_as(self, flow_run: FlowRun) -> bool:
        """Whether that flow run is the one that goes on after the answer."""
        suspension = suspension_of(self.run)
        return suspension is not None and suspension.flow_run_id == flow_run.id

    @property
    def has_ended(self) -> bool:
        """Whether the run is in a terminal state."""
        return self.run.state in MACHINES["run"].terminal


def uuid_of(text: str | None) -> UUID | None:
    """The id of something in Prefect; none for what can't be one."""
    try:
        return UUID(str(text))
    except ValueError:
        return None
