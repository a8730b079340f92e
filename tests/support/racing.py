"""Many at once: threads and processes that start together."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable


def at_once(work: Callable[[int], None], count: int = 8) -> None:
    """Run the work in so many threads that start together."""
    barrier = threading.Barrier(count)

    def start(number: int) -> None:
        barrier.wait()
        work(number)

    threads = [threading.Thread(target=start, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def in_processes(program: str, arguments: list[list[str]], *, may_be_killed: bool = False) -> list[str]:
    """What processes say that start together: one for each list of arguments; they end well, or killed if they may."""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program, *some], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for some in arguments
    ]
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    said = []
    for process in running:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in running:
        said += process.communicate(timeout=60)[0].splitlines()
        assert process.returncode == 0 or (may_be_killed and process.returncode == -signal.SIGKILL)
    return said
