"""What named faults are shown on: tiny repositories that hang on demand, their drivers, and what must hold after."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from driven import repository_of
from prefect.settings import PREFECT_API_URL
from repositories import fingerprint_of, git

from prefect_acms.canonical.machines import MACHINES
from prefect_acms.dao.audit import verify
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.schema import StateRow
from prefect_acms.dao.store import Store, open_store
from prefect_acms.flows.resume import resume_pipeline
from prefect_acms.tasks.survivors import RUN_MARK

ACMS = (sys.executable, "-c", "from prefect_acms.deployments.cli import main; main()")
PATIENCE_SEC = 180.0

APP = "import os\nimport sys\n\n\ndef go():\n    return sys.argv\n"
"""A module with one gap that ruff can fix: then it does not start with `import os` any more."""


def hangs(folder: Path, when: str) -> str:
    """Statements that hang with a child when that is true, until somebody releases it; `mark` holds both pids then."""
    return (
        f"    mark, release = (pathlib.Path({str(folder)!r}, name) for name in ('mark', 'release'))\n"
        f"    if ({when}) and not release.exists():\n"
        '        child = subprocess.Popen(["sleep", "600"])\n'
        '        mark.with_suffix(".new").write_text(f"{os.getpid()} {child.pid}")\n'
        '        mark.with_suffix(".new").rename(mark)\n'
        "        while not release.exists():\n"
        "            time.sleep(0.05)\n"
        "        child.kill()\n"
    )


FIXED = 'not pathlib.Path("app.py").read_text().startswith("import os")'
IMPORTS = "import os\nimport pathlib\nimport subprocess\nimport time\n\n\n"


def until(condition: Callable[[], Any], what: str, within: float = PATIENCE_SEC) -> Any:
    """Wait until something is so, and give what it is; what takes long to look at is looked at less often."""
    end = time.monotonic() + within
    while True:
        began = time.monotonic()
        if found := condition():
            return found
        looked = time.monotonic()
        assert looked < end, f"not within {within} s: {what}"
        time.sleep(max(0.05, 3 * (looked - began)))


def alive(pid: int) -> bool:
    """Whether there is such a process that is no zombie."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


class Ended(NamedTuple):
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


@dataclass
class Site:
    """A repository, a home and a mark, and every process that a test starts there."""

    folder: Path
    home: Path
    repository: Path
    before: dict[str, str] = field(default_factory=dict)
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def mark(self) -> Path:
        """Where that which hangs says its pids."""
        return self.folder / "mark"

    @property
    def tool_file(self) -> Path:
        """The profile of a tool that hangs before it does what ruff does, or of what `use_tool` was given."""
        return self.folder / "tools.toml"

    def use_tool(self, first: str) -> None:
        """Write the profile of a tool that runs these statements, and then does what ruff does."""
        script = self.folder / "tool.py"
        script.write_text(f"import sys\n{IMPORTS}{first}{RUFF}")
        self.tool_file.write_text(TOOL.format(script=json.dumps(str(script))))

    @property
    def url(self) -> str:
        """The store's."""
        return f"sqlite:///{self.home}/canonical.db"

    @cached_property
    def store(self) -> Store:
        """The store, opened once."""
        return open_store(self.url)

    @property
    def run(self) -> RunRow:
        """The newest run, which must be the only one unless a test says otherwise."""
        with self.store.begin(read_only=True) as dao:
            return dao.runs.latest(1)[0]

    @property
    def environment(self) -> dict[str, str]:
        """For processes that work here."""
        return {
            "ACMS_HOME": str(self.home),
            "PREFECT_API_URL": str(PREFECT_API_URL.value()),
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        }

    def config(self, **sections: Any) -> dict[str, Any]:
        """The configuration of a run here, as a deployment's parameter; what hangs must be able to say so."""
        return {
            "repository": str(self.repository),
            "database_url": self.url,
            "discovery": {"sources": ["ruff"]},
            **sections,
            "environment": {"isolation": "off"} | sections.get("environment", {}),
        }

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start the command line in a session of its own."""
        process = subprocess.Popen(
            [*ACMS, *arguments],
            env=os.environ | self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def acms(self, *arguments: str, **environment: str) -> Ended:
        """Call the command line, and wait for its end."""
        process = self.start(*arguments, **environment)
        return self.ended(process)

    def resume(self) -> int:
        """Resume the newest run in this process, which is another one than its driver was; its exit code."""
        return resume_pipeline(self.run.id, self.url).exit_code

    def ended(self, process: subprocess.Popen[str]) -> Ended:
        """How a command ended, which must be soon, and without a traceback."""
        out, err = process.communicate(timeout=PATIENCE_SEC)
        assert "Traceback" not in err, err
        return Ended(process.returncode, out, err)

    def run_it(self, *options: str) -> subprocess.Popen[str]:
        """Start `acms run` on the repository."""
        return self.start("run", str(self.repository), "--source", "ruff", "--isolation", "off", *options)

    def release(self) -> None:
        """Let go on what hangs, and let nothing hang any more."""
        (self.folder / "release").touch()

    def wait_for_mark(self) -> list[int]:
        """The pids that the hanging thing wrote when it began, as soon as it has."""
        until(self._has_begun, "the run came to where it hangs")
        return [int(pid) for pid in self.mark.read_text().split()]

    def _has_begun(self) -> bool:
        for process in self.started:
            assert process.poll() is None, process.communicate()
        return self.mark.exists()

    def stop_everything(self) -> None:
        """Kill what a test that failed has left running here."""
        for process in self.started:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        for pid in self.processes():
            with suppress(psutil.Error):
                psutil.Process(pid).kill()

    def processes(self) -> list[int]:
        """The living processes that say they belong to a run of this store."""
        with self.store.begin(read_only=True) as dao:
            runs = {run.id for run in dao.runs.latest(100)}
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                owner = process.environ().get(RUN_MARK, "").rpartition("/")[0]
                if process.status() != psutil.STATUS_ZOMBIE and owner in runs:
                    found.append(process.pid)
        return found

    def open_rows(self, run_id: str) -> list[str]:
        """What belongs to the run and has not ended."""
        with self.store.begin(read_only=True) as dao:
            rows: list[StateRow] = [
                dao.runs.get(run_id),
                *dao.workstreams.of_run(run_id),
                *dao.tasks.of_run(run_id),
                *dao.gaps.of_run(run_id),
                *dao.test_gates.of_run(run_id),
                *dao.workers.of_run(run_id),
                *dao.uet_workers.of_run(run_id),
            ]
        return [f"{row.id} {row.state}" for row in rows if row.state not in MACHINES[row.machine.entity].terminal]

    def patch_states(self, run_id: str) -> set[str]:
        """The states of the run's patches."""
        with self.store.begin(read_only=True) as dao:
            return {entry.state for entry in dao.ledger.of_run(run_id)}

    def assert_nothing_lies(self) -> None:
        """The audit trail is whole, and the user's own things are as they were."""
        found = verify(self.store)
        assert found.ok, found.first_bad
        assert fingerprint_of(self.repository) == self.before

    def assert_put_away(self) -> None:
        """No process, no worktree and no lock of any run is left; and nothing lies."""
        assert self.processes() == []
        worktrees = self.home / "worktrees"
        assert not worktrees.exists() or list(worktrees.rglob("*")) == []
        assert git(self.repository, "worktree", "list", "--porcelain").count("worktree ") == 1
        assert [path.name for path in (self.repository / ".git").rglob("*.lock")] == []
        self.assert_nothing_lies()

    def assert_succeeded(self, run: RunRow) -> None:
        """The run has fixed its gap: one patch on its branch, nothing open, nothing left."""
        assert run.state == "succeeded", run.error
        assert self.open_rows(run.id) == []
        with self.store.begin(read_only=True) as dao:
            assert [entry.state for entry in dao.ledger.of_run(run.id)].count("committed") == 1
        assert git(self.repository, "show", f"acms/{run.id}:app.py").startswith("import sys")
        assert git(self.repository, "rev-list", "--count", f"main..acms/{run.id}").strip() == "1"
        self.assert_put_away()


TOOL = """
[tools.scripted]
command = ["{{acms_python}}", {script}, "{{acms_python}}", "{{rules}}", "{{files}}"]
expected_exit_codes = [0, 1]
task_kinds = ["implementation"]
domains = ["python", "lint"]
changes_files = true
deterministic = true

[patterns.lint-fix]
title = "Apply ruff's fixes"
sources = ["ruff"]
kinds = ["implementation"]
allowed_tools = ["scripted"]
domains = ["python", "lint"]
needs_fixable = true
"""

RUFF = """
python, rules, *files = sys.argv[1:]
os.execv(python, [python, "-EPm", "ruff", "check", "--fix", "--no-cache", "--select", rules, "--", *files])
"""


@contextmanager
def site_at(
    folder: Path,
    *,
    hangs_in: str = "gate",
    home: Path | None = None,
    repository: Path | None = None,
    files: Mapping[str, str] | None = None,
) -> Iterator[Site]:
    """A site whose run hangs in the `gate` that judges its patch, in its `tool`, in `discovery`, or not (`nothing`).

    With files of its own it hangs nowhere.
    """
    when = None if files else {"gate": FIXED, "discovery": "True"}.get(hangs_in)
    files = dict(files or {"app.py": APP, "test_app.py": "def test_nothing():\n    pass\n"})
    if when:
        files["test_app.py"] = f"{IMPORTS}def test_slowly():\n{hangs(folder, when)}"
    top = repository_of(repository or folder / "repository", files)
    site = Site(folder, home or folder / "home", top, fingerprint_of(top))
    site.use_tool(f"def main():\n{hangs(folder, 'True')}\n\nmain()\n")
    try:
        yield site
    finally:
        site.stop_everything()
        site.store.close()
