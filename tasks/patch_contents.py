"""What is to be said against the lines that a patch adds: leftovers of a merge, secrets, binary data, broken syntax."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from prefect_acms.tasks.diffs import FileDiff, HunkLine
from prefect_acms.tasks.patch_rules import Rule, Violation
from prefect_acms.tasks.patch_secrets import secrets_added
from prefect_acms.tasks.patch_syntax import kind_of, syntax_error

_MARKER = re.compile(rb"(?:<{7}|>{7}|\|{7})(?:[ \t].*)?\r?\n?")


def check_lines(files: Sequence[FileDiff], *, allow_binary: bool) -> Iterator[Violation]:
    """What the added lines give cause for, in each file."""
    lines = {file.line: [line for hunk in file.hunks for line in hunk.lines] for file in files}
    # what is moved from one file to another is not added
    before = b"".join(line.text for of_file in lines.values() for line in of_file if line.sign != b"+")
    text = before.decode("utf-8", "surrogateescape")
    for file in files:
        yield from _markers(file, lines[file.line])
        if not allow_binary and (line := _first(lines[file.line], b"\0")):
            yield Violation.at(Rule.BINARY, file, "a line of it is binary", line)
        for line, kind in secrets_added(lines[file.line], text):
            yield Violation.at(Rule.SECRET, file, f"it adds what looks like a secret ({kind})", line)


def _first(lines: Sequence[HunkLine], part: bytes) -> int | None:
    return next((line.number for line in lines if line.sign == b"+" and part in line.text), None)


def _markers(file: FileDiff, lines: Sequence[HunkLine]) -> Iterator[Violation]:
    """`=======` alone is a heading in many files; with one of the others it needs no telling."""
    before = {line.text for line in lines if line.sign != b"+"}
    for line in lines:
        if line.sign == b"+" and _MARKER.fullmatch(line.text) and line.text not in before:
            yield Violation.at(Rule.CONFLICT_MARKER, file, "it adds a conflict marker", line.number)
            return


def check_syntax(file: FileDiff, before: Mapping[bytes | None, bytes], after: bytes) -> Iterator[Violation]:
    """A file that could be read before, or is new, can be read after; `before` are contents by path."""
    kind = kind_of(file.path.decode())
    if kind is None:
        return
    old = before.get(file.old_path)
    if file.old_path is None or kind_of(file.old_path.decode()) != kind:
        old = None
    broken = syntax_error(kind, after) if old != after else None
    if broken is None or (old is not None and syntax_error(kind, old) is not None):
        return
    line, problem = broken
    yield Violation.at(
        Rule.SYNTAX, file, f"line {line} of the patched file is no {kind}: {problem}", _in_patch(file, line)
    )


def _in_patch(file: FileDiff, line: int) -> int | None:
    """The line of the patch that makes a line of the patched file, if it is in a hunk."""
    for hunk in file.hunks:
        at = hunk.new_at
        for one in hunk.lines:
            if one.sign != b"-":
                at += 1
                if at == line:
                    return one.number
    return None
