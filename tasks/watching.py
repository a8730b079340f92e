"""Watching: branches that runs were merged into are tried; what broke one is proposed for rollback, or rolled back."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect_acms.blocks.watch import WatchAction, WatchSettings
from prefect_acms.canonical.errors import AcmsError
from prefect_acms.canonical.events import Notice
from prefect_acms.canonical.machine import Severity
from prefect_acms.canonical.machines import MACHINES
from prefect_acms.dao.store import Store
from prefect_acms.tasks.catching_up import tell_news
from prefect_acms.tasks.merge_verdicts import judged_merge
from prefect_acms.tasks.merges import Merge, merge_of
from prefect_acms.tasks.repository import Repository
from prefect_acms.tasks.rollback_records import rollback
from prefect_acms.tasks.run_files import refresh_files
from prefect_acms.tasks.visiting import visited
from prefect_acms.tasks.watch_records import Verdict, Watched, Watching

OPERATOR = "policy:watch"
"""The operator of record of what a watch does."""

KNOWN = "watched"
"""Key in a run's metadata: the last look at each branch by each test, so that no head is judged twice by the same."""

EVERY = 1_000_000


def watch(store: Store, repository: Path | None = None, settings: WatchSettings | None = None) -> Watching:
    """Look once at every branch that a run was merged into within the window, of one repository or of all.

    What `settings` sets goes before what each run was configured with. What was judged at the same head is not judged
    again. A run that can't be looked at keeps nobody from the others. Raises NotARepository or RepositoryUnfit for the
    repository that is named.
    """
    root = str(Repository.open(repository).top) if repository is not None else None
    given = settings.model_dump(exclude_unset=True) if settings is not None else {}
    with store.begin(read_only=True) as dao:
        runs = [run for run in dao.runs.latest(EVERY, root) if run.state in MACHINES["run"].terminal]
    found: list[Watched] = []
    known = 0
    problems: dict[str, str] = {}
    for run in runs:
        try:
            merge = merge_of(store, run, given)
            if merge is not None and _is_known(merge):
                known += 1
            elif merge is not None:
                found.append(_looked_at(store, merge))
        except AcmsError as problem:
            problems[run.id] = str(problem)
    tell_news(store, [watched.run_id for watched in found])
    return Watching(found=tuple(found), known=known, problems=problems)


def _is_known(merge: Merge) -> bool:
    """Whether there is a verdict for this head already, by the same test."""
    return bool(_last_look(merge).get("head") == merge.head)


def _last_look(merge: Merge) -> Mapping[str, Any]:
    look: Mapping[str, Any] = merge.run.info.get(KNOWN, {}).get(merge.branch, {}).get(_asked(merge), {})
    return look


def _asked(merge: Merge) -> str:
    return shlex.join(merge.settings.test) if merge.settings.test else "gates"


def _looked_at(store: Store, merge: Merge) -> Watched:
    """Judge a merge, do what the policy says, and remember it."""
    with visited(store, merge.run.id) as drive:
        watched = judged_merge(drive, merge)
    if watched.target is not None and merge.settings.action is WatchAction.ROLLBACK:
        watched = _rolled_back(store, watched)
    _remember(store, merge, watched)
    refresh_files(store, merge.run.id)
    return watched


def _rolled_back(store: Store, watched: Watched) -> Watched:
    """The rollback's branch is made by policy; if that is refused, it stays a proposal."""
    try:
        done = rollback(store, str(watched.target), operator=OPERATOR, reason=watched.sentence, onto=watched.branch)
    except AcmsError as problem:
        return watched.model_copy(update={"sentence": f"{watched.sentence}; not rolled back by policy: {problem}"})
    told = {"sentence": f"{watched.sentence}; {done.sentence}", "rollback_branch": done.plan.branch}
    return watched.model_copy(update={**told, "command": done.plan.merge_command})


def _remember(store: Store, merge: Merge, watched: Watched) -> None:
    """Store the verdict for this head, and tell in the trail what was not told of this branch before."""
    look = {"head": merge.head, "merge": merge.commit, "verdict": watched.verdict, "command": watched.command}
    with store.begin() as dao:
        run = dao.runs.get(watched.run_id)
        known = run.info.get(KNOWN, {})
        of_branch = {**known.get(merge.branch, {}), _asked(merge): look}
        dao.runs.change(run.id, metadata={KNOWN: {**known, merge.branch: of_branch}})
        if watched.verdict is Verdict.BROKEN and _last_look(merge).get("command") != watched.command:
            facts = {**look, "proposed": watched.rollback_branch is None, "target": watched.target}
            dao.runs.note(
                run.id,
                Notice.POST_SUCCESS_ROLLBACK,
                reason=watched.sentence,
                severity=Severity.ERROR,
                operator=OPERATOR,
                event_metadata=facts,
            )
