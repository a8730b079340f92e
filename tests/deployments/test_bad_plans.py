"""Plans that can't be executed: one clear sentence, exit 2, and nothing changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import Acms
from refusals import number_of_runs, refused

from prefect_acms.dao.store import open_store


def plan(**facts: object) -> str:
    """The text of a plan without tasks."""
    base = {"version": "1", "repository": "shop", "base_commit": "a" * 40, "gaps": [], "workstreams": [], "tasks": []}
    return json.dumps({**base, **facts})


GAP_OF_A_PLAN = {"fingerprint": "f" * 16, "source": "ruff", "rule_id": "F401", "title": "odd", "file_paths": ["a.py"]}

WORKSTREAM = {
    "key": "ws-01", "name": "one", "category": "style", "priority_score": 5.0, "effort": "low",
    "file_scope": ["a.py"], "gaps": ["f" * 16],
}  # fmt: skip


def tasks(*planned: dict[str, object]) -> str:
    """The text of a plan with these tasks of one workstream."""
    base = {
        "workstream": "ws-01", "kind": "analysis", "description": "look", "pattern_id": "inspection",
        "file_scope": ["a.py"], "gaps": ["f" * 16],
    }  # fmt: skip
    return plan(gaps=[GAP_OF_A_PLAN], workstreams=[WORKSTREAM], tasks=[{**base, **task} for task in planned])


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "not JSON"),
        ("[]", "document"),
        (json.dumps({"tasks": 3}), "plan.json: "),
        (plan(), "plan again"),
        (plan(tasks="many"), "tasks: "),
        (tasks({"key": "a", "depends_on": ["b"]}, {"key": "b", "depends_on": ["a"]}), "wait for each other: a"),
        (tasks({"key": "a", "depends_on": ["none"]}), "'none'"),
        (tasks({"key": "a"}, {"key": "a"}), "tasks[1].key: 'a' is taken already"),
        (tasks({"key": "a", "pattern_id": "none"}), "'none'"),
        (tasks({"key": "a", "workstream": "none"}), "'none'"),
    ],
)
def test_a_plan_that_is_none_or_for_another_commit(
    acms: Acms, sample: Path, *, tmp_path: Path, acms_home: Path, content: str, told: str
) -> None:
    """A plan file is refused before anything is made, the store included."""
    path = tmp_path / "plan.json"
    path.write_text(content)
    sentence = refused(acms, sample, acms_home, "execute", str(path), "--repository", str(sample))
    assert sentence.startswith(f"acms: {path}: ")
    assert told in sentence


def test_a_stored_plan_for_another_commit(acms: Acms, sample: Path, acms_home: Path, canonical_url: str) -> None:
    """The repository has gone on since."""
    store = open_store(canonical_url)
    with store.begin() as dao:
        run = dao.runs.create(repo_root=str(sample), base_commit="a" * 40, mode="plan_only", config={})
        phase = dao.phases.create(run_id=run.id, name="planning")
        dao.phases.finish(phase.id, "completed", {"plan": json.loads(plan())})
    store.close()
    sentence = refused(acms, sample, acms_home, "execute", run.id, "--database-url", canonical_url)
    assert "plan again" in sentence
    assert number_of_runs(canonical_url) == 1
