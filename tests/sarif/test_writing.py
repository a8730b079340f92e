"""A run told in SARIF: valid, with every gap and its fate, and nothing lost of what was read."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from sarif_shop import PRODUCERS

from prefect_acms.tasks.sarif.checking import SCHEMA, log_of, problem_of, read_log
from prefect_acms.tasks.sarif.edits import edited, edits_of, replacements_of
from prefect_acms.tasks.sarif.writing import sarif_of, sarif_text
from prefect_acms.tasks.selection import BASELINED
from prefect_acms.tasks.sources import Scan
from prefect_acms.tasks.sources.sarif import SarifSource
from prefect_acms.tasks.summary_model import Counts, GapRecord, PatchRecord, PhaseRecord, RunRecord, Summary

ScanOf = Callable[..., Scan]

COMMIT = "a1b2c3d4e5f6a7b8c9d0a1b2c3d4e5f6a7b8c9d0"
NOW = "2026-01-31T09:05:00.000000Z"


def told(*gaps: GapRecord, patches: tuple[PatchRecord, ...] = (), **facts: Any) -> Summary:
    """A summary of these gaps."""
    run = RunRecord(
        id="run_01", state="succeeded", mode="full", repository="/srv/shop", base_commit=COMMIT, created_at=NOW
    )
    phase = PhaseRecord(name="discovery", ordinal=1, started_at=NOW, completed_at=NOW)
    return Summary(run=run, counts=Counts(), phases=(phase,), gaps=gaps, patches=patches, **facts)


def gap(name: str, **facts: Any) -> GapRecord:
    """A gap of ruff's; keywords win."""
    given = {"source": "ruff", "rule_id": "F401", "title": "unused", "category": "style", "severity": "low"}
    return GapRecord(
        id=f"gap_{name}",
        fingerprint=name,
        **{**given, "file_paths": ("a b.py",), "start_line": 2, "state": "deferred", **facts},
    )


def test_every_gap_is_told_with_its_fate() -> None:
    """What is resolved is absent now, what the baseline knows is accepted, and a source that failed says so."""
    sources = (
        {"name": "ruff", "ok": True, "version": "ruff 0.15", "command": ["ruff", "check", "a b.py"]},
        {"name": "mypy", "ok": False, "problem": "not installed"},
    )
    log = sarif_of(
        told(
            gap("a", state="resolved", commit=COMMIT),
            gap("b", reason=BASELINED),
            gap("c", reason="no fix", category="security", severity="critical", rule_id="S1", end_line=3),
            gap("d", state="resolved"),
            sources=sources,
        )
    )
    assert problem_of(log) is None
    mypy, ruff = log["runs"]
    assert [(one["baselineState"], one.get("suppressions")) for one in ruff["results"]] == [
        ("absent", None),
        ("unchanged", [{"kind": "external", "status": "accepted", "justification": BASELINED}]),
        ("unchanged", None),
        ("unchanged", None),
    ]
    assert ruff["invocations"][0]["commandLine"] == "ruff check 'a b.py'"
    assert mypy["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"] == "not installed"
    critical = ruff["results"][2]
    assert (critical["level"], critical["properties"]["acms"]["reason"]) == ("error", "no fix")
    assert ruff["tool"]["driver"]["rules"][critical["ruleIndex"]]["properties"]["security-severity"] == "9.5"
    place = critical["locations"][0]["physicalLocation"]
    assert place["artifactLocation"] == {"uri": "a%20b.py", "uriBaseId": "%SRCROOT%"}
    assert place["region"] == {"startLine": 2, "endLine": 3}
    remaining = sarif_of(told(gap("a", state="resolved", commit=COMMIT), gap("d", state="resolved")), remaining=True)
    assert [one["properties"]["acms"]["gap"] for run in remaining["runs"] for one in run["results"]] == ["gap_d"]


def lost(before: Any, after: Any, place: str = "") -> list[str]:
    """Everything of a value that another one lacks; it may have more keys, and more entries at the end of a list."""
    if isinstance(before, Mapping):
        missing = [f"{place}/{key}" for key in before if key not in after]
        return missing + [
            one for key in before if key in after for one in lost(before[key], after[key], f"{place}/{key}")
        ]
    if isinstance(before, list):
        if len(after) < len(before):
            return [place]
        return [one for number, entry in enumerate(before) for one in lost(entry, after[number], f"{place}/{number}")]
    return [] if before == after else [place]


@pytest.mark.parametrize("producer", sorted(path.stem for path in PRODUCERS.glob("*.sarif")))
def test_a_round_trip_loses_nothing(producer: str, scan_of: ScanOf, tmp_path: Path) -> None:
    """Read, told with its fates, and read again: all is there, and the same gaps are found."""
    path = PRODUCERS / f"{producer}.sarif"
    found = SarifSource().discover(scan_of(path))
    fate = {"state": "deferred", "reason": "no fix"}
    facts = [one.model_dump(mode="json", exclude={"dependencies", "fixable", "details"}) for one in found.gaps]
    gaps = [GapRecord(id=f"gap_{number}", **fate, **one) for number, one in enumerate(facts)]
    text = sarif_text(told(*gaps, imported=tuple(found.records["logs"])))
    again = log_of(text.encode(), producer)
    assert lost(dict(read_log(path)), again) == []
    (tmp_path / "again.sarif").write_text(text, encoding="utf-8")
    assert [one.fingerprint for one in SarifSource().discover(scan_of(tmp_path / "again.sarif")).gaps] == [
        one.fingerprint for one in found.gaps
    ]
    marked = [
        one["properties"]["acms"]["gap"]
        for run in again["runs"]
        for one in run["results"]
        if "acms" in one.get("properties", {})
    ]
    assert sorted(marked) == sorted(one.id for one in gaps)


def test_what_every_property_of_the_schema_holds_comes_back(scan_of: ScanOf, tmp_path: Path) -> None:
    """Of a log that has all that the schema knows, made from the schema itself, nothing is lost."""
    log = full_log()
    assert problem_of(log) is None
    (tmp_path / "full.sarif").write_text(json.dumps(log))
    found = SarifSource().discover(scan_of(tmp_path / "full.sarif"))
    again = sarif_of(told(imported=tuple(found.records["logs"])))
    assert problem_of(again) is None
    assert lost(log, again) == []


def full_log() -> dict[str, Any]:
    """A log in which every property of every object is given, down to some depth, and below it what is required."""
    schema = json.loads(SCHEMA.read_bytes())

    def made(part: dict[str, Any], name: str, depth: int) -> Any:
        if "$ref" in part:
            return made(schema["definitions"][part["$ref"].rpartition("/")[2]], name, depth)
        kind = part.get("type", "object")
        if "enum" in part:
            return part["enum"][0]
        if kind == "array":
            return [made(part["items"], name, depth)] if depth or part.get("minItems") else []
        if kind != "object":
            return text(name, part) if kind == "string" else kind == "boolean" or max(part.get("minimum", 1), 1)
        others = {key for choice in part.get("oneOf", ())[1:] for key in choice["required"]}
        known = {key: below for key, below in part.get("properties", {}).items() if key not in others}
        needed = (
            part.get("required") or [key for key in ("text", "index", "id", "artifactLocation") if key in known][:1]
        )
        return {key: made(known[key], key, depth - 1) for key in (known if depth > 0 else needed)}

    def text(name: str, part: dict[str, Any]) -> str:
        if "Time" in name or "date-time" in part.get("format", ""):
            return NOW
        return next((sample for sample in SAMPLES if re.search(part.get("pattern", ""), sample)), "")

    return dict(made({key: value for key, value in schema.items() if key != "$schema"}, "log", 7))


SAMPLES = ("x", "0a53e2b1-6b1a-4b68-8b25-9d4b3f3e2a10", "text/plain", "en", "1.2.3.4")


BASE = "import os\nimport re\n\n\ndef f(a=None):\n    if a == None:\n        return 1\n    return 2\n"
FIRST = BASE.removeprefix("import os\nimport re\n")
SECOND = FIRST.replace("== None", "is None") + "# done\n"
THIRD = SECOND.replace("is None", "is not None")


def patch(name: str, before: str, after: str, *resolves: str) -> PatchRecord:
    """A patch on the branch."""
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), "a/a b.py", "b/a b.py"
    )
    diff = "diff --git a/a b.py b/a b.py\nindex 1111111..2222222 100644\n" + "".join(
        line if not line.startswith(("---", "+++")) else line.rstrip() + "\n" for line in lines
    )
    made = {"state": "committed", "on_branch": True, "commit": COMMIT, "sha256": "0", "task_id": "t"}
    return PatchRecord(id=name, entry_id=name, diff=diff, resolves=resolves, **made)


def applied(text: str, fix: dict[str, Any]) -> str | None:
    """The text after the fix of a result, made as a consumer would."""
    (change,) = fix["artifactChanges"]
    edits = edits_of("a b.py", text, replacements_of(change, text, "utf16CodeUnits") or ())
    return edited(text, edits or ())


def test_the_fix_of_a_gap_is_told_in_lines_of_the_file_that_it_was_found_in() -> None:
    """Though the patch was made after another one had moved them; of a patch, what is about the gap's lines."""
    gaps = (
        gap("one", state="resolved", commit=COMMIT, start_line=1),
        gap("two", state="resolved", commit=COMMIT, start_line=6),
        gap("three", state="resolved", commit=COMMIT, start_line=3),
    )
    patches = (patch("p1", BASE, FIRST, "one"), patch("p2", FIRST, SECOND, "two", "three"))
    log = sarif_of(told(*gaps, patches=patches))
    assert problem_of(log) is None
    one, two, three = (result["fixes"][0] for result in log["runs"][0]["results"])
    assert applied(BASE, one) == FIRST
    assert applied(BASE, two) == BASE.replace("== None", "is None")
    assert applied(BASE, three) == BASE.replace("== None", "is None") + "# done\n"
    assert two["description"]["text"] == f"The patch p2, commit {COMMIT}"


def test_lines_that_an_earlier_patch_wrote_are_no_lines_of_the_file_at_first() -> None:
    """So there is no fix to be told; the fate says which patch it was."""
    patches = (patch("p1", BASE, FIRST), patch("p2", FIRST, SECOND), patch("p3", SECOND, THIRD, "x"))
    log = sarif_of(told(gap("x", state="resolved", commit=COMMIT, start_line=6), patches=patches))
    (result,) = log["runs"][0]["results"]
    assert "fixes" not in result
    assert result["properties"]["acms"]["patch"] == "p3"
