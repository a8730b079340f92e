"""The checks of the campaign see what they are for: each kind of damage is done to a good run, and found."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from campaign_checks import problems_of
from campaign_inspection import Facts
from campaign_kills import Campaign, inspected
from campaign_repositories import SHAPES
from campaign_sites import Site
from repositories import git

Damage = Callable[[Site, str], object]


@pytest.fixture(scope="module")
def good(campaign: Campaign) -> tuple[Site, Facts]:
    """A run that nobody has killed, and what is to be compared."""
    site = Site.made(campaign.folder / "good", SHAPES[0], campaign.database)
    assert site.attempt(campaign.server, None).problem is None
    with inspected(site) as inspection:
        assert inspection is not None
        assert list(problems_of(inspection, None)) == []
        return site, inspection.facts


@pytest.fixture
def copied(good: tuple[Site, Facts], tmp_path: Path) -> Site:
    """The good run in a folder of its own, to be damaged."""
    shutil.copytree(good[0].folder, tmp_path / "site", symlinks=True)
    return replace(good[0], folder=tmp_path / "site")


def _found(site: Site, facts: Facts) -> set[str]:
    with inspected(site) as inspection:
        assert inspection is not None
        return {problem.check for problem in problems_of(inspection, facts)}


def _write(path: Path, content: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def _cut_outbox(site: Site, run_id: str) -> None:
    path = site.repository / ".acms_runs" / run_id / "transitions.jsonl"
    path.write_bytes(path.read_bytes()[:-1])


def _undo(site: Site, run_id: str) -> None:
    """The result is what the user had."""
    git(site.repository, "update-ref", f"refs/heads/acms/{run_id}", "main")


def _commit_again(site: Site, run_id: str) -> None:
    """The last commit of the result once more, reverted in between."""
    branch = f"acms/{run_id}"
    message = git(site.repository, "log", "-1", "--no-merges", "--format=%B", branch)
    last = git(site.repository, "log", "-1", "--no-merges", "--format=%H", branch).strip()
    tip = git(site.repository, "rev-parse", branch).strip()
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    for tree, said in ((f"{last}^^{{tree}}", "undone"), (f"{last}^{{tree}}", message)):
        tip = git(site.repository, *who, "commit-tree", tree, "-p", tip, "-m", said).strip()
    git(site.repository, "update-ref", f"refs/heads/{branch}", tip)


def _sql(statement: str) -> Damage:
    def damage(site: Site, _run_id: str) -> None:
        with closing(sqlite3.connect(site.home / "canonical.db")) as connection, connection:
            connection.execute(statement)

    return damage


DAMAGE: dict[str, tuple[Damage, str]] = {
    "a lock of git's": (lambda site, _: _write(site.repository / ".git/refs/heads/acms/x.lock"), "no_lock_left"),
    "a worktree": (lambda site, run: (site.home / "worktrees" / run).mkdir(parents=True), "no_worktree_left"),
    "an object half written": (
        lambda site, _: _write(site.repository / ".git/objects/ab/tmp_obj_Xyz"),
        "no_temporary_file_left",
    ),
    "a temporary file": (lambda site, _: _write(site.temporary / "acms-1/x"), "no_temporary_file_left"),
    "a file of the run": (
        lambda site, run: _write(site.repository / ".acms_runs" / run / "plan.json.fresh"),
        "no_temporary_file_left",
    ),
    "a file more at home": (lambda site, _: _write(site.home / "left"), "same files as without kills"),
    "an outbox cut short": (_cut_outbox, "outbox"),
    "a user's file": (lambda site, _: _write(site.repository / "shop/stock.py"), "users_things_untouched"),
    "the user's index": (lambda site, _: (site.repository / ".git/index").unlink(), "users_things_untouched"),
    "a ref of somebody's": (
        lambda site, _: git(site.repository, "update-ref", "refs/heads/other", "main"),
        "only_our_refs",
    ),
    "a patch twice": (_commit_again, "patches_committed_once"),
    "a change twice": (_commit_again, "no_change_twice"),
    "a result that differs": (_undo, "same tree as without kills"),
    "a gap without an end": (
        _sql("UPDATE gaps SET state = 'planned' WHERE state = 'resolved'"),
        "every_row_ended",
    ),
    "a gap with another fate": (
        _sql("UPDATE gaps SET state = 'deferred', deferred_reason = 'x' WHERE state = 'resolved'"),
        "same fates as without kills",
    ),
    "a state that the trail does not tell": (
        _sql("UPDATE gaps SET state = 'deferred', deferred_reason = 'x' WHERE state = 'resolved'"),
        "audit_chain",
    ),
    "a phase without an end": (_sql("UPDATE phases SET completed_at = NULL, outcome = NULL"), "every_row_ended"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_seen(good: tuple[Site, Facts], copied: Site, kind: str) -> None:
    """A check that can't fail proves nothing."""
    damage, check = DAMAGE[kind]
    run_id = copied.seen().run_id
    assert run_id is not None
    assert _found(copied, good[1]) == set()
    damage(copied, run_id)
    assert check in _found(copied, good[1])


@contextmanager
def _process_in(folder: Path) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], cwd=folder)
    try:
        yield
    finally:
        process.kill()
        process.wait()


@contextmanager
def _lock_in(folder: Path) -> Iterator[None]:
    file = os.open(next((folder / "locks").glob("*.lock")), os.O_RDWR)
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(file)


@pytest.mark.parametrize(("holding", "check"), [(_process_in, "no_process_left"), (_lock_in, "no_lock_left")])
def test_what_lives_on_is_seen(
    good: tuple[Site, Facts], copied: Site, holding: Callable[[Path], Iterator[None]], check: str
) -> None:
    """A process that works in the folder, and a lock that somebody holds."""
    with holding(copied.home):  # type: ignore[attr-defined]
        assert _found(copied, good[1]) == {check}
    assert _found(copied, good[1]) == set()
