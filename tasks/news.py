"""What of a run's trail is news for people: how much is at stake, and the sentence that says it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from types import MappingProxyType
from typing import NamedTuple

from prefect_acms.blocks.notifications import NotificationLevel
from prefect_acms.canonical.events import NOTICES, Notice
from prefect_acms.canonical.patch import PatchState, PatchTrigger
from prefect_acms.canonical.run import RunState
from prefect_acms.canonical.task import TASK
from prefect_acms.dao.ledger import LedgerRow
from prefect_acms.dao.lines import Row
from prefect_acms.dao.store import UnitOfWork
from prefect_acms.tasks.drift import DriftKind
from prefect_acms.tasks.reports.text import day_and_time, one_line
from prefect_acms.tasks.reviews import review_of

LONGEST = 240
"""Characters of a sentence from a tool, a gate or a person that are told."""

KEPT = timedelta(days=7)
"""For how long what could not be told is tried again."""

_ANSWERS = ("approve", "reject")

RANKS = {level: rank for rank, level in enumerate(NotificationLevel)}
"""The levels in their order."""


class News(NamedTuple):
    """One thing that happened, as people are told of it."""

    level: NotificationLevel
    sentence: str
    answer: str | None = None
    """What a person can do about it."""


Say = Callable[[UnitOfWork, Row], Sequence[News]]
"""What an audit row has to tell: nothing, or a few things."""


def foreign(text: str | None) -> str:
    """Words that are not ours on one line: they name nobody, link nowhere and hide nothing in a chat or an issue."""
    line = one_line(text or "no reason was given", LONGEST)
    line = re.sub(r"<(?=[!@#a-zA-Z/])", "< ", line)
    return re.sub(r"(?<!\w)@(?=\w)", "@ ", line).replace("](", "] (").replace("`", "'")


def _said(level: NotificationLevel, what: str) -> Say:
    return lambda _dao, row: [News(level, f"{what}: {foreign(row['reason'])}")]


def _ended(level: NotificationLevel, what: str) -> Say:
    def say(dao: UnitOfWork, row: Row) -> list[News]:
        run = dao.runs.get(row["entity_id"])
        why = row["reason"] or run.quarantine_reason or run.error
        return [News(level, f"{what}: {foreign(why)}" if why else what)]

    return say


def _by_hand(level: NotificationLevel, what: str) -> Say:
    def say(_dao: UnitOfWork, row: Row) -> list[News]:
        who = foreign(row["operator"] or "acms")
        action = json.loads(row["metadata"]).get("action")
        about = f"{what} ({action} of {row['entity_id']})" if action else what
        return [News(level, f"{about} by {who}: {foreign(row['reason'])}")]

    return say


def _rolled_back(dao: UnitOfWork, row: Row) -> list[News]:
    entry = dao.ledger.get(row["entity_id"])
    who = foreign(row["operator"] or "acms")
    why = foreign(row["reason"] or entry.rollback_reason)
    return [News(NotificationLevel.ERROR, f"{_named(dao, entry)} was rolled back by {who}: {why}")]


def _quarantined(dao: UnitOfWork, row: Row) -> list[News]:
    """A patch that was put aside when its task was over, by a merge or the end of the run."""
    entry = dao.ledger.get(row["entity_id"])
    ended = dao.tasks.get(entry.task_id).completed_at
    return [_aside(dao, entry)] if ended is not None and ended < row["transitioned_at"] else []


def _put_aside_by(dao: UnitOfWork, row: Row) -> list[News]:
    """The patches of a task that are quarantined when it is over: before that, it may yet keep their good parts."""
    entries = dao.ledger.of_task(row["entity_id"])
    return [
        _aside(dao, entry)
        for entry in entries
        if entry.quarantined_at is not None
        and entry.quarantined_at <= row["transitioned_at"]
        and not dao.ledger.superseded_by(entry.id)
    ]


def _aside(dao: UnitOfWork, entry: LedgerRow) -> News:
    sentence = f"{_named(dao, entry)} was quarantined: {foreign(entry.quarantine_reason)}"
    return News(NotificationLevel.WARNING, sentence, f"look: `acms quarantine show {entry.patch_id}`")


def _named(dao: UnitOfWork, entry: LedgerRow) -> str:
    files = dao.patches.get(entry.patch_id).files
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    return f"{entry.patch_id} ({foreign(files[0])}{more})" if files else entry.patch_id


def _waits(dao: UnitOfWork, row: Row) -> list[News]:
    """A patch that waits, with how to answer; one that was answered meanwhile is no news any more."""
    entry = dao.ledger.get(row["entity_id"])
    review = review_of(entry)
    if entry.state != PatchState.AWAITING_REVIEW or review is None:
        return []
    patch, by = entry.patch_id, "--operator NAME --reason TEXT"
    until = day_and_time(review.expires_at)
    sentence = f"{_named(dao, entry)} waits for a review until {until}: {foreign('; '.join(review.reasons))}"
    look, answers = f"look: `acms review show {patch}`", [f"`acms review {way} {patch} {by}`" for way in _ANSWERS]
    return [News(NotificationLevel.WARNING, sentence, f"{look}, answer: {' or '.join(answers)}")]


def _unanswered(dao: UnitOfWork, row: Row) -> list[News]:
    if row["trigger"] != PatchTrigger.REVIEW_EXPIRED:
        return []
    named = _named(dao, dao.ledger.get(row["entity_id"]))
    return [News(NotificationLevel.WARNING, f"{named} was dropped: {foreign(row['reason'])}")]


def _breaker(dao: UnitOfWork, row: Row) -> list[News]:
    tool = dao.circuit_breakers.get(row["entity_id"]).tool_id
    why = f": {foreign(row['reason'])}" if row["reason"] else ""
    return [News(NotificationLevel.WARNING, f"the circuit breaker of {foreign(tool)} is open{why}")]


def _drift(_dao: UnitOfWork, row: Row) -> list[News]:
    """Only what says that somebody else has written to what is ours; the rest is mended, or told by reconcile."""
    kind = json.loads(row["metadata"]).get("kind")
    if kind not in {DriftKind.COMMITS_UNKNOWN, DriftKind.COMMITS_LOST}:
        return []
    return [News(NotificationLevel.CRITICAL, f"the branch and the audit trail differ: {foreign(row['reason'])}")]


_LEVEL = NotificationLevel
_SAYINGS: Mapping[tuple[str, str], Say] = MappingProxyType(
    {
        ("run", RunState.QUARANTINED): _ended(_LEVEL.CRITICAL, "run quarantined"),
        ("run", RunState.FAILED): _ended(_LEVEL.ERROR, "run failed"),
        ("run", RunState.CANCELED): _ended(_LEVEL.INFO, "run canceled"),
        ("run", RunState.SUCCEEDED): _ended(_LEVEL.INFO, "run succeeded"),
        **{("task", state): _put_aside_by for state in TASK.terminal},
        ("patch_ledger", PatchState.ROLLED_BACK): _rolled_back,
        ("patch_ledger", PatchState.QUARANTINED): _quarantined,
        ("patch_ledger", PatchState.AWAITING_REVIEW): _waits,
        ("patch_ledger", PatchState.DROPPED): _unanswered,
        ("circuit_breaker", "OPEN"): _breaker,
    }
)
"""What is said of an entity that comes into a state."""

_NOTICES: Mapping[str, Say] = MappingProxyType(
    {
        Notice.RUN_RESUMED: _ended(_LEVEL.INFO, "run resumed"),
        Notice.MANUAL_OVERRIDE: _by_hand(_LEVEL.WARNING, "override by hand"),
        Notice.ANTI_PATTERN_DETECTED: _said(_LEVEL.WARNING, "a tool is not to be trusted"),
        Notice.GUARDRAIL_VIOLATION: _said(_LEVEL.WARNING, "guardrail"),
        Notice.BUDGET_EXCEEDED: _said(_LEVEL.WARNING, "budget exceeded"),
        Notice.DRIFT_DETECTED: _drift,
        Notice.POST_SUCCESS_ROLLBACK: _by_hand(_LEVEL.ERROR, "a run that had succeeded is taken back"),
    }
)
"""What is said of a notice; run_degraded is part of the summary."""


def saying_of(entity_type: str, to_state: str, trigger: str) -> Say | None:
    """How an event is told, None for one that is no news."""
    if trigger in NOTICES:
        return _NOTICES.get(trigger)
    return _SAYINGS.get((entity_type, to_state))


def news_of(dao: UnitOfWork, row: Row) -> Sequence[News]:
    """What an audit row has to tell people."""
    say = saying_of(row["entity_type"], row["to_state"], row["trigger"])
    return say(dao, row) if say else ()
