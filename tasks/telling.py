"""Telling drifts: each is an event of its run, once, whoever finds it."""

from __future__ import annotations

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

from prefect_acms.canonical.errors import LostRace
from prefect_acms.canonical.events import Notice
from prefect_acms.canonical.machine import Severity
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.store import Store
from prefect_acms.tasks.drift import Drift, DriftKind

OPERATOR = "policy:reconcile"
"""The operator of record of what a reconciliation does."""

KNOWN = "drifts"
"""Key in a run's metadata: the drifts that were told, so that none is told twice."""

MOST_RACES = 5


def known_of(run: RunRow) -> frozenset[str]:
    """The keys of the drifts of a run that were told already."""
    return frozenset(run.info.get(KNOWN, ()))


class Found:
    """Collects what was found: new drifts, and what was told before and stays as it is."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.drifts: list[Drift] = []
        self.left_alone: list[Drift] = []
        self.open: set[str] = set()
        """The runs that the next pass has to look at again."""

    def tell(self, drift: Drift, key: str) -> None:
        """Tell a drift in the trail of its run; one that was told before and stays is known, and needs nobody any more.

        One that was repaired and told by somebody else meanwhile is theirs.
        """
        try:
            is_new = _tell(self._store, drift, key)
        except LostRace as race:
            self.leave(
                drift.run_id, drift.entity, f"{drift.sentence}; it could not be told: {race}", needs_person=False
            )
            return
        if is_new:
            self.drifts.append(drift)
        elif not drift.repaired:
            self.left_alone.append(drift.model_copy(update={"needs_person": False}))

    def leave(self, run_id: str | None, entity: str, sentence: str, *, needs_person: bool = True) -> None:
        """Say what could not be looked at, or repaired, this time."""
        kind = DriftKind.NOT_REPAIRED
        drift = Drift.of(kind, run_id, entity, sentence, needs_person=needs_person)
        self.left_alone.append(drift)
        self.open |= {run_id} if run_id else set()


def _tell(store: Store, drift: Drift, key: str) -> bool:
    """Put a drift into the trail of its run, once for its key: False when it was told before, by whomever."""
    if drift.run_id is None:
        return False
    for attempt in Retrying(stop=stop_after_attempt(MOST_RACES), retry=retry_if_exception_type(LostRace), reraise=True):
        with attempt, store.begin() as dao:
            run = dao.runs.get(drift.run_id)
            if key in known_of(run):
                return False
            dao.runs.note(
                run.id,
                Notice.DRIFT_DETECTED,
                reason=drift.sentence,
                severity=_severity_of(drift),
                operator=OPERATOR,
                event_metadata={"kind": drift.kind.value, "what": drift.entity, "repair": drift.repair},
            )
            dao.runs.change(run.id, metadata={KNOWN: [*run.info.get(KNOWN, ()), key]})
    return True


def _severity_of(drift: Drift) -> Severity:
    return Severity.ERROR if drift.kind is DriftKind.COMMITS_UNKNOWN else Severity.WARNING
