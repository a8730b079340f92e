"""The report as one HTML page that asks nothing of the network."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from pygments import highlight  # type: ignore[import-untyped]
from pygments.formatters import HtmlFormatter  # type: ignore[import-untyped]
from pygments.lexers.diff import DiffLexer  # type: ignore[import-untyped]

from prefect_acms.tasks.reports.drawing import tone
from prefect_acms.tasks.reports.pictures import dag_picture, shown_state, timeline_picture
from prefect_acms.tasks.reports.text import (
    cost_told,
    count,
    day_and_time,
    dollars,
    one_line,
    place,
    printable,
    seconds,
    short,
)
from prefect_acms.tasks.summary_model import PatchRecord, Summary

MOST_DIFF_LINES = 400
"""Lines of a diff that the page shows; `acms diff` prints all of them."""

MOST_GAPS = 2000
"""Rows that a phone's browser still scrolls through; summary.json lists every gap."""


def summary_html(summary: Summary) -> str:
    """The page; every text that came from the repository is escaped, invisible characters are shown by their codes."""
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            summary=summary,
            run=summary.run,
            counts=summary.counts,
            gaps=summary.gaps[:MOST_GAPS],
            dropped=[patch for patch in summary.patches if patch.state == "dropped"],
            left_out=max(len(summary.gaps) - MOST_GAPS, 0),
            workstreams={workstream.id: workstream for workstream in summary.workstreams},
            tasks={task.id: task for task in summary.tasks},
            gates={gate.id: gate for gate in summary.gates},
            dag=dag_picture(summary),
            timeline=timeline_picture(summary),
        )
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    environment.filters |= {
        "tone": tone, "seconds": seconds, "count": count, "one_line": one_line, "diff": diff_html, "place": place,
        "cut": lines_cut, "short": short, "shown_state": shown_state, "day_and_time": day_and_time,
        "cost_told": cost_told, "dollars": dollars,
    }  # fmt: skip
    return environment


def diff_html(patch: PatchRecord) -> Markup:
    """The diff with its added and removed lines marked."""
    shown = "\n".join(patch.diff.splitlines()[:MOST_DIFF_LINES])
    marked: str = highlight(printable(shown), DiffLexer(stripnl=False), HtmlFormatter(nowrap=True))
    return Markup(marked)  # noqa: S704  pygments has escaped the text


def lines_cut(patch: PatchRecord) -> int:
    """How many lines of the diff the page leaves out."""
    return max(len(patch.diff.splitlines()) - MOST_DIFF_LINES, 0)
