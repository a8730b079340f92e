"""What a tool did, stored as a diff before it is judged: a driver that dies while judging loses no work of a tool."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from hashlib import sha256
from itertools import pairwise
from typing import Any

from prefect_acms.canonical.patch import PatchState, PatchTrigger
from prefect_acms.dao.ledger import LedgerRow
from prefect_acms.dao.patches import PatchRow
from prefect_acms.dao.redaction import HIDDEN
from prefect_acms.dao.store import UnitOfWork
from prefect_acms.dao.tasks import TaskRow
from prefect_acms.tasks.bench import Bench
from prefect_acms.tasks.driving import Drive
from prefect_acms.tasks.patches import Validation
from prefect_acms.tasks.review_policy import validated_under
from prefect_acms.tasks.reviews import is_open

RESUME_POLICY = "policy:resume"
"""The operator of record when a patch is dropped because it is judged anew."""

REDACTED = "redacted"
"""In the metadata of a patch: its diff is stored without the secrets in it, so it is not the one that was made."""

_JUDGED_AGAIN = "its driver was lost while it was judged; it is judged again"


def validated(bench: Bench, diff: bytes) -> Validation:
    """What the guardrails say of a diff that was made on this bench."""
    return validated_under(
        bench.guardrails,
        diff,
        scope=tuple(bench.task.file_scope),
        repository=bench.drive.repository,
        base=bench.worktree.tree(),
    )


def stored_capture(dao: UnitOfWork, bench: Bench, diff: bytes) -> PatchRow:
    """Store what a tool did, and that the task waits for judgement of it; an empty diff too."""
    patch = stored_patch(dao, bench, diff, validated(bench, diff))
    dao.tasks.change(bench.task.id, metadata={"captured": patch.id})
    return patch


def stored_patch(dao: UnitOfWork, bench: Bench, diff: bytes, validation: Validation, *, anew: bool = False) -> PatchRow:
    """The row of a diff of this task; the same diff on the same commit is stored once, unless `anew`."""
    stored = _without_secrets(bench.drive, diff) if validation.has_secret else diff
    digest = sha256(stored).hexdigest()
    for patch in () if anew else dao.patches.of_task(bench.task.id):
        if (patch.sha256, patch.base_commit) == (digest, bench.worktree.commit):
            return patch
    return dao.patches.create(
        task_id=bench.task.id,
        content=stored,
        files=list(validation.files),
        lines_added=validation.lines_added,
        lines_removed=validation.lines_removed,
        base_commit=bench.worktree.commit,
        metadata={REDACTED: True} if stored != diff else None,
    )


def _without_secrets(drive: Drive, diff: bytes) -> bytes:
    """The diff of a patch that was refused for a secret: what it adds is not told, and what is known is hidden."""
    hidden = b"+" + HIDDEN.encode()
    lines = [b"", *diff.split(b"\n")]
    told = [
        hidden if line.startswith(b"+") and not (line.startswith(b"+++ ") and before.startswith(b"--- ")) else line
        for before, line in pairwise(lines)
    ]
    return drive.store.scrubber.content(b"\n".join(told))


def captured_patch(drive: Drive, task: TaskRow) -> PatchRow | None:
    """The diff that waits for judgement; none when there was nothing for a tool to do."""
    with drive.reading() as dao:
        captured = task.info.get("captured")
        return dao.patches.get(captured) if captured else None


def landed_already(drive: Drive, task: TaskRow) -> bool:
    """Whether the task's patches are on its workstream's branch; then their commits, found by trailers, are recorded.

    The branch is moved once for all patches of a task, so that it holds all of them or none.
    """
    with drive.reading() as dao:
        verified = [entry for entry in dao.ledger.of_task(task.id) if entry.state == PatchState.VERIFIED]
        landed = on_branch(dao, drive, task, verified)
    with drive.begin() as dao:
        for entry_id, commit in landed.items():
            dao.ledger.change(entry_id, metadata={"commit": commit})
    return bool(landed)


def on_branch(dao: UnitOfWork, drive: Drive, task: TaskRow, entries: Sequence[LedgerRow]) -> dict[str, str]:
    """The commits that these entries of a task have on its workstream's branch, by entry id; the others are left out.

    A commit is found by its trailer; that an entry names one says only that it was made.
    """
    repository = drive.repository
    head = repository.ref(f"refs/heads/{dao.workstreams.get(task.workstream_id).branch}")
    if head is None or not entries:
        return {}
    found: dict[str, str] = {}
    commits = repository.trailers(drive.base_commit, head, "ACMS-Patch")
    for entry in entries:
        recorded = entry.info.get("commit")
        if recorded and repository.find(recorded) and repository.is_ancestor(recorded, head):
            found[entry.id] = recorded
        elif entry.patch_id in commits:
            found[entry.id] = commits[entry.patch_id]
    return found


def start_over(drive: Drive, task: TaskRow, but: Collection[str] = ()) -> None:
    """Drop what a driver before this one has made of the task's diff: it is judged from the beginning.

    What a person was asked about, or has approved, stays: it goes on if the diff and its base are still the same. The
    entries in `but` stay too.
    """
    with drive.begin() as dao:
        for entry in dao.ledger.of_task(task.id):
            if not is_open(entry) and entry.id not in but:
                drop_entry(dao, entry, _JUDGED_AGAIN, RESUME_POLICY)


def drop_entry(dao: UnitOfWork, entry: LedgerRow, reason: str, operator: str) -> None:
    """Take a patch that is not committed out of the way, by way of quarantine where its machine asks for that."""
    columns: dict[str, Any] = {"reason": reason, "quarantine_reason": reason}
    match entry.state:
        case PatchState.CREATED | PatchState.VALIDATED | PatchState.QUEUED:
            dao.ledger.advance(entry.id, PatchTrigger.SUPERSEDED, reason=reason)
            return
        case PatchState.APPLIED:
            reverted = {"reverted": True}
            dao.ledger.advance(
                entry.id, PatchTrigger.GATES_FAILED, to=PatchState.QUARANTINED, facts=reverted, **columns
            )
        case PatchState.VERIFIED:
            dao.ledger.advance(entry.id, PatchTrigger.COMMIT_FAILED, **columns)
        case PatchState.APPLY_FAILED | PatchState.QUARANTINED:
            pass
        case _:
            return
    dao.ledger.advance(entry.id, PatchTrigger.DISCARDED, reason=reason, operator=operator)
