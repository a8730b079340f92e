"""What a person sees of a run in the Prefect UI: its name and an artifact a phase; none of it ever fails the run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from shlex import quote
from typing import Any
from uuid import UUID

from prefect.artifacts import (
    LinkArtifact,
    MarkdownArtifact,
    ProgressArtifact,
    TableArtifact,
    aupdate_progress_artifact,
)
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.logging import get_run_logger
from prefect.logging.loggers import flow_run_logger
from prefect.runtime import flow_run

from prefect_acms.canonical.gap import GapSeverity
from prefect_acms.dao.redaction import redact
from prefect_acms.dao.store import Store
from prefect_acms.tasks.discovery import DiscoveryResult
from prefect_acms.tasks.driving import Drive
from prefect_acms.tasks.plans import Plan, Workstream
from prefect_acms.tasks.prefect_server import is_told
from prefect_acms.tasks.publishing import Publication
from prefect_acms.tasks.reports import summary_markdown
from prefect_acms.tasks.reports.outline import plan_outline
from prefect_acms.tasks.reports.text import count
from prefect_acms.tasks.summary_model import Summary
from prefect_acms.tasks.watch_records import Watched

_SHOWN: ContextVar[FlowRunContext | None] = ContextVar("shown", default=None)
_RANK = {severity: rank for rank, severity in enumerate(GapSeverity)}

MOST_ROWS = 500
"""Rows that a table artifact shows at most; the files of the run have them all."""

MOST_PATCHES = 100
"""Patches whose diffs an artifact shows at most."""

PROGRESS_SEC = 1.0
"""Seconds between two updates of a progress bar at least."""

END_SEC = 10.0
"""Seconds that everything may take which is shown at the end of a run."""

_PROGRESS = "tasks of the plan that have ended, and workstreams that are merged"

PATIENCE_SEC = 5.0
"""Seconds that showing something may take; the run does not wait longer for it."""


async def publish_name(drive: Drive) -> None:
    """Call the Prefect run by repository, mode and the ending of our run's id, which `acms show` accepts.

    Its tags are the same three, with the whole id, so that the runs of a repository are found by the tag.
    """
    repository, mode = drive.repository.top.name, drive.config.mode.value
    tags = {*flow_run.tags, repository, mode, drive.run_id}

    async def rename() -> None:
        async with get_client() as client:
            await client.update_flow_run(
                flow_run.id, name=f"{repository} {mode} {drive.run_id[-8:]}", tags=sorted(tags)
            )

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
    """Show the plan: its tasks and what each waits for, as a table and drawn in characters; the UI draws no mermaid."""
    rows = [
        {"task": planned.key, "does": planned.description, "waits for": ", ".join(planned.depends_on)}
        for planned in plan.tasks
    ]
    told = f"{count(len(plan.tasks), 'task')} for {count(len(plan.gaps), 'gap')}"
    await _table(drive, "plan", rows, told)
    drawn = "\n".join(_fenced(plan_outline(plan, MOST_ROWS), "text"))
    await _markdown(drive, "diagram", drawn, f"{told}: each below the one that it waits for")


async def _publish_patches(drive: Drive) -> None:
    """Show the patches with their diffs."""
    with drive.reading() as dao:
        entries = dao.ledger.of_run(drive.run_id)
        shown = [(entry, dao.patches.get(entry.patch_id)) for entry in entries[:MOST_PATCHES]]
    told = count(len(entries), "patch", "patches")
    text = [f"# {told}"]
    if len(shown) < len(entries):
        text += ["", f"The first {len(shown)} are shown; the report of the run names them all."]
    for entry, patch in shown:
        text += ["", f"## {', '.join(patch.files[:3])}: {entry.state}", ""]
        text += [entry.quarantine_reason or f"+{patch.lines_added} -{patch.lines_removed}", "", *_fenced(patch.content)]
    await _markdown(drive, "patches", "\n".join(text), f"{told}, with what was changed")


async def publish_end(drive: Drive, summary: Summary) -> None:
    """Show what the run amounted to, when it has ended and whatever it came to: no patch or gate changes any more.

    It takes END_SEC at most: a process that is told to stop has not much longer.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(END_SEC):
            await _markdown(drive, "summary", summary_markdown(summary), "what was found, fixed and deferred")
            await _publish_patches(drive)
            await _publish_gates(drive, summary)
            await _publish_result(drive, summary)


async def _publish_gates(drive: Drive, summary: Summary) -> None:
    files = {patch.entry_id: ", ".join(patch.files[:3]) for patch in summary.patches}
    rows = [
        {
            "gate": gate.type,
            "state": gate.state,
            "of": "the base commit" if gate.at_base else files.get(gate.patch_entry_id or "", "the merged tree"),
            "judgement": gate.judgement or "",
            "seconds": gate.duration_sec,
            "command": gate.command,
        }
        for gate in summary.gates
    ]
    await _table(drive, "gates", rows, f"{count(len(rows), 'gate run')}, in the order they ran")


async def _publish_result(drive: Drive, summary: Summary) -> None:
    """Show where the branch and the reports are: on a disk, to which no link of a web page leads."""
    run, top = summary.run, drive.repository.top
    branch = [f"Nothing was kept: there is no branch. The run is {run.state}."]
    if run.branch is not None:
        range_ = f"{run.base_commit}..{run.branch}"
        branch = [
            f"Branch `{run.branch}` in `{top}`, at `{run.head}`. Nothing else was changed there.",
            "",
            *_fenced(f"git -C {quote(str(top))} log --patch {range_}", "sh"),
            "",
            "To have it in a clone of your own:",
            "",
            *_fenced(f"git fetch {quote(str(top))} {run.branch}:{run.branch}", "sh"),
        ]
    # a long path in a line of text would run over what stands beside it
    reports = "\n".join(str(drive.folder / name) for name in ("report.html", "summary.md", "summary.json"))
    text = ["# Result", "", *branch, "", "## Reports", "", *_fenced(reports, "text")]
    _log(f"{run.state}; {f'branch {run.branch} in {top}' if run.branch else 'no branch'}")
    await _markdown(drive, "result", "\n".join(text), run.branch or "no branch")


@asynccontextmanager
async def progress_shown(drive: Drive, done: Callable[[], float]) -> AsyncIterator[None]:
    """A block of which the UI shows how far it is; `done` says it in percent, and is asked once a second at most."""
    artifact: UUID | None = None
    shown = -1.0

    async def tell() -> None:
        nonlocal artifact, shown
        told = round(done(), 1)
        if told == shown:
            return
        shown = told
        if artifact is None:
            key = _key(drive, "progress")
            made = ProgressArtifact(progress=told, key=key, description=_PROGRESS, flow_run_id=_run_id())
            artifact = (await made.acreate()).id
        else:
            await aupdate_progress_artifact(artifact, progress=told)

    async def keep_telling() -> None:
        while True:
            await _publish(tell)
            await asyncio.sleep(PROGRESS_SEC)

    telling = asyncio.create_task(keep_telling())
    try:
        yield
    finally:
        telling.cancel()
        with suppress(asyncio.CancelledError):
            await telling
        await _publish(tell)


async def publish_links(store: Store, publication: Publication) -> None:
    """Show the pull requests of a run as links."""
    for one in publication.published:
        if one.url is None:
            continue
        clean = store.scrubber.text
        link, text = clean(one.url), clean(f"{one.repository} {one.number}: {one.state}")
        key = _key_of(one.repository.rpartition("/")[2], f"pull-request-{one.number}")
        told = clean(one.sentence)
        shown = LinkArtifact(link=link, link_text=text, key=key, description=told, flow_run_id=_run_id())
        await _publish(shown.acreate)


async def publish_broken(store: Store, repository: str, watched: Watched) -> None:
    """Show what a merged run has broken in a branch, and the command that takes it back."""
    output = watched.regression.output if watched.regression else ""
    lines = [f"# {watched.branch} is broken", "", watched.sentence, "", *_fenced(output, "text")]
    lines += ["", "To have it out:", "", *_fenced(watched.command or "", "sh")]
    text, key = store.scrubber.text("\n".join(lines)), _key_of(repository, "broken")
    await _publish(MarkdownArtifact(markdown=text, key=key, description=f"run {watched.run_id}").acreate)


async def publish_night(rows: Sequence[Mapping[str, Any]], description: str) -> None:
    """Show what came of each repository of a list."""
    table = [{name: redact(value) if isinstance(value, str) else value for name, value in row.items()} for row in rows]
    told = redact(description)
    await _publish(TableArtifact(table=table, key="acms-nightly", description=told).acreate)


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
    _log(clean.text(description))
    told = {"table": clean.value(shown), "description": clean.text(description)}
    await _publish(TableArtifact(**told, key=_key(drive, name), flow_run_id=_run_id()).acreate)


async def _markdown(drive: Drive, name: str, text: str, description: str) -> None:
    clean = drive.store.scrubber.text
    told = {"markdown": clean(text), "description": clean(description)}
    await _publish(MarkdownArtifact(**told, key=_key(drive, name), flow_run_id=_run_id()).acreate)


def _key(drive: Drive, name: str) -> str:
    return _key_of(drive.repository.top.name, name)


def _key_of(repository: str, name: str) -> str:
    """Artifact keys are lower-case letters, digits and dashes; one a repository, so that the UI shows its history."""
    project = "".join(char if char.isalnum() and char.isascii() else "-" for char in repository.lower())
    return f"acms-{project.strip('-') or 'repository'}-{name}"


@contextmanager
def shown_here() -> Iterator[None]:
    """A block whose artifacts and lines of log are those of the flow run around it: there a person looks for them.

    In the UI, the page of a flow run has nothing of its subflows.
    """
    token = _SHOWN.set(_of_whom())
    try:
        yield
    finally:
        _SHOWN.reset(token)


def _of_whom() -> FlowRunContext | None:
    return _SHOWN.get() or FlowRunContext.get()


def _run_id() -> UUID | None:
    context = _of_whom()
    return context.flow_run.id if context is not None and context.flow_run is not None else None


def _log(line: str) -> None:
    """A line in the log of the Prefect run, where there is one: Prefect's own say only that a phase has ended."""
    context = _of_whom()
    if is_told() and context is not None:
        flow_run_logger(context.flow_run, context.flow).info("%s", line)


async def _publish(create: Callable[[], Awaitable[Any]]) -> None:
    if not is_told():
        return
    try:
        async with asyncio.timeout(PATIENCE_SEC):
            await create()
    except Exception as error:  # noqa: BLE001 - whatever it is, the work that was to be shown is done
        if FlowRunContext.get() is not None:
            get_run_logger().warning("Prefect could not be told what the run has to show: %s", error)
