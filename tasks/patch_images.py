"""What a file is after a diff, by its hunks alone: each at exactly the lines that it states, or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prefect_acms.tasks.diffs import FileDiff, Hunk, HunkLine


class Misplaced(ValueError):
    """The file does not have what a hunk says at the lines that it states; `line` is the patch's."""

    def __init__(self, line: int, problem: str) -> None:
        self.line, self.problem = line, problem
        super().__init__(f"line {line}: {problem}")


def image_of(file: FileDiff, before: bytes) -> bytes:
    """The content of a file after its hunks; raises Misplaced where they do not fit exactly."""
    return b"".join(_applied(file.hunks, _lines_of(before)))


def _lines_of(content: bytes) -> list[bytes]:
    """Lines as git has them: only a line feed ends one."""
    lines = [line + b"\n" for line in content.split(b"\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


def _applied(hunks: Sequence[Hunk], old: Sequence[bytes]) -> Iterator[bytes]:
    at = 0
    for number, hunk in enumerate(hunks):
        if hunk.old_at > len(old):
            raise Misplaced(hunk.line, f"the file has {len(old)} lines")
        yield from old[at : hunk.old_at]
        at = hunk.old_at
        for line in hunk.lines:
            if line.sign != b"+":
                _expect(line, old, at)
                at += 1
            if line.sign != b"-":
                yield line.text
        if number == len(hunks) - 1 and at < len(old) and _is_open(hunk):
            raise Misplaced(hunk.line, "the file goes on where the patch says that it ends")
    yield from old[at:]


def _expect(line: HunkLine, old: Sequence[bytes], at: int) -> None:
    if at >= len(old):
        raise Misplaced(line.number, f"the file has only {len(old)} lines")
    if old[at] != line.text:
        raise Misplaced(line.number, f"line {at + 1} of the file is another one")


def _is_open(hunk: Hunk) -> bool:
    """Whether a hunk says that its last line has no end, so that nothing may follow it."""
    return any(not line.text.endswith(b"\n") for line in hunk.lines)
