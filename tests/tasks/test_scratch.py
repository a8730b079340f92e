"""Temporary folders: gone after their block, and after the death of their process."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from prefect_acms.tasks.scratch import clear_scratch, scratch_folder

DIES = (
    "import os\n"
    "from prefect_acms.tasks.scratch import scratch_folder\n"
    "with scratch_folder() as folder:\n"
    "    (folder / 'half').write_text('done')\n"
    "    os.kill(os.getpid(), 9)\n"
)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files, for this test alone."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def test_what_a_killed_process_left_goes_and_what_a_living_one_uses_stays(place: Path) -> None:
    """Folders of others, and names that only look like ours, stay too."""
    with scratch_folder() as ours:
        assert ours.parent == place
        other = place / ours.name.rpartition("-")[0].replace(str(os.getpid()), "x") / "y"
        other.mkdir(parents=True)
        subprocess.run([sys.executable, "-c", DIES], check=False)
        assert len(list(place.glob("acms-*"))) == 3
        clear_scratch()
        assert sorted(place.iterdir()) == sorted([ours, other.parent])
    assert list(place.iterdir()) == [other.parent]
