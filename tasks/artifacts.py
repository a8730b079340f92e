"""What a person sees of a run in the Prefect UI: its name and an artifact a phase; none of it ever fails the run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from prefect.artifacts import acreate_link_artifact, acreate_markdown_artifact, acreate_table_artifact
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from prefect_acms.canonical.gap import GapSeverity
from prefect_acms.dao.redaction import redact
from prefect_acms.dao.store import Store
from prefect_acms.tasks.discovery import DiscoveryResult
from prefect_acms.tasks.driving import Drive
from prefect_acms.tasks.plans import Plan, Workstream
from prefect_acms.tasks.prefect_server import UNREACHABLE, is_told
from prefect_acms.tasks.publishing import Publication
from prefect_acms.tasks.reports import summary_markdown
from prefect_acms.tasks.reports.text import count
from prefect_acms.tasks.summary_model import Summary
from prefect_acms.tasks.watch_records import Watched

_RANK = {severity: rank for rank, severity in enumerate(GapSeverity)}

MOST_ROWS = 500
"""Rows that a table artifact shows at most; the files of the run have them all."""

PATIENCE_SEC = 5.0
"""Seconds that showing something may take; the run does not wait longer for it."""


async def publish_name(name: str) -> None:
    """Call the Prefect run by a name that says which canonical run it is; `acms show` accepts its ending."""

    async def rename() -> None:
        async with get_client() as client:
            await client.update_flow_run(flow_run.id, name=name)

    await _publish(rename)


async def publish_start(drive: Drive, facts: Mapping[str, Any]) -> None:
    """Show what the run starts from."""
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    lines = [
        f"# Run {drive.run_id}",
        "",
        f"- repository: `{facts['repository']}`",
        f"- branch `{facts['branch']}` at `{facts['base_commit']}`",
        f"- mode: {drive.config.mode.value}",
        f"- sources: {', '.join(drive.config.discovery.sources)}",
        f"- with {versions}",
    ]
    await _markdown(drive, "start", "\n".join(lines), "what the run starts from")


async def publish_gaps(drive: Drive, result: DiscoveryResult) -> None:
    """Show the gaps as a table."""
    rows = [
        {
            "severity": gap.severity.value,
            "rule": f"{gap.source} {gap.rule_id}",
            "where": f"{gap.file_paths[0]}:{gap.start_line or ''}" if gap.file_paths else "",
            "title": gap.title,
            "fixable": gap.fixable,
        }
        for gap in sorted(result.gaps, key=lambda gap: _RANK[gap.severity])
    ]
    asked = ", ".join(f"{source.name} ({source.problem or source.count})" for source in result.sources)
    await _table(drive, "gaps", rows, f"{count(len(rows), 'gap')}; asked: {asked}")


async def publish_workstreams(drive: Drive, workstreams: Sequence[Workstream]) -> None:
    """Show the workstreams as a table."""
    rows = [
        {
            "workstream": workstream.name,
            "priority": workstream.priority_score,
            "effort": workstream.effort.value,
            "gaps": len(workstream.gaps),
            "files": len(workstream.file_scope),
            "waits for": ", ".join(workstream.depends_on),
        }
        for workstream in workstreams
    ]
    await _table(drive, "workstreams", rows, count(len(rows), "workstream"))


async def publish_plan(drive: Drive, plan: Plan) -> None:
    """Show the plan: its tasks and what each waits for; the UI draws no mermaid, but the graph of the run."""
    rows = [
        {"task": planned.key, "does": planned.description, "waits for": ", ".join(planned.depends_on)}
        for planned in plan.tasks
    ]
    await _table(drive, "plan", rows, f"{count(len(plan.tasks), 'task')} for {count(len(plan.gaps), 'gap')}")


async def publish_patches(drive: Drive) -> None:
    """Show the patches with their diffs."""
    with drive.reading() as dao:
        entries = dao.ledger.of_run(drive.run_id)
        patches = {entry.id: dao.patches.get(entry.patch_id) for entry in entries}
    told = count(len(entries), "patch", "patches")
    text = [f"# {told}"]
    for entry in entries[:MOST_ROWS]:
        patch = patches[entry.id]
        text += ["", f"## {', '.join(patch.files[:3])}: {entry.state}", ""]
        text += [entry.quarantine_reason or f"+{patch.lines_added} -{patch.lines_removed}", "", *_fenced(patch.content)]
    await _markdown(drive, "patches", "\n".join(text), f"{told} with their diffs")


async def publish_summary(drive: Drive, summary: Summary) -> None:
    """Show what the run amounted to."""
    await _markdown(drive, "summary", summary_markdown(summary), "what was found, fixed and deferred")


async def publish_links(store: Store, publication: Publication) -> None:
    """Show the pull requests of a run as links."""
    for one in publication.published:
        if one.url is None:
            continue
        link, text = store.scrubber.text(one.url), f"{one.repository} {one.number}: {one.state}"
        key = _key_of(one.repository.rpartition("/")[2], f"pull-request-{one.number}")
        create = partial(acreate_link_artifact, link=link, link_text=text, key=key, description=one.sentence)
        await _publish(create)


async def publish_broken(store: Store, repository: str, watched: Watched) -> None:
    """Show what a merged run has broken in a branch, and the command that takes it back."""
    output = watched.regression.output if watched.regression else ""
    lines = [f"# {watched.branch} is broken", "", watched.sentence, "", *_fenced(output, "text")]
    lines += ["", "To have it out:", "", *_fenced(watched.command or "", "sh")]
    text, key = store.scrubber.text("\n".join(lines)), _key_of(repository, "broken")
    await _publish(lambda: acreate_markdown_artifact(markdown=text, key=key, description=f"run {watched.run_id}"))


async def publish_night(rows: Sequence[Mapping[str, Any]], description: str) -> None:
    """Show what came of each repository of a list."""
    table = [{name: redact(value) if isinstance(value, str) else value for name, value in row.items()} for row in rows]
    told = redact(description)
    await _publish(lambda: acreate_table_artifact(table=table, key="acms-nightly", description=told))


def _fenced(diff: bytes | str, language: str = "diff") -> list[str]:
    text = diff.decode("utf-8", errors="replace") if isinstance(diff, bytes) else diff
    fence = "`" * 4
    while fence in text:
        fence += "`"
    return [f"{fence}{language}", redact(text).rstrip("\n")[:20_000], fence]


async def _table(drive: Drive, name: str, rows: list[dict[str, Any]], description: str) -> None:
    shown = rows[:MOST_ROWS]
    if len(shown) < len(rows):
        description += f"; the first {len(shown)} are shown, {name}.json in the run's folder has all"
    clean = drive.store.scrubber
    told = {"table": clean.value(shown), "description": clean.text(description)}
    await _publish(lambda: acreate_table_artifact(**told, key=_key(drive, name)))


async def _markdown(drive: Drive, name: str, text: str, description: str) -> None:
    clean = drive.store.scrubber.text
    told = {"markdown": clean(text), "description": clean(description)}
    await _publish(lambda: acreate_markdown_artifact(**told, key=_key(drive, name)))


def _key(drive: Drive, name: str) -> str:
    return _key_of(drive.repository.top.name, name)


def _key_of(repository: str, name: str) -> str:
    """Artifact keys are lower-case letters, digits and dashes; one a repository, so that the UI shows its history."""
    project = "".join(char if char.isalnum() and char.isascii() else "-" for char in repository.lower())
    return f"acms-{project.strip('-') or 'repository'}-{name}"


async def _publish(create: Callable[[], Awaitable[Any]]) -> None:
    if not is_told():
        return
    try:
        async with asyncio.timeout(PATIENCE_SEC):
            await create()
    except UNREACHABLE as error:
        if FlowRunContext.get() is not None:
            get_run_logger().warning("Prefect could not be told what the run has to show: %s", error)
