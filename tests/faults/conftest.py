"""Sites for named faults, and a deployment with a worker that several of them share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from faults import Site, site_at
from prefect_side import Pool, Worker, deploy


@pytest.fixture
def site(tmp_path: Path, acms_home: Path) -> Iterator[Callable[..., Site]]:
    """Makes a site; whatever runs there is stopped in the end."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(site_at(tmp_path, **{"home": acms_home, **options}))


@pytest.fixture(scope="session")
def pool(prefect_server: None) -> Pool:  # noqa: ARG001 - a fixture is asked for by its name
    """A pool of our type, with a deployment of the pipeline."""
    return Pool("faults", deploy("faults"))


@pytest.fixture(scope="session")
def worker(pool: Pool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Worker]]:
    """Gives the living worker of the pool, and starts another where the last one was ended."""
    folder = tmp_path_factory.mktemp("worker")
    workers: list[Worker] = []

    def living() -> Worker:
        if not workers or workers[-1].process.poll() is not None:
            number = len(workers)
            workers.append(Worker(pool.name, folder / f"{number}.log", folder / f"home-{number}"))
        return workers[-1]

    yield living
    for known in workers:
        known.kill()
