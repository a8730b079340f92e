"""`acms rollback` and `acms regress`: what they say, what they return, and what they ask for."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from commands import Acms
from repositories import git
from shops import FILES, STACKED, Shop, ended_shop

BY = ("--operator", "ada", "--reason", "it broke the shop")


MIXED = (*STACKED[:2], ("ws-03", "b.py", "B = 1", "B = 2"))


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """A run that has ended, with two patches on the same line and one in another file."""
    return ended_shop(tmp_path, MIXED)


def test_a_rollback_is_shown_then_done(acms: Acms, shop: Shop) -> None:
    """As text and as JSON, before and after; what is refused has exit code 1, bad input 2."""
    store = ("--database-url", shop.store.url)
    first, second, third = (entry.patch_id for entry in shop.entries.values())
    with shop.unchanged():
        shown = acms("rollback", first[-8:], "--dry-run", *store)
        plan = acms("rollback", first, "--dry-run", "--json", *store)
        refused = acms("rollback", first, "--no-dependents", *BY, *store)
        nobody = acms("rollback", first, *store)
        unknown = acms("rollback", "patch_nowhere", *BY, *store)
    assert shown.returncode == 0
    lines = shown.stdout.splitlines()
    assert lines[0] == f"Reverts on branch acms/{shop.drive.run_id}, in this order:"
    assert (second in lines[2], first in lines[3]) == (True, True)
    assert f"Patches of the run that stay: {third}" in lines
    assert [step["patch_id"] for step in json.loads(plan.stdout)["steps"]] == [second, first]
    assert (refused.returncode, second in refused.stderr) == (1, True)
    assert (nobody.returncode, "--reason and --operator are needed" in nobody.stderr) == (2, True)
    assert unknown.returncode == 2
    done = acms("rollback", "latest", "--json", *BY, *store)
    told = json.loads(done.stdout)
    assert (done.returncode, told["operator"], len(told["plan"]["steps"])) == (0, "ada", 3)
    assert all(step["revert"] for step in told["plan"]["steps"])
    assert shop.shown() == FILES["a.py"]
    again = acms("rollback", "latest", *BY, *store)
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)


def test_a_terminal_is_asked(shop: Shop) -> None:
    """Whoever says no has changed nothing."""
    ours, theirs = pty.openpty()
    code = "import sys; from prefect_acms.deployments.cli import main; main(sys.argv[1:])"
    words = ["rollback", "latest", *BY, "--database-url", shop.store.url]
    with shop.unchanged():
        os.write(ours, b"n\n")
        done = subprocess.run(
            [sys.executable, "-c", code, *words], stdin=theirs, capture_output=True, text=True, check=False
        )
    assert (done.returncode, "Roll that back? [y/N]" in done.stderr) == (130, True)
    assert "Reverts on branch" in done.stdout
    os.close(ours)
    os.close(theirs)


def test_a_regression_is_told_with_the_way_back(acms: Acms, shop: Shop) -> None:
    """The command that is printed is one that works."""
    store = ("--database-url", shop.store.url)
    test = f"{sys.executable} -c \"import sys; sys.exit('B = 2' in open('b.py').read())\""
    patch = shop.entries["ws-03"].patch_id
    told = acms("regress", "latest", "--test", test, *store)
    assert told.returncode == 0
    assert f"patch {patch} of task ws-03/one, made by" in told.stdout
    assert f"acms rollback {patch} --operator NAME --reason TEXT" in told.stdout
    found = json.loads(acms("regress", "latest", "--test", test, "--json", *store).stdout)
    assert (found["found"]["patch_id"], found["suspects"]) == (patch, [])
    passes = acms("regress", "latest", "--test", "true", *store)
    assert (passes.returncode, "it has to fail, but there it passes" in passes.stderr) == (2, True)


def test_a_watch_says_what_to_call(acms: Acms, shop: Shop) -> None:
    """Once for a head; an empty store has nothing to look at."""
    top = shop.repository.top
    git(top, "merge", "-q", "--ff-only", f"acms/{shop.drive.run_id}")
    test = f"{sys.executable} -c \"import sys; sys.exit('B = 2' in open('b.py').read())\""
    words = ("watch", str(top), "--branch", "main", "--test", test, "--database-url", shop.store.url)
    found = acms(*words)
    command = f"acms rollback {shop.entries['ws-03'].patch_id} --onto main --operator NAME --reason TEXT"
    assert (found.returncode, command in found.stdout) == (1, True)
    again = acms(*words, "--json")
    assert (again.returncode, json.loads(again.stdout)) == (0, {"found": [], "known": 1, "problems": {}})
    nothing = acms("watch", "--database-url", f"sqlite:///{top}/none.db")
    assert (nothing.returncode, nothing.stdout.splitlines()[0]) == (0, "There is no merge to look at.")
