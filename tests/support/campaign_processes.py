"""Drivers of a campaign, as the campaign sees them: forks of a warm server, each in a process group of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Self

import psutil
from campaign_points import Reach

_PROGRAM = Path(__file__).with_name("campaign_child.py")
_START_SEC = 120.0


class ForkServer:
    """Starts drivers by forking a process that has imported everything; as a context manager it is started and ended.

    May be used by several threads at once.
    """

    def __init__(self, log: Path, variables: Mapping[str, str]) -> None:
        self._log = log
        self._variables = dict(variables)
        self._numbers = count(1)
        self._ends: dict[int, SimpleQueue[int]] = {}
        self._starts: dict[int, SimpleQueue[int]] = {}
        self._ready = threading.Event()
        self._saying = threading.Lock()

    def __enter__(self) -> Self:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)} | self._variables
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(_PROGRAM)],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._ready.wait(_START_SEC) or self._process.poll() is not None:
            message = f"the fork server did not start: {self._log.read_text()[-2000:]}"
            raise RuntimeError(message)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        children = psutil.Process(self._process.pid).children()
        self._process.stdin.close()
        self._process.wait(_START_SEC)
        for child in children:
            child.kill()
        self._reader.join()

    def start(self, order: Mapping[str, Any]) -> int:
        """Fork a driver that carries the order out; its number, once it is there."""
        number = next(self._numbers)
        self._starts[number], self._ends[number] = SimpleQueue(), SimpleQueue()
        self._say({**order, "start": number})
        self._starts[number].get(timeout=_START_SEC)
        return number

    def wait(self, number: int, seconds: float) -> int | None:
        """The exit code of a driver (negative: the signal), or none when it has not ended by then."""
        try:
            code = self._ends[number].get(timeout=seconds)
        except Empty:
            return None
        self._ends[number].put(code)
        return code

    def kill(self, number: int, reach: Reach) -> None:
        """Kill a driver; one that has ended by itself stays as it is."""
        self._say({"kill": number, "reach": reach})

    def _say(self, order: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        with self._saying:
            self._process.stdin.write((json.dumps(order) + "\n").encode())
            self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            fact = json.loads(line)
            if "ended" in fact:
                self._ends[fact["ended"]].put(fact["code"])
            elif "started" in fact:
                self._starts[fact["started"]].put(fact["pid"])
            else:
                self._ready.set()
        self._ready.set()
