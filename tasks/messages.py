"""Messages about runs: short plain text that reads the same in a chat, a mail and an issue."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from prefect_acms.blocks.notifications import NotificationLevel
from prefect_acms.dao.runs import RunRow
from prefect_acms.tasks.news import RANKS, News, foreign
from prefect_acms.tasks.published import Published, PublishedState
from prefect_acms.tasks.reports.text import count, one_line, seconds
from prefect_acms.tasks.summary_model import Summary

MOST_NEWS = 8
"""Things that one message names; the rest is counted."""

MOST_REASONS = 3
"""Reasons of deferred gaps that the summary names."""

LONGEST_SUBJECT = 120


class Message(NamedTuple):
    """What a channel is told about a run."""

    run_id: str
    level: NotificationLevel
    subject: str
    body: str


def gathered(run: RunRow, news: Sequence[News], link: str | None) -> Message:
    """What happened in a run, in order, in one message."""
    worst = max(news, key=lambda item: RANKS[item.level])
    more = f" (and {len(news) - 1} more)" if len(news) > 1 else ""
    lines = [*_listed(news), "", *_footer(run, link)]
    return Message(run.id, worst.level, _subject(run, worst.sentence.partition(": ")[0], more), "\n".join(lines))


def digest(
    run: RunRow, summary: Summary, news: Sequence[News], published: Sequence[Published], link: str | None
) -> Message:
    """What a run amounted to: what was found, fixed, deferred and quarantined, where it is, and what is untold yet."""
    level = max((item.level for item in news), key=RANKS.__getitem__, default=NotificationLevel.INFO)
    counts = summary.counts
    degraded = ", degraded" if summary.run.degraded else ""
    subject = _subject(run, f"{run.state}{degraded}, {counts.resolved} of {count(counts.selected, 'gap')} fixed")
    lines = [*_amounted(summary), *_published(published)]
    told = [item for item in news if not item.sentence.startswith("run succeeded")]
    if told:
        lines += ["", *_listed(told)]
    return Message(run.id, level, subject, "\n".join([*lines, "", *_footer(run, link)]))


def trial() -> Message:
    """What a channel is told to try it; a warning, so that issues are opened for it too."""
    body = "This is a test: news about runs of acms arrive here.\n\nMore: `acms notify --help`"
    return Message("test", NotificationLevel.WARNING, "acms: test of this channel", body)


def _subject(run: RunRow, what: str, more: str = "") -> str:
    head = f"acms: {foreign(Path(run.repo_root).name)}: "
    room = LONGEST_SUBJECT - len(head) - len(more)
    return head + (what if len(what) <= room else what[: room - 1].rstrip() + "…") + more


def _listed(news: Sequence[News]) -> Iterator[str]:
    for item in news[:MOST_NEWS]:
        yield f"- {item.level}: {item.sentence}"
        if item.answer:
            yield f"  {item.answer}"
    if len(news) > MOST_NEWS:
        yield f"- and {len(news) - MOST_NEWS} more"


def _amounted(summary: Summary) -> Iterator[str]:
    run, counts = summary.run, summary.counts
    rest = [
        f"{counts.resolved} fixed",
        f"{counts.deferred} deferred",
        *([f"{counts.open} left open"] if counts.open else []),
        *([f"{counts.unproven} said to be fixed but not on the branch"] if counts.unproven else []),
    ]
    yield f"{count(counts.found, 'gap')} found: {', '.join(rest)}"
    kept, aside = len(summary.kept()), len(summary.quarantined())
    yield f"{count(kept, 'patch', 'patches')} on the branch, {aside} quarantined; {seconds(run.duration_sec)}"
    yield f"Branch: `{run.branch}`" if run.branch else "No branch: nothing was kept"
    for reason in summary.reasons[:MOST_REASONS]:
        yield f"- deferred {reason.gaps}: {one_line(foreign(reason.reason))}"
    further = len(summary.reasons) - MOST_REASONS
    if further > 0:
        yield f"- deferred for {count(further, 'more reason')}"


def _published(published: Sequence[Published]) -> Iterator[str]:
    for one in published:
        if one.state is PublishedState.HELD:
            yield f"Not published: {foreign(one.sentence)}"
        else:
            yield f"Published, {one.state}: {one.url or one.branch}"


def _footer(run: RunRow, link: str | None) -> Iterator[str]:
    yield f"More: `acms show {run.id}`"
    if link:
        yield f"In Prefect: {link}"
