"""The end of a run as the terminal shows it: what came of it, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from prefect_acms.deployments.demo import Health
from prefect_acms.deployments.output import say
from prefect_acms.deployments.table import STYLES
from prefect_acms.tasks.reports.drawing import tone
from prefect_acms.tasks.reports.text import cost_told, count, dollars, one_line, printable, seconds
from prefect_acms.tasks.summary_model import PatchRecord, Summary

MOST_REASONS = 5
MOST_PATCHES = 20


def show_summary(summary: Summary, on: Console | None = None) -> None:
    """Print what a run found, fixed and deferred, its patches, and the next steps."""
    say(Group(*_parts(summary)), on)


def run_folder(summary: Summary) -> Path:
    """Where the files of a run are."""
    return Path(summary.run.repository) / ".acms_runs" / summary.run.id


def _parts(summary: Summary) -> Iterator[RenderableType]:
    run = summary.run
    line = Text(f"{run.id}  ")
    line.append(run.state, style=STYLES[tone(run.state)])
    line.append(", degraded" if run.degraded else "")
    yield line.append(f"  in {seconds(run.duration_sec)}")
    for name, problem in (("error", run.error), ("quarantined", run.quarantine_reason)):
        if problem:
            yield Text(f"{name}: {printable(problem)}", style="red")
    for sentence in filter(None, (run.news, *run.meanwhile)):
        yield Text(printable(sentence))
    yield Text()
    yield _numbers(summary)
    if summary.patches:
        yield Text()
        yield _patches(summary)
        left = len(summary.patches) - len(_shown(summary))
        if left:
            yield Text(
                f"{count(left, 'more patch', 'more patches')}, dropped or too many: acms patches {run.id}", style="dim"
            )
    yield Text()
    yield from _next_steps(summary)


def _numbers(summary: Summary) -> Table:
    counts = summary.counts
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(justify="right")
    table.add_column()
    table.add_row(str(counts.found), f"{_noun('gap', counts.found)} found{_sources(summary)}")
    table.add_row(Text(str(counts.resolved), style="green"), "fixed, each by a commit on the result branch")
    if counts.unproven:
        table.add_row(Text(str(counts.unproven), style="red"), "fixed by the store's word, not seen on a branch")
    table.add_row(Text(str(counts.deferred), style="yellow" if counts.deferred else ""), "deferred")
    for reason in summary.reasons[:MOST_REASONS]:
        table.add_row("", Text(f"{reason.gaps}  {one_line(reason.reason)}", style="dim"))
    if len(summary.reasons) > MOST_REASONS:
        table.add_row("", Text(f"… {count(len(summary.reasons) - MOST_REASONS, 'more reason')}", style="dim"))
    if counts.open:
        table.add_row(str(counts.open), "left open")
    for sentence in summary.over_budget:
        table.add_row("", Text(f"over budget: {one_line(sentence)}", style="yellow"))
    if summary.cost.asked_models:
        table.add_row(dollars(summary.cost.usd), Text(f"models: {cost_told(summary.cost)}"))
    return table


def _noun(noun: str, number: int) -> str:
    return noun if number == 1 else f"{noun}s"


def _sources(summary: Summary) -> str:
    sources = ", ".join(f"{source} {number}" for source, number in summary.counts.by_source.items())
    return f" ({sources})" if sources else ""


def _patches(summary: Summary) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("PATCH", "STATE", "LINES", "FILES AND REASON"):
        table.add_column(name, overflow="fold")
    for patch in _shown(summary):
        about = Text(one_line(", ".join(patch.files), 100))
        if patch.reason:
            about.append(f"\n{one_line(patch.reason)}", style="dim")
        state = Text(patch.state, style=STYLES[tone(patch.state)])
        table.add_row(patch.id, state, f"+{patch.lines_added} -{patch.lines_removed}", about)
    return table


def _shown(summary: Summary) -> list[PatchRecord]:
    """Patches that were dropped, most often for the sake of their parts, are only counted."""
    return [patch for patch in summary.patches if patch.state != "dropped"][:MOST_PATCHES]


def _next_steps(summary: Summary) -> Iterator[Text]:
    run = summary.run
    report = run_folder(summary) / "report.html"
    if run.branch:
        yield Text(f"Result   branch {run.branch}", style="bold")
        yield Text(f"Look     git log -p {(run.base_commit or '')[:10]}..{run.branch}")
        yield Text(f"Take it  git merge {run.branch}")
    elif run.mode == "plan_only":
        yield Text(f"Plan     {run_folder(summary) / 'plan.json'}")
        yield Text(f"Do it    acms execute {run.id}")
    else:
        yield Text("Result   nothing was changed")
    if report.exists():
        yield Text(f"Report   {report}")


def show_before_and_after(before: Health, after: Health | None, on: Console) -> None:
    """Print what ruff and pytest said about the demonstration's repository, and say about its result branch."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("", "BEFORE", "AFTER"):
        table.add_column(name)
    table.add_row("ruff findings", str(before.findings), str(after.findings) if after else "-")
    table.add_row("tests", before.tests, after.tests if after else "-")
    say(Group(Text(), table), on)
