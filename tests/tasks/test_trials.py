"""A patch goes in only if it is valid, admitted, good for the gates and proved; what does not is quarantined."""

from __future__ import annotations

from pathlib import Path

from driven import a_gap
from repositories import git
from tried import FILES, Tried

from prefect_acms.blocks.config import DiscoverySettings, GateSettings
from prefect_acms.blocks.guardrails import GuardrailSettings, ReviewSettings
from prefect_acms.tasks.feedback import said_of_entry
from prefect_acms.tasks.quarantine import kept_ref


def a_ruff_gap(tmp_path: Path, url: str, *files: str) -> Tried:
    """A task about what ruff finds in a.py, an import that is not used, and about these files."""
    gap = a_gap("F401", "a.py", *files, source="ruff", rule_id="F401")
    return Tried(tmp_path, url, gap, discovery=DiscoverySettings(ruff_select=("F",)))


def test_the_proof_says_what_is_gone_and_who_says_so(tmp_path: Path, canonical_url: str) -> None:
    """Fingerprints before and after, the sources' commands and versions, and the tree that was asked about."""
    shop = a_ruff_gap(tmp_path, canonical_url)
    (kept,) = shop.tried(shop.diff(a="A = 1\n")).kept
    proof = shop.entry(kept.entry_id).info["proof"]
    (unused,) = shop.before
    assert proof == {
        "tree": kept.tree, "files": ["a.py"], "before": [unused.fingerprint], "after": [], "gone": [unused.fingerprint],
        "new": [], "command": proof["command"], "versions": proof["versions"], "problem": None,
    }  # fmt: skip
    assert proof["versions"]["ruff"][:1].isdigit() or proof["versions"]["ruff"].startswith("ruff ")
    assert "check" in proof["command"]["ruff"]
    assert shop.entry(kept.entry_id).state == "verified"


def test_what_brings_something_new_stays_out_and_can_still_be_seen(tmp_path: Path, canonical_url: str) -> None:
    """The diff, the reason, the gates, the proof and the tree are kept; the tree through a cleaning up of git."""
    shop = a_ruff_gap(tmp_path, canonical_url)
    trials = shop.tried(shop.diff(a="A = 1\nprint(undefined)\n"))
    assert not trials.kept
    (rejected,) = trials.rejected
    entry = shop.entry(rejected.entry_id)
    assert entry.state == "quarantined"
    assert "brings something new" in (entry.quarantine_reason or "")
    evidence = entry.quarantine_metadata or {}
    assert evidence["gates"], "what the gates said"
    assert entry.info["proof"]["new"]
    top = shop.drive.repository.top
    git(top, "reflog", "expire", "--expire=now", "--all")
    git(top, "gc", "-q", "--prune=now")
    assert git(top, "show", f"{kept_ref(entry)}:a.py") == "A = 1\nprint(undefined)\n"
    assert git(top, "rev-parse", f"{kept_ref(entry)}^{{tree}}").strip() == evidence["tree"]
    assert shop.bench.worktree.tree() == evidence["before"], "the worktree is as it was"


def test_a_gate_s_objection_splits_the_patch_and_keeps_the_guilty_part(tmp_path: Path, canonical_url: str) -> None:
    """One file is good and goes in, the other is quarantined alone; nothing of the whole is kept under a ref."""
    shop = Tried(tmp_path, canonical_url)
    trials = shop.tried(shop.diff(a="A = 2\n", b="BAD = 2\n"))
    assert [kept.files for kept in trials.kept] == [("a.py",)]
    assert [trial.files for trial in trials.rejected] == [("b.py",)]
    refs = shop.drive.repository.refs(f"refs/acms/kept/{shop.drive.run_id}/")
    assert list(refs) == [kept_ref(shop.entry(trials.rejected[0].entry_id))]


def test_the_proof_that_objected_to_the_whole_is_asked_first_of_its_parts(tmp_path: Path, canonical_url: str) -> None:
    """The file by which nothing new came goes in at once; no gate runs again for the one by which it came."""
    shop = a_ruff_gap(tmp_path, canonical_url, "b.py")
    trials = shop.tried(shop.diff(a="A = 1\nprint(undefined)\n", b="B = 2\n"))
    assert [kept.files for kept in trials.kept] == [("b.py",)]
    (rejected,) = trials.rejected
    assert (rejected.files, "brings something new" in rejected.refusal.reason) == (("a.py",), True)
    whole, good, guilty = shop.entries()
    gates = [(entry.quarantine_metadata or {}).get("gates") for entry in (whole, guilty)]
    assert [len(asked or ()) for asked in gates] == [1, 0]
    assert (whole.state, good.state, good.info["proof"]["problem"]) == ("dropped", "verified", None)
    with shop.drive.reading() as dao:
        assert said_of_entry(dao, guilty, rejected.refusal.reason).kind == "proof"


def test_what_was_not_tried_any_more_is_quarantined_and_says_so(tmp_path: Path, canonical_url: str) -> None:
    """After as many tries as may be, what is left of the patch is kept out in one piece."""
    shop = Tried(tmp_path, canonical_url)
    trials = shop.trials()
    trials.most_tries = 1
    trials.bring_in(shop.diff(a="BAD = 1\n", b="B = 2\n"))
    assert not trials.kept
    assert [trial.files for trial in trials.rejected] == [("a.py",), ("b.py",)]
    left = shop.entry(trials.rejected[1].entry_id)
    assert (left.state, left.applied_at) == ("quarantined", None)
    assert (left.quarantine_reason or "").startswith("it was left out after 1 try of other parts of its patch")


def test_a_repository_without_gates_is_told_how_to_name_one(tmp_path: Path, canonical_url: str) -> None:
    """Nothing goes in that nobody has judged; the reason says what to do about it."""
    none = {f"{name}_enabled": False for name in ("lint", "security", "unit", "integration")}
    shop = Tried(tmp_path, canonical_url, gates=GateSettings.model_validate(none))
    (rejected,) = shop.tried(shop.diff(a="A = 2\n")).rejected
    assert "no gate can judge it (there is none: name a command by --lint or --unit" in rejected.refusal.reason


def test_what_policy_refuses_is_quarantined_before_it_is_applied(tmp_path: Path, canonical_url: str) -> None:
    """By `policy_violation`, with the sentence of the policy."""
    rails = GuardrailSettings(required_checks=("SECURITY",))
    shop = Tried(tmp_path, canonical_url, guardrails=rails)
    (rejected,) = shop.tried(shop.diff(a="A = 2\n")).rejected
    entry = shop.entry(rejected.entry_id)
    assert (entry.state, entry.applied_at) == ("quarantined", None)
    assert "SECURITY" in (entry.quarantine_reason or "")
    assert ("policy_violation", None) in shop.trail()
    assert (shop.bench.worktree.path / "a.py").read_text() == FILES["a.py"]


def test_a_part_of_a_patch_is_not_asked_about(tmp_path: Path, canonical_url: str) -> None:
    """The whole may go in and fails a gate; a part of it would need a review: it is quarantined, to be retried."""
    rails = GuardrailSettings(review=ReviewSettings(paths=("a.py",)))
    shop = Tried(tmp_path, canonical_url, guardrails=rails)
    trials = shop.trials()
    diff = shop.diff(a="A = 2\n")
    part = trials._candidate(diff, None, is_part=True)
    assert trials._invalid(part) is None
    refusal = trials.gatekeeper.refusal(part, is_part=True)
    assert refusal is not None
    assert "needs a review: it touches a.py" in refusal.reason
    assert shop.entry(part.entry_id).state == "quarantined"
