"""The audit while others write: what belongs together is looked at together."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from prefect_acms.dao.audit import verify
from prefect_acms.dao.store import open_store


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_an_audit_beside_writers_sees_one_moment(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Rows, heads, anchors and entities are compared as they were together, while others go on writing."""
    sqlite_url = f"sqlite:///{tmp_path / 'canonical.db'}"
    opened = open_store(sqlite_url if backend == "sqlite" else request.getfixturevalue("postgresql_url"))
    done = threading.Event()

    def work() -> None:
        while not done.is_set():
            with opened.begin() as dao:
                run = dao.runs.create(repo_root="/r")
                dao.runs.advance(run.id, "run_started")
            with opened.begin() as dao:
                dao.runs.advance(run.id, "user_cancelled")

    writers = [threading.Thread(target=work) for _ in range(3)]
    for writer in writers:
        writer.start()
    bad = [verify(opened).first_bad for _ in range(12)]
    done.set()
    for writer in writers:
        writer.join()
    assert bad == [None] * 12
    assert verify(opened).rows > 12
    opened.close()
