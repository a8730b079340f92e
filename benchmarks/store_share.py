"""Which share of a run's time the store takes: `python benchmarks/store_share.py [REPOSITORY]`, by default the demo's.

Every unit of work is timed from the moment it is asked for (its wait for other writers with it) until it is committed;
what the block in between does besides talking to the store is counted too, so the share is an upper bound.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

PREFIX = "acms-store-share-"


class Meter:
    """Counts units of work, and the time that threads spend in them."""

    def __init__(self) -> None:
        self.units = 0
        self.seconds = 0.0
        self._lock = threading.Lock()

    def add(self, seconds: float) -> None:
        """Count one unit of work."""
        with self._lock:
            self.units += 1
            self.seconds += seconds

    def watch(self, unit: type[Any]) -> None:
        """Time every unit of work from here on."""
        enter, leave, meter = unit.__enter__, unit.__exit__, self

        def timed_enter(self: Any) -> Any:
            self.began = time.perf_counter()
            return enter(self)

        def timed_exit(self: Any, *error: Any) -> None:
            leave(self, *error)
            meter.add(time.perf_counter() - self.began)

        unit.__enter__, unit.__exit__ = timed_enter, timed_exit


def main() -> None:
    """Run the pipeline once, and print the share."""
    with tempfile.TemporaryDirectory(prefix=PREFIX) as place:
        os.environ |= {"ACMS_HOME": f"{place}/home", "PREFECT_HOME": f"{place}/prefect"}
        os.environ |= {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
        from prefect_acms.blocks.config import PipelineConfig
        from prefect_acms.dao.unit import UnitOfWork
        from prefect_acms.deployments.demo import make_repository
        from prefect_acms.flows.pipeline import run_pipeline

        repository = Path(sys.argv[1]) if len(sys.argv) > 1 else make_repository(Path(place) / "demo")
        meter = Meter()
        meter.watch(UnitOfWork)
        moments: list[float] = []
        run_pipeline(PipelineConfig(repository=repository), lambda _events: moments.append(time.perf_counter()))
        total = moments[-1] - moments[0]
        share = meter.seconds / total
        print(f"run {total:.1f} s, {meter.units} units of work, {meter.seconds:.2f} s in them: {share:.1%} of the run")


if __name__ == "__main__":
    main()
