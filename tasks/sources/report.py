"""The gap source `report`: gap reports in our own JSON, made by whoever knows better."""

from __future__ import annotations

from prefect_acms.canonical.outside_errors import SourceFailed
from prefect_acms.tasks.documents import read_report
from prefect_acms.tasks.sources import Discovered, Scan


class ReportSource:
    """Reads the reports that the settings name; an entry keeps the source that it says it comes from."""

    name = "report"

    def discover(self, scan: Scan) -> Discovered:
        """The gaps of every report; raises InvalidDocument for a report that is wrong."""
        reports = scan.settings.reports
        if not reports:
            raise SourceFailed(source=self.name, problem="no report is named: set discovery.reports")
        gaps = [gap for path in reports for gap in read_report(path)]
        if scan.files is not None:
            asked = set(scan.files)
            gaps = [gap for gap in gaps if asked.intersection(gap.file_paths)]
        return Discovered(tuple(gaps), version="1", command=tuple(path.name for path in reports))
