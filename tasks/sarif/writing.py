"""A run told in SARIF 2.1.0: every gap with its fate and its fix, and the logs that it came from with nothing lost."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from prefect_acms.canonical.gap import GapSeverity, GapState
from prefect_acms.dao.redaction import redact
from prefect_acms.tasks.sarif.fixes import ROOT, Fixes, location_of
from prefect_acms.tasks.selection import BASELINED
from prefect_acms.tasks.summary_model import GapRecord, PatchRecord, PhaseRecord, Summary

SCHEMA_URI = "https://json.schemastore.org/sarif-2.1.0.json"

OURS = "acms"
"""The property bag in which we say what became of a result; whatever else a log says stays as it was."""

LEVELS = {
    GapSeverity.CRITICAL: "error",
    GapSeverity.HIGH: "error",
    GapSeverity.MEDIUM: "warning",
    GapSeverity.LOW: "note",
    GapSeverity.INFO: "note",
}

SCORES = {
    GapSeverity.CRITICAL: "9.5",
    GapSeverity.HIGH: "8.0",
    GapSeverity.MEDIUM: "5.5",
    GapSeverity.LOW: "2.0",
    GapSeverity.INFO: "0.0",
}
"""The `security-severity` of a security gap, by which code scanning sorts; the middle of what GitHub calls so."""

SECURITY = "security"


def sarif_text(summary: Summary, *, remaining: bool = False) -> str:
    """The log as a text without secrets; `remaining` leaves out what is resolved, for a scan of the result branch."""
    return redact(json.dumps(sarif_of(summary, remaining=remaining), indent=1, ensure_ascii=False) + "\n")


def sarif_of(summary: Summary, *, remaining: bool = False) -> dict[str, Any]:
    """The log of a run: first the logs that it has read, then a run for each other source that it has asked."""
    teller = _Teller(summary, remaining=remaining)
    logs = [deepcopy(record) for record in summary.imported]
    told = {name for record in logs for name in record["fingerprints"].values()}
    runs = [run for record in logs for run in teller.completed(record)]
    log: dict[str, Any] = {}
    for record in reversed(logs):
        log |= {name: value for name, value in (record.get("log") or {}).items() if name not in {"runs", "version"}}
    log |= {"$schema": log.get("$schema", SCHEMA_URI), "version": "2.1.0", "runs": [*runs, *teller.own(told)]}
    return log


class _Teller:
    """Tells the gaps of one run."""

    def __init__(self, summary: Summary, *, remaining: bool) -> None:
        self._summary = summary
        self._remaining = remaining
        self._fixes = Fixes.of(summary.patches)
        self._gaps = {gap.fingerprint: gap for gap in summary.gaps}
        self._patches = {name: patch for patch in summary.kept() for name in patch.resolves}

    def completed(self, record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """The runs of a log that was read, each result with its fate; the gaps alone, where it was not kept whole."""
        log = record.get("log")
        if log is None:
            names = set(record["fingerprints"].values())
            yield from self._runs([gap for gap in self._summary.gaps if gap.fingerprint in names])
            return
        for number, run in enumerate(log["runs"] or ()):
            results = run.get("results")
            if results is not None:
                kept = []
                for position, result in enumerate(results):
                    gap = self._gaps.get(record["fingerprints"].get(f"/runs/{number}/results/{position}", ""))
                    if gap is not None:
                        self._mark(result, gap)
                    if gap is None or not (self._remaining and _is_gone(gap)):
                        kept.append(result)
                run["results"] = kept
            yield run

    def own(self, told: set[str]) -> Iterator[dict[str, Any]]:
        """A run for each source: its gaps, but for those that have been told, and how it was asked."""
        yield from self._runs([gap for gap in self._summary.gaps if gap.fingerprint not in told])

    def _runs(self, gaps: Sequence[GapRecord]) -> Iterator[dict[str, Any]]:
        asked = {source["name"]: source for source in self._summary.sources}
        by_source: dict[str, list[GapRecord]] = {name: [] for name in sorted(asked)}
        for gap in gaps:
            by_source.setdefault(gap.source, []).append(gap)
        for name, found in by_source.items():
            if found or name != "sarif":
                yield self._run(name, asked.get(name, {}), found)

    def _run(self, name: str, asked: Mapping[str, Any], gaps: Sequence[GapRecord]) -> dict[str, Any]:
        rules = {gap.rule_id: gap for gap in reversed(gaps)}
        place = {rule: number for number, rule in enumerate(sorted(rules))}
        run = self._summary.run
        driver: dict[str, Any] = {"name": name, "rules": [_rule(rules[rule]) for rule in place]}
        if asked.get("version"):
            driver["version"] = asked["version"]
        made: dict[str, Any] = {
            "tool": {"driver": driver, "extensions": [_ourselves()]},
            "automationDetails": {"id": f"{OURS}/{name}/{run.id}"},
            "originalUriBaseIds": {ROOT: {"description": {"text": "The top of the repository."}}},
            "columnKind": "utf16CodeUnits",
            "results": [
                self._result(gap, place[gap.rule_id]) for gap in gaps if not (self._remaining and _is_gone(gap))
            ],
        }
        if asked:
            made["invocations"] = [_invocation(asked, self._summary.phases)]
        if run.base_commit:
            details = {"repositoryUri": Path(run.repository).absolute().as_uri(), "revisionId": run.base_commit}
            made["versionControlProvenance"] = [details | {"mappedTo": {"uriBaseId": ROOT}}]
        return made

    def _result(self, gap: GapRecord, rule: int) -> dict[str, Any]:
        result: dict[str, Any] = {
            "ruleId": gap.rule_id,
            "ruleIndex": rule,
            "level": LEVELS[GapSeverity(gap.severity)],
            "message": {"text": gap.title},
            "locations": [_location(gap, path) for path in gap.file_paths],
            "fingerprints": {f"{OURS}/v1": gap.fingerprint},
        }
        self._mark(result, gap)
        return result

    def _mark(self, result: dict[str, Any], gap: GapRecord) -> None:
        """Say what became of a result; what it said before of that itself is kept beside."""
        patch = self._patches.get(gap.fingerprint)
        fate = {
            "run": self._summary.run.id,
            "gap": gap.id,
            "fingerprint": gap.fingerprint,
            "state": gap.state,
            "severity": gap.severity,
            "category": gap.category,
            "reason": gap.reason,
            "description": gap.description,
            "commit": gap.commit,
            "patch": patch.id if patch else None,
            "tool": self._tool_of(patch),
            "baselineStateBefore": result.get("baselineState"),
        }
        bag = result.setdefault("properties", {})
        bag[OURS] = {name: value for name, value in fate.items() if value}
        if _is_gone(gap) or "baselineState" not in result:
            result["baselineState"] = "absent" if _is_gone(gap) else "unchanged"
        if gap.state == GapState.DEFERRED and gap.reason == BASELINED:
            suppression = {"kind": "external", "status": "accepted", "justification": gap.reason}
            result["suppressions"] = [*(result.get("suppressions") or ()), suppression]
        if patch and (fix := self._fixes.of_gap(gap, patch)):
            result["fixes"] = [*(result.get("fixes") or ()), fix]

    def _tool_of(self, patch: PatchRecord | None) -> str | None:
        tasks = (task.tool_id for task in self._summary.tasks if patch and task.id == patch.task_id)
        return next(tasks, None)


def _is_gone(gap: GapRecord) -> bool:
    """Whether it is resolved by a commit that is on the result branch, and not by the store's word alone."""
    return gap.state == GapState.RESOLVED and gap.commit is not None


def _rule(gap: GapRecord) -> dict[str, Any]:
    properties: dict[str, Any] = {"category": gap.category, "tags": [gap.category]}
    if gap.category == SECURITY:
        properties["security-severity"] = SCORES[GapSeverity(gap.severity)]
    level = {"level": LEVELS[GapSeverity(gap.severity)]}
    return {
        "id": gap.rule_id,
        "shortDescription": {"text": gap.title},
        "fullDescription": {"text": gap.title},
        "help": {"text": gap.description or gap.title},
        "defaultConfiguration": level,
        "properties": properties,
    }


def _location(gap: GapRecord, path: str) -> dict[str, Any]:
    physical: dict[str, Any] = {"artifactLocation": location_of(path)}
    if gap.start_line and path == gap.file_paths[0]:
        physical["region"] = {"startLine": gap.start_line} | ({"endLine": gap.end_line} if gap.end_line else {})
    return {"physicalLocation": physical}


def _invocation(asked: Mapping[str, Any], phases: Iterable[PhaseRecord]) -> dict[str, Any]:
    """How a source was asked, and when; why it failed, where it did."""
    made: dict[str, Any] = {"executionSuccessful": bool(asked.get("ok"))}
    if command := asked.get("command"):
        made["commandLine"] = shlex.join(command)
        made["arguments"] = list(command[1:])
    discovery = next((phase for phase in phases if phase.name == "discovery"), None)
    if discovery and discovery.started_at:
        made["startTimeUtc"] = discovery.started_at
    if discovery and discovery.completed_at:
        made["endTimeUtc"] = discovery.completed_at
    if asked.get("problem"):
        notification = {"level": "error", "message": {"text": asked["problem"]}}
        made["toolExecutionNotifications"] = [notification]
    return made


def _ourselves() -> dict[str, Any]:
    try:
        known = {"version": version("prefect-acms")}
    except PackageNotFoundError:
        known = {}
    return {"name": "prefect-acms", **known}
