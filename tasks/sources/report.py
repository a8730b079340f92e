"""The gap source `report`: gap reports in our own JSON, made by whoever knows better."""

from __future__ import annotations

from pathlib import Path

from prefect_acms.canonical.outside_errors import SourceFailed
from prefect_acms.tasks.anchors import anchored, still_there
from prefect_acms.tasks.documents import read_report
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.sources import Discovered, Scan


class ReportSource:
    """Reads the reports that the settings name; an entry keeps the source that it says it comes from.

    Asked again about some files, it looks whether the code that the entries were about is still there.
    """

    name = "report"

    def discover(self, scan: Scan) -> Discovered:
        """The gaps of every report; raises InvalidDocument for a report that is wrong."""
        reports = scan.settings.reports
        if not reports:
            raise SourceFailed(source=self.name, problem="no report is named: set discovery.reports")
        if scan.files is None:
            gaps = [anchored(gap, scan.root) for path in reports for gap in read_report(path)]
        else:
            gaps = still_there(self._asked(scan, reports), scan.root)
        return Discovered(tuple(gaps), version="1", command=tuple(path.name for path in reports))

    def _asked(self, scan: Scan, reports: tuple[Path, ...]) -> list[Gap]:
        """What was known of these files; where nobody says what that is, what the reports say of them."""
        known = [gap for gap in scan.known if gap.source == self.name]
        if not known:
            known = [gap for path in reports for gap in read_report(path)]
        asked = set(scan.files or ())
        return [gap for gap in known if asked.intersection(gap.file_paths)]
