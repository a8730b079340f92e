"""What mypy has learnt of the base commit, so that a proof looks at no more than what a patch has changed."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from prefect_acms.tasks.sources import Scan


@dataclass(frozen=True, slots=True)
class MypyCache:
    """The cache of mypy that a run keeps; mypy itself checks by content, options and plugins what of it still holds.

    Only the scan of the base commit fills it, and every other one gets a copy: a patch may change a plugin of mypy's,
    and what that writes must not be believed when the next patch is proved.
    """

    scan: Scan

    def put_into(self, folder: Path) -> None:
        """Copy what was learnt into an empty folder; where that fails, mypy begins with nothing."""
        if (kept := self._kept) is not None and kept.is_dir():
            _copied(kept, folder)

    def keep(self, folder: Path) -> None:
        """Keep what the scan of the base commit has learnt; what can't be kept whole is not kept."""
        if (kept := self._kept) is not None and self.scan.files is None:
            _copied(folder, kept)

    @property
    def _kept(self) -> Path | None:
        return self.scan.learnt / "mypy" if self.scan.learnt is not None else None


def _copied(source: Path, target: Path) -> None:
    try:
        # a link stays a link: what it leads to is not for the program that reads the copy
        shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
    except OSError:
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True, exist_ok=True)
