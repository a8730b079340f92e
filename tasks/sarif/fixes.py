"""The patches of a run as SARIF fixes: what is replaced in the files as they were when the gaps were found."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import quote

from prefect_acms.tasks.diffs import Hunk, NotADiff, read_diff
from prefect_acms.tasks.summary_model import GapRecord, PatchRecord

ROOT = "%SRCROOT%"
"""The base of every path that we write: the top of the repository."""


class Change(NamedTuple):
    """Lines of a file as it was at first, so many from this one on (from 1), and the text in their place."""

    line: int
    removed: int
    text: str


class _Shift(NamedTuple):
    """What an earlier patch did to a file: from which line on, how many lines went, how many came."""

    at: int
    old: int
    new: int


@dataclass(frozen=True, slots=True)
class Fixes:
    """What the patches on the result branch have changed, by patch and file."""

    changes: Mapping[str, Mapping[str, Sequence[Change]]]

    @classmethod
    def of(cls, patches: Iterable[PatchRecord]) -> Fixes:
        """Read the patches that are on the branch, in the order in which they came there."""
        shifts: dict[str, list[list[_Shift]]] = defaultdict(list)
        found: dict[str, dict[str, Sequence[Change]]] = {}
        for patch in patches:
            if patch.on_branch:
                found[patch.entry_id] = dict(_changes(patch, shifts))
        return cls(found)

    def of_gap(self, gap: GapRecord, patch: PatchRecord) -> dict[str, Any] | None:
        """What the patch did about the gap: what it changed on the gap's lines, or else in its files; None: nothing."""
        changes = self.changes.get(patch.entry_id, {})
        told = {path: changes[path] for path in gap.file_paths if changes.get(path)}
        near = {path: [one for one in made if _meets(gap, one)] for path, made in told.items()}
        chosen = {path: made for path, made in near.items() if made} or told
        if not chosen:
            return None
        text = f"The patch {patch.id}" + (f", commit {patch.commit}" if patch.commit else "")
        return {
            "description": {"text": text},
            "artifactChanges": [
                {"artifactLocation": location_of(path), "replacements": [_replacement(one) for one in made]}
                for path, made in sorted(chosen.items())
            ],
        }


def location_of(path: str) -> dict[str, Any]:
    """A path of the repository as a SARIF artifact location."""
    return {"uri": quote(path, safe="/!$&'()*+,;=@~"), "uriBaseId": ROOT}


def _meets(gap: GapRecord, change: Change) -> bool:
    """Whether the change is about a line of the gap."""
    if gap.start_line is None:
        return False
    end = gap.end_line or gap.start_line
    return change.line <= end and gap.start_line <= change.line + max(change.removed - 1, 0)


def _replacement(change: Change) -> dict[str, Any]:
    end = change.line + change.removed
    region = {"startLine": change.line, "startColumn": 1, "endLine": end, "endColumn": 1}
    return {"deletedRegion": region} | ({"insertedContent": {"text": change.text}} if change.text else {})


def _changes(patch: PatchRecord, shifts: dict[str, list[list[_Shift]]]) -> Iterator[tuple[str, Sequence[Change]]]:
    """The changes of each file, in lines of the file at first; none where a line of an earlier patch is changed again.

    A file that is new, gone, renamed or binary has no lines to be replaced.
    """
    try:
        files = read_diff(patch.diff.encode())
    except NotADiff:
        return  # its secrets were taken out, or its bytes are no text: nothing of it can be told by lines
    for file in files:
        path = file.path.decode("utf-8", "replace")
        made = [one for hunk in file.hunks for one in _of_hunk(hunk)]
        if file.operation == "edit":
            back = [_first(one, shifts[path]) for one in made]
            if back and None not in back:
                yield path, [one for one in back if one is not None]
        shifts[path].append([_Shift(one.line, one.removed, _lines_in(one.text)) for one in made])


def _of_hunk(hunk: Hunk) -> Iterator[Change]:
    """The runs of changed lines in a hunk."""
    line, start, removed, text = hunk.old_at + 1, 0, 0, ""
    for one in hunk.lines:
        if one.sign == b" ":
            if start:
                yield Change(start, removed, text)
            line, start, removed, text = line + 1, 0, 0, ""
            continue
        start = start or line
        if one.sign == b"-":
            line, removed = line + 1, removed + 1
        else:
            text += one.text.decode("utf-8", "replace")
    if start:
        yield Change(start, removed, text)


def _first(change: Change, shifts: Sequence[Sequence[_Shift]]) -> Change | None:
    """The change in lines of the file before all of these patches; None where it is about what one of them wrote."""
    line = change.line
    for patch in reversed(shifts):
        moved = 0
        for shift in patch:
            begin = shift.at + moved
            if line + change.removed <= begin:
                break
            if line < begin + shift.new:
                return None
            moved += shift.new - shift.old
        line -= moved
    return change._replace(line=line)


def _lines_in(text: str) -> int:
    """As git counts them: only a line feed ends a line."""
    return text.count("\n") + (bool(text) and not text.endswith("\n"))
