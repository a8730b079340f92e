"""What a rollback is asked for: a patch, or all that a workstream or a run has committed."""

from __future__ import annotations

from dataclasses import dataclass

from prefect_acms.canonical.errors import InvalidValue
from prefect_acms.canonical.machines import MACHINES
from prefect_acms.canonical.patch import PatchState, PatchTrigger
from prefect_acms.dao.ledger import LedgerRow
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.store import UnitOfWork
from prefect_acms.tasks.orders import require_undriven
from prefect_acms.tasks.patch_overrides import entry_of


@dataclass(frozen=True, slots=True)
class Target:
    """What was named, its run, the entries that are asked for, and all that the run has committed."""

    name: str
    run: RunRow
    asked: tuple[LedgerRow, ...]
    committed: tuple[LedgerRow, ...]
    rolled_back: tuple[LedgerRow, ...]


def target_of(dao: UnitOfWork, name: str) -> Target:
    """The target of that id: of a run, a workstream, a patch or a ledger entry.

    Raises NotFound, RunDriven, InvalidTransition for a patch that is not committed, and InvalidValue for a run or a
    workstream that has none.
    """
    run, stream = dao.runs.find(name), dao.workstreams.find(name)
    if run is None and stream is None:
        entry = entry_of(dao, name)
        MACHINES["patch_ledger"].candidates(entry.id, entry.state, PatchTrigger.ROLLBACK_APPROVED)
        return _target(dao, name, entry.run_id, [entry])
    of_it = dao.ledger.of_run(name) if run is not None else dao.ledger.of_workstream(name)
    asked = [entry for entry in of_it if entry.state == PatchState.COMMITTED]
    if not asked:
        field = "run" if run is not None else "workstream"
        raise InvalidValue(field=field, value=name, expected="one of which a patch is committed")
    return _target(dao, name, asked[0].run_id, asked)


def _target(dao: UnitOfWork, name: str, run_id: str, asked: list[LedgerRow]) -> Target:
    run = require_undriven(dao, run_id)
    rows = dao.ledger.of_run(run_id)
    committed, rolled_back = (
        tuple(row for row in rows if row.state == state) for state in (PatchState.COMMITTED, PatchState.ROLLED_BACK)
    )
    return Target(name, run, tuple(asked), committed, rolled_back)


def later_tasks(dao: UnitOfWork, task_id: str) -> set[str]:
    """The tasks that wait for this one, at any distance."""
    found: set[str] = set()
    ahead = [task_id]
    while ahead:
        for row in dao.task_links.dependents(ahead.pop()):
            if row.id not in found:
                found.add(row.id)
                ahead.append(row.id)
    return found
