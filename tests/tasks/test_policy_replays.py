"""Stored patches under another policy: what would change, from what is stored, without a change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from driven import a_gap
from operated import everything
from tried import Tried

from prefect_acms.blocks.guardrails import GuardrailSettings
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.store import Store, open_store
from prefect_acms.tasks.policies import Policy, RepositoryPolicy, policy_record
from prefect_acms.tasks.policy_replays import Replayed, replay

MARKER = "A = 2\n<<<<<<< ours\n"


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, RunRow]:
    """A run with a patch that is kept, one that the policy refused and one that broke a rule of every policy."""
    folder = tmp_path_factory.mktemp("past")
    rails = GuardrailSettings.model_validate({"limits": {"max_lines_per_file": 4}})
    shop = Tried(folder, f"sqlite:///{folder}/canonical.db", guardrails=rails)
    for text in ("A = 2\n", "A = 3\n" * 9, MARKER):
        shop.tried(shop.diff(a=text))
    with shop.drive.reading() as dao:
        return shop.drive.store, dao.runs.get(shop.drive.run_id)


def ends(past: tuple[Store, RunRow], **policy: Any) -> list[tuple[str, str]]:
    """What became of each patch, and what would by this policy."""
    return [(one.was.value, one.now.value) for one in told(past, **policy)]


def told(past: tuple[Store, RunRow], **policy: Any) -> list[Replayed]:
    """What would become of each patch by this policy."""
    store, run = past
    return replay(store, GuardrailSettings.model_validate(policy), [run])


def test_its_own_policy_changes_nothing(past: tuple[Store, RunRow]) -> None:
    """What was kept passes, what was refused is refused."""
    found = told(past, limits={"max_lines_per_file": 4})
    assert not any(one.changes for one in found)
    assert [one.was for one in found] == ["passed", "refused", "refused"]


def test_another_policy_refuses_asks_or_lets_in(past: tuple[Store, RunRow]) -> None:
    """By its limits, its paths and its checks; a conflict marker is let in by none."""
    (kept, long, marker) = told(past)
    assert ((kept.was, kept.now), (long.was, long.now)) == (("passed", "passed"), ("refused", "passed"))
    assert (marker.now, marker.reasons[0][:15]) == ("refused", "CONFLICT_MARKER")
    assert ends(past, review={"paths": ["a.py"]})[:2] == [("passed", "review"), ("refused", "review")]
    assert ends(past, protected_paths=["a.py"])[0] == ("passed", "refused")
    assert ends(past, required_checks=["SECURITY"])[0] == ("passed", "refused")
    assert ends(past, required_checks=["UNIT"])[0] == ("passed", "passed")
    (first, *_) = told(past, forbidden=["create"], allowed_tools=["aider"])
    assert first.reasons == ("the policy allows the tools aider, not ruff-fix",)


def test_the_repository_s_own_policy_goes_on_tightening(tmp_path: Path) -> None:
    """As the run has kept it: a policy file that is tried does not take its place."""
    shop = Tried(tmp_path, f"sqlite:///{tmp_path}/canonical.db")
    shop.tried(shop.diff(a="A = 2\n"))
    own = RepositoryPolicy("acms.toml", Policy.model_validate({"version": 1, "review": {"paths": ["a.py"]}}))
    with shop.drive.begin() as dao:
        row = dao.phases.create(run_id=shop.drive.run_id, name="configure")
        dao.phases.finish(row.id, "completed", {"policy": policy_record(own)})
        run = dao.runs.get(shop.drive.run_id)
    (one,) = replay(shop.drive.store, Policy.model_validate({"version": 1, "limits": {"max_files": 3}}), [run])
    assert (one.was, one.now, one.reasons) == ("review", "review", ("it touches a.py",))


def test_what_was_refused_for_a_cause_that_is_not_stored_stays_refused(tmp_path: Path) -> None:
    """A file that is not there in the base tree: the patch alone does not show it."""
    shop = Tried(tmp_path, f"sqlite:///{tmp_path}/canonical.db")
    diff = shop.diff(a="A = 2\n").replace(b"-A = 1", b"-A = 9")
    shop.bench.worktree.reset()
    shop.tried(diff)
    with shop.drive.reading() as dao:
        run = dao.runs.get(shop.drive.run_id)
    (one,) = told((shop.drive.store, run))
    assert (one.was, one.now) == ("refused", "refused")
    assert one.reasons[0].startswith("it was refused by ")


def test_a_replay_changes_nothing(past: tuple[Store, RunRow]) -> None:
    """Not a row, and it needs neither the repository nor its driver."""
    store, run = past
    before = everything(store)
    replay(open_store(store.url), GuardrailSettings(), [run])
    assert everything(store) == before


def test_a_patch_that_changes_the_repository_s_policy_is_kept_out(tmp_path: Path) -> None:
    """Whatever a person would say; what it does to other parts of pyproject.toml is not meant."""
    gap = a_gap("x", "a.py", "pyproject.toml", source="elsewhere")
    shop = Tried(tmp_path, f"sqlite:///{tmp_path}/canonical.db", gap)
    for text in ("[tool.acms]\nscope = ['/a.py']\n", "[project]\nname = 'shop'\n"):
        (shop.bench.worktree.path / "pyproject.toml").write_text(text)
        shop.tried(shop.bench.worktree.capture())
    first, second = shop.entries()
    assert (first.state, second.state) == ("quarantined", "verified")
    assert first.quarantine_reason == "it changes the repository's own policy: pyproject.toml"


def test_a_folder_in_the_place_of_the_policy_is_kept_out_too(tmp_path: Path) -> None:
    """Though the run has taken the protection back: no later run could read a policy there."""
    gap = a_gap("x", "a.py", "acms.toml/x", source="elsewhere")
    rails = GuardrailSettings(protected_paths=())
    shop = Tried(tmp_path, f"sqlite:///{tmp_path}/canonical.db", gap, guardrails=rails)
    (shop.bench.worktree.path / "acms.toml").mkdir()
    (shop.bench.worktree.path / "acms.toml" / "x").write_text("x\n")
    (rejected,) = shop.tried(shop.bench.worktree.capture()).rejected
    assert rejected.refusal.reason == "it changes the repository's own policy: acms.toml"
