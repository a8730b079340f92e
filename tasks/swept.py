"""What a sweep has done, for programs and for people."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from prefect_acms.canonical.events import NOTICES, Event
from prefect_acms.tasks.reports.text import count


class Swept(BaseModel):
    """What a sweep has done, by the ids of the rows; `left` changed too quickly to be dealt with this time."""

    model_config = ConfigDict(frozen=True)

    unresponsive: tuple[str, ...] = ()
    recovered: tuple[str, ...] = ()
    shut_down: tuple[str, ...] = ()
    retrying: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    terminated: tuple[str, ...] = ()
    expired: tuple[str, ...] = ()
    left: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """What was done, in one sentence."""
        parts = [count(len(ids), noun, nouns) for ids, noun, nouns in self._parts() if ids]
        return ", ".join(parts) if parts else "nothing to sweep"

    def _parts(self) -> list[tuple[tuple[str, ...], str, str]]:
        return [
            (self.unresponsive, "worker unresponsive", "workers unresponsive"),
            (self.recovered, "worker back", "workers back"),
            (self.shut_down, "worker shut down", "workers shut down"),
            (self.retrying, "lost task to be tried again", "lost tasks to be tried again"),
            (self.failed, "lost task failed", "lost tasks failed"),
            (self.terminated, "process found gone", "processes found gone"),
            (self.expired, "review expired", "reviews expired"),
            (self.left, "row left for the next sweep", "rows left for the next sweep"),
        ]


def summed(events: Sequence[Event], left: Sequence[str]) -> Swept:
    """What these events amount to."""

    def ids(entity: str, state: str) -> tuple[str, ...]:
        moved = (event for event in events if event.trigger not in NOTICES)
        return tuple(event.entity_id for event in moved if (event.entity_type, event.to_state) == (entity, state))

    return Swept(
        unresponsive=ids("worker", "unresponsive"),
        recovered=ids("worker", "idle"),
        shut_down=ids("worker", "shutdown"),
        retrying=ids("task", "retrying"),
        failed=ids("task", "failed"),
        terminated=ids("uet_worker", "TERMINATED"),
        expired=ids("patch_ledger", "dropped"),
        left=tuple(left),
    )
