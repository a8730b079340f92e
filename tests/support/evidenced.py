"""Runs with evidence: small ones, of one patch that was committed, made without Prefect."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from driven import Planned, a_gap, a_plan, a_task, repository_of, started_run
from operated import leave, merged, patched

from prefect_acms.blocks.config import GateSettings
from prefect_acms.canonical.run import RunTrigger
from prefect_acms.dao.store import Store
from prefect_acms.tasks.closing import put_away
from prefect_acms.tasks.evidence import evidence_of
from prefect_acms.tasks.evidence_checks import problems, read_statement
from prefect_acms.tasks.evidence_file import Damage, open_file, signed_file
from prefect_acms.tasks.evidence_keys import signer
from prefect_acms.tasks.evidence_model import Statement
from prefect_acms.tasks.repository import Repository


@dataclass(frozen=True)
class Evidenced:
    """A run, and its evidence."""

    store: Store
    run_id: str
    repository: Repository

    def statement(self) -> Statement:
        """What its evidence states."""
        return evidence_of(self.store, self.run_id, self.repository)

    def file(self) -> bytes:
        """Its evidence."""
        return signed_file(self.statement(), signer())


def small_run(folder: Path, url: str, *, ended: bool = True, text: str = "A = 1\n") -> Evidenced:
    """A run of one task whose patch was committed."""
    gates = GateSettings(lint_enabled=False, security_enabled=False, unit=("true",))
    drive = started_run(repository_of(folder, {"a.py": text}), url, gates=gates)
    gap = a_gap("x", "a.py")
    planned = Planned(drive, a_plan(drive, [a_task("ws-01/one", [gap])], [gap]))
    patched(planned, "ws-01/one", {"a.py": "A = 2\n"})
    merged(planned, "ws-01")
    if ended:
        with drive.begin() as dao:
            dao.runs.advance(drive.run_id, RunTrigger.ALL_WORKSTREAMS_COMPLETE)
        put_away(drive)
        leave(drive)
    return Evidenced(drive.store, drive.run_id, drive.repository)


def damages_of(content: bytes) -> list[Damage]:
    """What is wrong with a file that was signed by our own key, its statement looked into as well."""
    opened = open_file(content, signer().public_key)
    statement = read_statement(opened.payload) if opened.payload else None
    if isinstance(statement, Statement):
        return [*opened.damages, *problems(statement)]
    return [*opened.damages, *([statement] if statement is not None else [])]
