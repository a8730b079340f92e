"""The fork server of a campaign: it has imported everything once, and each driver is a fork of it.

It reads a request a line from standard input and answers on standard output, both JSON. `start` forks a driver in a
session of its own, `kill` ends one; the end of each driver is told when it has come.
"""

from __future__ import annotations

import faulthandler
import gc
import importlib
import json
import os
import pkgutil
import selectors
import signal
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from campaign_points import Blow, Kind, Reach, Watch, When

import prefect_acms

_ROOMS = ("canonical", "dao", "blocks", "tasks", "flows")


def main() -> int:
    """Serve until standard input ends; a fork returns from here with what its driver returned."""
    _import_everything()
    assert threading.active_count() == 1, threading.enumerate()
    server = _Server()
    order = server.serve()
    return 0 if order is None else _drive(order)


def _import_everything() -> None:
    for room in _ROOMS:
        package = importlib.import_module(f"{prefect_acms.__name__}.{room}")
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if ".migrations" not in module.name:
                importlib.import_module(module.name)
    gc.collect()
    gc.freeze()


@dataclass
class _Server:
    """Forks, and knows its children."""

    children: dict[int, int] = field(default_factory=dict)
    """Number of the order by pid."""

    def serve(self) -> dict[str, Any] | None:
        """Answer requests; in a forked child, the order that it is to carry out."""
        reads, writes = os.pipe()
        os.set_blocking(writes, False)
        signal.set_wakeup_fd(writes)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.say(ready=True)
        with selectors.DefaultSelector() as selector:
            selector.register(reads, selectors.EVENT_READ)
            selector.register(sys.stdin.fileno(), selectors.EVENT_READ)
            pending = b""
            while True:
                for key, _ in selector.select():
                    if key.fd == reads:
                        os.read(reads, 4096)
                        self._reap()
                        continue
                    chunk = os.read(key.fd, 1 << 16)
                    if not chunk:
                        return None
                    *lines, pending = (pending + chunk).split(b"\n")
                    for line in lines:
                        if (order := self._obey(json.loads(line))) is not None:
                            return order

    def say(self, **facts: Any) -> None:
        """One line to whoever started the server."""
        os.write(1, (json.dumps(facts) + "\n").encode())

    def _obey(self, order: dict[str, Any]) -> dict[str, Any] | None:
        if "kill" in order:
            pid = next((pid for pid, number in self.children.items() if number == order["kill"]), None)
            if pid is not None:
                _fell(pid, Reach(order["reach"]))
            return None
        pid = os.fork()
        if pid == 0:
            return order
        self.children[pid] = order["start"]
        self.say(started=order["start"], pid=pid)
        return None

    def _reap(self) -> None:
        while self.children:
            pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            if pid == 0:
                return
            if os.WIFSTOPPED(status):
                _fell(pid, Reach.TREE)
                continue
            self.say(ended=self.children.pop(pid), code=os.waitstatus_to_exitcode(status))


def _fell(pid: int, reach: Reach) -> None:
    """Kill a driver with its process group, or with everything that it has started: stopped first, so none reacts."""
    with suppress(psutil.Error, ProcessLookupError):
        driver = psutil.Process(pid)
        if reach is Reach.TREE:
            driver.suspend()
            found: dict[int, psutil.Process] = {}
            while new := [child for child in driver.children(recursive=True) if child.pid not in found]:
                for child in new:
                    found[child.pid] = child
                    with suppress(psutil.Error):
                        child.suspend()
            for child in found.values():
                with suppress(psutil.Error):
                    child.kill()
        os.killpg(pid, signal.SIGKILL)


# -- the child


def _drive(order: dict[str, Any]) -> int:
    """What the fork does: the order, watched, and its result in a file."""
    _settle_in(order)
    blow = order.get("blow")
    watch = Watch(None if blow is None else _blow(blow))
    watch.install()
    began = time.monotonic()
    result = _called(order)
    result |= {"counts": dict(watch.counts), "duration_sec": time.monotonic() - began}
    Path(order["result"]).write_text(json.dumps(result))
    return 0 if result["error"] is None else 1


def _settle_in(order: dict[str, Any]) -> None:
    os.setsid()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for old, new in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(old, new)
    os.closerange(3, 256)
    os.environ.update(order["variables"])
    tempfile.tempdir = None
    faulthandler.dump_traceback_later(order["patience_sec"], exit=False)


def _blow(facts: dict[str, Any]) -> Blow:
    return Blow(Kind(facts["kind"]), When(facts["when"]), facts["number"], facts["delay_sec"], Reach(facts["reach"]))


def _called(order: dict[str, Any]) -> dict[str, Any]:
    try:
        outcome = _resumed(order["run_id"]) if order.get("run_id") else _run(order["config"])
    except BaseException as error:  # noqa: BLE001 - whatever it is, the campaign reports it
        import traceback  # noqa: PLC0415 - only where something is wrong

        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}", "outcome": None}
    return {"error": None, "outcome": outcome.model_dump(mode="json")}


def _run(config: dict[str, Any]) -> Any:
    from prefect_acms.blocks.config import PipelineConfig  # noqa: PLC0415 - imported by the server already
    from prefect_acms.flows.pipeline import run_pipeline  # noqa: PLC0415

    return run_pipeline(PipelineConfig.model_validate(config))


def _resumed(run_id: str) -> Any:
    resume = importlib.import_module("prefect_acms.flows.resume")
    return resume.resume_pipeline(run_id)


if __name__ == "__main__":
    sys.exit(main())
