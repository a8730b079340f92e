"""Anti-patterns: ways of a tool to look busy, or done, without having done anything; each by its code."""

from __future__ import annotations

import json
from collections.abc import Iterator

from prefect_acms.tasks.diffs import NotADiff, read_diff

HALLUCINATED_SUCCESS = "AP_HALLUCINATED_SUCCESS"
"""A tool says that it has done its work, and what it left says otherwise."""

PLANNING_LOOP = "AP_PLANNING_LOOP"
"""Plans are made and carried out, again and again, and no patch comes of them."""

_FAILED = ("error", "failed", "failure")
_SUBTYPES = ("error_", "turn.failed")


def unfounded_claim(tool_id: str, exit_code: int, stdout: str, diff: bytes, expected: frozenset[str]) -> str | None:
    """What a tool claims without ground, as a sentence; None if it claims nothing, or has something to show.

    Exit code 0 is the claim that the work is done, unless the tool's own result says that it failed. `expected` are
    files that have to be there when it is: a gap is not mended by deleting the file that it is in.
    """
    if not diff:
        is_claim = exit_code == 0 and not says_failure(stdout)
        return f"{tool_id} ended well and changed nothing" if is_claim else None
    if gone := sorted(expected & _deleted(diff)):
        return f"{tool_id} has deleted what it was to mend: {', '.join(gone)}"
    return None


def says_failure(stdout: str) -> bool:
    """Whether the last JSON object that a tool printed, as a line or as all of its output, is the word of a failure."""
    said = next(_objects(stdout), None)
    if said is None:
        return False
    status, subtype = str(said.get("status", "")).lower(), f"{said.get('subtype', '')} {said.get('type', '')}"
    return (
        said.get("is_error") is True
        or said.get("success") is False
        or bool(said.get("error"))
        or status in _FAILED
        or any(word in subtype for word in _SUBTYPES)
    )


def _objects(stdout: str) -> Iterator[dict[str, object]]:
    """The JSON objects that a tool printed, the last first: all of its output, or single lines of it."""
    for text in (stdout, *reversed(stdout.splitlines())):
        if not text.strip().startswith("{"):
            continue
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict):
            yield found


def _deleted(diff: bytes) -> frozenset[str]:
    """The files that are gone under their name; what is no diff is refused for that, elsewhere."""
    try:
        files = read_diff(diff)
    except NotADiff:
        return frozenset()
    gone = [file.old_path for file in files if file.operation in {"delete", "rename"} and file.old_path]
    return frozenset(path.decode(errors="surrogateescape") for path in gone)
