"""A deployed run that only waits for people ends its process; after each answer, from wherever, it goes on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import pytest
from faults import Site, alive, until
from prefect_side import Pool, Worker, asked, state_of, trigger, until_final
from repositories import git

from prefect_acms.dao.store import open_store
from prefect_acms.tasks.reconciling import reconcile_here
from prefect_acms.tasks.reviews import review_of
from prefect_acms.tasks.stuck import find_stuck
from prefect_acms.tasks.suspension import SUSPENSION, Suspension, suspension_of
from prefect_acms.tasks.sweeping import sweep

pytestmark = pytest.mark.usefixtures("prefect_server")


def started(site: Site, pool: Pool) -> UUID:
    """The flow run of a run in which each file has a gap, and each patch waits for a person."""
    config = site.config(
        discovery={"sources": ["ruff"], "ruff_select": ["F401"]},
        clustering={"max_files": 1},
        gates={"unit_enabled": False},
        guardrails={"review": {"always": True, "suspend_after_sec": 0.5}},
    )
    return trigger(pool.deployment, config, site.environment)


def suspended(site: Site, flow_run_id: UUID, before: Suspension | None = None) -> Suspension:
    """How the run is suspended, once its process is gone and Prefect has it so; not as it was before."""

    def found() -> Suspension | None:
        with site.store.begin(read_only=True) as dao:
            known = [suspension_of(run) for run in dao.runs.latest(1)]
        return known[0] if known and known[0] != before else None

    known: Suspension = until(found, "the run is suspended")
    until(lambda: not alive(site.run.info["driver"]["pid"]), "its process has ended")
    assert state_of(flow_run_id).name == "Suspended"
    return known


def test_a_run_is_suspended_and_goes_on_after_each_answer(
    site: Callable[..., Site], pool: Pool, worker: Callable[[], Worker]
) -> None:
    """Of two patches one is approved in the form, the other rejected by `acms review`."""
    mine = worker()
    here = site(files={"a.py": "import os\n\nA = 1\n", "b.py": "import os\n\nB = 1\n"})
    flow_run_id = started(here, pool)

    first = suspended(here, flow_run_id)
    here.assert_put_away()
    assert here.run.lease_expires_at is None
    assert len(first.waiting) == 2
    looked = reconcile_here(here.store)
    assert (looked.drifts, looked.left_alone, looked.resumable) == ((), (), ()), "it is as it should be"
    assert find_stuck(here.store) == []
    refused = asked(lambda client: client.resume_flow_run(flow_run_id, run_input={"decision": "approve"}))
    assert refused.status.value == "REJECT", "the form needs a name and a reason"
    said = {"decision": "approve", "operator": "bea", "reason": "good"}
    assert asked(lambda client: client.resume_flow_run(flow_run_id, run_input=said)).status.value == "ACCEPT"

    second = suspended(here, flow_run_id, first)
    (left,) = second.waiting
    assert left in first.waiting
    assert left != first.entry_id
    command = here.ended(
        here.start("review", "reject", left, "--operator", "ada", "--reason", "no", "--database-url", here.url)
    )
    assert command.code == 0
    assert f"run {here.run.id} was suspended: Prefect goes on with it" in command.out

    state = until_final(flow_run_id)
    assert (state.name, state.is_completed()) == ("Degraded", True), mine.told()
    run = here.run
    assert (run.state, run.info[SUSPENSION]) == ("succeeded", None)
    with here.store.begin(read_only=True) as dao:
        reviews = [review_of(dao.ledger.get(entry_id)) for entry_id in (first.entry_id, left)]
        states = sorted(entry.state for entry in dao.ledger.of_run(run.id))
    assert [(review.decision, review.operator) for review in reviews if review] == [
        ("approved", "bea"),
        ("rejected", "ada"),
    ]
    assert states == ["committed", "dropped", "dropped"], "the diff that was rejected is dropped again, unasked"
    assert len(git(here.repository, "diff", "--name-only", "main", f"acms/{run.id}").split()) == 1


@pytest.mark.campaign
def test_a_suspended_run_whose_review_expires_ends_truthfully(
    site: Callable[..., Site], pool: Pool, worker: Callable[[], Worker]
) -> None:
    """Nobody's process looks at the time: a sweep drops the patch, and Prefect is told to go on, to the end."""
    mine = worker()
    here = site(files={"a.py": "import os\n\nA = 1\n"})
    flow_run_id = started(here, pool)
    waiting = suspended(here, flow_run_id)
    later = open_store(here.url)
    later.clock = lambda: here.store.clock() + timedelta(days=2)
    assert sweep(later).expired == waiting.waiting
    state = until_final(flow_run_id)
    assert state.is_failed(), mine.told()
    run = here.run
    assert run.state == "failed"
    with here.store.begin(read_only=True) as dao:
        gaps = [gap.deferred_reason for gap in dao.gaps.of_run(run.id)]
    assert gaps == ["its patch was dropped: expired by nobody: nobody has answered in time"]
