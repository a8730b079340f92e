"""Titles and bodies of pull requests: what was found, fixed and deferred, and by what that can be checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from prefect_acms.dao.store import Store
from prefect_acms.tasks.publish_branches import Branch
from prefect_acms.tasks.publish_marks import marked, unmarked
from prefect_acms.tasks.reports.markdown import cell, code
from prefect_acms.tasks.reports.text import count, one_line, place, short
from prefect_acms.tasks.summary_model import GapRecord, PatchRecord, Summary

MOST_ROWS = 40
"""Rows of a table; the run's own report has them all."""

_LEFT_OUT = "_Some is left out here: `summary.md` of the run has it all._"
_SPARE = 200


def title_of(store: Store, branch: Branch, summary: Summary) -> str:
    """What a list of pull requests shows."""
    fixed = _fixed(summary, branch)
    rules = Counter(gap.rule_id for gap in fixed)
    named = ", ".join(rule for rule, _ in rules.most_common(3))
    more = f" and {count(len(rules) - 3, 'more rule')}" if len(rules) > 3 else ""  # noqa: PLR2004 - as many as are named
    where = f" in {branch.name}" if branch.name else ""
    told = f"Fix {count(len(fixed), 'gap')}{where}" if fixed else f"Improve the code{where}"
    return one_line(store.scrubber.text(f"{told}: {named}{more}" if named else told), 200)


def part_of(store: Store, branch: Branch, summary: Summary, notes: Sequence[str], limit: int) -> str:
    """Our part of the body, without secrets and not longer than `limit`: what matters less is left out first."""
    left = limit - len(marked("", summary.run.id, branch.gaps)) - len(_LEFT_OUT) - _SPARE
    kept: list[str] = []
    sections = [unmarked(store.scrubber.text("\n".join(lines))) for lines in _sections(branch, summary, notes)]
    for section in filter(None, sections):
        if len(section) + 2 > left:
            kept.append(_LEFT_OUT)
            break
        kept.append(section)
        left -= len(section) + 2
    return marked("\n\n".join(kept), summary.run.id, branch.gaps)


def _sections(branch: Branch, summary: Summary, notes: Sequence[str]) -> Iterator[list[str]]:
    patches = [patch for patch in summary.kept() if branch.workstream_id in {None, patch.workstream_id}]
    yield _head(branch, summary, patches)
    yield [f"- {note}" for note in notes]
    yield _check(summary)
    yield _table("Patches", ("patch", "files", "lines", "gates", "asked again"), [_patch(summary, p) for p in patches])
    rows = [
        (code(f"{gap.source} {gap.rule_id}"), code(one_line(gap.title, 100)), code(place(gap)), gap.severity)
        for gap in _fixed(summary, branch)
    ]
    yield _table("Fixed", ("rule", "finding", "where", "severity"), rows)
    if branch.workstream_id is None:
        reasons = [(str(reason.gaps), cell(reason.reason)) for reason in summary.reasons]
        yield _table("Deferred", ("gaps", "reason"), reasons)
    yield _gates(branch, summary)


def _head(branch: Branch, summary: Summary, patches: Sequence[PatchRecord]) -> list[str]:
    counts = summary.counts
    part = f" by workstream {cell(branch.name)}" if branch.name else ""
    fixed = len(_fixed(summary, branch))
    told = (
        f"{count(fixed, 'gap')} fixed{part} in {count(len(patches), 'patch', 'patches')}; "
        f"the run found {counts.found} and deferred {counts.deferred}. "
        "Each patch was applied alone, judged by the gates against the base commit, and then the sources of its gaps "
        "were asked again."
    )
    return [told, "", f"Run `{summary.run.id}` on base commit `{short(summary.run.base_commit)}`."]


def _check(summary: Summary) -> list[str]:
    told = (
        "**Check it:** each commit names its run, patch and gaps in its trailers; "
        f"`acms evidence export {summary.run.id}` writes all of it as a signed file, which `acms evidence verify` "
        "checks offline."
    )
    return [told]


def _patch(summary: Summary, patch: PatchRecord) -> tuple[str, ...]:
    gates = {gate.id: gate for gate in summary.gates}
    judged = ", ".join(f"{gates[key].type} {gates[key].state}" for key in patch.gates if key in gates)
    proof = patch.proof
    proved = f"{count(len(proof.gone), 'gap')} gone, {len(proof.new) or 'none'} new" if proof else "-"
    lines = f"+{patch.lines_added} -{patch.lines_removed}"
    return code(patch.id), code(one_line(", ".join(patch.files), 70)), lines, judged or "-", proved


def _gates(branch: Branch, summary: Summary) -> list[str]:
    gates = [gate for gate in summary.gates if branch.workstream_id in {None, gate.workstream_id}]
    # without their commands, which name places of the machine that the run was on
    rows = [
        (f"{gate.type} at the base commit" if gate.at_base else gate.type, gate.state, cell(gate.judgement or ""))
        for gate in gates
    ]
    return _table("Gates", ("gate", "state", "judgement"), list(dict.fromkeys(rows)))


def _fixed(summary: Summary, branch: Branch) -> list[GapRecord]:
    gaps = [gap for gap in summary.gaps if gap.commit is not None]
    return [gap for gap in gaps if branch.workstream_id in {None, gap.workstream_id}]


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    if not rows:
        return []
    lines = [f"**{title}**", "", _row(head), _row(["---"] * len(head)), *(_row(row) for row in rows[:MOST_ROWS])]
    more = len(rows) - MOST_ROWS
    return [*lines, "", f"and {count(more, 'more row')}: see the run's report"] if more > 0 else lines


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
