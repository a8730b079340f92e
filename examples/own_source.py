"""A gap source of one's own, offered by an entry point of one's own distribution.

[project.entry-points."prefect_acms.gap_sources"]
licences = "own_source:LicenceSource"
"""

from prefect_acms.tasks.fingerprints import Fingerprinter
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.sources import Discovered, Scan

WANTED = "SPDX-License-Identifier"


class LicenceSource:
    """Finds Python files that don't say under which licence they are."""

    name = "licences"

    def discover(self, scan: Scan) -> Discovered:
        """One gap a file; the same file has the same fingerprint in every run."""
        numbered = Fingerprinter()
        paths = [path.relative_to(scan.root).as_posix() for path in sorted(scan.root.rglob("*.py"))]
        asked = [path for path in paths if scan.files is None or path in scan.files]
        gaps = [
            Gap(
                source=self.name,
                rule_id="no-licence",
                fingerprint=numbered.next("no-licence", path, [path]),
                title=f"{path} has no {WANTED}",
                category="licence",
                file_paths=(path,),
            )
            for path in asked
            if WANTED not in (scan.root / path).read_text(errors="replace")
        ]
        return Discovered(tuple(gaps), "1", ("read",))
