"""Where a campaign strikes: points of a process that are counted from outside, and the kill at one of them."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO, cast

PACKAGE = "prefect_acms"


class Kind(StrEnum):
    """What a kill is timed by."""

    INSTANT = "instant"
    COMMIT = "commit"
    GIT = "git"
    OUTBOX = "outbox"
    TOOL = "tool"


class When(StrEnum):
    """On which side of the point, or in its middle."""

    BEFORE = "before"
    DURING = "during"
    AFTER = "after"


class Reach(StrEnum):
    """Who dies: the process group of the driver, as a supervisor kills it; or its git and tools too, as a reboot.

    With `INTERRUPT` somebody presses Ctrl-C, which the whole process group hears; with `DISK` nobody dies: the disk of
    the site is full from the point on.
    """

    GROUP = "group"
    TREE = "tree"
    INTERRUPT = "interrupt"
    DISK = "disk"


@dataclass(frozen=True, slots=True)
class Blow:
    """One kill: at the n-th point of a kind, or (an instant, and in the middle of a point) after a delay."""

    kind: Kind
    when: When = When.BEFORE
    number: int = 0
    delay_sec: float = 0.0
    reach: Reach = Reach.GROUP

    @property
    def place(self) -> str:
        """The kind of point, without its number, for figures."""
        return "random instant" if self.kind is Kind.INSTANT else f"{self.when} {self.kind}"

    def __str__(self) -> str:
        """The blow as it is written in reports."""
        if self.kind is Kind.INSTANT:
            return f"after {self.delay_sec:.3f} s ({self.reach})"
        return f"{self.when} {self.kind} {self.number} ({self.reach})"


class Watch:
    """Counts the points that this process passes from now on, and strikes it down at one of them, if told to."""

    def __init__(self, blow: Blow | None = None) -> None:
        self.counts: Counter[Kind] = Counter()
        self._blow = blow
        self._lock = threading.Lock()
        self._disk_is_full = False

    def install(self) -> None:
        """Put a look around each commit of the store, each git command, each outbox write, each tool.

        Called once everything is imported: who has imported a function by its name gets the watched one too.
        """
        from prefect_acms.dao.outbox import Outbox  # noqa: PLC0415 - a process that only reads reports needs none of it
        from prefect_acms.dao.store import Store  # noqa: PLC0415
        from prefect_acms.tasks.git import run_git  # noqa: PLC0415
        from prefect_acms.tasks.processes import run_process  # noqa: PLC0415

        _replace_everywhere(run_git, self._watched(Kind.GIT, run_git))
        _replace_everywhere(run_process, self._watched_tool(run_process))
        Store.commit = self._watched(Kind.COMMIT, Store.commit)  # type: ignore[method-assign]
        Outbox._write = self._watched_write(Outbox._write)  # type: ignore[method-assign]

    def _watched(self, kind: Kind, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*given: Any, **named: Any) -> Any:
            number = self._pass(kind)
            if self._is_here(kind, When.DURING, number):
                self._strike_later()
            answer = call(*given, **named)
            self._strike_at(kind, When.AFTER, number)
            return answer

        return watched

    def _watched_tool(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*given: Any, on_start: Callable[[int], None] | None = None, **named: Any) -> Any:
            number = self._pass(Kind.TOOL)

            def started(pid: int) -> None:
                if on_start is not None:
                    on_start(pid)
                if self._is_here(Kind.TOOL, When.DURING, number):
                    self._strike_later()

            answer = call(*given, on_start=started, **named)
            self._strike_at(Kind.TOOL, When.AFTER, number)
            return answer

        return watched

    def _watched_write(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(outbox: Any, file: BinaryIO, place: Any) -> Any:
            number = self._pass(Kind.OUTBOX)
            torn = self._is_here(Kind.OUTBOX, When.DURING, number)
            answer = call(outbox, cast("BinaryIO", _TornFile(file, self._strike)) if torn else file, place)
            if self._is_here(Kind.OUTBOX, When.AFTER, number):
                file.flush()
                self._strike()
            return answer

        return watched

    def _pass(self, kind: Kind) -> int:
        with self._lock:
            self.counts[kind] += 1
            number = self.counts[kind]
        if self._disk_is_full:
            fill_disk()  # what was removed since then has made room
        self._strike_at(kind, When.BEFORE, number)
        return number

    def _is_here(self, kind: Kind, when: When, number: int) -> bool:
        blow = self._blow
        return blow is not None and (blow.kind, blow.when, blow.number) == (kind, when, number)

    def _strike_at(self, kind: Kind, when: When, number: int) -> None:
        if self._is_here(kind, when, number):
            self._strike()

    def _strike_later(self) -> None:
        assert self._blow is not None
        timer = threading.Timer(self._blow.delay_sec, self._strike)
        timer.daemon = True
        timer.start()

    def _strike(self) -> None:
        """Do what the blow is. A whole tree is ended by the fork server, which sees that this process stopped."""
        assert self._blow is not None
        if self._blow.reach is Reach.DISK:
            self._disk_is_full = True
            fill_disk()
            return
        if self._blow.reach is Reach.INTERRUPT:
            os.killpg(0, signal.SIGINT)
            return
        if self._blow.reach is Reach.GROUP:
            os.killpg(0, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGSTOP)
        threading.Event().wait()  # another thread may be the one that takes the signal


REST = "rest"
"""The file that takes what is left of a disk, beside the folder of the site."""


def rest_of_disk() -> Path:
    """Where it lies, for a process of the site."""
    return Path(os.environ["ACMS_HOME"]).parents[1] / REST


def fill_disk() -> None:
    """Leave not a byte on the disk of the site, which must be one of its own."""
    assert rest_of_disk().parent.is_mount()
    with rest_of_disk().open("ab", buffering=0) as rest:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while rest.write(b"x" * size):
                    continue
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise


class _TornFile(io.RawIOBase):
    """A file of which the first write brings only a half to the disk."""

    def __init__(self, file: BinaryIO, strike: Callable[[], None]) -> None:
        super().__init__()
        self._file, self._strike = file, strike

    def write(self, data: Any) -> int:
        """Write a half, and end."""
        self._file.write(bytes(data)[: len(data) // 2])
        self._file.flush()
        self._strike()
        return 0

    def flush(self) -> None:
        """As the file itself."""
        self._file.flush()


def _replace_everywhere(function: Callable[..., Any], by: Callable[..., Any]) -> None:
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == PACKAGE:
            for known, value in list(vars(module).items()):
                if value is function:
                    setattr(module, known, by)
