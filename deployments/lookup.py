"""Which run or patch a person means: the whole id, a part of it that is unique, or `latest`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from prefect_acms.canonical.errors import InvalidValue, NotFound

if TYPE_CHECKING:
    from prefect_acms.dao.ledger import LedgerRow
    from prefect_acms.dao.patches import PatchRow
    from prefect_acms.dao.runs import RunRow
    from prefect_acms.dao.store import Store

LATEST = "latest"
EVERY = 1_000_000
MOST_NAMED = 5


def matching(ids: Sequence[str], text: str) -> list[str]:
    """The ids that begin with the text, or begin or end with it once their prefix is left out; case doesn't matter."""
    wanted = text.lower()
    found = [name for name in ids if name.lower() == wanted]
    return found or [name for name in ids if _fits(name.lower(), wanted)]


def _fits(name: str, wanted: str) -> bool:
    bare = name.partition("_")[2]
    return bool(wanted) and (name.startswith(wanted) or bare.startswith(wanted) or bare.endswith(wanted))


def the_one(entity: str, ids: Sequence[str], text: str) -> str:
    """The only id that the text fits; raises NotFound, or InvalidValue when it fits several."""
    found = matching(ids, text)
    if not found:
        raise NotFound(entity=entity, id=text)
    if len(found) > 1:
        named = ", ".join(found[:MOST_NAMED]) + (", …" if len(found) > MOST_NAMED else "")
        raise InvalidValue(field=entity, value=text, expected=f"a part of one id only, it fits {named}")
    return found[0]


def find_run(store: Store, text: str) -> RunRow:
    """The run that a RUN argument means; raises NotFound or InvalidValue."""
    with store.begin(read_only=True) as dao:
        if text == LATEST:
            latest = dao.runs.latest(1)
            if not latest:
                raise NotFound(entity="run", id=text)
            return latest[0]
        exact = dao.runs.find(text)
        if exact is not None:
            return exact
        return dao.runs.get(the_one("run", [run.id for run in dao.runs.latest(EVERY)], text))


def find_task(store: Store, text: str) -> str:
    """The id of the task that is meant, or of the newest one of that key; raises as find_run does."""
    with store.begin(read_only=True) as dao:
        if dao.tasks.find(text) is not None:
            return text
        rows = [row for run in dao.runs.latest(EVERY) for row in dao.tasks.of_run(run.id)]
    keyed = next((row.id for row in rows if row.info.get("key") == text), None)
    return keyed or the_one("task", [row.id for row in rows], text)


def find_workstream(store: Store, text: str) -> str:
    """The id of the workstream that is meant; raises as find_run does."""
    with store.begin(read_only=True) as dao:
        if dao.workstreams.find(text) is not None:
            return text
        known = [row.id for run in dao.runs.latest(EVERY) for row in dao.workstreams.of_run(run.id)]
        return the_one("workstream", known, text)


def find_patch(store: Store, text: str) -> PatchRow:
    """The patch that a PATCH argument means, by its own id or that of its ledger entry; raises as find_run does."""
    with store.begin(read_only=True) as dao:
        exact = dao.patches.find(text)
        if exact is not None:
            return exact
        entry = dao.ledger.find(text)
        if entry is not None:
            return dao.patches.get(entry.patch_id)
        known = [
            name
            for run in dao.runs.latest(EVERY)
            for entry in dao.ledger.of_run(run.id)
            for name in (entry.patch_id, entry.id)
        ]
        found = the_one("patch", known, text)
        return dao.patches.find(found) or dao.patches.get(dao.ledger.get(found).patch_id)


def find_target(store: Store, text: str) -> str:
    """The id of the run, workstream or patch that is meant; `latest` is a run. Raises as find_run does."""
    if text == LATEST:
        return find_run(store, text).id
    with store.begin(read_only=True) as dao:
        if dao.runs.find(text) or dao.workstreams.find(text) or dao.patches.find(text) or dao.ledger.find(text):
            return text
        runs = dao.runs.latest(EVERY)
        streams = [row.id for run in runs for row in dao.workstreams.of_run(run.id)]
        entries = {row.id: row.patch_id for run in runs for row in dao.ledger.of_run(run.id)}
    found = the_one(
        "run, workstream or patch", [*(run.id for run in runs), *streams, *entries, *entries.values()], text
    )
    return entries.get(found, found)


def find_entry(store: Store, text: str) -> LedgerRow:
    """The ledger entry that a PATCH argument means, the last one of a patch; raises as find_run does."""
    with store.begin(read_only=True) as dao:
        entry = dao.ledger.find(text)
    if entry is not None:
        return entry
    patch = find_patch(store, text)
    with store.begin(read_only=True) as dao:
        return dao.ledger.of_patch(patch.id)[-1]
