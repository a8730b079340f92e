"""The base commit as the gates saw it: what was red before, so that only what is new counts against a patch."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from prefect_acms.canonical.test_gate import GateType
from prefect_acms.tasks.gates import GateCommand, GateResult


@dataclass(eq=False)
class Baseline:
    """The gates of a run with their results at the base commit, and the trees that they have found good since."""

    gates: tuple[GateCommand, ...]
    results: Mapping[GateType, GateResult]
    _passed: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def judging(self) -> tuple[GateCommand, ...]:
        """The gates that could run at the base commit, and so can judge."""
        return tuple(gate for gate in self.gates if self.results[gate.gate_type].unavailable is None)

    def remember(self, tree: str, gate_ids: Sequence[str]) -> None:
        """Keep that these gate rows found this tree good."""
        with self._lock:
            self._passed[tree] = tuple(gate_ids)

    def passed(self, tree: str) -> tuple[str, ...] | None:
        """The gate rows that found this very tree good, or None if it has not been judged good."""
        with self._lock:
            return self._passed.get(tree)
