"""The outbox of a run: `transitions.jsonl`, written from the database after each commit, and rebuildable at any time.

The database is the truth and the file follows it: lines come in chain order, one writer at a time (a lock beside the
file), and what a crash or an editor did to the file is put right on the next start.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count, zip_longest
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self

from filelock import FileLock

from prefect_acms.canonical.errors import AcmsError
from prefect_acms.canonical.events import Event
from prefect_acms.dao.lines import line, trail
from prefect_acms.dao.store import Store

_log = logging.getLogger(__name__)

_TAIL = 4096
"""Bytes that are read at once when the last line is looked for."""

_LOCK_TIMEOUT_SEC = 30.0


class Place(NamedTuple):
    """How far the file has come: its size, and the position in the chain that its last line tells."""

    size: int
    seq: int


class Outbox:
    """Keeps the file of one run in step with the database; as a context manager it is started and closed."""

    def __init__(self, store: Store, run_id: str, path: Path) -> None:
        self.path = Path(path)
        self._store = store
        self._run_id = run_id
        self._process_lock = FileLock(f"{self.path}.lock", timeout=_LOCK_TIMEOUT_SEC)
        self._thread_lock = threading.Lock()
        self._place: Place | None = None
        self._wake = threading.Event()
        self._ends = False
        self._thread: threading.Thread | None = None
        self._unsubscribe: Callable[[], None] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Put the file right, and from now on write what each commit brings, in a thread of its own."""
        self._try(self._repair)
        self._unsubscribe = self._store.subscribe(self._notice)
        self._thread = threading.Thread(target=self._follow, name=f"outbox of {self._run_id}", daemon=True)
        self._thread.start()

    def drain(self) -> int:
        """Append what the database has after the last line; gives the number of lines. Doing it twice does it once."""
        with self._alone():
            return self._append()

    def rebuild(self) -> int:
        """Write the whole file anew from the database, in one move; gives the number of lines."""
        fresh = self.path.with_name(self.path.name + ".fresh")
        with self._alone():
            with fresh.open("wb") as file:
                self._place = self._write(file, Place(0, 0))
                _to_disk(file)
            fresh.replace(self.path)
            return self._place.seq

    def close(self) -> None:
        """Write what is left and make it last; trouble with the file is told in the log, since it can be rebuilt."""
        if self._unsubscribe is not None:
            self._unsubscribe()
        if self._thread is not None:
            self._ends = True
            self._wake.set()
            self._thread.join()
            self._thread = None
        self._try(self._finish)

    # the thread

    def _notice(self, events: Sequence[Event]) -> None:
        if any(event.context.run_id == self._run_id for event in events):
            self._wake.set()

    def _follow(self) -> None:
        while not self._ends:
            self._wake.wait()
            self._wake.clear()
            self._try(self.drain)

    def _try(self, work: Callable[[], object]) -> None:
        try:
            work()
        except (OSError, AcmsError) as problem:
            _log.warning("%s is behind the database and can be rebuilt from it: %s", self.path, problem)

    def _repair(self) -> None:
        with self._alone():
            self._compare()
            self._append()

    def _finish(self) -> None:
        with self._alone():
            self._append()
            if self.path.exists():
                with self.path.open("ab") as file:
                    _to_disk(file)

    # the file

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._thread_lock, self._process_lock:
            yield

    def _append(self) -> int:
        before = self._found()
        with self.path.open("ab") as file:
            self._place = self._write(file, before)
        return self._place.seq - before.seq

    def _write(self, file: BinaryIO, place: Place) -> Place:
        size, seq = place
        for text in self._lines(after=seq):
            size, seq = size + file.write(text), seq + 1
        return Place(size, seq)

    def _lines(self, after: int = 0) -> Iterator[bytes]:
        with self._store.begin(read_only=True) as dao:
            for row in trail(dao.connection, self._run_id, after):
                yield line(row)

    def _found(self) -> Place:
        """How far the file has come; looked at again only when it isn't as this outbox left it."""
        size = self.path.stat().st_size if self.path.exists() else 0
        if self._place is None or self._place.size != size:
            self._place = self._measured() if size else Place(0, 0)
        return self._place

    def _measured(self) -> Place:
        """The end of the last whole line; a torn one is cut off, and a file that ends in a strange one is replaced."""
        with self.path.open("r+b") as file:
            last, size = _last_line(file)
            file.truncate(size)
        seq = _seq(last)
        if size and next(self._lines(after=seq - 1), None) != last:
            return self._set_aside("its last line is not in the database")
        return Place(size, seq)

    def _compare(self) -> None:
        """Look at every line, since somebody may have edited the file."""
        if self._found().size:
            with self.path.open("rb") as file:
                pairs = enumerate(zip_longest(file, self._lines()), start=1)
                strange = next((n for n, (found, known) in pairs if found not in {known, None}), None)
            if strange is not None:
                self._place = self._set_aside(f"line {strange} is not as it was written")

    def _set_aside(self, problem: str) -> Place:
        """Nothing is ever the only copy: the strange file stays beside the new one."""
        numbers = ("" if number == 1 else f"-{number}" for number in count(1))
        names = (self.path.with_name(f"{self.path.name}.replaced{number}") for number in numbers)
        aside = next(name for name in names if not name.exists())
        self.path.rename(aside)
        _log.warning("%s is written anew, the old one is kept as %s: %s", self.path, aside.name, problem)
        return Place(0, 0)


def _to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
    folder = os.open(Path(file.name).parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _last_line(file: BinaryIO) -> tuple[bytes, int]:
    """The last line that ends as a line, and the position after it."""
    start = size = file.seek(0, os.SEEK_END)
    tail = b""
    while start and tail.count(b"\n") < 2:  # noqa: PLR2004 - the end of the last line and of the one before it
        start = max(0, start - _TAIL)
        file.seek(start)
        tail = file.read(size - start)
    end = tail.rfind(b"\n") + 1
    begin = tail.rfind(b"\n", 0, max(0, end - 1)) + 1
    return tail[begin:end], size - len(tail) + end


def _seq(last: bytes) -> int:
    """The position in the chain that a line tells; 0 for a line that is none of ours."""
    try:
        return int(json.loads(last)["chain_seq"])
    except (ValueError, TypeError, KeyError):
        return 0
