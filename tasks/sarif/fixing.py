"""The program of the tool `sarif-fix`: makes the fixes that SARIF files propose, each whole or not at all."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect_acms.tasks.sarif.edits import Edit, edited

EDITS = "edits"
"""Detail of a gap: the edits of the fix that its log proposes."""


def main(arguments: Sequence[str]) -> int:
    """Make the edits that the gaps of a request carry, in the current folder; says of each gap what came of it."""
    (request,) = arguments
    asked = json.loads(Path(request).read_bytes())
    for gap in asked["gaps"]:
        print(f"{gap['rule_id']} in {', '.join(gap['file_paths'])}: {_made(gap, Path.cwd())}")  # noqa: T201  a program
    return 0


def _made(gap: Mapping[str, Any], top: Path) -> str:
    """What came of the fix of one gap; a file is written only once every edit of the gap has found its lines."""
    edits = [Edit(**edit) for edit in gap["details"].get(EDITS, ())]
    if not edits:
        return "its log proposes no fix"
    written: dict[Path, bytes] = {}
    for name in dict.fromkeys(edit.path for edit in edits):
        path = top / name
        if not path.resolve().is_relative_to(top.resolve()) or not path.is_file():
            return f"there is no file {name}"
        after = edited(path.read_bytes().decode("utf-8"), [edit for edit in edits if edit.path == name])
        if after is None:
            return f"the lines that it replaces are not in {name} any more"
        written[path] = after.encode()
    for path, content in written.items():
        path.write_bytes(content)
    return "fixed"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
