"""What is said against a model's patch goes back to it, within limits; real programs pass for models."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from driven import a_gap, repository_of
from looping import FILES, KEY, Looped, Robots, done, killed_driver
from repositories import git

from prefect_acms.blocks.ai import AiSettings
from prefect_acms.blocks.budget import BudgetLimits, BudgetSettings
from prefect_acms.blocks.config import DiscoverySettings, EnvironmentSettings, ExecutionSettings, IsolationMode
from prefect_acms.blocks.fix_loop import FixLoopSettings
from prefect_acms.blocks.guardrails import GuardrailSettings, ReviewSettings
from prefect_acms.canonical.task import TaskTrigger
from prefect_acms.dao.audit import verify
from prefect_acms.tasks.ai.scanning import identities
from prefect_acms.tasks.anti_patterns import says_failure, unfounded_claim
from prefect_acms.tasks.choices import decisions_of
from prefect_acms.tasks.discovery import discover
from prefect_acms.tasks.driving import drive_run, release_run
from prefect_acms.tasks.environment import environment_for
from prefect_acms.tasks.feedback import signature_of
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.quarantine import kept_ref
from prefect_acms.tasks.recovery import recover
from prefect_acms.tasks.sources import Scan
from prefect_acms.tasks.works import implement

FUNCTION = "def f():\n    return 1\n"


def writes(text: str, path: str = "a.py", **more: Any) -> dict[str, Any]:
    """A step of a robot that writes a file."""
    return {"files": {path: text}, **more}


def test_what_a_gate_said_goes_back_and_the_mended_patch_goes_in(tmp_path: Path, canonical_url: str) -> None:
    """The tool is told the gate's output, finds its own change in place, and what it mends there is committed."""
    robots = Robots(tmp_path, robot=[writes("A = 2  # BAD\n"), writes("A = 2\n")])
    ai = AiSettings(tools=("robot",), agent_models={"robot": "small-1"})
    shop = Looped(tmp_path, canonical_url, robots, ai=ai)
    task = shop.done()
    assert (task.state, task.last_error) == ("completed", None)
    first, second = robots.asked("robot")
    assert (first["model"], second["model"]) == ("small-1", "small-1")
    assert first["feedback"] == []
    (feedback,) = second["feedback"]
    assert (feedback["kind"], feedback["attempt"]) == ("tests", 1)
    assert "a.py:1:A = 2  # BAD" in feedback["text"]
    assert robots.seen("robot")[1] == {"a.py": "A = 2  # BAD\n"}
    assert [entry.state for entry in shop.entries] == ["dropped", "verified"]
    assert shop.operators == ["policy:fix-loop"]
    assert not shop.drive.repository.refs(f"refs/acms/kept/{shop.drive.run_id}/")
    assert "BAD" not in str(shop.drive.repository.content(shop.drive.workstream_ref("ws-01"), "a.py"))


def test_a_patch_out_of_scope_goes_back_from_clean_files(tmp_path: Path, canonical_url: str) -> None:
    """Nothing of a patch that was not even applied is left in the files."""
    robots = Robots(tmp_path, robot=[{"files": {"a.py": "A = 2\n", "b.py": "B = 2\n"}}, writes("A = 2\n")])
    shop = Looped(tmp_path, canonical_url, robots)
    assert shop.done().state == "completed"
    (feedback,) = robots.asked("robot")[1]["feedback"]
    assert feedback["kind"] == "scope"
    assert "b.py" in feedback["text"]
    assert robots.seen("robot")[1] == {"a.py": FILES["a.py"]}


def test_attempts_are_counted_and_the_last_patch_can_still_be_seen(tmp_path: Path, canonical_url: str) -> None:
    """Four patches, each with an error of its own; the last one is quarantined with its tree, the others dropped."""
    steps = [writes(f"A = 2  # BAD {word}\n") for word in ("one", "two", "three", "four", "five")]
    robots = Robots(tmp_path, robot=steps)
    shop = Looped(tmp_path, canonical_url, robots)
    task = shop.done()
    assert task.state == "failed"
    assert str(task.last_error).endswith("; robot has used up its 3 further attempts")
    assert len(robots.asked("robot")) == 4
    assert [one["attempt"] for one in robots.asked("robot")[3]["feedback"]] == [1, 2, 3]
    assert [entry.state for entry in shop.entries] == ["dropped", "dropped", "dropped", "quarantined"]
    assert list(shop.drive.repository.refs(f"refs/acms/kept/{shop.drive.run_id}/")) == [kept_ref(shop.entries[3])]
    assert [rejected["entry"] for rejected in task.info["rejected"]] == [shop.entries[3].id]


def test_the_same_error_three_times_is_enough(tmp_path: Path, canonical_url: str) -> None:
    """Lines and numbers differ, the error is the same."""
    steps = [writes("\n" * number + f"A = {number}  # BAD\n") for number in range(2, 9)]
    robots = Robots(tmp_path, robot=steps)
    shop = Looped(tmp_path, canonical_url, robots, fix_loop=FixLoopSettings(attempts=9))
    assert str(shop.done().last_error).endswith("; robot has failed by the same error 3 times")
    assert len(robots.asked("robot")) == 3
    assert len({attempt.said.signature for attempt in shop.loop.attempts if attempt.said}) == 1


def test_a_tool_that_goes_to_and_fro_is_stopped(tmp_path: Path, canonical_url: str) -> None:
    """Its third change is its first one again: that is not tried once more, and the second stays as evidence."""
    steps = [writes("A = 2  # BAD one\n"), writes("A = 3  # BAD two\n"), writes("A = 2  # BAD one\n")]
    robots = Robots(tmp_path, robot=steps)
    shop = Looped(tmp_path, canonical_url, robots, fix_loop=FixLoopSettings(attempts=9, same_error=9))
    assert str(shop.done().last_error).endswith("; robot makes the same change twice within 4 attempts")
    assert len(robots.asked("robot")) == 3
    assert [entry.state for entry in shop.entries] == ["dropped", "quarantined"]


def test_after_the_cheap_model_the_strong_one_has_its_turn(tmp_path: Path, canonical_url: str) -> None:
    """It starts from clean files and is told what was said of the others; the router's decisions are kept."""
    robots = Robots(tmp_path, cheap=[writes("A = 2  # BAD\n")], strong=[writes("A = 2\n")])
    shop = Looped(tmp_path, canonical_url, robots, fix_loop=FixLoopSettings(attempts=0))
    task = shop.done()
    assert (task.state, task.tool_id) == ("completed", "strong")
    assert len(robots.asked("cheap")) == 1
    assert robots.seen("strong") == [{"a.py": FILES["a.py"]}]
    assert [one["kind"] for one in robots.asked("strong")[0]["feedback"]] == ["tests"]


def test_a_tool_that_fails_hands_the_task_on_to_the_next_one(tmp_path: Path, canonical_url: str) -> None:
    """In its first run as in a later one; what it has left in the files is gone, and the next tool is told why."""
    fails = {"files": {"a.py": "A = 9\n", "b.py": None}, "exit": 7}
    robots = Robots(tmp_path, cheap=[fails], middle=[writes("A = 2  # BAD\n"), fails], strong=[writes("A = 2\n")])
    shop = Looped(tmp_path, canonical_url, robots)
    task = shop.done()
    assert (task.state, task.tool_id, task.last_error) == ("completed", "strong", None)
    assert [len(robots.asked(name)) for name in ("cheap", "middle", "strong")] == [1, 2, 1]
    assert robots.seen("middle")[0] == robots.seen("strong")[0] == {"a.py": FILES["a.py"]}
    assert [one["kind"] for one in robots.asked("middle")[0]["feedback"]] == ["refusal"]
    assert [one["kind"] for one in robots.asked("strong")[0]["feedback"]] == ["refusal", "tests", "refusal"]
    assert [decision.tool_id for decision in decisions_of(task)] == ["cheap", "middle", "strong"]


@pytest.mark.parametrize(("first", "state"), [("codemod-x", "completed"), ("plain", "failed")])
def test_behind_a_codemod_come_the_tools_before_it(tmp_path: Path, canonical_url: str, first: str, state: str) -> None:
    """Also where no model is named; of other tools without a model the first one that can do it is the only one."""
    steps: dict[str, list[dict[str, Any]]] = {first: [{}], "worker": [writes("A = 2\n")]}
    robots = Robots(tmp_path, **steps)
    profiles = tuple(profile.model_copy(update={"ai": False}) for profile in robots.profiles)
    execution = ExecutionSettings(tool_files=(tmp_path / "patterns.toml",), profiles=profiles)
    shop = Looped(tmp_path, canonical_url, robots, execution=execution)
    assert shop.done().state == state
    assert len(robots.asked(first)) == 1


def test_after_the_last_tool_its_failure_is_that_of_the_task(tmp_path: Path, canonical_url: str) -> None:
    """Nothing is stored of a task of which no tool has come to its end."""
    robots = Robots(tmp_path, cheap=[{"exit": 7}], strong=[{"exit": 8}])
    shop = Looped(tmp_path, canonical_url, robots)
    task = shop.done()
    assert task.state == "failed"
    assert "strong" in str(task.last_error)
    assert shop.entries == []


def test_a_budget_ends_the_loop_and_keeps_what_was_paid_for(tmp_path: Path, canonical_url: str) -> None:
    """The patch stays quarantined with its tree; the task says what was wrong with it, and that there is no room."""
    robots = Robots(tmp_path, cheap=[writes("A = 2  # BAD\n")], strong=[writes("A = 2\n")])
    budget = BudgetSettings(task=BudgetLimits(tool_runs=1))
    shop = Looped(tmp_path, canonical_url, robots, budget=budget)
    task = shop.done()
    assert task.state == "failed"
    assert "; the task's budget of 1 tool run has no room for cheap, which asks for 1 tool run" in str(task.last_error)
    assert [len(robots.asked(name)) for name in ("cheap", "strong")] == [1, 0]
    (entry,) = shop.entries
    assert entry.state == "quarantined"
    assert list(shop.drive.repository.refs(f"refs/acms/kept/{shop.drive.run_id}/")) == [kept_ref(entry)]


def test_a_patch_for_whose_proof_there_is_no_money_is_kept(tmp_path: Path, canonical_url: str) -> None:
    """The gap's source asks a model too, and the tool had the last call: its patch stays, unproved."""
    (name, *_) = identities("ai-bug", "a.py", FILES["a.py"].splitlines())
    gap = a_gap(name, "a.py", source="ai", rule_id="ai-bug")
    robots = Robots(tmp_path, robot=[writes("A = 2\n")])
    budget = BudgetSettings(run=BudgetLimits(tool_runs=1))
    shop = Looped(
        tmp_path, canonical_url, robots, gaps=[gap], budget=budget, ai=AiSettings(model="openai-chat:gpt-test")
    )
    task = shop.done()
    assert task.state == "failed"
    assert "can't be proved: the run's budget of 1 tool run has no room for ai," in str(task.last_error)
    (entry,) = shop.entries
    assert entry.state == "quarantined"
    assert list(shop.drive.repository.refs(f"refs/acms/kept/{shop.drive.run_id}/")) == [kept_ref(entry)]


def found_by_ruff(folder: Path, *rules: str, files: Mapping[str, str] = FILES) -> tuple[list[Gap], DiscoverySettings]:
    """What ruff finds in a.py by these rules, and the settings by which it is asked again."""
    discovery = DiscoverySettings(sources=("ruff",), ruff_select=rules)
    other = repository_of(folder / "other", files)
    environment = environment_for(other, other, EnvironmentSettings(isolation=IsolationMode.OFF))
    scan = Scan(root=other, environment=environment, settings=discovery, timeout_sec=60)
    return [gap for gap in discover(scan, ["ruff"]).gaps if gap.file_paths == ("a.py",)], discovery


def test_what_a_patch_brings_goes_back(tmp_path: Path, canonical_url: str) -> None:
    """The gates let it through; the source of its gap finds something new, and the tool mends that in place."""
    gaps, discovery = found_by_ruff(tmp_path, "D100", "F401")
    steps = [writes('"""A."""\n\nimport os\n\nA = 1\n'), writes('"""A."""\n\nA = 1\n')]
    robots = Robots(tmp_path, robot=steps)
    shop = Looped(tmp_path, canonical_url, robots, gaps=gaps, discovery=discovery)
    assert shop.done().state == "completed"
    (feedback,) = robots.asked("robot")[1]["feedback"]
    assert feedback["kind"] == "proof"
    assert "os" in feedback["text"]
    assert robots.seen("robot")[1] == steps[0]["files"]


def test_a_patch_that_mends_nothing_goes_back_and_then_to_the_next_tool(tmp_path: Path, canonical_url: str) -> None:
    """It breaks nothing, and its gap is still found: the tool is told so in place, and the strong one does it."""
    gaps, discovery = found_by_ruff(tmp_path, "D100")
    robots = Robots(tmp_path, cheap=[writes("A = 2\n"), writes("A = 3\n")], strong=[writes('"""A."""\n\nA = 1\n')])
    once = FixLoopSettings(attempts=1)
    shop = Looped(tmp_path, canonical_url, robots, gaps=gaps, discovery=discovery, fix_loop=once)
    task = shop.done()
    assert (task.state, task.tool_id) == ("completed", "strong")
    assert robots.seen("cheap")[1] == {"a.py": "A = 2\n"}
    first, second = robots.asked("strong")[0]["feedback"]
    assert (first["kind"], second["kind"]) == ("proof", "proof")
    assert f"it mends nothing, still there: {gaps[0].title}" in second["text"]
    assert [entry.state for entry in shop.entries] == ["dropped", "dropped", "verified"]
    assert [entry.info["proof"]["gone"] for entry in shop.entries] == [[], [], [gaps[0].fingerprint]]


def test_who_mends_a_part_has_mended_something(tmp_path: Path, canonical_url: str) -> None:
    """The patch goes in at once, and its commit names the gap that is gone and not the other one."""
    gaps, discovery = found_by_ruff(tmp_path, "D100", "D103", files={"a.py": FUNCTION})
    robots = Robots(tmp_path, robot=[writes(f'"""A."""\n\n{FUNCTION}')])
    shop = Looped(tmp_path, canonical_url, robots, gaps=gaps, files={"a.py": FUNCTION}, discovery=discovery)
    assert shop.done().state == "completed"
    assert len(robots.asked("robot")) == 1
    (entry,) = shop.entries
    message = str(git(shop.drive.repository.top, "log", "-1", "--format=%B", entry.info["commit"]))
    assert {gap.rule_id: gap.fingerprint in message for gap in gaps} == {"D100": True, "D103": False}


def test_a_patch_of_a_version_without_fix_loop_is_judged(tmp_path: Path, canonical_url: str) -> None:
    """It has stored the patch and nothing else; what a gate says of it goes back as of any."""
    robots = Robots(tmp_path, robot=[writes("A = 2  # BAD\n"), writes("A = 2\n")])
    shop = Looped(tmp_path, canonical_url, robots)
    task = shop.planned.running(KEY)
    executed = implement(shop.drive, task)
    with shop.drive.begin() as dao:
        executed.store(dao)
        dao.tasks.advance(
            task.id, TaskTrigger.EXECUTION_COMPLETED, facts={"expected_exit_codes": (0,)}, exit_code=executed.exit_code
        )
        dao.tasks.change(task.id, metadata={"fix_loop": {}})
    assert done(shop.drive, task.id).state == "completed"
    assert len(robots.asked("robot")) == 2
    assert [attempt.exit_code for attempt in shop.loop.attempts] == [0, 0]


def test_a_lie_is_answered_in_three_stages(tmp_path: Path, canonical_url: str) -> None:
    """Asked again more strictly, then the next tool, then the run is to be quarantined; each is told in the trail."""
    robots = Robots(tmp_path, liar=[{"says": "fixed everything"}], other=[{}])
    shop = Looped(tmp_path, canonical_url, robots)
    task = shop.done()
    assert task.state == "failed"
    assert [one["stricter"] for one in robots.asked("liar")] == [False, True]
    assert [one["stricter"] for one in robots.asked("other")] == [True]
    assert [one["kind"] for one in robots.asked("other")[0]["feedback"]] == ["no_change", "no_change"]
    assert [notice.split(":")[0] for notice in shop.notices()] == ["AP_HALLUCINATED_SUCCESS"] * 3
    with shop.drive.reading() as dao:
        assert "AP_HALLUCINATED_SUCCESS" in dao.runs.get(shop.drive.run_id).info["unsafe"]


def test_a_liar_that_mends_its_ways_is_believed(tmp_path: Path, canonical_url: str) -> None:
    """The second attempt goes in; nothing is quarantined for the first."""
    robots = Robots(tmp_path, liar=[{}, writes("A = 2\n")])
    shop = Looped(tmp_path, canonical_url, robots)
    assert shop.done().state == "completed"
    assert len(shop.notices()) == 1


def test_a_file_that_was_deleted_is_not_mended(tmp_path: Path, canonical_url: str) -> None:
    """The gap would be gone with its file: that is a success without ground, and is not even tried."""
    robots = Robots(tmp_path, robot=[{"files": {"a.py": None}}, writes("A = 2\n")])
    shop = Looped(tmp_path, canonical_url, robots)
    assert shop.done().state == "completed"
    (notice,) = shop.notices()
    assert notice == "AP_HALLUCINATED_SUCCESS: robot has deleted what it was to mend: a.py"
    assert robots.seen("robot")[1] == {"a.py": FILES["a.py"]}


def test_who_says_that_nothing_can_be_done_is_no_liar(tmp_path: Path, canonical_url: str) -> None:
    """By its exit code, or by its own result: it is not asked again, and the next tool has its turn."""
    result = '{"type": "result", "is_error": true}'
    robots = Robots(tmp_path, modest=[{"exit": 1}], plain=[{"says": result}], willing=[writes("A = 2\n")])
    shop = Looped(tmp_path, canonical_url, robots)
    assert shop.done().state == "completed"
    assert [len(robots.asked(name)) for name in ("modest", "plain", "willing")] == [1, 1, 1]
    assert shop.notices() == []


def test_what_policy_refuses_each_time_is_no_matter_of_another_attempt(tmp_path: Path, canonical_url: str) -> None:
    """The tool is not paid again for what it can't change, and no other tool is either."""
    robots = Robots(tmp_path, robot=[writes("A = 2\n")], strong=[writes("A = 3\n")])
    rails = GuardrailSettings(required_checks=("SECURITY",), review=ReviewSettings(ai_made=False))
    shop = Looped(tmp_path, canonical_url, robots, guardrails=rails)
    task = shop.done()
    assert task.state == "failed"
    assert "SECURITY" in str(task.last_error)
    assert [len(robots.asked(name)) for name in ("robot", "strong")] == [1, 0]


@pytest.mark.parametrize(
    ("printed", "fails"),
    [
        ("done", False),
        ('{"type": "result", "is_error": false, "result": "error"}', False),
        ('{"is_error": true}\n', True),
        ('log\n{"type": "turn.failed", "error": {"message": "no"}}\n', True),
        ('{"type": "error"}\n{"type": "result", "subtype": "success"}\n', False),
        ("{" * 50_000, False),
    ],
)
def test_the_last_word_of_a_tool_about_itself_counts(printed: str, fails: bool) -> None:  # noqa: FBT001
    """Only a JSON object is a word: what a model says in its own words is none."""
    assert says_failure(printed) is fails
    assert (unfounded_claim("t", 0, printed, b"", frozenset()) is None) is fails


def test_a_signature_is_what_two_errors_have_in_common() -> None:
    """Numbers, addresses, white space and the order don't count; words do."""
    one = signature_of("tests", ["t.py::x: assert 1 == 2", "at 0x7fabc line 9"])
    assert one == signature_of("tests", ["at 0x11 line 12", "t.py::x:  assert 3 == 44"])
    assert one != signature_of("tests", ["t.py::y: assert 1 == 2", "at 0x7fabc line 9"])
    assert one != signature_of("gate", ["t.py::x: assert 1 == 2", "at 0x7fabc line 9"])


@pytest.mark.parametrize("where", ["tool", "gate"])
def test_a_killed_driver_loses_no_attempt_and_pays_for_none_twice(
    tmp_path: Path, canonical_url: str, where: str
) -> None:
    """Killed while the second attempt is made, or judged; the next driver makes it, or judges it as it is."""
    pid, fuse = tmp_path / "pid", tmp_path / "fuse"
    mended = writes("A = 2\n", **({"kill": str(pid)} if where == "tool" else {}))
    robots = Robots(tmp_path, robot=[writes("A = 2  # BAD\n"), mended, writes("A = 2\n")])
    blow = f"if test -e {fuse} && grep -q 'A = 2$' a.py; then rm {fuse}; kill -9 $(cat {pid}); sleep 9; fi; "
    shop = Looped(tmp_path, canonical_url, robots, gate=f"{blow if where == 'gate' else ''}! grep -n BAD *.py")
    fuse.touch()
    task = shop.planned.queued(KEY)
    assert killed_driver(shop.drive, task.id, pid) == -signal.SIGKILL
    assert shop.planned.task(KEY).state == "validating"
    release_run(shop.drive)
    drive = drive_run(shop.drive.run_id, database=canonical_url, force=True)
    recover(drive)
    assert done(drive, task.id).state == "completed"
    assert len(robots.asked("robot")) == (3 if where == "tool" else 2)
    assert [one["attempt"] for one in robots.asked("robot")[-1]["feedback"]] == [1]
    assert [attempt.said is None for attempt in shop.loop.attempts] == [False, True]
    assert verify(drive.store).ok
