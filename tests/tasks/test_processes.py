"""Programs end when they should, say all they said, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from prefect_acms.canonical.outside_errors import ToolFailed, ToolUnavailable
from prefect_acms.tasks.processes import ProcessResult, run_process, stop_process

ENV = {"PATH": os.environ["PATH"]}


def python(code: str, tmp_path: Path, timeout_sec: float = 20, **more: object) -> ProcessResult:
    return run_process([sys.executable, "-c", code], cwd=tmp_path, env=ENV, timeout_sec=timeout_sec, **more)  # type: ignore[arg-type]


def lives(pid: int) -> bool:
    """Whether a process still runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pid: int) -> bool:
    end = time.monotonic() + 3
    while lives(pid) and time.monotonic() < end:
        time.sleep(0.02)
    return not lives(pid)


def test_both_streams_and_the_exit_code_come_back(tmp_path: Path) -> None:
    """A result holds what the program said on each stream, its exit code, and its times by the given clock."""
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    result = python(
        "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)", tmp_path, clock=lambda: moment
    )
    assert (result.exit_code, result.stdout, result.stderr) == (3, "out\n", "err\n")
    assert (result.timed_out, result.started_at, result.completed_at) == (False, moment, moment)


def test_stdin_is_empty_unless_input_is_given(tmp_path: Path) -> None:
    """A program that reads stdin never waits for a person."""
    code = "import sys; data = sys.stdin.buffer.read(); print(len(data))"
    assert python(code, tmp_path).stdout == "0\n"
    assert python(code, tmp_path, input=b"x" * 3_000_000).stdout == "3000000\n"


def test_a_program_that_ignores_its_input_is_no_error(tmp_path: Path) -> None:
    """A closed stdin is the program's own business."""
    assert python("print('done')", tmp_path, input=b"x" * 3_000_000).stdout == "done\n"


def test_lines_are_handed_out_while_the_program_runs(tmp_path: Path) -> None:
    """`on_output` gets each line as it comes, and a last one without an end of line."""
    heard: list[tuple[str, str]] = []
    python(
        "import sys; print('a', flush=True); print('b', file=sys.stderr, flush=True); print('c', end='')",
        tmp_path,
        on_output=lambda stream, line: heard.append((stream, line)),
    )
    assert sorted(heard) == [("stderr", "b"), ("stdout", "a"), ("stdout", "c")]


def test_too_much_output_keeps_head_and_tail_and_says_what_was_cut(tmp_path: Path) -> None:
    """A cap bounds what is stored, and the reader is told how much is missing."""
    result = python("print('HEAD' + 'x' * 5_000_000 + 'TAIL', end='')", tmp_path, output_limit=1000)
    assert result.stdout.startswith("HEAD")
    assert result.stdout.endswith("TAIL")
    assert result.cut_bytes == 5_000_008 - 1000
    assert f"{result.cut_bytes} bytes cut" in result.stdout
    assert len(result.stdout) < 1100


def test_output_just_at_the_cap_is_whole(tmp_path: Path) -> None:
    """Nothing is cut that fits."""
    result = python("print('y' * 1000, end='')", tmp_path, output_limit=1000)
    assert (result.stdout, result.cut_bytes) == ("y" * 1000, 0)


def test_bytes_that_are_no_text_are_replaced(tmp_path: Path) -> None:
    """Broken UTF-8 and NULs never break a result or a database row."""
    result = python(r"import sys; sys.stdout.buffer.write(b'a\xff\x00\xe2\x82\xacb')", tmp_path)
    assert result.stdout == "a��€b"


def test_a_timeout_kills_the_whole_group(tmp_path: Path) -> None:
    """A hard timeout ends the program and its children, though they ignore SIGTERM; exit code 124."""
    code = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)"
child = subprocess.Popen([sys.executable, "-c", stubborn])
print(child.pid, flush=True)
time.sleep(60)
"""
    result = python(code, tmp_path, timeout_sec=2)
    assert (result.timed_out, result.exit_code) == (True, 124)
    assert gone(int(result.stdout))
    assert gone(result.pid)
    assert result.duration_sec < 30


def test_a_program_may_tidy_up_after_a_timeout(tmp_path: Path) -> None:
    """SIGTERM comes first, and what is said after it is still heard."""
    code = """
import signal, sys, time
def end(*_):
    print("tidied", flush=True); sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
time.sleep(60)
"""
    result = python(code, tmp_path, timeout_sec=3)
    assert (result.timed_out, result.exit_code, result.stdout) == (True, 124, "ready\ntidied\n")


def test_a_child_that_outlives_its_parent_is_killed(tmp_path: Path) -> None:
    """After the main process ended, the rest of its group ends too, and nobody waits for it."""
    code = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid)
"""
    result = python(code, tmp_path)
    assert result.exit_code == 0
    assert result.duration_sec < 30
    assert gone(int(result.stdout))


def test_a_daemon_that_left_the_group_and_holds_the_pipe_does_not_hang_us(tmp_path: Path) -> None:
    """A pipe held by somebody out of reach is given up after a moment."""
    code = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
print(child.pid)
"""
    result = python(code, tmp_path)
    try:
        assert result.exit_code == 0
        assert result.duration_sec < 30
    finally:
        os.kill(int(result.stdout), signal.SIGKILL)


def test_another_thread_can_cancel(tmp_path: Path) -> None:
    """The pid handed out at the start is enough to end a running program."""
    started = threading.Event()
    pids: list[int] = []

    def on_start(pid: int) -> None:
        pids.append(pid)
        started.set()

    def cancel() -> None:
        started.wait(5)
        stop_process(pids[0])

    thread = threading.Thread(target=cancel)
    thread.start()
    result = python("import time; time.sleep(60)", tmp_path, on_start=on_start)
    thread.join()
    assert result.exit_code == -signal.SIGTERM
    assert not result.timed_out


def test_a_callback_that_raises_leaves_no_process(tmp_path: Path) -> None:
    """However a run is left, its processes are gone."""
    pids: list[int] = []

    def refuse(stream: str, line: str) -> None:
        message = f"{stream} {line}"
        raise RuntimeError(message)

    with pytest.raises(RuntimeError, match="stdout x"):
        python("import time; print('x', flush=True); time.sleep(60)", tmp_path, on_output=refuse, on_start=pids.append)
    assert gone(pids[0])


def test_a_missing_program_is_unavailable(tmp_path: Path) -> None:
    """A program that is not there, or is no program, is told apart from one that failed."""
    with pytest.raises(ToolUnavailable, match="no-such-program"):
        run_process(["no-such-program"], cwd=tmp_path, env=ENV, timeout_sec=1)
    (tmp_path / "plain").write_text("text")
    with pytest.raises(ToolUnavailable, match="Permission denied"):
        run_process([str(tmp_path / "plain")], cwd=tmp_path, env=ENV, timeout_sec=1)


def test_a_missing_folder_is_said_to_be_missing(tmp_path: Path) -> None:
    """The program is not blamed for a working directory that is gone."""
    with pytest.raises(ToolFailed, match="working directory"):
        run_process([sys.executable], cwd=tmp_path / "gone", env=ENV, timeout_sec=1)


def test_an_argument_that_no_program_can_take_fails_in_one_sentence(tmp_path: Path) -> None:
    """A NUL in an argument is refused by the system; we say so."""
    with pytest.raises(ToolFailed, match="null byte"):
        run_process([sys.executable, "a\0b"], cwd=tmp_path, env=ENV, timeout_sec=1)
