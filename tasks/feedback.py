"""What a tool is told of a patch that was put aside: who objected, the errors, and the end of what they printed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Any

from prefect_acms.canonical.patch import PatchState
from prefect_acms.canonical.test_gate import GateType, TestGateState
from prefect_acms.dao.ledger import LedgerRow
from prefect_acms.dao.redaction import ending
from prefect_acms.dao.store import UnitOfWork
from prefect_acms.dao.test_gates import TestGateRow
from prefect_acms.tasks.fix_loop import Said
from prefect_acms.tasks.reports.text import count
from prefect_acms.tasks.tool_requests import FeedbackKind

OUTPUT_CHARACTERS = 4_000
"""How much of what a gate printed a tool is told, from its end, where the verdict stands."""

_LISTED = 20
_SIGNED_LINES = 10
_TESTS = frozenset({GateType.UNIT.value, GateType.INTEGRATION.value})
_VARIES = re.compile(r"0x[0-9a-fA-F]+|\d+(?:\.\d+)?")


def said_of_entry(dao: UnitOfWork, entry: LedgerRow, reason: str) -> Said:
    """What was said of a patch that was tried, and put aside for this reason."""
    evidence = entry.quarantine_metadata or {}
    own = (entry.id,)
    if entry.state != PatchState.QUARANTINED:
        # It waits for a person, or a person has dropped it: that is no matter of another attempt.
        return _said("refusal", reason, entries=own, is_final=True)
    if "violations" in evidence:
        kind: FeedbackKind = "scope" if entry.validation_format else "apply"
        return _said(kind, reason, evidence["violations"], entries=own)
    if "findings" in evidence:
        # What changes its judges may be mended; what else a policy refuses, it refuses every time.
        return _said("refusal", reason, entries=own, is_final=not evidence["findings"])
    if "gates" in evidence:
        return _said_by_judges(dao, entry, reason, evidence["gates"])
    return _said("apply", reason, entries=own)


def signature_of(kind: str, lines: Iterable[str]) -> str:
    """The identity of an error: 16 hexadecimal digits, in which numbers, addresses and the order don't count."""
    plain = sorted({_VARIES.sub("0", " ".join(line.split())) for line in lines})
    return sha256("\0".join([kind, *plain]).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def plain_said(kind: FeedbackKind, reason: str, *, is_lie: bool = False) -> Said:
    """What was said of an attempt that was not tried at all."""
    return Said(kind=kind, reason=reason, text=reason, signature=signature_of(kind, [reason]), is_lie=is_lie)


def _said_by_judges(dao: UnitOfWork, entry: LedgerRow, reason: str, gate_ids: Sequence[str]) -> Said:
    rows = [dao.test_gates.get(gate_id) for gate_id in gate_ids]
    if entry.info.get("proof", {}).get("problem") is not None:
        return _said("proof", reason, entries=(entry.id,))
    if not rows:
        # There is none that could judge: it could not judge another attempt either.
        return _said("gate", reason, entries=(entry.id,), is_final=True)
    failed = [row for row in rows if row.state == TestGateState.FAILED][-1]
    by: FeedbackKind = "tests" if failed.gate_type in _TESTS else "gate"
    told = [*failed.info.get("new", ()), *failed.info.get("missing", ())]
    printed = _printed(failed)
    more = [f"The end of what `{_command(failed)}` printed:", printed] if printed else []
    # A gate of which only the exit code counts has all that it says about the error in its output.
    by_output = (
        printed.splitlines()[-_SIGNED_LINES:] if failed.info.get("new") == [f"exit code {failed.exit_code}"] else []
    )
    return _said(by, reason, [*_listed(told), *more], [reason, *told, *by_output], entries=(entry.id,))


def _said(kind: FeedbackKind, reason: str, more: Sequence[str] = (), signed: Sequence[str] = (), **facts: Any) -> Said:
    text = "\n".join([f"The patch was refused: {reason}", *more]).strip()
    return Said(kind=kind, reason=reason, text=text, signature=signature_of(kind, signed or [reason]), **facts)


def _printed(gate: TestGateRow) -> str:
    both = "\n".join(part.strip() for part in (gate.stdout, gate.stderr) if part and part.strip())
    return ending(both, OUTPUT_CHARACTERS)


def _command(gate: TestGateRow) -> str:
    return gate.command if isinstance(gate.command, str) else shlex.join(gate.command)


def _listed(lines: Sequence[str]) -> list[str]:
    more = [f"- and {count(len(lines) - _LISTED, 'more', 'more')}"] if len(lines) > _LISTED else []
    return [*(f"- {line}" for line in lines[:_LISTED]), *more]
