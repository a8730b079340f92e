"""What one look of `acms top` costs on a large store: `python benchmarks/top.py [--runs 1000] [--transitions 100000]`.

The store has that many runs and audit rows, and its latest run is a plan of 300 tasks in 30 workstreams with a patch
each. Timed are a look at everything (a run was chosen, or five seconds are over), one after a single event, and one
where nothing has happened.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from prefect_acms.blocks.config import PipelineConfig
from prefect_acms.canonical.run import RunTrigger
from prefect_acms.dao.store import Store, open_store
from prefect_acms.deployments.top.look import Watch

TURNS = 20
STREAMS, TASKS = 30, 10


def fill(store: Store, runs: int, transitions: int) -> None:
    """Make runs with as many gaps as the number of transitions asks for, and the large run last."""
    config = PipelineConfig(repository=Path("/srv/shop")).model_dump(mode="json")
    for _ in range(runs - 1):
        with store.begin() as dao:
            run = dao.runs.create(repo_root="/srv/shop", base_commit="a" * 40, config=config).id
            dao.runs.advance(run, RunTrigger.RUN_STARTED)
            for at in range(transitions // runs - 3):
                dao.gaps.create(
                    run_id=run, source="ruff", rule_id="F401", fingerprint=f"{at:016x}", title="unused", file_paths=[]
                )
            dao.runs.advance(run, RunTrigger.RUN_CRASHED, error="it was only made up")
    with store.begin() as dao:
        run = dao.runs.create(repo_root="/srv/shop", base_commit="a" * 40, config=config).id
        dao.runs.advance(run, RunTrigger.RUN_STARTED)
        for stream in range(STREAMS):
            workstream = dao.workstreams.create(run_id=run, name=f"imports {stream}", metadata={"key": f"ws-{stream}"})
            before: list[str] = []
            for at in range(TASKS):
                task = dao.tasks.create(
                    workstream_id=workstream.id, kind="analysis", tool_id="ruff-fix",
                    metadata={"key": f"ws-{stream}/{at}"},
                )  # fmt: skip
                dao.tasks.depends(task.id, before)
                before = [task.id]
            patch = dao.patches.create(task_id=before[0], content=b"x" * 20_000, files=["a.py"])
            dao.ledger.create(patch_id=patch.id)


def timed(act: Callable[[], object]) -> float:
    """Milliseconds."""
    begun = time.perf_counter()
    act()
    return (time.perf_counter() - begun) * 1000


def main() -> None:
    """Fill a store and look at it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--transitions", type=int, default=100_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/canonical.db"
        store = open_store(url, synchronous="NORMAL")
        fill(store, asked.runs, asked.transitions)
        with store.begin(read_only=True) as dao:
            print(f"{asked.runs} runs, {dao.transitions.last_id()} transitions")
        wholes, events, idles = [], [], []
        watch = Watch(url)
        watch.look(None)
        for _ in range(TURNS):
            with store.begin() as dao:
                dao.workstreams.create(run_id=dao.runs.latest(1)[0].id, name="one more")
            events.append(timed(lambda: watch.look(None)))
            idles.append(timed(lambda: watch.look(None)))
            other = Watch(url)
            other.store()
            wholes.append(timed(lambda watch=other: watch.look(None)))  # type: ignore[misc]
            other.close()
        for name, found in (("first look", wholes), ("after one event", events), ("nothing new", idles)):
            print(f"{name:16} {median(found):7.1f} ms")


if __name__ == "__main__":
    main()
