"""Rollbacks as commands and flows tell them: the plan before, and what came of it."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import BaseModel, ConfigDict, Field

from prefect_acms.dao.store import Store
from prefect_acms.tasks.catching_up import tell_news
from prefect_acms.tasks.orders import signed
from prefect_acms.tasks.reports.text import count
from prefect_acms.tasks.rollback_plans import RollbackPlan, plan_rollback
from prefect_acms.tasks.rollbacks import roll_back
from prefect_acms.tasks.run_files import refresh_files


class Record(BaseModel):
    """A part of what is told."""

    model_config = ConfigDict(frozen=True)


class StepRecord(Record):
    """One patch that is taken back."""

    patch_id: str
    entry_id: str
    commit: str = Field(description="commit that holds its change")
    files: tuple[str, ...]
    why: str
    revert: str | None = Field(default=None, description="commit that has taken it back")


class PlanRecord(Record):
    """What a rollback does, the newest patch first."""

    target: str
    run_id: str
    branch: str = Field(description="branch that the reverts go on")
    onto: str | None = Field(default=None, description="branch of the user's that it starts from; none: the run's own")
    steps: tuple[StepRecord, ...]
    gates: tuple[str, ...] = Field(default=(), description="gates that judge what is left")
    left_alone: tuple[str, ...] = Field(default=(), description="committed patches of the run that stay")

    @property
    def merge_command(self) -> str | None:
        """What brings the reverts into the user's branch, for them to call."""
        return f"git switch {self.onto} && git merge {self.branch}" if self.onto else None


class RolledBack(Record):
    """A rollback that is done; `plan.steps` have their reverts."""

    plan: PlanRecord
    operator: str
    reason: str
    gate_ids: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """What was done, in a line."""
        done = count(len(self.plan.steps), "patch", "patches")
        where = f"on the new branch {self.plan.branch}" if self.plan.onto else f"on branch {self.plan.branch}"
        return f"{done} rolled back {where}"


def plan_record(plan: RollbackPlan) -> PlanRecord:
    """A plan as it is told."""
    return PlanRecord(
        target=plan.target.name,
        run_id=plan.run.id,
        branch=plan.site.branch,
        onto=plan.site.onto,
        steps=tuple(
            StepRecord(
                patch_id=step.entry.patch_id,
                entry_id=step.entry.id,
                commit=step.commit,
                files=step.files,
                why=step.why,
                revert=step.done,
            )
            for step in plan.steps
        ),
        gates=plan.gates,
        left_alone=plan.left_alone,
    )


def rollback(
    store: Store,
    name: str,
    *,
    operator: str,
    reason: str,
    onto: str | None = None,
    dependents: bool = True,
    confirm: Callable[[PlanRecord], None] | None = None,
) -> RolledBack:
    """Plan a rollback, have it confirmed, carry out that very plan, and bring the run's files up to it.

    Raises InvalidValue, and what `plan_rollback` and `roll_back` raise; what `confirm` raises ends it before anything
    is done.
    """
    by = signed(operator, reason)
    plan = plan_rollback(store, name, onto=onto, dependents=dependents)
    shown = plan_record(plan)
    if confirm is not None:
        confirm(shown)
    roll_back(store, plan, by)
    refresh_files(store, plan.run.id)
    tell_news(store, [plan.run.id])
    with store.begin(read_only=True) as dao:
        stored = {step.entry_id: dao.ledger.get(step.entry_id).rollback_compensation or {} for step in shown.steps}
    steps = tuple(step.model_copy(update={"revert": stored[step.entry_id]["revert"]}) for step in shown.steps)
    gates = tuple(stored[steps[-1].entry_id]["gates"])
    return RolledBack(plan=shown.model_copy(update={"steps": steps}), gate_ids=gates, **by)
