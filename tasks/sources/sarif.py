"""The gap source `sarif`: what any tool has found and written down as SARIF 2.1.0."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from prefect_acms.canonical.outside_errors import SourceFailed
from prefect_acms.tasks.anchors import still_there
from prefect_acms.tasks.documents import read_bytes
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.sarif.checking import Log, log_of
from prefect_acms.tasks.sarif.places import Places, Tree
from prefect_acms.tasks.sarif.reading import findings_of
from prefect_acms.tasks.sarif.translation import SARIF, Translator
from prefect_acms.tasks.sources import Discovered, Scan

MOST_KEPT = 32 << 20
"""Bytes of logs that a run keeps whole, so that its export lacks nothing of them; of a longer one the gaps remain."""


class SarifSource:
    """Reads the SARIF files that the settings name; asked again about some files, it looks whether the code is there.

    A file says what was found once. So a gap counts as gone when the code that it was about is: whether what came in
    its place is good, the gates judge.
    """

    name = SARIF

    def discover(self, scan: Scan) -> Discovered:
        """The open findings of every file; raises InvalidDocument for a file that is not SARIF."""
        if scan.files is not None:
            asked = set(scan.files)
            known = [gap for gap in scan.known if gap.source == self.name and asked.intersection(gap.file_paths)]
            return Discovered(tuple(still_there(known, scan.root)), version="2.1.0", command=("compare", "code"))
        files = scan.settings.sarif
        if not files:
            raise SourceFailed(source=self.name, problem="no file is named: set discovery.sarif")
        gaps: list[Gap] = []
        records = []
        room = MOST_KEPT
        for path in files:
            content = read_bytes(path)
            log = log_of(content, str(path))
            found = translated(log, scan.root, scan.settings.sources)
            gaps += found.values()
            room -= len(content)
            record: dict[str, Any] = {"name": path.name, "sha256": sha256(content).hexdigest()}
            record["fingerprints"] = {at: gap.fingerprint for at, gap in found.items()}
            records.append(record | ({"log": log} if room >= 0 else {}))
        tools = sorted({tool for record in records for tool in _tools(record.get("log"))})
        return Discovered(
            tuple(gaps),
            version="2.1.0",
            command=tuple(path.name for path in files),
            records={"logs": records, "tools": tools},
        )


def translated(log: Log, root: Path, asked: Iterable[str]) -> dict[str, Gap]:
    """The gaps of a log by the JSON pointers of their results."""
    tree = Tree(root)
    places = {f"/runs/{number}": Places(run, tree) for number, run in enumerate(log["runs"] or ())}
    others = tuple(name for name in asked if name != SARIF)
    return {finding.at: gap for finding, gap in Translator(root, others).gaps(findings_of(log, root), places)}


def _tools(log: Mapping[str, Any] | None) -> Iterable[str]:
    return (run["tool"]["driver"]["name"] for run in (log or {}).get("runs") or ())
