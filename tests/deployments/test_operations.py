"""`acms stuck`, `acms override` and `acms sweep`: what they print, and what they exit with."""

from __future__ import annotations

import json
import os
import pwd
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from commands import Acms
from operated import Rows, everything
from refusals import one_sentence

from prefect_acms.canonical.overrides import Override
from prefect_acms.dao.store import Store, open_store
from prefect_acms.deployments.cli import cli
from prefect_acms.deployments.surroundings import caller

ORDERED = ("--operator", "ada", "--reason", "it hangs")


@pytest.fixture
def rows(canonical_url: str) -> Rows:
    """A run of yesterday that nobody drives, with a task that runs in it."""
    yesterday = datetime.now(UTC) - timedelta(days=1)
    return Rows(open_store(canonical_url, clock=lambda: yesterday))


def help_of(command: str) -> str:
    found = cli.get_command(cli.make_context("acms", [], resilient_parsing=True), command)
    assert found is not None
    return " ".join((found.help or "").split())


def test_nothing_is_stuck_in_an_empty_store_and_none_is_made(acms: Acms, tmp_path: Path) -> None:
    """Exit 0 and a sentence, or an empty list; and there is nothing to sweep."""
    url = f"sqlite:///{tmp_path / 'none.db'}"
    done = acms("stuck", "--database-url", url)
    assert (done.returncode, done.stdout) == (0, "Nothing is stuck.\n")
    assert acms("stuck", "--json", "--database-url", url).stdout == "[]\n"
    assert acms("sweep", "--database-url", url).stdout == "Nothing to sweep.\n"
    assert list(tmp_path.iterdir()) == []


def test_what_is_stuck_is_listed_with_the_command_that_helps(acms: Acms, rows: Rows) -> None:
    """One line each, exit 1; the JSON has the keys that the help names."""
    task, worker = rows.running(rows.stream(), timeout_sec=60)
    done = acms("stuck", "--database-url", rows.store.url)
    assert (done.returncode, done.stderr) == (1, "")
    lines = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert list(lines) == ["KIND", "run", "workstream", "task", "worker"]
    assert f"acms resume {rows.run_id}" in lines["run"]
    assert f"acms override fail-task {task} --operator NAME --reason TEXT" in lines["task"]
    assert "acms sweep" in lines["worker"]
    assert "24 h 00 min" in lines["worker"]
    found = json.loads(acms("stuck", "--json", "--database-url", rows.store.url).stdout)
    listed = re.search(r"has the keys (.+?) in JSON", help_of("stuck"))
    assert listed is not None
    assert list(found[0]) == re.split(r", | and ", listed[1])
    assert [item["id"] for item in found][2:] == [task, worker]


def test_options_overrule_the_ages(acms: Acms, rows: Rows) -> None:
    """With ages beyond a day only the run is stuck; an age must be a number above 0."""
    rows.running(rows.stream(), timeout_sec=60)
    ages = [f"--{name}-sec=200000" for name in ("workstream-idle", "task-overdue", "unresponsive-after")]
    found = json.loads(acms("stuck", "--json", *ages, "--database-url", rows.store.url).stdout)
    assert [item["kind"] for item in found] == ["run"]
    for wrong in ("0", "soon"):
        sentence = one_sentence(acms("stuck", "--task-overdue-sec", wrong, "--database-url", rows.store.url))
        assert "--task-overdue-sec" in sentence


def test_a_sweep_says_what_it_has_done(acms: Acms, rows: Rows) -> None:
    """In one sentence, or as ids; the second one has nothing to do."""
    task, worker = rows.running(rows.stream())
    done = acms("sweep", "--json", "--database-url", rows.store.url)
    swept = json.loads(done.stdout)
    listed = re.search(r"has the keys (.+?)\.", help_of("sweep"))
    assert listed is not None
    assert list(swept) == re.split(r", | and ", listed[1])
    assert (swept["shut_down"], swept["retrying"]) == ([worker], [task])
    assert acms("sweep", "--database-url", rows.store.url).stdout == "Nothing to sweep.\n"


def test_an_override_tells_each_change(acms: Acms, rows: Rows) -> None:
    """The id may be a unique part; JSON has the keys that the help names."""
    task, worker = rows.running(rows.stream())
    done = acms("override", "fail-task", task[-8:], *ORDERED, "--database-url", rows.store.url)
    assert done.stdout == f"task {task}: running -> failed\nworker {worker}: busy -> idle\n"
    done = acms("override", "reset-task", task, *ORDERED, "--json", "--database-url", rows.store.url)
    told = json.loads(done.stdout)
    listed = re.search(r"has the keys (.+?) \(each with (.+?)\)", help_of("override"))
    assert listed is not None
    assert list(told) == re.split(r", | and ", listed[1])
    assert list(told["changes"][0]) == re.split(r", | and ", listed[2])
    assert told["changes"][0]["to_state"] == "pending"
    done = acms("override", "quarantine-run", "latest", *ORDERED, "--database-url", rows.store.url)
    assert done.returncode == 2  # its repository is nowhere
    assert "/nowhere/shop" in done.stderr


def test_every_action_is_in_the_help() -> None:
    """Each is one of the orders that there are."""
    assert [action for action in Override if action.value not in help_of("override")] == []


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["fail-task", "TASK"], "--operator"),
        (["fail-task", "TASK", "--operator", "ada"], "--reason"),
        (["fail-task", "TASK", "--operator", " ", "--reason", "x"], "operator"),
        (["explode-task", "TASK", *ORDERED], "explode-task"),
        (["fail-task", "nobody", *ORDERED], "there is no task 'nobody'"),
        (["fail-workstream", "nobody", *ORDERED], "there is no workstream 'nobody'"),
        (["drop-patch", "nobody", *ORDERED], "there is no patch 'nobody'"),
        (["reset-breaker", "nobody", *ORDERED], "there is no circuit breaker"),
    ],
)
def test_bad_orders_are_bad_input(acms: Acms, rows: Rows, arguments: list[str], named: str) -> None:
    """One sentence that names what is wrong, exit 2, and nothing changed."""
    task = rows.task(rows.stream())
    before = everything(rows.store)
    filled = [task if word == "TASK" else word for word in arguments]
    assert named in one_sentence(acms("override", *filled, "--database-url", rows.store.url))
    assert everything(rows.store) == before


def test_what_is_not_legal_is_refused_with_the_services_sentence(acms: Acms, rows: Rows) -> None:
    """Exit 1: the order was understood."""
    task = rows.task(rows.stream())
    done = acms("override", "complete-task", task, *ORDERED, "--database-url", rows.store.url)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"task {task} is pending: it can't take validation_passed" in done.stderr


def test_a_driven_run_is_bad_input(acms: Acms, canonical_url: str) -> None:
    """Exit 2, with the process that drives it."""
    store: Store = open_store(canonical_url)
    rows = Rows(store)
    task, _ = rows.running(rows.stream())
    rows.drive()
    assert "is driven by process" in one_sentence(
        acms("override", "fail-task", task, *ORDERED, "--database-url", canonical_url)
    )


def test_a_caller_without_a_name_is_told_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container that runs as any user has no entry for it; `acms cancel` and the view's questions go on."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    assert caller() == f"uid {os.getuid()}"
