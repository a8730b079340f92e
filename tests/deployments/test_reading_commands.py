"""The commands that read: what is in the store, for people and for programs."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from commands import Acms
from pydantic import BaseModel

from prefect_acms.canonical.errors import InvalidValue, NotFound
from prefect_acms.canonical.machines import MACHINES
from prefect_acms.dao.migration import HEAD
from prefect_acms.dao.store import open_store
from prefect_acms.deployments.checkup import checks
from prefect_acms.deployments.cli import cli
from prefect_acms.deployments.client import AcmsClient
from prefect_acms.deployments.lookup import find_patch, find_run, matching, the_one
from prefect_acms.tasks import isolation

from .conftest import DIFF, Stored


def printed(acms: Acms, stored: Stored, *arguments: str) -> Any:
    """What a command prints as JSON."""
    done = acms(*arguments, "--json", "--database-url", stored.url)
    assert done.stderr == ""
    return json.loads(done.stdout)


def documented_keys(command: str) -> list[str]:
    """The keys of the JSON, as the help of the command lists them."""
    found = cli.get_command(cli.make_context("acms", [], resilient_parsing=True), command)
    assert found is not None
    text = " ".join((found.help or "").split())
    listed = re.search(r"has the keys (.+?) in JSON", text)
    assert listed is not None, text
    return re.split(r", | and ", listed[1])


@pytest.mark.parametrize(
    ("command", "arguments"), [("runs", ["runs"]), ("patches", ["patches", "latest"]), ("gaps", ["gaps", "latest"])]
)
def test_the_json_has_the_keys_that_the_help_names(
    acms: Acms, stored: Stored, command: str, arguments: list[str]
) -> None:
    """Programs rely on them: the names and their order are documented."""
    (item,) = printed(acms, stored, *arguments)
    assert list(item) == documented_keys(command)


def test_workers_and_breakers_are_listed_as_the_client_tells_them(acms: Acms, tmp_path: Path) -> None:
    """One of each; where there is no store yet, there is none."""
    url = f"sqlite:///{tmp_path / 'canonical.db'}"
    assert acms("workers", "--database-url", url).stdout == "There is no worker.\n"
    assert acms("breakers", "--database-url", url).stdout == "No tool has a breaker yet.\n"
    with open_store(url).begin() as dao:
        dao.workers.create(worker_type="slot")
        dao.circuit_breakers.create(tool_id="ruff-fix", failure_threshold=5)
    with AcmsClient(url) as client:
        known: dict[str, Sequence[BaseModel]] = {"workers": client.workers(), "breakers": client.breakers()}
    for command, records in known.items():
        told = json.loads(acms(command, "--json", "--database-url", url).stdout)
        assert told == [record.model_dump(mode="json") for record in records]
        assert len(told) == 1
        assert list(told[0]) == documented_keys(command)
    assert "slot" in acms("workers", "--database-url", url).stdout
    assert "ruff-fix  CLOSED  0 of 5" in acms("breakers", "--database-url", url).stdout


def test_runs_are_listed(acms: Acms, stored: Stored) -> None:
    """With id, state and repository; a filter by repository leaves others out."""
    done = acms("runs", "--database-url", stored.url)
    assert stored.run in done.stdout
    assert "quarantined" in done.stdout
    assert "/nowhere/shop" in done.stdout


def test_an_empty_store_says_so(acms: Acms, tmp_path: Path) -> None:
    """And the JSON is an empty list."""
    url = f"sqlite:///{tmp_path / 'empty.db'}"
    assert acms("runs", "--database-url", url).stdout == "There is no run yet.\n"
    assert acms("runs", "--json", "--database-url", url).stdout == "[]\n"


def test_a_run_is_shown_with_its_reasons(acms: Acms, stored: Stored) -> None:
    """Though its repository is gone."""
    done = acms("show", "latest", "--database-url", stored.url)
    for part in (stored.run, "a safety rule was broken", "not asked for", "it does not parse"):
        assert part in done.stdout
    assert printed(acms, stored, "show", stored.run)["run"]["state"] == "quarantined"


def test_lists_can_be_narrowed_to_a_state(acms: Acms, stored: Stored) -> None:
    """A state that does not exist is bad input, with the known ones."""
    assert printed(acms, stored, "patches", "latest", "--state", "committed") == []
    assert len(printed(acms, stored, "gaps", "latest", "--state", "deferred")) == 1
    wrong = acms("gaps", "latest", "--state", "lost", "--database-url", stored.url)
    assert wrong.returncode == 2
    assert "in_progress" in wrong.stderr


def test_a_table_shows_foreign_text_and_does_not_obey_it(acms: Acms, stored: Stored) -> None:
    """A title with an escape sequence stays text, and no line ends in blanks."""
    done = acms("gaps", "latest", "--database-url", stored.url)
    assert "\\x1b[31m" in done.stdout
    assert "\x1b" not in done.stdout
    assert all(line == line.rstrip() for line in done.stdout.splitlines())


def test_a_diff_is_printed_byte_for_byte(acms: Acms, stored: Stored) -> None:
    """What is piped can be applied."""
    for name in (stored.patch, stored.entry, stored.patch.removeprefix("patch_")):
        assert acms("diff", name, "--database-url", stored.url).raw == DIFF


def test_the_trail_is_verified_and_exported(acms: Acms, stored: Stored) -> None:
    """All of it, or one run's."""
    assert acms("audit", "verify", "--database-url", stored.url).stdout.startswith("Intact: ")
    found = printed(acms, stored, "audit", "verify", "latest")
    assert (found["ok"], found["chains"], found["first_bad"]) == (True, 1, None)
    lines = acms("audit", "export", "latest", "--database-url", stored.url).stdout.splitlines()
    assert len(lines) == found["rows"]
    assert {json.loads(line)["context"]["run_id"] for line in lines} == {stored.run}


def test_a_trail_can_be_exported_to_a_file(acms: Acms, stored: Stored, tmp_path: Path) -> None:
    """The same lines as on the standard output."""
    done = acms("audit", "export", "--output", str(tmp_path / "trail.jsonl"), "--database-url", stored.url)
    assert (done.stdout, done.returncode) == ("", 0)
    assert (tmp_path / "trail.jsonl").read_text() == acms("audit", "export", "--database-url", stored.url).stdout


def test_a_broken_trail_is_named_and_exits_with_1(acms: Acms, stored: Stored, tmp_path: Path) -> None:
    """One sentence with the chain and the row, or the facts as JSON."""
    copy = tmp_path / "copy.db"
    with sqlite3.connect(stored.url.removeprefix("sqlite:///")) as source, sqlite3.connect(copy) as target:
        source.backup(target)
        target.execute("DROP TRIGGER state_transitions_no_update")
        target.execute("UPDATE state_transitions SET reason = 'forged' WHERE chain_seq = 2 AND run_id IS NOT NULL")
    url = f"sqlite:///{copy}"
    done = acms("audit", "verify", "--database-url", url)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"acms: audit chain {stored.run} is broken at position 2")
    assert acms("audit", "verify", "--json", "--database-url", url).returncode == 1


@pytest.mark.parametrize(
    "arguments",
    [["show", "nobody"], ["gaps", "nobody"], ["patches", "nobody"], ["diff", "nobody"], ["audit", "verify", "nobody"]],
    ids=" ".join,
)
def test_an_unknown_id_is_bad_input(acms: Acms, stored: Stored, arguments: list[str]) -> None:
    """One sentence, exit 2."""
    done = acms(*arguments, "--database-url", stored.url)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"acms: there is no (run|patch) 'nobody'\n", done.stderr)


@pytest.mark.parametrize(
    "command", [["runs"], ["show", "latest"], ["audit", "verify"], ["db", "current"]], ids=" ".join
)
def test_a_database_that_is_none_is_bad_input(acms: Acms, tmp_path: Path, command: list[str]) -> None:
    """One sentence, exit 2, and the file is as it was."""
    path = tmp_path / "corrupt.db"
    path.write_bytes(b"this is not a database at all" * 100)
    done = acms(*command, "--database-url", f"sqlite:///{path}")
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"acms: the canonical store .+\n", done.stderr)
    assert path.read_bytes() == b"this is not a database at all" * 100


def test_the_database_is_migrated_up_and_down(acms: Acms, tmp_path: Path) -> None:
    """And its revision told at each step."""
    url = f"sqlite:///{tmp_path / 'canonical.db'}"
    assert "does not exist yet" in acms("db", "current", "--database-url", url).stdout
    assert f"at revision {HEAD}" in acms("db", "upgrade", "--database-url", url).stdout
    assert "at revision 005" in acms("db", "downgrade", "005", "--database-url", url).stdout
    told = json.loads(acms("db", "current", "--json", "--database-url", url).stdout)
    assert (told["current"], told["head"]) == ("005", HEAD)
    assert acms("db", "upgrade", "999", "--database-url", url).returncode == 2


def test_the_doctor_finds_everything_in_place(acms: Acms, tmp_path: Path) -> None:
    """Here it is; and nothing is made by looking."""
    url = f"sqlite:///{tmp_path / 'none' / 'canonical.db'}"
    done = acms("doctor", "--json", "--database-url", url, ACMS_HOME=str(tmp_path / "home"))
    found = {check["what"]: check["state"] for check in json.loads(done.stdout)}
    assert {"python", "git", "isolation", "store", "home", "prefect server"} <= set(found)
    assert "bad" not in found.values()
    assert done.returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_the_doctor_names_what_is_wrong(acms: Acms, tmp_path: Path) -> None:
    """No git, a broken database, a server that does not answer: each with a remedy, and exit 1."""
    (tmp_path / "corrupt.db").write_bytes(b"this is not a database at all" * 100)
    done = acms(
        "doctor", "--json", "--database-url", f"sqlite:///{tmp_path / 'corrupt.db'}",
        PATH=str(tmp_path), PREFECT_API_URL="http://127.0.0.1:9/api",
    )  # fmt: skip
    bad = {check["what"]: check["remedy"] for check in json.loads(done.stdout) if check["state"] == "bad"}
    assert set(bad) == {"git", "store", "prefect server"}
    assert all(bad.values())
    assert done.returncode == 1


def test_the_doctor_says_what_is_not_isolated(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without bubblewrap is a warning, with what that means."""
    monkeypatch.setattr(isolation, "_bubblewrap", lambda: None)
    (check,) = (check for check in checks() if check.what == "isolation")
    assert check.state == "warning"
    assert "bwrap) is not installed; tools and gates can read your files" in check.found


def test_the_machines_are_told_in_three_forms(acms: Acms) -> None:
    """Every edge is in the JSON and in the table, every diagram in mermaid."""
    told = json.loads(acms("machines", "--json").stdout)
    assert [machine["entity"] for machine in told["machines"]] == list(MACHINES)
    edges = sum(len(machine["edges"]) for machine in told["machines"])
    assert edges == sum(len(row) for machine in MACHINES.values() for row in machine.table.values())
    assert acms("machines", "task", "--format", "mermaid").stdout == MACHINES["task"].mermaid()
    table = acms("machines", "gap").stdout.splitlines()
    assert len(table) == 1 + sum(len(row) for row in MACHINES["gap"].table.values())


IDS = ["run_01AAAAAAAAAAAAAAAAAAAAAA11", "run_01AAAAAAAAAAAAAAAAAAAAAA22", "run_01BBBBBBBBBBBBBBBBBBBBBB11"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (IDS[0], [IDS[0]]),
        (IDS[0].lower(), [IDS[0]]),
        ("01B", [IDS[2]]),
        ("run_01B", [IDS[2]]),
        ("22", [IDS[1]]),
        ("b11", [IDS[2]]),
        ("01A", IDS[:2]),
        ("", []),
        ("AAA", []),
    ],
)
def test_a_part_of_an_id_is_its_beginning_or_its_end(text: str, expected: list[str]) -> None:
    """With the prefix or without it, in any case of letters."""
    assert matching(IDS, text) == expected


def test_a_part_that_fits_several_is_refused() -> None:
    """With the ids that it fits."""
    with pytest.raises(InvalidValue, match=r"it fits run_01A.*, run_01A"):
        the_one("run", IDS, "01A")
    with pytest.raises(NotFound):
        the_one("run", IDS, "zz")


def test_runs_and_patches_are_found_by_parts(stored: Stored) -> None:
    """The end of an id is what people copy."""
    store = open_store(stored.url)
    assert find_run(store, stored.run[-8:]).id == stored.run
    assert find_run(store, "latest").id == stored.run
    assert find_patch(store, stored.patch[-8:]).id == stored.patch
    assert find_patch(store, stored.entry[-8:]).id == stored.patch
