"""Watching merged branches: what a merge broke is found, told once, and rolled back where the policy says so."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from repositories import git
from shops import FILES, SPREAD, Shop, ended_shop

from prefect_acms.blocks.config import GateSettings
from prefect_acms.blocks.watch import WatchAction, WatchSettings
from prefect_acms.dao.audit import verify
from prefect_acms.tasks.watch_records import Verdict, Watched
from prefect_acms.tasks.watching import OPERATOR, watch

USER = ("-c", "user.name=a", "-c", "user.email=a@b")


def passes_unless(text: str) -> tuple[str, ...]:
    """A test that fails once both files together hold that text."""
    return sys.executable, "-c", f"import sys; sys.exit({text!r} in open('a.py').read() + open('b.py').read())"


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """A run that has ended, with three patches; it started from main."""
    return ended_shop(tmp_path, SPREAD)


def merge(shop: Shop, *how: str) -> None:
    """Bring the run's branch into main."""
    git(shop.repository.top, *USER, "merge", "-q", *(how or ("--no-ff", "-m", "merge it")), f"acms/{shop.drive.run_id}")


def commit(shop: Shop, file: str, text: str) -> str:
    """A commit of the user's own on main."""
    (shop.repository.top / file).write_text(text)
    git(shop.repository.top, "add", file)
    git(shop.repository.top, *USER, "commit", "-qm", f"write {file}")
    return git(shop.repository.top, "rev-parse", "HEAD").strip()


def look(shop: Shop, **settings: Any) -> Watched | None:
    """One pass; what was found, if anything was looked at."""
    done = watch(shop.store, shop.repository.top, WatchSettings(**settings))
    assert done.problems == {}
    return done.found[0] if done.found else None


def notices(shop: Shop) -> list[Any]:
    with shop.drive.reading() as dao:
        rows = dao.transitions.of_run(shop.drive.run_id)
    return [row for row in rows if row.trigger == "post_success_rollback"]


def test_a_patch_that_broke_main_is_found_and_its_rollback_proposed_once(shop: Shop) -> None:
    """In the trail, with the command; a second look at the same head judges nothing."""
    assert look(shop) is None
    commit(shop, "c.py", "C = 1\n")
    merge(shop)
    commit(shop, "d.py", "D = 1\n")
    top = shop.repository.top
    before = git(top, "for-each-ref"), git(top, "status", "--porcelain", "-uno")
    found = look(shop, test=passes_unless("B = 2"))
    assert found is not None
    patch = shop.entries["ws-02"].patch_id
    assert (found.verdict, found.target) == (Verdict.BROKEN, patch)
    assert found.command == f"acms rollback {patch} --onto main --operator NAME --reason TEXT"
    assert (git(top, "for-each-ref"), git(top, "status", "--porcelain", "-uno")) == before
    told = notices(shop)
    assert [(row.operator, row.severity, row.info["proposed"]) for row in told] == [(OPERATOR, "error", True)]
    again = watch(shop.store, None, WatchSettings(test=passes_unless("B = 2")))
    assert (again.found, again.known, again.exit_code) == ((), 1, 0)
    other = look(shop, test=("true",))
    assert other is not None
    assert other.verdict is Verdict.GOOD
    assert look(shop, test=passes_unless("B = 2")) is None
    commit(shop, "e.py", "E = 1\n")
    moved = look(shop, test=passes_unless("B = 2"))
    assert moved is not None
    assert moved.verdict is Verdict.BROKEN
    assert len(notices(shop)) == 1
    assert shop.state("ws-02") == "committed"
    assert verify(shop.store).ok


def test_a_policy_makes_the_branch_of_the_rollback(shop: Shop) -> None:
    """Under its own name; main stays where it is until somebody merges it, and is good after that."""
    merge(shop)
    main = git(shop.repository.top, "rev-parse", "main")
    found = look(shop, test=passes_unless("B = 2"), action=WatchAction.ROLLBACK)
    assert found is not None
    branch = f"acms/rollback/{shop.entries['ws-02'].patch_id}"
    assert (found.rollback_branch, found.command) == (branch, f"git switch main && git merge {branch}")
    assert git(shop.repository.top, "rev-parse", "main") == main
    assert [shop.state(key) for key in ("ws-01", "ws-02")] == ["committed", "rolled_back"]
    with shop.drive.reading() as dao:
        (rolled_back,) = [row for row in dao.transitions.of_run(shop.drive.run_id) if row.to_state == "rolled_back"]
    assert rolled_back.operator == OPERATOR
    commit(shop, "c.py", "C = 1\n")
    still = look(shop, test=passes_unless("B = 2"), action=WatchAction.ROLLBACK)
    assert still is not None
    assert (still.verdict, still.target, still.command) == (Verdict.BROKEN, None, found.command)
    git(shop.repository.top, *USER, "merge", "-q", branch)
    good = look(shop, test=passes_unless("B = 2"), action=WatchAction.ROLLBACK)
    assert good is not None
    assert good.verdict is Verdict.GOOD
    assert (shop.repository.top / "b.py").read_text() == FILES["b.py"]


def test_what_the_run_is_not_to_blame_for_is_not_blamed_on_it(shop: Shop) -> None:
    """A commit of the user's after the merge; a test that failed before it; a run too long ago; no answer."""
    merge(shop)
    mine = commit(shop, "b.py", "B = 5\n")
    found = look(shop, test=passes_unless("B = 5"))
    assert found is not None
    assert (found.verdict, found.target, found.command) == (Verdict.BROKEN_BY_OTHERS, None, None)
    assert mine[:10] in found.sentence
    for test, verdict in ((passes_unless("A1 = 1"), Verdict.RED_BEFORE), (("no-such-program",), Verdict.UNCLEAR)):
        commit(shop, "c.py", f"C = {verdict!r}\n")
        other = look(shop, test=test)
        assert other is not None
        assert other.verdict is verdict
    commit(shop, "c.py", "C = 3\n")
    assert look(shop, test=passes_unless("B = 2"), window_sec=0.001) is None
    assert notices(shop) == []


def test_a_squash_is_looked_into_and_a_merge_that_broke_it_is_the_whole_run(shop: Shop) -> None:
    """The patch is found among the run's own commits; if none alone is it, the run is to go whole."""
    git(shop.repository.top, "merge", "-q", "--squash", f"acms/{shop.drive.run_id}")
    git(shop.repository.top, *USER, "commit", "-qm", "squashed")
    found = look(shop, test=passes_unless("A0 = 2"))
    assert found is not None
    assert found.target == shop.entries["ws-01"].patch_id
    git(shop.repository.top, "reset", "-q", "--hard", "HEAD^")
    commit(shop, "b.py", "B = 1\n# keep A0 = 1\n")
    git(
        shop.repository.top,
        *USER,
        "merge",
        "-q",
        "--no-ff",
        "-m",
        "merge it",
        f"acms/{shop.drive.run_id}",
        "-X",
        "ours",
    )
    both = "import sys; a = open('a.py').read(); sys.exit('# keep' in open('b.py').read() and 'A0 = 2' in a)"
    whole = look(shop, test=(sys.executable, "-c", both))
    assert whole is not None
    assert whole.target == shop.drive.run_id


def test_without_a_test_the_gates_say_what_is_new(shop: Shop) -> None:
    """Against what they say of the branch before the merge; as these gates have never been asked before."""
    merge(shop)
    good = look(shop)
    assert good is not None
    assert good.verdict is Verdict.GOOD
    shop.configure(gates=GateSettings(lint_enabled=False, security_enabled=False, unit=passes_unless("B = 2")))
    commit(shop, "c.py", "C = 1\n")
    found = look(shop)
    assert found is not None
    assert (found.verdict, found.target) == (Verdict.BROKEN, shop.entries["ws-02"].patch_id)
    assert found.regression is not None
    assert "UNIT: it ended with 0 at the base commit" in found.regression.output


def test_a_repository_that_is_gone_keeps_nobody_from_the_others(shop: Shop, tmp_path: Path) -> None:
    """It is told, and the exit code says that something is wrong."""
    shop.repository.top.rename(tmp_path / "elsewhere")
    done = watch(shop.store)
    assert list(done.problems) == [shop.drive.run_id]
    assert done.exit_code == 1
