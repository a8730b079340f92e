"""A plan that somebody edited is executed only if it is still a plan; what is wrong is named with its place."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from prefect_acms.canonical.errors import CyclicPlan, InvalidDocument
from prefect_acms.tasks.clustering import cluster
from prefect_acms.tasks.documents import schema_of
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.patterns import PatternIndex
from prefect_acms.tasks.plan_checks import read_plan, validate_plan, write_plan
from prefect_acms.tasks.planning import compile_plan
from prefect_acms.tasks.plans import Plan

MakeGap = Callable[..., Gap]
Edit = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def plan(make_gap: MakeGap) -> Plan:
    """Two workstreams that share a file, three tasks each."""
    gaps = [
        make_gap("i", "shared.py", category="imports", severity="high", fixable=True),
        make_gap("s", "shared.py", "own.py", fixable=True),
    ]
    facts = {"repository": "demo", "base_commit": "abc", "has_tests": True}
    return compile_plan(cluster(gaps), gaps, PatternIndex.load(), **facts).plan  # type: ignore[arg-type]


@pytest.fixture
def edited(plan: Plan, tmp_path: Path) -> Callable[[Edit], Plan]:
    """Writes the plan, edits the file, reads it back."""

    def edit_and_read(edit: Edit) -> Plan:
        path = tmp_path / "plan.json"
        write_plan(plan, path)
        document = json.loads(path.read_bytes())
        edit(document)
        path.write_text(json.dumps(document))
        return read_plan(path)

    return edit_and_read


def test_a_plan_that_was_written_is_read_back(plan: Plan, tmp_path: Path) -> None:
    """Byte for byte the same each time, and without time, id or absolute path."""
    write_plan(plan, tmp_path / "a.json")
    write_plan(read_plan(tmp_path / "a.json"), tmp_path / "b.json")
    content = (tmp_path / "a.json").read_text()
    assert content == (tmp_path / "b.json").read_text()
    assert str(tmp_path) not in content
    jsonschema.validate(json.loads(content), schema_of(Plan))


def test_a_person_may_edit_it(edited: Callable[[Edit], Plan]) -> None:
    """Another description, another tool that the pattern allows, a workstream less."""

    def edit(document: dict[str, Any]) -> None:
        document["tasks"][1] |= {"description": "mine", "tool_id": "ruff-fix-unsafe"}
        document["tasks"], document["workstreams"], document["gaps"] = (
            document["tasks"][:3],
            document["workstreams"][:1],
            [gap for gap in document["gaps"] if gap["fingerprint"] == "i"],
        )

    found = edited(edit)
    assert (found.tasks[1].description, found.tasks[1].tool_id) == ("mine", "ruff-fix-unsafe")
    assert len(found.workstreams) == 1


def put(*path: str | int, value: object) -> Edit:
    """Sets one value in the document."""

    def edit(document: dict[str, Any]) -> None:
        target: Any = document
        for step in path[:-1]:
            target = target[step]
        target[path[-1]] = value

    return edit


def drop(*path: str | int) -> Edit:
    """Takes one value out of the document."""

    def edit(document: dict[str, Any]) -> None:
        target: Any = document
        for step in path[:-1]:
            target = target[step]
        del target[path[-1]]

    return edit


def both(*edits: Edit) -> Edit:
    """One edit after the other."""
    return lambda document: [edit(document) for edit in edits]


STYLE = "workstreams[1] (ws-02-style)"
FIX = "tasks[1] (ws-01-imports/implementation)"

WRONG: dict[str, tuple[Edit, str, str]] = {
    "unknown key": (put("colour", value="red"), "colour", "not permitted"),
    "wrong type": (put("tasks", 1, "timeout_sec", value="long"), f"{FIX}.timeout_sec", "found 'long'"),
    "wrong kind": (put("tasks", 1, "kind", value="guess"), f"{FIX}.kind", "'analysis'"),
    "no slug": (put("tasks", 1, "key", value="../x"), "tasks[1] (../x).key", "found '../x'"),
    "absolute path": (put("tasks", 1, "file_scope", value=["/etc"]), f"{FIX}.file_scope[0]", "inside the repository"),
    "no gaps": (put("tasks", 1, "gaps", value=[]), f"{FIX}.gaps", "at least 1"),
    "order without need": (put("tasks", 1, "order_only", value=["x"]), FIX, "which depends_on does not"),
    "task twice": (put("tasks", 2, "key", value="ws-01-imports/implementation"), "tasks[2].key", "tasks[1]"),
    "workstream twice": (put("workstreams", 1, "key", value="ws-01-imports"), "workstreams[1].key", "taken already"),
    "gap twice": (put("gaps", 1, "fingerprint", value="i"), "gaps[1].fingerprint", "taken already"),
    "unknown task": (put("tasks", 1, "depends_on", value=["x"]), f"{FIX}.depends_on", "no task 'x'"),
    "unknown workstream": (put("tasks", 1, "workstream", value="x"), f"{FIX}.workstream", "no workstream 'x'"),
    "unknown prerequisite": (
        both(put("workstreams", 1, "order_only", value=[]), put("workstreams", 1, "depends_on", value=["x"])),
        f"{STYLE}.depends_on",
        "no workstream 'x'",
    ),
    "unknown gap": (put("workstreams", 1, "gaps", value=["x"]), f"{STYLE}.gaps", "no gap 'x'"),
    "gap in two": (put("workstreams", 1, "gaps", value=["i", "s"]), f"{STYLE}.gaps", "ws-01-imports"),
    "gap of another": (put("tasks", 1, "gaps", value=["s"]), f"{FIX}.gaps", "ws-01-imports has no gap 's'"),
    "gap out of scope": (put("workstreams", 1, "file_scope", value=["own.py"]), f"{STYLE}.file_scope", "'shared.py'"),
    "task out of scope": (put("tasks", 1, "file_scope", value=["own.py"]), f"{FIX}.file_scope", "'own.py' is outside"),
    "unknown pattern": (put("tasks", 1, "pattern_id", value="x"), f"{FIX}.pattern_id", "expected one of"),
    "pattern of other kind": (put("tasks", 1, "pattern_id", value="inspection"), f"{FIX}.kind", "is for analysis"),
    "tool not allowed": (put("tasks", 1, "tool_id", value="pytest"), f"{FIX}.tool_id", "allows ruff-fix"),
    "gap without workstream": (drop("workstreams", 1, "gaps", 0), STYLE, "at least 1"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_edit_is_refused_with_its_place(edited: Callable[[Edit], Plan], name: str) -> None:
    """Each kind of mistake gives one sentence that names file, entry and problem."""
    edit, where, problem = WRONG[name]
    with pytest.raises(InvalidDocument) as caught:
        edited(edit)
    assert caught.value.facts["where"].startswith(where)
    assert problem in caught.value.facts["problem"]
    assert "plan.json" in str(caught.value)


def test_a_gap_without_a_task_is_refused(edited: Callable[[Edit], Plan]) -> None:
    """Also when all its tasks were taken out."""
    with pytest.raises(InvalidDocument, match=r"gaps\[1\] \(s\): it has no task"):
        edited(lambda document: document["tasks"].__delitem__(slice(3, 6)))


def test_a_disabled_pattern_is_refused(plan: Plan, tmp_path: Path) -> None:
    """A plan from before it was disabled is not executed."""
    off = tmp_path / "off.toml"
    off.write_text('[patterns.lint-fix]\ntitle = "x"\nenabled = false\nkinds = ["implementation"]\nallowed_tools = []')
    write_plan(plan, tmp_path / "plan.json")
    with pytest.raises(InvalidDocument, match="'lint-fix' is disabled"):
        read_plan(tmp_path / "plan.json", PatternIndex.load([off]))


def test_a_cycle_of_tasks_is_refused_with_its_path(edited: Callable[[Edit], Plan]) -> None:
    with pytest.raises(CyclicPlan, match="ws-01-imports/analysis -> ws-01-imports/test -> ws-01-imports/impl"):
        edited(put("tasks", 0, "depends_on", value=["ws-01-imports/test"]))


def test_a_task_that_waits_against_its_workstreams_is_a_cycle(edited: Callable[[Edit], Plan]) -> None:
    """Workstream 2 waits for 1; a task of 1 that waits for one of 2 would wait for ever."""
    with pytest.raises(CyclicPlan, match="ws-02-style/test"):
        edited(put("tasks", 0, "depends_on", value=["ws-02-style/test"]))


def test_a_cycle_of_workstreams_is_refused(edited: Callable[[Edit], Plan]) -> None:
    with pytest.raises(CyclicPlan, match="ws-01-imports -> ws-02-style -> ws-01-imports"):
        edited(put("workstreams", 0, "depends_on", value=["ws-02-style"]))


def test_two_workstreams_at_once_on_one_file_are_refused(edited: Callable[[Edit], Plan]) -> None:
    """Whoever takes the dependency out has to take the file out too."""
    free = both(put("workstreams", 1, "order_only", value=[]), put("workstreams", 1, "depends_on", value=[]))
    with pytest.raises(InvalidDocument, match=r"'shared.py', and so does ws-0"):
        edited(free)


def test_waiting_at_a_distance_is_waiting(make_gap: MakeGap) -> None:
    """1 <- 2 <- 3, where 1 and 3 share a file and only 2 is named."""
    gaps = [make_gap(n, f"{n}.py", category=f"c{n}", fixable=True) for n in "123"]
    facts = {"repository": "demo", "base_commit": "abc", "has_tests": False}
    made = compile_plan(cluster(gaps), gaps, PatternIndex.load(), **facts).plan  # type: ignore[arg-type]
    document = json.loads(made.model_dump_json())
    for later, earlier in ((1, 0), (2, 1)):
        document["workstreams"][later]["depends_on"] = [document["workstreams"][earlier]["key"]]
    for end in (0, 2):
        document["workstreams"][end]["file_scope"].append("both.py")
    plan = Plan.model_validate_json(json.dumps(document))
    assert validate_plan(plan, PatternIndex.load()) is plan


def test_a_missing_plan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidDocument, match="No such file"):
        read_plan(tmp_path / "none.json")
