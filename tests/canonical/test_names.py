"""Names that older files use: accepted on import, never stored."""

from __future__ import annotations

import pytest

from prefect_acms.canonical.errors import UnknownName
from prefect_acms.canonical.machines import MACHINES
from prefect_acms.canonical.names import OLDER, stored_name

PATCHES = (
    "PENDING VALIDATING STAGED BLOCKED APPLIED VERIFIED ROLLED_BACK QUARANTINED EXPIRED SUPERSEDED",
    "created validated queued awaiting_review applied verified rolled_back quarantined dropped dropped",
)
OLDER_NAMES = [
    *[("run", name, "succeeded") for name in ("SUCCESS", "SUCCEEDED", "COMPLETED", "completed")],
    *[("task", name, "completed") for name in ("SUCCESS", "SUCCEEDED", "COMPLETED", "completed")],
    *[(entity, name, "failed") for entity in ("run", "workstream", "task") for name in ("FAILED", "failure")],
    *[("run", name, "canceled") for name in ("CANCELED", "CANCELLED", "canceled", "cancelled")],
    *[
        (entity, name, "cancelled")
        for entity in ("workstream", "task")
        for name in ("CANCELED", "CANCELLED", "canceled", "cancelled")
    ],
    ("run", "INITIALIZING", "pending"),
    ("task", "ready", "queued"),
    ("task", "READY", "queued"),
    ("workstream", "pending", "planned"),
    ("workstream", "running", "executing"),
    *[("patch_ledger", older, stored) for older, stored in zip(*(row.split() for row in PATCHES), strict=True)],
]


@pytest.mark.parametrize(("entity", "older", "stored"), OLDER_NAMES)
def test_an_older_name_becomes_the_stored_one(entity: str, older: str, stored: str) -> None:
    """Every row of the table of older names."""
    assert stored_name(entity, older) == stored


@pytest.mark.parametrize("entity", MACHINES)
def test_a_stored_name_is_kept(entity: str) -> None:
    """A name that is stored today is never taken for an older one."""
    for state in MACHINES[entity].states:
        assert stored_name(entity, state.value) == state.value


def test_no_older_name_hides_a_stored_one_or_leads_nowhere() -> None:
    """Each older name is written out above, differs from all stored ones, and leads to a state that exists."""
    for entity, names in OLDER.items():
        stored = {state.value for state in MACHINES[entity].states}
        assert set(names.values()) <= stored
        assert not {older for older, new in names.items() if older in stored and older != new}
        assert {(entity, older, new) for older, new in names.items() if older not in stored} <= set(OLDER_NAMES)


@pytest.mark.parametrize("name", ["", "Succeeded", "done", "READY", "ready", "executing"])
def test_an_unknown_name_is_an_error_that_lists_the_known_ones(name: str) -> None:
    """Nothing is guessed: a name of another entity or another case is unknown here."""
    with pytest.raises(UnknownName) as refused:
        stored_name("run", name)
    assert refused.value.facts["known"] == [
        *("pending", "running", "succeeded", "failed", "quarantined", "canceled"),
        *("CANCELED", "CANCELLED", "COMPLETED", "FAILED", "INITIALIZING", "SUCCEEDED", "SUCCESS"),
        *("cancelled", "completed", "failure"),
    ]
    assert f"unknown run state {name!r}" in str(refused.value)


def test_an_unknown_entity_is_told_with_the_known_ones() -> None:
    """The entity is a name too."""
    with pytest.raises(UnknownName, match=r"unknown entity 'step': expected one of .*'run', 'workstream', 'task'"):
        stored_name("step", "completed")
