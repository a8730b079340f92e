"""`acms route explain`: which tool a task got, and why no other."""

from __future__ import annotations

import json
import re

from commands import Acms
from operated import Rows
from refusals import one_sentence

from prefect_acms.dao.store import open_store
from prefect_acms.deployments.commands.route import explain

FIRST = {
    "tool_id": "ai-edit",
    "rule": "best",
    "strategy": "metrics",
    "risk": "high",
    "complexity": "low",
    "offered": ["ruff-fix", "ai-edit", "claude"],
    "candidates": ["ai-edit", "claude"],
    "scores": {"ai-edit": 0.875, "claude": 0.5},
    "tried": [],
    "left_out": {"ruff-fix": "it is not made for prose"},
}
SECOND = {
    **FIRST,
    "tool_id": "claude",
    "rule": None,
    "strategy": "first",
    "candidates": ["claude"],
    "scores": {},
    "tried": ["ai-edit"],
    "left_out": {**FIRST["left_out"], "ai-edit": "it has been tried in this task"},  # type: ignore[dict-item]
}


def test_each_choice_is_told_with_all_that_could_have_been_chosen(acms: Acms, canonical_url: str) -> None:
    """By the task's id or its key; in JSON with the keys that the help names."""
    rows = Rows(open_store(canonical_url))
    stream = rows.stream()
    told = {"key": "ws-01/implementation", "routings": [FIRST, SECOND]}
    task = rows.task(stream, pattern_id="ai-fix", metadata=told)
    plain = rows.task(stream, tool_id="pytest")
    done = acms("route", "explain", "ws-01/implementation", "--database-url", canonical_url)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split() for line in done.stdout.splitlines() if line]
    assert done.stdout.startswith(f"{task} (ws-01/implementation) is pending, governed by ai-fix.\n")
    assert "1. ai-edit: it has the best score of those that rule best looks at (risk high, complex" in done.stdout
    assert "2. claude: no rule matches the task, so it is the first that could do it" in done.stdout
    assert ["ai-edit", "chosen", "0.88"] in lines
    assert ["claude", "could", "0.50"] in lines
    assert ["ruff-fix", "left", "out", "-", "it", "is", "not", "made", "for", "prose"] in lines
    found = json.loads(acms("route", "explain", task, "--json", "--database-url", canonical_url).stdout)
    assert found == [FIRST, SECOND]
    listed = re.search(r"has the keys (.+?) in JSON", " ".join((explain.help or "").split()))
    assert listed is not None
    assert list(found[0]) == re.split(r", | and ", listed[1])
    assert "its plan names pytest" in acms("route", "explain", plain, "--database-url", canonical_url).stdout
    unknown = acms("route", "explain", "nobody", "--database-url", canonical_url)
    assert (unknown.returncode, one_sentence(unknown)) == (2, "acms: there is no task 'nobody'\n")
