"""Regressions: the patch that broke a thing is found by bisection, and nothing else changes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from driven import repository_of
from repositories import fingerprint_of, git
from shops import ADA, FILES, SPREAD, Shop, ended_shop

from prefect_acms.blocks.config import EnvironmentSettings
from prefect_acms.canonical.errors import RegressionUnfit, RunDriven
from prefect_acms.tasks.bisection import Answer, bisect
from prefect_acms.tasks.isolation import isolation_problem
from prefect_acms.tasks.regressions import find_regression
from prefect_acms.tasks.repository import Repository
from prefect_acms.tasks.rollback_records import rollback


def test_of(condition: str) -> tuple[str, ...]:
    """A test that passes as long as a condition on the text of both files holds."""
    return sys.executable, "-c", f"import sys; text = open('a.py').read() + open('b.py').read(); {condition}"


test_of.__test__ = False  # type: ignore[attr-defined]
GOOD_WHILE = "sys.exit('{}' in text)"


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """A run that has ended, with three patches, merged from three workstreams."""
    return ended_shop(tmp_path, SPREAD)


def state_of(shop: Shop) -> tuple[str, ...]:
    """What a search may not change; the run's epoch rises, as with everybody who has it in hand."""
    top = shop.repository.top
    return (
        git(top, "for-each-ref"),
        git(top, "status", "--porcelain"),
        git(top, "worktree", "list"),
        git(top, "rev-parse", "HEAD"),
    )


def test_the_patch_is_named_with_its_task_tool_gaps_and_the_way_back(shop: Shop) -> None:
    """The command that is proposed takes it back, and the test passes again."""
    before = state_of(shop)
    found = find_regression(shop.store, shop.drive.run_id, test_of(GOOD_WHILE.format("B = 2")))
    entry = shop.entries["ws-02"]
    assert found.found is not None
    assert (found.found.commit, found.found.patch_id) == (entry.commit_sha, entry.patch_id)
    assert (found.found.task, [gap.title for gap in found.found.gaps]) == ("ws-02/one", ["y"])
    assert found.rollback_command == f"acms rollback {entry.patch_id} --operator NAME --reason TEXT"
    assert found.tried[found.good] is Answer.GOOD
    assert found.tried[found.bad] is Answer.BAD
    assert state_of(shop) == before
    assert not shop.drive.worktrees.exists()
    rollback(shop.store, entry.patch_id, **ADA)
    with pytest.raises(RegressionUnfit, match="it has to fail, but there it passes"):
        find_regression(shop.store, shop.drive.run_id, test_of(GOOD_WHILE.format("B = 2")))


def test_two_patches_that_break_it_only_together_are_told_by_the_second(shop: Shop) -> None:
    """The first bad commit is the one with which the test fails for the first time."""
    found = find_regression(shop.store, shop.drive.run_id, test_of("sys.exit('A0 = 2' in text and 'A11 = 3' in text)"))
    assert found.found is not None
    assert found.found.patch_id == shop.entries["ws-03"].patch_id


def test_a_commit_that_can_not_be_tried_is_skipped(shop: Shop) -> None:
    """With 125, as for `git bisect run`; when it may be the one, all that may be it are named."""
    skip = "'B = 2' in text and 'A11 = 3' not in text and sys.exit(125); sys.exit('B = 2' in text)"
    found = find_regression(shop.store, shop.drive.run_id, test_of(skip))
    assert (found.found, found.rollback_command) == (None, None)
    assert {suspect.patch_id for suspect in found.suspects} == {
        shop.entries[key].patch_id for key in ("ws-02", "ws-03")
    }


UNFIT = (
    (test_of("sys.exit('A0' in text)"), "it has to pass, but there it fails"),
    (test_of("sys.exit(0)"), "it has to fail, but there it passes"),
    (("no-such-program",), "it has to pass, but there it can't be tried"),
    (test_of("sys.exit(200)"), "ended with exit code 200, which says neither good nor bad"),
    (test_of("import os; os.kill(os.getpid(), 9)"), "ended with signal 9"),
)


def test_what_is_no_good_start_or_no_answer_is_refused(shop: Shop) -> None:
    """With exit code 2, one sentence, and nothing left behind."""
    before = state_of(shop)
    for test, told in UNFIT:
        with pytest.raises(RegressionUnfit, match=told) as refused:
            find_regression(shop.store, shop.drive.run_id, test)
        assert refused.value.exit_code == 2
    assert state_of(shop) == before
    assert not shop.drive.worktrees.exists()


def test_a_test_that_hangs_is_bad_and_gone(shop: Shop, tmp_path: Path) -> None:
    """Its whole process group is killed: a child that it has left does not go on."""
    late = tmp_path / "late"
    child = f"import time; time.sleep(3); open({str(late)!r}, 'w')"
    hangs = f"import subprocess, time; subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(60)"
    found = find_regression(
        shop.store, shop.drive.run_id, test_of(f"'B = 2' in text and exec({hangs!r})"), timeout_sec=1.5
    )
    assert found.found is not None
    assert found.found.patch_id == shop.entries["ws-02"].patch_id
    assert "its time was over" in found.output
    assert not late.exists()


@pytest.mark.skipif(isolation_problem() is not None, reason=str(isolation_problem()))
def test_a_test_is_isolated_as_gates_are(shop: Shop) -> None:
    """It can't write to the repository, and what it does there is no part of the answer."""
    shop.configure(environment=EnvironmentSettings())
    before = fingerprint_of(shop.repository.top)
    spoils = f"with contextlib.suppress(OSError):\n    open({str(shop.repository.top / 'a.py')!r}, 'w')"
    code = f"import contextlib, sys\n{spoils}\nsys.exit('B = 2' in open('b.py').read())"
    found = find_regression(shop.store, shop.drive.run_id, (sys.executable, "-c", code))
    assert found.found is not None
    assert fingerprint_of(shop.repository.top) == before


def test_a_run_that_is_driven_is_left_alone(tmp_path: Path, canonical_url: str) -> None:
    """Its branch still moves."""
    shop = Shop(tmp_path, canonical_url)
    with shop.drive.leased(), pytest.raises(RunDriven):
        find_regression(shop.store, shop.drive.run_id, ("true",))


def test_a_merge_can_be_the_first_bad_commit(tmp_path: Path) -> None:
    """Both sides are good: as with `git bisect`, it is what neither of its parents is."""
    top = repository_of(tmp_path / "shop", FILES)
    user = ("-c", "user.name=a", "-c", "user.email=a@b")
    for branch, file in (("one", "c.py"), ("two", "d.py")):
        git(top, "checkout", "-q", "-b", branch, "main")
        for number in range(3):
            (top / file).write_text(f"N = {number}\n")
            git(top, "add", file)
            git(top, *user, "commit", "-qm", f"{branch} {number}")
    git(top, *user, "merge", "-q", "--no-ff", "-m", "both", "one")
    git(top, *user, "commit", "-q", "--allow-empty", "-m", "after")
    repository = Repository.open(top)
    asked: list[str] = []

    def ask(commit: str) -> Answer:
        asked.append(commit)
        both = {"c.py", "d.py"} <= set(repository.files(commit))
        return Answer.BAD if both else Answer.GOOD

    found = bisect(repository, repository.resolve("main"), repository.head(), ask)
    assert repository.message(str(found.first_bad)) == "both"
    assert len(asked) == len(set(asked)) < 8
