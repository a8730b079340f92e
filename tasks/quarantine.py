"""What a quarantined patch leaves in git: the tree that was judged, under a ref, so that no cleaning up takes it."""

from __future__ import annotations

from prefect_acms.canonical.patch import PatchState
from prefect_acms.dao.ledger import LedgerRow
from prefect_acms.tasks.driving import Drive
from prefect_acms.tasks.repository import Repository


def kept_ref(entry: LedgerRow) -> str:
    """The ref that keeps the tree of a quarantined patch."""
    return f"refs/acms/kept/{entry.run_id}/{entry.id}"


def keep_tree(drive: Drive, entry_id: str) -> None:
    """Keep the patched tree of a quarantined patch, on top of the commit it was made on, if there is one."""
    with drive.reading() as dao:
        entry = dao.ledger.get(entry_id)
        base = dao.patches.get(entry.patch_id).base_commit
    tree = (entry.quarantine_metadata or {}).get("tree")
    if entry.state != PatchState.QUARANTINED or tree is None:
        return
    message = f"Quarantined: {entry.quarantine_reason}\n\nACMS-Run: {entry.run_id}\nACMS-Patch: {entry.patch_id}\n"
    commit = drive.repository.commit_tree(tree, [base] if base else [], message, drive.store.clock())
    drive.move_ref(kept_ref(entry), commit, drive.repository.ref(kept_ref(entry)))


def forget_tree(repository: Repository, entry: LedgerRow) -> None:
    """Let git clean up what was kept of a patch that was dropped."""
    ref = kept_ref(entry)
    kept = repository.ref(ref)
    if kept is not None:
        repository.delete_ref(ref, kept)
