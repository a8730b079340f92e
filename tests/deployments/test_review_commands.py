"""`acms review` and `acms quarantine`: what waits or was put aside is found, seen and answered, by name and reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from commands import Acms
from refusals import one_sentence
from repositories import git
from tried import Flagged, Tried, Unanswered

ADA = ("--operator", "ada", "--reason", "seen")


@pytest.fixture
def unanswered(tmp_path: Path, canonical_url: str) -> Unanswered:
    """A run that has ended while its patch waits."""
    return Unanswered(tmp_path, canonical_url)


@pytest.fixture
def flagged(tmp_path: Path, canonical_url: str) -> Flagged:
    """A run whose patch was quarantined."""
    return Flagged(tmp_path, canonical_url)


def on(shop: Tried, *arguments: str) -> tuple[str, ...]:
    """The arguments of a command on the store of that run."""
    return (*arguments, "--database-url", shop.drive.store.url)


def told(acms: Acms, shop: Tried, *arguments: str) -> Any:
    """What a command says as JSON; it must have worked."""
    done = acms(*on(shop, *arguments), "--json")
    assert done.returncode == 0, done
    return json.loads(done.stdout)


def test_a_waiting_patch_is_listed_shown_and_approved(acms: Acms, unanswered: Unanswered) -> None:
    """By a part of its id; the diff, the reasons and the gates are shown; the approval commits it."""
    (listed,) = told(acms, unanswered, "review", "list")
    assert (listed["entry_id"], listed["state"]) == (unanswered.waiting_entry, "awaiting_review")
    assert listed["review"]["gates"] == ["UNIT"]
    assert "diff" not in listed
    assert told(acms, unanswered, "review", "list", "latest") == [listed]
    table = acms(*on(unanswered, "review", "list"))
    assert listed["id"] in table.stdout.replace("\n", "") or "a.py" in table.stdout
    shown = acms(*on(unanswered, "review", "show", listed["id"][-8:])).stdout
    assert "- the policy wants every patch to be seen" in shown
    assert "+A = 2" in shown
    assert told(acms, unanswered, "review", "show", listed["id"])["diff"].startswith("diff --git")
    done = told(acms, unanswered, "review", "approve", listed["id"], *ADA)
    assert (done["state"], unanswered.shown()) == ("committed", "A = 2\n")
    assert (
        git(unanswered.drive.repository.top, "rev-parse", f"acms/{unanswered.drive.run_id}").strip() == done["commit"]
    )
    assert acms(*on(unanswered, "review", "list")).stdout == "No patch waits for a review.\n"
    again = acms(*on(unanswered, "review", "approve", listed["id"], *ADA))
    assert "waits for no review: it is committed" in one_sentence(again)


def test_a_waiting_patch_is_rejected(acms: Acms, unanswered: Unanswered) -> None:
    """It is dropped, by name and reason; without them the command refuses."""
    assert "--operator" in one_sentence(acms(*on(unanswered, "review", "reject", unanswered.waiting_entry)))
    blank = ("--operator", " ", "--reason", "x")
    assert "operator" in one_sentence(acms(*on(unanswered, "review", "reject", unanswered.waiting_entry, *blank)))
    done = told(acms, unanswered, "review", "reject", unanswered.waiting_entry, *ADA)
    assert done["state"] == "dropped"
    assert ("review_rejected", "ada") in unanswered.trail()


def test_a_void_approval_says_what_waits_instead(acms: Acms, unanswered: Unanswered) -> None:
    """Exit 1 and one sentence; nothing is committed."""
    unanswered.lands(b="B = 2\n")
    done = acms(*on(unanswered, "review", "approve", unanswered.waiting_entry, *ADA))
    assert done.returncode == 1
    assert "is void: the run's branch has moved on" in done.stderr


def test_a_quarantined_patch_is_listed_shown_and_retried(acms: Acms, flagged: Flagged) -> None:
    """With its reason, its gates' output, the ref that keeps its tree; the retry is another patch."""
    (listed,) = told(acms, flagged, "quarantine", "list")
    assert listed["entry_id"] == flagged.old
    assert git(flagged.drive.repository.top, "show", f"{listed['kept_ref']}:a.py") == "import os\n\nA = 2\n"
    evidence = told(acms, flagged, "quarantine", "show", listed["id"])
    assert [gate["type"] for gate in evidence["gates"] if gate["state"] == "FAILED"] == ["UNIT"]
    shown = acms(*on(flagged, "quarantine", "show", listed["id"])).stdout
    for part in (listed["reason"], listed["kept_ref"], "gate UNIT", "+A = 2"):
        assert part in shown
    failed = acms(*on(flagged, "quarantine", "retry", listed["id"], *ADA))
    assert (failed.returncode, "quarantined" in failed.stdout) == (1, True)
    flagged.flag.unlink()
    done = told(acms, flagged, "quarantine", "retry", listed["id"], *ADA)
    assert done["state"] == "committed"
    assert done["id"] != listed["id"]
    refused = acms(*on(flagged, "quarantine", "retry", listed["id"], *ADA))
    assert (refused.returncode, "not quarantined" in refused.stderr) == (1, True)


def test_a_quarantined_patch_is_dropped(acms: Acms, flagged: Flagged) -> None:
    """Its tree is kept no longer, its diff stays stored."""
    done = told(acms, flagged, "quarantine", "drop", flagged.old, *ADA)
    assert done["state"] == "dropped"
    assert not flagged.drive.repository.refs(f"refs/acms/kept/{flagged.drive.run_id}/")
    assert "+A = 2" in acms(*on(flagged, "diff", flagged.old)).stdout
    assert acms(*on(flagged, "quarantine", "list")).stdout == "No patch of this run is quarantined.\n"
