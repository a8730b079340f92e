"""The report as Markdown, for a terminal, a pull request or a Prefect artifact."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prefect_acms.tasks.reports.pictures import shown_state
from prefect_acms.tasks.reports.text import cost_told, count, one_line, place, printable, seconds, short
from prefect_acms.tasks.summary_model import PatchRecord, Summary

MOST_ROWS = 100
"""Rows of a table; an artifact of thousands is not read, and summary.json has them all."""

MOST_NAMES = 70
"""Characters of file names in a table; where it is shown, cells often don't wrap."""

_IN_CODE = str.maketrans({"`": "'", "|": "\N{BROKEN BAR}"})
_SPECIAL = str.maketrans({character: f"\\{character}" for character in "\\`*_{}[]<>#|~"})


def summary_markdown(summary: Summary) -> str:
    """The document; foreign text can't break out of its table cell."""
    return "\n".join(_lines(summary)).rstrip() + "\n"


def cell(text: str) -> str:
    """Foreign text as plain words inside a table."""
    return one_line(text, 160).translate(_SPECIAL)


def code(text: str) -> str:
    """Foreign text in code style inside a table; back ticks and bars would end it."""
    return f"`{one_line(text, 160).translate(_IN_CODE)}`" if text else "-"


def _lines(summary: Summary) -> Iterator[str]:
    yield from _head(summary)
    yield from _reasons(summary)
    yield from _patches(summary)
    yield from _workstreams(summary)
    yield from _gaps(summary)
    yield from _gates(summary)
    yield from _tools(summary)
    yield from _phases(summary)


def _head(summary: Summary) -> Iterator[str]:
    run, counts = summary.run, summary.counts
    degraded = ", degraded" if run.degraded else ""
    yield f"# {cell(run.repository.rstrip('/').rsplit('/', 1)[-1])}: {run.state}{degraded}"
    yield ""
    yield (
        f"{count(counts.found, 'gap')} found, {counts.resolved} fixed, {counts.deferred} deferred"
        + (f", {counts.open} left open" if counts.open else "")
        + (f", {counts.unproven} said to be fixed but not on the branch" if counts.unproven else "")
        + f"; {count(len(summary.kept()), 'patch', 'patches')} on the branch, {len(summary.quarantined())} quarantined"
        + f"; {seconds(run.duration_sec)}."
    )
    yield ""
    yield f"- run {code(run.id)}, mode {run.mode}, base commit {code(short(run.base_commit))}"
    yield f"- branch {code(run.branch)}: `git merge {run.branch}`" if run.branch else "- no branch: nothing was kept"
    for name, text in (("error", run.error), ("quarantined", run.quarantine_reason)):
        if text:
            yield f"- {name}: {cell(text)}"
    if summary.cost.asked_models:
        yield f"- models: {cost_told(summary.cost)}"
    yield from (f"- over budget: {cell(sentence)}" for sentence in summary.over_budget)
    if run.news:
        yield f"- {cell(run.news)}"
    yield from (f"- {cell(sentence)}" for sentence in run.meanwhile)


def _reasons(summary: Summary) -> Iterator[str]:
    rows = [(str(reason.gaps), cell(reason.reason)) for reason in summary.reasons]
    yield from _table("Why gaps were deferred", ("gaps", "reason"), rows)


def _patches(summary: Summary) -> Iterator[str]:
    rows = [
        (
            patch.state, code(one_line(", ".join(patch.files), MOST_NAMES)),
            f"+{patch.lines_added} -{patch.lines_removed}", code(short(patch.commit)), cell(_why(summary, patch)),
        )
        for patch in summary.patches
    ]  # fmt: skip
    yield from _table("Patches", ("state", "files", "lines", "commit", "gates, or the reason"), rows)


def _why(summary: Summary, patch: PatchRecord) -> str:
    if patch.reason:
        return patch.reason
    gates = {gate.id: gate for gate in summary.gates}
    return ", ".join(f"{gates[key].type} {gates[key].state}" for key in patch.gates if key in gates)


def _workstreams(summary: Summary) -> Iterator[str]:
    rows = [
        (cell(ws.name), ws.state, f"{ws.resolved} of {ws.gaps}", seconds(ws.duration_sec), cell(ws.error or ""))
        for ws in summary.workstreams
    ]
    yield from _table("Workstreams", ("workstream", "state", "fixed", "time", "error"), rows)


def _gaps(summary: Summary) -> Iterator[str]:
    rows = [
        (code(f"{gap.source} {gap.rule_id}"), cell(gap.title), code(place(gap)), gap.severity, gap.state,
         cell(gap.reason or ""))
        for gap in summary.gaps
    ]  # fmt: skip
    yield from _table("Gaps", ("rule", "finding", "where", "severity", "fate", "reason"), rows)


def _gates(summary: Summary) -> Iterator[str]:
    rows = [
        (
            f"{gate.type} at the base commit" if gate.at_base else gate.type,
            shown_state(gate),
            code(gate.command),
            seconds(gate.duration_sec),
            cell(gate.judgement or ""),
        )
        for gate in summary.gates
    ]
    yield from _table("Gates", ("gate", "state", "command", "time", "judgement"), rows)


def _tools(summary: Summary) -> Iterator[str]:
    rows = [
        (cell(tool.id), str(tool.tasks), str(tool.completed), seconds(tool.mean_sec),
         "-" if tool.success_rate is None else f"{tool.success_rate:.0%} of {tool.calls}",
         cost_told(tool.cost) if tool.cost.asked_models else "-")
        for tool in summary.tools
    ]  # fmt: skip
    yield from _table("Tools", ("tool", "tasks", "completed", "mean time", "success in all runs", "models"), rows)


def _phases(summary: Summary) -> Iterator[str]:
    rows = [(phase.name, phase.outcome or "-", seconds(phase.duration_sec)) for phase in summary.phases]
    yield from _table("Phases", ("phase", "outcome", "time"), rows)


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    if not rows:
        return
    yield from ("", f"## {title}", "", _row(head), _row(["---"] * len(head)))
    yield from (_row(row) for row in rows[:MOST_ROWS])
    if len(rows) > MOST_ROWS:
        yield from ("", f"{count(len(rows) - MOST_ROWS, 'further row')}: see summary.json.")


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(printable(text) for text in cells)} |"
