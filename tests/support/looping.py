"""A task whose tools are small programs that pass for models: each does what its script says for that attempt."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from driven import Planned, a_gap, a_plan, a_task, repository_of, started_run

from prefect_acms.blocks.config import EnvironmentSettings, ExecutionSettings, GateSettings, IsolationMode
from prefect_acms.blocks.guardrails import GuardrailSettings, ReviewSettings
from prefect_acms.blocks.tool_spec import TaskKind, ToolSpec
from prefect_acms.dao.ledger import LedgerRow
from prefect_acms.dao.tasks import TaskRow
from prefect_acms.tasks.attempts import perform
from prefect_acms.tasks.driving import Drive, release_run
from prefect_acms.tasks.fix_loop import FixLoop
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.works import implement, integrate_again

FILES = {"a.py": "A = 1\n", "b.py": "B = 1\n"}
KEY = "ws-01/one"
ROBOT = """
import json, os, pathlib, sys
log, steps = pathlib.Path(sys.argv[1]), json.loads(sys.argv[2])
request = json.loads(pathlib.Path(sys.argv[3]).read_text())
calls = log.read_text().splitlines() if log.exists() else []
seen = {path: pathlib.Path(path).read_text() for path in request["files"] if os.path.exists(path)}
with log.open("a") as file:
    file.write(json.dumps({"request": request, "seen": seen}) + chr(10))
step = steps[min(len(calls), len(steps) - 1)]
for path, text in step.get("files", {}).items():
    pathlib.Path(path).unlink() if text is None else pathlib.Path(path).write_text(text)
if "kill" in step:
    os.kill(int(pathlib.Path(step["kill"]).read_text()), 9)
print(step.get("says", "done"))
sys.exit(step.get("exit", 0))
"""
"""Does the step of its own list that comes next, and logs what it was asked for and what it found in the files."""

PATTERN = """
[patterns.robots]
title = "Let robots try"
sources = ["elsewhere"]
kinds = ["implementation"]
allowed_tools = {}
"""


class Robots:
    """Tools by name, each with the steps that it takes, and what they were asked for."""

    def __init__(self, folder: Path, **steps: list[dict[str, Any]]) -> None:
        self.folder, self.steps = folder, steps

    @property
    def profiles(self) -> tuple[ToolSpec, ...]:
        """Their profiles."""
        return tuple(self._profile(name, steps) for name, steps in self.steps.items())

    def _profile(self, name: str, steps: list[dict[str, Any]]) -> ToolSpec:
        script = self.folder / "robot.py"
        script.write_text(ROBOT)
        told = json.dumps(steps).replace("{", "{{").replace("}", "}}")
        command = (sys.executable, "-I", str(script), str(self._log(name)), told, "{request}")
        return ToolSpec(tool_id=name, ai=True, command=command, expected_exit_codes=(0, 1))

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def asked(self, name: str) -> list[dict[str, Any]]:
        """The requests that a tool got, in order."""
        return [entry["request"] for entry in self._entries(name)]

    def seen(self, name: str) -> list[dict[str, str]]:
        """What a tool found in the files at each of its calls."""
        return [entry["seen"] for entry in self._entries(name)]

    def _entries(self, name: str) -> list[dict[str, Any]]:
        log = self._log(name)
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


class Looped:
    """A run with one task that robots work on; its gate objects to a file with `BAD` in it, and names the line."""

    def __init__(
        self,
        folder: Path,
        url: str,
        robots: Robots,
        *,
        gate: str = "! grep -n BAD *.py",
        gaps: Sequence[Gap] = (),
        files: Mapping[str, str] = FILES,
        **settings: Any,
    ) -> None:
        self.robots = robots
        patterns = folder / "patterns.toml"
        patterns.write_text(PATTERN.format(json.dumps(list(robots.steps))))
        given = {
            "gates": GateSettings(lint_enabled=False, security_enabled=False, unit=("sh", "-c", gate)),
            "environment": EnvironmentSettings(isolation=IsolationMode.OFF),
            "guardrails": GuardrailSettings(review=ReviewSettings(ai_made=False)),
            "execution": ExecutionSettings(tool_files=(patterns,), profiles=robots.profiles),
        }
        self.drive = started_run(repository_of(folder / "shop", files), url, **{**given, **settings})
        gaps = gaps or [a_gap("x", "a.py", source="elsewhere")]
        task = a_task(KEY, gaps, kind=TaskKind.IMPLEMENTATION, pattern_id="robots", max_retries=0)
        self.planned = Planned(self.drive, a_plan(self.drive, [task], gaps))

    def done(self) -> TaskRow:
        """The task, worked on to its end."""
        return done(self.drive, self.planned.queued(KEY).id)

    @property
    def loop(self) -> FixLoop:
        """The attempts that the task keeps."""
        return FixLoop.of(self.planned.task(KEY))

    @property
    def entries(self) -> list[LedgerRow]:
        """The ledger entries of the task."""
        task = self.planned.task(KEY)
        with self.drive.reading() as dao:
            return dao.ledger.of_task(task.id)

    @property
    def operators(self) -> list[str | None]:
        """Who has dropped patches, in order."""
        with self.drive.reading() as dao:
            rows = dao.transitions.of_run(self.drive.run_id)
        return [row.operator for row in rows if row.trigger == "discarded"]

    def notices(self) -> list[str]:
        """The anti-patterns that the trail tells of."""
        with self.drive.reading() as dao:
            rows = dao.transitions.of_run(self.drive.run_id)
        return [str(row.reason) for row in rows if row.trigger == "anti_pattern_detected"]


def done(drive: Drive, task_id: str) -> TaskRow:
    """A task, worked on or gone on with to its end."""
    return perform(drive, task_id, lambda task: implement(drive, task), judge=lambda task: integrate_again(drive, task))


def killed_driver(drive: Drive, task_id: str, pid: Path) -> int:
    """How another process ended that has driven the run and worked on the task; its pid is in a file meanwhile."""
    release_run(drive)
    support = str(Path(__file__).parent)
    program = (
        f"import os, sys, pathlib; sys.path.insert(0, {support!r}); from looping import done; "
        "from prefect_acms.tasks.driving import drive_run; pathlib.Path(sys.argv[1]).write_text(str(os.getpid())); "
        "done(drive_run(sys.argv[2], epoch=int(sys.argv[3]), database=sys.argv[4]), sys.argv[5])"
    )
    argv = [sys.executable, "-c", program, str(pid), drive.run_id, str(drive.epoch), drive.store.url, task_id]
    return subprocess.run(argv, check=False, timeout=120).returncode
