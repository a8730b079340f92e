"""Programs that run in a process group of their own, are watched while they run, and leave nothing behind."""

from __future__ import annotations

import codecs
import os
import selectors
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO

from prefect_acms.canonical.clock import Clock, system_clock
from prefect_acms.canonical.outside_errors import ToolFailed, ToolUnavailable
from prefect_acms.canonical.test_gate import TIMED_OUT_EXIT_CODE

GRACE_SEC = 2.0
"""Seconds between SIGTERM and SIGKILL."""

DRAIN_SEC = 1.0
"""Seconds that a pipe is read on after its program ended, when somebody out of our reach still holds it."""

_TICK_SEC = 0.05
_CHUNK = 1 << 16
_LONGEST_LINE = 1 << 13

_WATCHER: ContextVar[Callable[[int], None] | None] = ContextVar("watcher", default=None)

OnOutput = Callable[[str, str], None]
"""Called with (`stdout` or `stderr`, text) for each line, as it comes."""


@dataclass(frozen=True, slots=True)
class ProcessResult:
    """How a program ended and what it said; `cut_bytes` counts output that was too much to keep."""

    argv: tuple[str, ...]
    exit_code: int
    stdout: str
    stderr: str
    timed_out: bool
    pid: int
    duration_sec: float
    started_at: datetime
    completed_at: datetime
    cut_bytes: int = 0


def run_process(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    timeout_sec: float,
    input: bytes | None = None,  # noqa: A002  # the name that subprocess.run gives it
    on_output: OnOutput | None = None,
    on_start: Callable[[int], None] | None = None,
    output_limit: int = 1 << 20,
    clock: Clock = system_clock,
) -> ProcessResult:
    """Run a program to its end, or to its timeout (exit code 124); its whole process group is gone afterwards.

    `on_start` is handed the pid, with which another thread can `stop_process` it. Of each stream, the first and last
    `output_limit / 2` bytes are kept. Raises ToolUnavailable when there is no such program.
    """
    started_at, began = clock(), time.monotonic()
    process = _start(argv, cwd, env, with_input=input is not None)
    pump = _Pump(process, input, on_output, output_limit)
    try:
        for told in (_WATCHER.get(), on_start):
            if told is not None:
                told(process.pid)
        timed_out = not pump.ended_within(timeout_sec)
        if timed_out:
            signal_group(process.pid, signal.SIGTERM)
            pump.ended_within(GRACE_SEC)
    finally:
        # also on an exception of a callback or a cancellation, and for children that outlived their parent
        signal_group(process.pid, signal.SIGKILL)
        process.wait()
        pump.close()
    pump.flush()
    return ProcessResult(
        argv=tuple(argv),
        exit_code=TIMED_OUT_EXIT_CODE if timed_out else process.returncode,
        stdout=pump.text("stdout"),
        stderr=pump.text("stderr"),
        timed_out=timed_out,
        pid=process.pid,
        duration_sec=time.monotonic() - began,
        started_at=started_at,
        completed_at=clock(),
        cut_bytes=pump.cut_bytes,
    )


@contextmanager
def watched(on_start: Callable[[int], None]) -> Iterator[None]:
    """A block of this thread in which every program that is started is told to `on_start`, whoever starts it."""
    token = _WATCHER.set(on_start)
    try:
        yield
    finally:
        _WATCHER.reset(token)


def stop_process(pid: int, grace_sec: float = GRACE_SEC) -> None:
    """End a program that `run_process` runs in another thread, and its whole group: SIGTERM, then SIGKILL."""
    signal_group(pid, signal.SIGTERM)
    end = time.monotonic() + grace_sec
    while time.monotonic() < end and _group_lives(pid):
        time.sleep(_TICK_SEC)
    signal_group(pid, signal.SIGKILL)


def signal_group(pid: int, number: signal.Signals) -> None:
    """Send a signal to every process of the group; a group that is gone is fine."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _group_lives(pid: int) -> bool:
    try:
        os.killpg(pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _start(argv: Sequence[str], cwd: Path, env: Mapping[str, str], *, with_input: bool) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            list(argv),
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.PIPE if with_input else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            bufsize=0,
        )
    except (FileNotFoundError, PermissionError, NotADirectoryError) as error:
        if not cwd.is_dir():
            raise ToolFailed(tool=argv[0], problem=f"its working directory {cwd} does not exist") from error
        raise ToolUnavailable(tool=argv[0], problem=error.strerror or str(error)) from error
    except (OSError, ValueError) as error:
        raise ToolFailed(tool=argv[0], problem=str(error)) from error


class _Kept:
    """Keeps the head and the tail of a stream and counts what lies between."""

    def __init__(self, limit: int) -> None:
        self._head = bytearray()
        self._head_limit = limit // 2
        self._tail: deque[bytes] = deque()
        self._tail_limit = limit - self._head_limit
        self._tail_size = 0
        self._dropped = 0

    def add(self, chunk: bytes) -> None:
        room = self._head_limit - len(self._head)
        self._head += chunk[:room]
        if rest := chunk[room:]:
            self._tail.append(rest)
            self._tail_size += len(rest)
        while self._tail and self._tail_size - len(self._tail[0]) >= self._tail_limit:
            oldest = self._tail.popleft()
            self._tail_size -= len(oldest)
            self._dropped += len(oldest)

    def ends(self) -> tuple[bytes, int, bytes]:
        tail = b"".join(self._tail)
        over = max(0, len(tail) - self._tail_limit)
        return bytes(self._head), self._dropped + over, tail[over:]

    def text(self) -> str:
        head, cut, tail = self.ends()
        if not cut:
            return _decoded(head + tail)
        return f"{_decoded(head)}\n[… {cut} bytes cut …]\n{_decoded(tail)}"


def _decoded(data: bytes) -> str:
    """Text that every database can hold: UTF-8, what isn't replaced, and no NUL (PostgreSQL refuses it)."""
    return data.decode("utf-8", errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")


class _Lines:
    """Hands out a stream line by line; a line without an end goes out in pieces."""

    def __init__(self, stream: str, on_output: OnOutput | None) -> None:
        self._stream, self._on_output = stream, on_output
        self._decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode
        self._open = ""

    def add(self, chunk: bytes, *, final: bool = False) -> None:
        if self._on_output is None:
            return
        *lines, self._open = (self._open + self._decode(chunk, final)).split("\n")
        if self._open and (final or len(self._open) > _LONGEST_LINE):
            lines, self._open = [*lines, self._open], ""
        for line in lines:
            self._on_output(self._stream, line)


class _Pump:
    """Reads both pipes and writes stdin without ever waiting on one of them alone."""

    def __init__(
        self, process: subprocess.Popen[bytes], data: bytes | None, on_output: OnOutput | None, limit: int
    ) -> None:
        self._process = process
        self._selector = selectors.DefaultSelector()
        self._kept = {name: _Kept(limit) for name in ("stdout", "stderr")}
        self._lines = {name: _Lines(name, on_output) for name in self._kept}
        self._input = memoryview(data or b"")
        for name, pipe in (("stdout", process.stdout), ("stderr", process.stderr)):
            self._watch(pipe, selectors.EVENT_READ, name)
        self._watch(process.stdin, selectors.EVENT_WRITE, "stdin")

    def ended_within(self, seconds: float) -> bool:
        """Pump until the program has ended; false when the time is over first."""
        end = time.monotonic() + seconds
        while self._process.poll() is None:
            left = end - time.monotonic()
            if left <= 0:
                return False
            self._step(min(left, _TICK_SEC))
        signal_group(self._process.pid, signal.SIGKILL)
        self._drain(time.monotonic() + DRAIN_SEC)
        return True

    def close(self) -> None:
        """Let go of every pipe, read to its end or not."""
        for key in list(self._selector.get_map().values()):
            self._unwatch(key.fileobj)  # type: ignore[arg-type]
        self._selector.close()

    def flush(self) -> None:
        """Hand out what came last without an end of line."""
        for lines in self._lines.values():
            lines.add(b"", final=True)

    def text(self, name: str) -> str:
        return self._kept[name].text()

    @property
    def cut_bytes(self) -> int:
        return sum(kept.ends()[1] for kept in self._kept.values())

    def _drain(self, end: float) -> None:
        while self._selector.get_map() and time.monotonic() < end:
            self._step(_TICK_SEC)

    def _step(self, seconds: float) -> None:
        if not self._selector.get_map():
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
            return
        for key, _ in self._selector.select(seconds):
            pipe: IO[bytes] = key.fileobj  # type: ignore[assignment]
            if key.data == "stdin":
                self._write(pipe)
            else:
                self._read(pipe, key.data)

    def _read(self, pipe: IO[bytes], name: str) -> None:
        chunk = os.read(pipe.fileno(), _CHUNK)
        if not chunk:
            self._unwatch(pipe)
            return
        self._kept[name].add(chunk)
        self._lines[name].add(chunk)

    def _write(self, pipe: IO[bytes]) -> None:
        try:
            written = os.write(pipe.fileno(), self._input[:_CHUNK])
        except BlockingIOError:
            return
        except BrokenPipeError:
            written = len(self._input)
        self._input = self._input[written:]
        if not self._input:
            self._unwatch(pipe)

    def _watch(self, pipe: IO[bytes] | None, event: int, name: str) -> None:
        if pipe is None:
            return
        os.set_blocking(pipe.fileno(), False)
        self._selector.register(pipe, event, name)

    def _unwatch(self, pipe: IO[bytes]) -> None:
        self._selector.unregister(pipe)
        pipe.close()
