"""Plans of rollbacks: what goes with what, in which order, and what can't go."""

from __future__ import annotations

from pathlib import Path

import pytest
from repositories import git
from shops import ADA, FILES, GOOD, STACKED, Shop, ended_shop

from prefect_acms.blocks.config import GateSettings
from prefect_acms.blocks.guardrails import GuardrailSettings
from prefect_acms.canonical.errors import InvalidTransition, InvalidValue, LostRace, NotFound, RollbackRefused
from prefect_acms.canonical.test_gate import GateType
from prefect_acms.dao.audit import verify
from prefect_acms.dao.gaps import GapRow
from prefect_acms.tasks.landing import Landed
from prefect_acms.tasks.overrides import override
from prefect_acms.tasks.rollback_plans import plan_rollback
from prefect_acms.tasks.rollback_records import PlanRecord, plan_record, rollback
from prefect_acms.tasks.rollbacks import roll_back
from prefect_acms.tasks.summary import build_summary


def stacked(folder: Path) -> tuple[Shop, list[str]]:
    """Three patches: two on the same line, and one elsewhere in the file."""
    shop = ended_shop(folder, STACKED)
    return shop, [entry.patch_id for entry in shop.entries.values()]


def test_what_builds_on_a_patch_goes_first_in_the_same_plan(tmp_path: Path) -> None:
    """The plan says why; one move of the branch takes both back, one unit of work records both."""
    shop, (first, second, third) = stacked(tmp_path)
    with shop.unchanged():
        plan = plan_record(plan_rollback(shop.store, first))
    assert [step.patch_id for step in plan.steps] == [second, first]
    assert [step.why for step in plan.steps] == [f"it changes the same lines of a.py as {first}", "asked for"]
    assert plan.left_alone == (third,)
    assert (plan.branch, plan.onto, plan.merge_command) == (f"acms/{shop.drive.run_id}", None, None)
    assert plan.gates == ("UNIT (true)",)
    before = shop.drive.result_head()
    done = rollback(shop.store, first, **ADA)
    assert shop.shown() == FILES["a.py"].replace("A11 = 1", "A11 = 3")
    assert shop.repository.log(before, shop.drive.result_head()) == tuple(step.revert for step in done.plan.steps)
    assert [shop.state(key) for key in shop.entries] == ["rolled_back", "rolled_back", "committed"]
    with shop.drive.reading() as dao:
        told = [row for row in dao.transitions.of_run(shop.drive.run_id) if row.trigger == "post_success_rollback"]
    assert [row.info["patches"] for row in told] == [[second, first]]
    assert verify(shop.store).ok
    summary = build_summary(shop.store, shop.drive.run_id, shop.repository)
    assert {gap.fingerprint for gap in summary.gaps if gap.commit} == {"z"}
    assert [patch.id for patch in summary.kept()] == [third]


def test_what_builds_on_it_is_named_when_it_may_not_go_too(tmp_path: Path) -> None:
    """Then nothing changes."""
    shop, (first, second, third) = stacked(tmp_path)
    with shop.unchanged(), pytest.raises(RollbackRefused) as refused:
        plan_rollback(shop.store, first, dependents=False)
    assert second in str(refused.value)
    assert third not in str(refused.value)
    assert [step.entry.patch_id for step in plan_rollback(shop.store, third, dependents=False).steps] == [third]


def test_an_innocent_patch_in_between_stays(tmp_path: Path, canonical_url: str) -> None:
    """It touches the same file after the one that goes, and the patch that is in the way comes only after it."""
    shop = Shop(tmp_path, canonical_url)
    first = shop.fix("ws-01", ("A0 = 1", "A0 = 2"))
    innocent = shop.fix("ws-02", ("A11 = 1", "A11 = 3"))
    guilty = shop.fix("ws-03", ("A0 = 2", "A0 = 3"))
    plan = plan_record(plan_rollback(shop.ends().store, first))
    assert [step.patch_id for step in plan.steps] == [guilty, first]
    assert plan.left_alone == (innocent,)


def test_a_run_goes_whole_and_a_workstream_with_what_comes_after_it(tmp_path: Path, canonical_url: str) -> None:
    """Later tasks of the plan go too, though they are in another file."""
    shop = Shop(tmp_path, canonical_url, GOOD, "ws-01/one")
    first = shop.fix("ws-01", ("A0 = 1", "A0 = 2"))
    second = shop.fix("ws-02", ("B = 1", "B = 2"), file="b.py")
    third = shop.fix("ws-03", ("A11 = 1", "A11 = 3"))
    shop.ends()
    stream = plan_record(plan_rollback(shop.store, shop.planned.workstream("ws-01").id))
    assert [step.patch_id for step in stream.steps] == [second, first]
    assert stream.steps[0].why == f"its task comes after that of {first}"
    whole = rollback(shop.store, shop.drive.run_id, **ADA)
    assert [step.patch_id for step in whole.plan.steps] == [third, second, first]
    assert whole.sentence == f"3 patches rolled back on branch acms/{shop.drive.run_id}"
    base = shop.repository.tree_of(shop.drive.base_commit)
    assert shop.repository.tree_of(shop.drive.result_head()) == base
    with shop.unchanged(), pytest.raises(InvalidValue, match="one of which a patch is committed"):
        plan_rollback(shop.store, shop.drive.run_id)


def test_what_somebody_has_put_on_the_branch_is_not_overwritten(tmp_path: Path) -> None:
    """A commit by hand on the same lines: the rollback conflicts, and is refused."""
    shop = ended_shop(tmp_path, STACKED)
    patch, top = shop.entries["ws-03"].patch_id, shop.repository.top
    git(top, "checkout", "-q", f"acms/{shop.drive.run_id}")
    (top / "a.py").write_text(shop.shown().replace("A11 = 3", "A11 = 7"))
    git(top, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qam", "by hand")
    by_hand = shop.drive.result_head()
    git(top, "checkout", "-q", "main")
    with shop.unchanged(), pytest.raises(RollbackRefused) as refused:
        rollback(shop.store, patch, **ADA)
    assert f"commit {by_hand[:10]}, which is of no patch of the run, changes the same lines of a.py" in str(
        refused.value
    )


def test_an_earlier_rollback_is_nothing_that_is_in_the_way(tmp_path: Path) -> None:
    """A patch that was on the same lines, and its revert, are passed over."""
    shop, (first, second, _) = stacked(tmp_path)
    rollback(shop.store, second, **ADA)
    done = rollback(shop.store, first, **ADA)
    assert [step.patch_id for step in done.plan.steps] == [first]
    assert shop.shown() == FILES["a.py"].replace("A11 = 1", "A11 = 3")


def test_a_plan_that_is_no_longer_true_is_not_carried_out(tmp_path: Path) -> None:
    """Somebody else has rolled a part of it back while it was being confirmed."""
    shop, (first, second, _) = stacked(tmp_path)
    plan = plan_rollback(shop.store, first)
    override(shop.store, "rollback-patch", second, **ADA)
    head = shop.drive.result_head()
    with pytest.raises(LostRace):
        roll_back(shop.store, plan, ADA)
    assert shop.drive.result_head() == head
    assert shop.state("ws-01") == "committed"

    def no(_plan: PlanRecord) -> None:
        raise KeyboardInterrupt

    with shop.unchanged(), pytest.raises(KeyboardInterrupt):
        rollback(shop.store, first, **ADA, confirm=no)


def test_bad_names_are_told(tmp_path: Path) -> None:
    """Unknown, not committed, or without who and why."""
    shop = ended_shop(tmp_path, STACKED)
    patch = shop.entries["ws-02"].patch_id
    with shop.unchanged():
        for name, onto, operator, error in (
            ("patch_0", None, "ada", NotFound),
            (patch, "nowhere", "ada", InvalidValue),
            (patch, None, " ", InvalidValue),
        ):
            with pytest.raises(error):
                rollback(shop.store, name, operator=operator, reason="it broke", onto=onto)
    rollback(shop.store, patch, **ADA)
    with shop.unchanged(), pytest.raises(InvalidTransition):
        rollback(shop.store, patch, **ADA)


def test_where_no_gate_can_judge_a_person_may_and_a_policy_may_not(tmp_path: Path) -> None:
    """And where one is required that can't judge, nobody may."""
    shop, (first, _, third) = stacked(tmp_path)
    shop.configure(gates=GateSettings(lint_enabled=False, unit_enabled=False, security_enabled=False))
    head = shop.drive.result_head()
    with pytest.raises(RollbackRefused, match="no gate can judge what is left, and a policy orders it"):
        rollback(shop.store, third, operator="policy:watch", reason="it broke")
    shop.configure(guardrails=GuardrailSettings(required_checks=(GateType.SECURITY,)))
    with pytest.raises(RollbackRefused, match="required gates can't judge: SECURITY"):
        rollback(shop.store, third, **ADA)
    assert shop.drive.result_head() == head
    shop.configure(guardrails=GuardrailSettings())
    assert rollback(shop.store, third, **ADA).gate_ids == ()
    assert rollback(shop.store, first, **ADA).gate_ids == ()
    assert shop.shown() == FILES["a.py"]


def test_a_gap_that_no_commit_names_is_not_proved_by_what_was_rolled_back() -> None:
    """Its re-scan saw files that have changed since; one in other files is as proved as it was."""
    tip = "a" * 40
    landed = Landed(commits=frozenset({tip}), gaps={"named": tip}, made=frozenset({tip}), undone=frozenset({"a.py"}))
    gaps = [
        GapRow(fingerprint=name, file_paths=[path], info={"proved_at": tip})
        for name, path in (("named", "a.py"), ("seen", "a.py"), ("elsewhere", "b.py"))
    ]
    assert [landed.commit_of(gap) for gap in gaps] == [tip, None, tip]
