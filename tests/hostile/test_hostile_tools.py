"""Tools that lie, hang, fork, flood and reach out: each is stopped, and nothing outside its worktree has changed."""

from __future__ import annotations

import os
import re
import shutil
import stat
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from disks import small_disk
from driven import Planned, a_gap, a_plan, a_task, repository_of, started_run
from surroundings import Surroundings

from prefect_acms.blocks.config import EnvironmentSettings, IsolationMode
from prefect_acms.blocks.tool_spec import TaskKind, ToolSpec
from prefect_acms.canonical.outside_errors import GitFailed, ToolFailed, ToolTimedOut
from prefect_acms.tasks.bench import Bench
from prefect_acms.tasks.captures import validated
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.integrity import integrity_findings
from prefect_acms.tasks.isolation import isolation_problem
from prefect_acms.tasks.patches import Validation
from prefect_acms.tasks.plans import PlannedTask
from prefect_acms.tasks.survivors import processes_of_runs
from prefect_acms.tasks.tool_runs import ToolRun
from prefect_acms.tasks.tools import ToolValues

CASES: dict[str, dict[str, Any]] = tomllib.loads(Path(__file__).with_name("tools.toml").read_text(encoding="utf-8"))

FILES = {
    "app.py": "def value():\n    return 1\n",
    "pkg/mod.py": "A = 1\n",
    "tests/test_app.py": "from app import value\n\n\ndef test_value():\n    assert value() == 1\n",
}
EDIT = "text = open('app.py').read(); open('app.py', 'w').write(text.replace('return 1', 'return 2'))\n"
START = """
import contextlib, glob, os, shutil, signal, subprocess, sys, time
top, home, beside = sys.argv[1:]
def git(*arguments, cwd='.'):
    return subprocess.run(['git', *arguments], cwd=cwd, capture_output=True, text=True).stdout.strip()
"""
FILL = """
with open('rest', 'wb', buffering=0) as rest:
    for size in (1 << 20, 1 << 12, 1):
        with contextlib.suppress(OSError):
            while rest.write(bytes(size)):
                pass
open('app.py', 'w').write('gone')
"""
CANARY = "canary-of-the-environment"


class Place:
    """A run in its surroundings, with a task for every scope and pattern of the cases, all in one worktree."""

    def __init__(self, folder: Path, database: Path, mode: IsolationMode) -> None:
        repository = repository_of(folder / "shop", FILES)
        (repository / ".env").write_text("TOKEN=private")
        self.around = Surroundings(folder, repository)
        url = f"sqlite:///{shutil.copy(database, folder / 'canonical.db')}"
        self.drive = started_run(repository, url, environment=EnvironmentSettings(isolation=mode))
        gap = a_gap("a", "app.py")
        tasks = {_key(case): _task(case, gap) for case in CASES.values()}
        self.planned = Planned(self.drive, a_plan(self.drive, list(tasks.values()), [gap]))
        self.bench = self.bench_of({})
        self.before = self.around.hashed()

    def bench_of(self, case: Mapping[str, Any]) -> Bench:
        """The bench of the task that the case is about; the worktree is the same for all."""
        return Bench.of(self.drive, self.planned.task(_key(case)))

    def run(self, bench: Bench, script: str, timeout_sec: float = 60) -> None:
        """Let a tool with that script work on a bench."""
        around = self.around
        command = (sys.executable, "-c", START + script, *map(str, (around.repository, around.home, around.beside)))
        # braces are placeholders in a profile
        escaped = tuple(re.sub(r"([{}])", r"\1\1", argument) for argument in command)
        # a name of its own, or the breaker of the tool would open
        profile = ToolSpec(tool_id=f"hostile-{os.urandom(4).hex()}", command=escaped, timeout_sec=timeout_sec)
        ToolRun(self.drive, bench.task, profile, bench.worktree, bench.environment)(ToolValues())


def _key(case: Mapping[str, Any]) -> str:
    named = f"{case.get('pattern', '')} {case.get('scope', '')}"
    return f"ws-01/{sha256(named.encode()).hexdigest()[:8]}"


def _task(case: Mapping[str, Any], gap: Gap) -> PlannedTask:
    pattern, scope = case.get("pattern", "planned-step"), tuple(case.get("scope", ("app.py",)))
    task = a_task(_key(case), [gap], kind=TaskKind.IMPLEMENTATION, pattern_id=pattern)
    return task.model_copy(update={"file_scope": scope})


PlaceOf = Callable[[IsolationMode], Place]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Iterator[PlaceOf]:
    """The place with isolation, and the one without; each tool works in the worktree that those before it have left."""
    with pytest.MonkeyPatch.context() as patch:
        made: dict[IsolationMode, Place] = {}

        def place(mode: IsolationMode) -> Place:
            if mode not in made:
                folder = tmp_path_factory.mktemp(mode)
                patch.setenv("ACMS_HOME", str(folder / "acms"))
                patch.setenv("HOME", str(folder / "home"))
                made[mode] = Place(folder, empty_database, mode)
            return made[mode]

        yield place


@pytest.fixture
def place(request: pytest.FixtureRequest, places: PlaceOf, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """The place of a case; afterwards nothing outside of the worktree has changed."""
    isolated = CASES[request.node.callspec.params["name"]].get("isolated")
    if isolated and (problem := isolation_problem()):
        pytest.skip(problem)
    found = places(IsolationMode.REQUIRED if isolated else IsolationMode.OFF)
    monkeypatch.setenv("HOME", str(found.around.home))
    monkeypatch.setenv("ACMS_HOME", str(found.around.home.parent / "acms"))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    yield found
    assert found.around.hashed() == found.before


def _odd(folder: Path) -> list[Path]:
    """What is neither file, folder nor link."""
    kinds = (stat.S_ISREG, stat.S_ISDIR, stat.S_ISLNK)
    return [path for path in folder.rglob("*") if not any(kind(path.lstat().st_mode) for kind in kinds)]


def _end(place: Place, bench: Bench, case: Mapping[str, Any]) -> tuple[str, Validation | None, bytes]:
    """How the tool ended, and what validation says of what it did."""
    try:
        script = (EDIT if case.get("edits") else "") + case["script"]
        place.run(bench, script, timeout_sec=1 if case["ends"] == "timed out" else 60)
        diff = bench.worktree.capture()
    except ToolTimedOut:
        return "timed out", None, b""
    except (ToolFailed, GitFailed):
        return "failed", None, b""
    if not diff:
        return "empty", None, diff
    validation = validated(bench, diff)
    if not validation.ok:
        return "refused", validation, diff
    only = validation.files == ("app.py",) and (validation.lines_added, validation.lines_removed) == (1, 1)
    return "edit" if only else "other", validation, diff


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_tool_is_stopped(name: str, place: Place) -> None:
    """It ends as the case says, by the rule that the case names, and leaves nothing to the next one."""
    case = CASES[name]
    bench = place.bench_of(case)
    ended, validation, diff = _end(place, bench, case)
    if case["ends"] == "flagged":
        assert validation is not None
        assert ended in {"edit", "other"}, validation.violations
        tree = bench.worktree.apply(diff)
        findings = integrity_findings(place.drive.repository, bench.worktree.commit, tree, validation.files)
        assert case["rule"] in {finding.rule for finding in findings}
    else:
        assert ended in case["ends"].split(" or "), (ended, validation, diff[:500])
    if ended == "refused":
        assert validation is not None
        assert case["rule"] in {violation.rule for violation in validation.violations}
    _nothing_is_left(place, bench)


def _nothing_is_left(place: Place, bench: Bench) -> None:
    """Neither in the worktree, nor among the processes, nor in the transcript."""
    worktree, drive = bench.worktree, place.drive
    worktree.reset(worktree.commit)
    assert worktree.changed_files() == ()
    assert worktree.tree() == drive.repository.tree_of(drive.base_commit)
    assert {path.name for path in worktree.path.iterdir()} == {".git", "app.py", "pkg", "tests"}
    assert (worktree.path / "app.py").read_text() == FILES["app.py"]
    assert _odd(worktree.path) == []
    assert drive.run_id not in processes_of_runs()
    with drive.reading() as dao:
        last = str(dao.tasks.get(bench.task.id).info["transcripts"][-1])
    assert CANARY not in last
    assert len(last) < 200_000  # twice what is kept of a stream, escaped


@pytest.mark.parametrize("mode", [IsolationMode.OFF, IsolationMode.AUTO])
def test_a_tool_that_fills_the_disk_is_stopped(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch, mode: IsolationMode
) -> None:
    """The disk of the worktrees is full to the last byte: nothing of it goes in, and the next one has room again."""
    with small_disk(tmp_path / "disk", megabytes=16) as disk:
        monkeypatch.setenv("ACMS_HOME", str(disk))
        place = Place(tmp_path / "place", empty_database, mode)
        case = {"script": FILL, "ends": "failed"}
        assert _end(place, place.bench, case)[0] != "edit"
        _nothing_is_left(place, place.bench)
        assert _end(place, place.bench, {"script": EDIT, "ends": "edit"})[0] == "edit"
        assert place.around.hashed() == place.before


@pytest.mark.parametrize("name", ["claims-success-changes-nothing", "writes-to-the-system"])
def test_the_run_goes_on_after_all_of_them(name: str, place: Place) -> None:
    """In the worktree in which all the hostile ones have worked, an honest tool works, and its patch is applied."""
    assert CASES[name].get("isolated", False) is (name == "writes-to-the-system")
    place.run(place.bench, EDIT)
    diff = place.bench.worktree.capture()
    assert validated(place.bench, diff).ok
    place.bench.worktree.apply(diff)
    assert "return 2" in (place.bench.worktree.path / "app.py").read_text()
    place.bench.worktree.reset(place.bench.worktree.commit)
