"""A secret never reaches the database or an event."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from prefect_acms.dao.redaction import HIDDEN, Scrubber, environment_redactor, redactor_of
from prefect_acms.dao.store import open_store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prefect_acms.canonical.events import Event

SECRET = "hunter2-" + "x9" * 8


@pytest.mark.parametrize(
    "name",
    [
        "GITHUB_TOKEN", "token", "MY_SECRET_THING", "DB_PASSWORD", "OPENAI_API_KEY", "apikey", "AWS_ACCESS_KEY_ID",
        "SSH_PRIVATE_KEY", "GOOGLE_CREDENTIALS", "ANTHROPIC_KEY", "AZURE_PAT",
    ],
)  # fmt: skip
def test_values_of_variables_that_look_like_keys_are_hidden(name: str) -> None:
    """Wherever they stand in a text, as often as they do."""
    redact = environment_redactor({name: SECRET})
    assert redact(f"curl -H 'X: {SECRET}' {SECRET}") == f"curl -H 'X: {HIDDEN}' {HIDDEN}"


@pytest.mark.parametrize("name", ["PATH", "HOME", "KEYBOARD", "MONKEY", "LANG", "PATCH"])
def test_other_variables_are_not(name: str) -> None:
    """A path in an error message stays readable."""
    assert environment_redactor({name: SECRET})(SECRET) == SECRET


def test_short_values_are_left_alone() -> None:
    """Hiding `1` or `true` would blank out ordinary words."""
    assert environment_redactor({"TOKEN": "true"})("true") == "true"


def test_of_two_secrets_that_overlap_the_longer_one_is_hidden() -> None:
    """No tail of it stays."""
    assert redactor_of({"abcdefgh", "abcdefghijkl"})("abcdefghijkl") == HIDDEN


def test_json_is_cleaned_all_through() -> None:
    """Keys, values, lists in lists; numbers and nothing stay."""
    scrub = Scrubber(redactor_of({SECRET}))
    assert scrub.value({SECRET: [1, None, True, {"a": (SECRET, f"<{SECRET}>")}]}) == {
        HIDDEN: [1, None, True, {"a": [HIDDEN, f"<{HIDDEN}>"]}]
    }


def test_no_file_of_the_database_holds_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reasons, errors, metadata of rows and events, output of gates, artifacts: searched for in the bytes on disk."""
    monkeypatch.setenv("ACMS_TEST_TOKEN", SECRET)
    store = open_store(f"sqlite:///{tmp_path / 'canonical.db'}")
    told: list[Event] = []

    def listen(events: Sequence[Event]) -> None:
        told.extend(events)

    store.subscribe(listen)
    said: dict[str, Any] = {
        "stdout": f"token {SECRET}",
        "stderr": SECRET,
        "exit_code": 1,
        "duration_sec": 1,
        "timed_out": False,
    }
    with store.begin() as dao:
        run = dao.runs.create(repo_root="/r", reason=SECRET, metadata={"env": SECRET}, config={"env": [SECRET]})
        dao.runs.advance(run.id, "run_started", reason=SECRET, event_metadata={SECRET: SECRET})
        gate = dao.test_gates.create(run_id=run.id, gate_type="UNIT", command=["curl", SECRET])
        dao.test_gates.advance(gate.id, "gate_started")
        dao.test_gates.advance(gate.id, "unexpected_exit_code", **said)
        phase = dao.phases.create(run_id=run.id, name="summary", artifacts={"log": SECRET})
        dao.phases.finish(phase.id, "completed", {"more": SECRET})
        dao.runs.change(run.id, metadata={"later": SECRET})
        dao.runs.note(run.id, "drift_detected", reason=f"saw {SECRET}")  # type: ignore[arg-type]
        dao.runs.advance(run.id, "run_crashed", error=f"failed with {SECRET}")
        assert dao.test_gates.get(gate.id).stdout == f"token {HIDDEN}"
    store.close()
    stored = b"".join(file.read_bytes() for file in sorted(tmp_path.iterdir()) if file.is_file())
    assert SECRET.encode() not in stored
    assert HIDDEN.encode() in stored
    assert SECRET not in repr(told)


def test_somebody_else_may_take_the_secrets_out(tmp_path: Path) -> None:
    """`redact` is handed in, for example with the secrets of Prefect blocks."""
    store = open_store(f"sqlite:///{tmp_path / 'canonical.db'}", redact=lambda text: text.replace("block", "***"))
    with store.begin() as dao:
        run = dao.runs.create(repo_root="/r", reason="a block", metadata={"x": "block"})
        assert run.info == {"x": "***"}
        assert dao.transitions.of_run(run.id)[0].reason == "a ***"
    store.close()
