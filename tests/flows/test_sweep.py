"""The sweep as a flow: the Prefect state says what was done."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from operated import Rows

from prefect_acms.dao.store import open_store
from prefect_acms.flows import sweep_workers


@pytest.mark.usefixtures("prefect_server")
def test_a_flow_sweeps_and_says_so(canonical_url: str) -> None:
    """Ages come as parameters, as a deployment gives them; the result is what the command prints."""
    ten_minutes_ago = datetime.now(UTC) - timedelta(minutes=10)
    rows = Rows(open_store(canonical_url, clock=lambda: ten_minutes_ago))
    worker = rows.worker()

    def swept(**parameters: Any) -> Any:
        flow: Any = sweep_workers
        return asyncio.run(flow(canonical_url, return_state=True, **parameters))

    patient = swept(health={"unresponsive_after_sec": 5000, "lost_after_sec": 5000})
    assert (patient.is_completed(), patient.message) == (True, "nothing to sweep")
    state = swept()
    assert state.message == "1 worker unresponsive, 1 worker shut down"
    assert asyncio.run(state.aresult()).shut_down == (worker,)
    assert rows.states(workers=worker) == ["shutdown"]
