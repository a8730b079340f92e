"""Temporary folders that say which process made them, so that those of a process that was killed can be removed."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

from prefect_acms.tasks.survivors import driver_mark, lives

PREFIX = "acms"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A new folder for a block of work, gone after it; one of a process that is killed goes with `clear_scratch`."""
    prefix = f"{PREFIX}-{_machine()}-{driver_mark(os.getpid())}-"
    with TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def clear_scratch() -> None:
    """Remove what processes of this machine that live no more have left in the folder for temporary files."""
    for folder in sorted(Path(gettempdir()).glob(f"{PREFIX}-{_machine()}-*-*-*")):
        pid, started = folder.name.split("-")[2:4]
        if pid.isdecimal() and started.isdecimal() and not lives(int(pid), float(started)):
            shutil.rmtree(folder, ignore_errors=True)


@cache
def _machine() -> str:
    """Tells machines, and containers, apart that share a folder for temporary files: pids mean nothing across them."""
    return sha256(socket.gethostname().encode()).hexdigest()[:8]
