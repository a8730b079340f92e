"""The reports: the same summary as JSON, Markdown and one HTML page, safe whatever the repository holds."""

from __future__ import annotations

import json
import re
import unicodedata
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_acms.tasks.reports.drawing import Bar, Node, dag_svg, tick_places, timeline_svg, tone
from prefect_acms.tasks.reports.html import MOST_DIFF_LINES, summary_html
from prefect_acms.tasks.reports.layout import arrange
from prefect_acms.tasks.reports.markdown import summary_markdown
from prefect_acms.tasks.reports.pictures import MOST_TASKS, dag_picture
from prefect_acms.tasks.reports.text import count, one_line, printable, seconds
from prefect_acms.tasks.reports.writing import read_summary, summary_schema, write_reports
from prefect_acms.tasks.summary_model import (
    Counts,
    GapRecord,
    GateRecord,
    PatchRecord,
    PhaseRecord,
    Reason,
    RunRecord,
    Summary,
    TaskRecord,
    ToolRecord,
    WorkstreamRecord,
)

EVIL = "<script>alert('x')</script> | `a` \x1b[31m \u202egnp.exe"
COMMIT = "a1b2c3d4e5f6a7b8c9d0a1b2c3d4e5f6a7b8c9d0"
START, END = "2026-01-31T09:05:00.000000Z", "2026-01-31T09:05:24.500000Z"
DIFF = f"""diff --git a/shop.py b/shop.py
--- a/shop.py
+++ b/shop.py
@@ -1 +1 @@
-if kind is "member": {EVIL}
+if kind == "member":
"""


def summary_with(text: str = "a finding", tasks: int = 3, diff: str = DIFF) -> Summary:
    """A summary in which every foreign text is `text`."""
    names = [f"task_{number:03}" for number in range(tasks)]
    return Summary(
        run=RunRecord(
            id="run_01", state="failed", mode="full", repository=f"/home/{text}", base_commit=COMMIT,
            branch="acms/run_01", head=COMMIT, created_at=START, started_at=START, completed_at=END,
            duration_sec=24.5, error=text,
        ),
        counts=Counts(found=2, selected=2, resolved=1, deferred=1),
        reasons=(Reason(reason=text, gaps=1),),
        phases=(PhaseRecord(name="discovery", ordinal=1, outcome="completed", started_at=START, completed_at=END),),
        workstreams=(WorkstreamRecord(id="ws_1", key="ws-01", name=text, state="completed", gaps=2, resolved=1),),
        tasks=tuple(
            TaskRecord(
                id=name, key=f"{name} {text}", workstream_id="ws_1", kind="test", tool_id="ruff-fix", state="completed",
                depends_on=(names[at - 1],) if at else (), started_at=START, completed_at=END, duration_sec=24.5,
            )
            for at, name in enumerate(names)
        ),
        gaps=(
            GapRecord(
                id="gap_1", fingerprint="f" * 16, source="ruff", rule_id="F632", title=text, category="style",
                severity="high", file_paths=(text,), start_line=3, state="resolved", commit=COMMIT,
            ),
            GapRecord(
                id="gap_2", fingerprint="e" * 16, source="markers", rule_id="TODO", title=text, category="debt",
                severity="info", state="deferred", reason=text,
            ),
        ),
        patches=(
            PatchRecord(
                id="patch_1", entry_id="entry_1", task_id="task_000", state="committed", on_branch=True, commit=COMMIT,
                files=(text,), lines_added=1, lines_removed=1, sha256="0" * 64, gates=("gate_1",), diff=diff,
                resolves=("f" * 16,),
            ),
            PatchRecord(
                id="patch_2", entry_id="entry_2", task_id="task_000", state="quarantined", files=("shop.py",),
                sha256="1" * 64, reason=text, supersedes="entry_1", diff=diff,
            ),
        ),
        gates=(
            GateRecord(
                id="gate_1", type="UNIT", state="FAILED", command=text, exit_code=1, judgement=text, output=text,
                started_at=START, completed_at=END, duration_sec=3.5,
            ),
        ),
        tools=(ToolRecord(id=text, tasks=3, completed=2, mean_sec=1.0, calls=4, success_rate=0.75),),
    )  # fmt: skip


class Page(HTMLParser):
    """What a browser would see: elements that are left open, and everything that reaches out."""

    VOID = frozenset({"meta", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.reaching: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the element, and what it would fetch or run."""
        self.tags.add(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in {"src", "href", "srcset", "action", "data", "poster"} or name.startswith("on"):
                self.reaching.append((name, value or ""))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002 - inherited
        """Keep an element that closes itself."""
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        """Elements must nest."""
        assert self.open.pop() == tag


def test_the_page_asks_nothing_of_the_network() -> None:
    """A report is read where there may be no network, and must not tell anybody that it is."""
    text = summary_html(summary_with(EVIL))
    page = Page(text)
    assert page.reaching == []
    assert not page.tags & {"script", "link", "img", "iframe", "object", "embed", "form"}
    assert "url(" not in text
    assert "@import" not in text
    assert "default-src 'none'" in text


@settings(max_examples=40)
@given(st.text(max_size=60).map(lambda text: f"x{text}"))
def test_no_text_of_a_repository_becomes_markup(text: str) -> None:
    """Whatever a file name, a finding or a gate's output holds, the page's elements stay the same."""
    page, plain = Page(summary_html(summary_with(text))), Page(summary_html(summary_with("plain")))
    assert page.open == []
    assert page.tags == plain.tags
    assert page.reaching == []


def test_what_steers_a_reader_unseen_is_shown_by_its_code() -> None:
    """A right-to-left override or an escape sequence in a finding does nothing, and can be seen."""
    for report in (summary_html(summary_with(EVIL)), summary_markdown(summary_with(EVIL))):
        assert "\u202e" not in report
        assert "\x1b" not in report
        assert "u202egnp.exe" in report


def test_foreign_text_stays_in_its_cell_of_a_table() -> None:
    """Every row of a Markdown table has as many cells as its head."""
    text = summary_markdown(summary_with("a | b\n| c `d` |"))
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1, table


def test_every_part_of_the_run_is_in_the_reports() -> None:
    """Found, fixed, deferred and why, patches with their fate, gates, tools: in Markdown as in HTML."""
    for report in (summary_html(summary_with("why-not")), summary_markdown(summary_with("why-not"))):
        for part in ("why-not", "F632", "TODO", "quarantined", "committed", "UNIT", "FAILED", "75", "acms/run_01"):
            assert part in report


def test_a_diff_is_shown_with_its_lines_marked() -> None:
    """Added and removed lines have classes of their own, and the text is escaped."""
    text = summary_html(summary_with())
    assert '<span class="gi">+if kind == "member":</span>' in text
    assert '<span class="gd">-if kind is "member": &lt;script&gt;' in text


def test_a_long_diff_is_cut_and_says_so() -> None:
    """The page of a huge patch can still be opened; the reader is told where the rest is."""
    long = DIFF + "".join(f"+line {number}\n" for number in range(MOST_DIFF_LINES))
    text = summary_html(summary_with(diff=long))
    assert f"+line {MOST_DIFF_LINES - 1}" not in text
    assert "6 further lines" in text
    assert "acms diff patch_1" in text


def test_the_files_appear_whole_and_the_json_fits_its_schema(tmp_path: Path) -> None:
    """summary.json satisfies the published schema and reads back equal; no temporary file is left."""
    written = write_reports(summary_with(EVIL), tmp_path / "run_01")
    document = json.loads(written.json.read_text())
    jsonschema.Draft202012Validator(summary_schema()).validate(document)
    assert sorted(path.name for path in (tmp_path / "run_01").iterdir()) == [
        "report.html",
        "report.sarif",
        "summary.json",
        "summary.md",
    ]
    without_diffs = summary_with(EVIL, diff="")
    assert read_summary(written.json) == without_diffs


def test_reports_are_the_same_bytes_every_time() -> None:
    """Nothing in a report depends on when or where it is written."""
    assert summary_html(summary_with()) == summary_html(summary_with())
    assert summary_markdown(summary_with()) == summary_markdown(summary_with())


def test_too_many_tasks_are_drawn_as_workstreams() -> None:
    """Boxes that nobody can find say nothing."""
    assert dag_picture(summary_with(tasks=MOST_TASKS)).count('class="node') == MOST_TASKS
    assert dag_picture(summary_with(tasks=MOST_TASKS + 1)).count('class="node') == 1


GRAPHS = st.integers(1, 25).flatmap(
    lambda size: st.tuples(
        st.just(size), st.lists(st.tuples(st.integers(0, size - 1), st.integers(0, size - 1)), max_size=60)
    )
)


@given(GRAPHS)
def test_a_dag_is_laid_out_left_to_right_and_no_two_boxes_overlap(graph: tuple[int, list[tuple[int, int]]]) -> None:
    """Each node stands right of those before it, and no two share a place."""
    size, pairs = graph
    nodes = [f"n{number}" for number in range(size)]
    edges = [(f"n{min(pair)}", f"n{max(pair)}") for pair in pairs if pair[0] != pair[1]]
    layout = arrange(nodes, edges)
    assert all(layout.layer[left] < layout.layer[right] for left, right in edges)
    for layer in range(layout.layers):
        heights = sorted(layout.height[node] for node in nodes if layout.layer[node] == layer)
        assert all(after - before >= 1 - 1e-9 for before, after in pairwise(heights))
    assert set(layout.routes) == set(edges)


@given(GRAPHS)
def test_even_a_cycle_is_drawn(graph: tuple[int, list[tuple[int, int]]]) -> None:
    """A picture never fails: what can't be ordered is drawn all the same."""
    size, pairs = graph
    nodes = [Node(str(number), "label", "note", "running") for number in range(size)]
    drawn = dag_svg(nodes, [(str(left), str(right)) for left, right in pairs], "title")
    assert drawn.count("<rect") == size


def test_a_long_chain_is_laid_out_without_recursion() -> None:
    """Three thousand tasks in a row do not end in a stack overflow."""
    nodes = [str(number) for number in range(3000)]
    layout = arrange(nodes, list(pairwise(nodes)))
    assert layout.layer["2999"] == 2999


@pytest.mark.parametrize("total", [0.003, 0.9, 1.0, 7.0, 59.0, 119.0, 3600.0, 86_400.0])
def test_the_scale_of_time_has_a_few_round_steps(total: float) -> None:
    """From a moment to a day, there are between two and eight ticks, and none beyond the end."""
    ticks = tick_places(total)
    assert 2 <= len(ticks) <= 8
    assert ticks[0] == 0
    assert ticks[-1] <= total * (1 + 1e-9)


def test_every_bar_stays_inside_the_timeline() -> None:
    """A bar at the very end is still seen."""
    drawn = timeline_svg([Bar("phase", "completed", 0, 10, 0), Bar("late", "failed", 10, 10)], "title")
    (width,) = (float(found) for found in re.findall(r'viewBox="0 0 ([\d.]+)', drawn))
    for x, length in re.findall(r'<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', drawn):
        assert float(x) + float(length) <= width


def test_a_timeline_of_nothing_is_a_picture() -> None:
    """A run that was refused early has no bars."""
    assert timeline_svg([], "title").startswith("<svg")


@pytest.mark.parametrize(
    ("state", "expected"),
    [("committed", "good"), ("FAILED", "bad"), ("deferred", "held"), ("pending", "waiting"), ("RUNNING", "busy")],
)
def test_a_state_has_a_tone(state: str, expected: str) -> None:
    """Colours say the same thing for every machine."""
    assert tone(state) == expected


@given(st.text())
def test_printable_text_holds_nothing_that_acts(text: str) -> None:
    """What comes out has no control character but line breaks and tabs, and plain text comes out as it was."""
    shown = printable(text)
    assert all(c in "\n\t" or unicodedata.category(c) not in {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"} for c in shown)
    assert printable("plain text, even ünïcödé") == "plain text, even ünïcödé"
    assert "\n" not in one_line(text)
    assert len(one_line(text, 20)) <= 20


@pytest.mark.parametrize(
    ("duration", "said"),
    [(None, "-"), (0.041, "0.04 s"), (12.34, "12.3 s"), (245.0, "4 min 05 s"), (3720.0, "1 h 02 min")],
)
def test_durations_read_as_people_say_them(duration: Any, said: str) -> None:
    """Tenths for seconds, none for hours."""
    assert seconds(duration) == said


def test_numbers_agree_with_their_nouns() -> None:
    """One gap, two gaps, no patches."""
    assert (count(1, "gap"), count(2, "gap"), count(0, "patch", "patches")) == ("1 gap", "2 gaps", "0 patches")
