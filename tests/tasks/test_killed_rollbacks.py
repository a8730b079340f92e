"""Rollbacks whose process is killed: nothing is half done, and nothing is done twice."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from campaign_points import Blow, Kind, Watch, When
from repositories import git
from shops import ADA, FILES, STACKED, Shop, ended_shop

from prefect_acms.canonical.errors import AcmsError
from prefect_acms.dao.audit import verify
from prefect_acms.tasks.drift import DriftKind
from prefect_acms.tasks.leavings import Leavings
from prefect_acms.tasks.rollback_records import rollback
from prefect_acms.tasks.telling import Found

REST = FILES["a.py"].replace("A11 = 1", "A11 = 3")


def stacked(folder: Path, *, merged: bool) -> tuple[Shop, str]:
    """A run with two patches on the same line and one elsewhere; the first patch."""
    shop = ended_shop(folder, STACKED)
    if merged:
        git(shop.repository.top, "merge", "-q", "--ff-only", f"acms/{shop.drive.run_id}")
    return shop, shop.entries["ws-01"].patch_id


def struck(shop: Shop, patch: str, start: int = 1) -> Iterator[int]:
    """Roll back in child processes, each killed just before a later commit of the store, until it is recorded."""
    number = start - 1
    while shop.state("ws-01") == "committed":
        number += 1
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.setsid()
                Watch(Blow(Kind.COMMIT, When.BEFORE, number)).install()
                rollback(shop.store, patch, **ADA)
                code = 0
            except AcmsError as error:
                os.write(2, f"{type(error).__name__}: {error}\n".encode())
            finally:
                os._exit(code)
        ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert ended in {0, -signal.SIGKILL}
        yield number


def reverts(shop: Shop) -> list[str]:
    """Every revert on any branch of ours."""
    refs = git(shop.repository.top, "for-each-ref", "--format=%(refname)", "refs/heads/acms/").split()
    return git(shop.repository.top, "log", "--format=%H", "--grep=^ACMS-Rollback: ", *refs).split()


@pytest.mark.parametrize("merged", [False, True])
def test_a_rollback_that_is_killed_before_each_commit_is_done_once(
    merged: bool,  # noqa: FBT001 - a parameter of the test
    tmp_path: Path,
) -> None:
    """Before the last of them the branch has it; from then on the reverts are found by their trailers."""
    shop, first = stacked(tmp_path, merged=merged)
    main = git(shop.repository.top, "rev-parse", "main")
    seen = set()
    # the first commits are the same wherever the reverts go
    for _ in struck(shop, first, start=8 if merged else 1):
        states = {shop.state(key) for key in ("ws-01", "ws-02")}
        assert len(states) == 1
        assert len(reverts(shop)) in {0, 2}
        seen.add((len(reverts(shop)), *states))
    assert seen == {(0, "committed"), (2, "committed"), (2, "rolled_back")}
    assert shop.state("ws-03") == "committed"
    branch = f"acms/rollback/{first}" if merged else f"acms/{shop.drive.run_id}"
    assert git(shop.repository.top, "show", f"{branch}:a.py") == REST
    assert git(shop.repository.top, "rev-parse", "main") == main
    assert verify(shop.store).ok


def test_reconcile_records_what_git_has_already(tmp_path: Path) -> None:
    """Under the name of who ordered it, with the gates that had judged it; and finds nothing the second time."""
    shop, first = stacked(tmp_path, merged=False)
    next(number for number in struck(shop, first, start=6) if reverts(shop))
    assert shop.state("ws-01") == "committed"

    def look() -> list[DriftKind]:
        found = Found(shop.store)
        with shop.store.begin(read_only=True) as dao:
            run = dao.runs.get(shop.drive.run_id)
        Leavings(shop.store, found).look([run])
        assert [drift.sentence for drift in found.left_alone] == []
        return [drift.kind for drift in found.drifts]

    assert DriftKind.ROLLBACK in look()
    assert look() == []
    with shop.drive.reading() as dao:
        rows = [dao.ledger.get(shop.entries[key].id) for key in ("ws-01", "ws-02")]
        told = [row for row in dao.transitions.of_run(shop.drive.run_id) if row.trigger == "post_success_rollback"]
    assert [(row.state, row.rollback_reason) for row in rows] == [("rolled_back", "it broke the shop")] * 2
    assert all((row.rollback_compensation or {})["gates"] for row in rows)
    assert {(row.rollback_compensation or {})["revert"] for row in rows} == set(reverts(shop))
    assert [row.operator for row in told] == ["ada"]
    assert verify(shop.store).ok
