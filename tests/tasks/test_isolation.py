"""What runs for a run sees its worktree and the system; no home, no secret, no network, and writes nowhere else."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from driven import repository_of, started_run

from prefect_acms.blocks.config import EnvironmentSettings, IsolationMode
from prefect_acms.canonical.errors import InvalidValue
from prefect_acms.canonical.outside_errors import ToolUnavailable
from prefect_acms.tasks import isolation
from prefect_acms.tasks.driving import Drive
from prefect_acms.tasks.isolation import LARGEST_FILE, isolation_problem, require_isolation
from prefect_acms.tasks.preparation import prepared_worktree
from prefect_acms.tasks.processes import ProcessResult, stop_process
from prefect_acms.tasks.survivors import processes_of_runs

needs_bubblewrap = pytest.mark.skipif(isolation_problem() is not None, reason=str(isolation_problem()))

LOOK = """
import json, os, pathlib, subprocess, sys
def tried(what):
    try:
        return repr(what())
    except Exception as error:
        return type(error).__name__
print(json.dumps([tried(lambda: eval(what)) for what in sys.argv[1:]]))
"""
TOKEN = "ghp_not_a_real_token"  # noqa: S105


class Place:
    """A prepared worktree of a repository in a home with secrets, and its isolated environment."""

    def __init__(self, home: Path, url: str) -> None:
        self.home = home
        (home / ".ssh").mkdir(parents=True)
        (home / ".ssh" / "id_ed25519").write_text(TOKEN)
        self.top = repository_of(home / "work" / "shop", {"a.py": "A = 1\n"})
        (self.top / ".env").write_text(TOKEN)
        subprocess.run(["git", "config", "http.extraheader", f"AUTHORIZATION: {TOKEN}"], cwd=self.top, check=True)
        self.drive: Drive = started_run(self.top, url)
        self.worktree, self.environment = prepared_worktree(self.drive, "ws-01", self.drive.base_commit)

    def run(self, *argv: str, **more: Any) -> ProcessResult:
        """A program in the worktree."""
        return self.environment.run(argv, cwd=self.worktree.path, timeout_sec=30, **more)

    def look(self, *expressions: str) -> list[str]:
        """What these expressions are in there, or the name of the error that they raise."""
        result = self.run(sys.executable, "-c", LOOK, *expressions)
        assert result.exit_code == 0, result.stderr
        found: list[str] = json.loads(result.stdout)
        return found


@pytest.fixture
def place(tmp_path: Path, canonical_url: str, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return Place(tmp_path / "home", canonical_url)


@needs_bubblewrap
def test_nothing_outside_the_worktree_can_be_written(place: Place, tmp_path: Path) -> None:
    """Neither the system, nor the user's tree, nor .git; what lands in a home or in /tmp goes with the process."""
    targets = ["/etc/x", "/usr/x", str(place.worktree.admin / "x"), str(place.top / ".git" / "x"), sys.prefix + "/x"]
    write = "pathlib.Path({!r}).write_text('x')"
    assert place.look(*(write.format(target) for target in targets)) == ["OSError"] * len(targets)
    gone = [str(tmp_path / "x"), str(place.home / "x"), str(place.top / "x"), "/tmp/acms-isolation-test"]  # noqa: S108
    assert place.look(*(write.format(target) for target in gone)) == ["1"] * len(gone)
    assert [path for path in gone if Path(path).exists()] == []
    assert place.look(write.format("made.txt")) == ["1"]
    assert (place.worktree.path / "made.txt").read_text() == "x"


@needs_bubblewrap
def test_no_secret_of_the_user_can_be_read(place: Place, acms_home: Path) -> None:
    """The home is empty, $ACMS_HOME holds the worktree only, the user's tree is not there, sockets are not either."""
    (acms_home / "evidence.key").write_text(TOKEN)
    seen = place.look(
        "sorted(p.name for p in pathlib.Path.home().iterdir())",
        f"sorted(p.name for p in pathlib.Path({str(acms_home)!r}).iterdir())",
        f"sorted(p.name for p in pathlib.Path({str(place.top)!r}).iterdir())",
        "os.listdir('/run')",
    )
    assert seen[:3] == ["['work']", "['worktrees']", "['.git']"]
    assert "docker.sock" not in seen[3]
    found = place.run("grep", "-rslF", TOKEN, str(place.home), str(acms_home), "/tmp", "/run", "/var/tmp")  # noqa: S108
    assert found.stdout == "", "the token is somewhere"


@needs_bubblewrap
def test_git_works_in_the_worktree_without_the_repositorys_configuration(place: Place) -> None:
    """What a build asks of git is answered; a credential in .git/config is not."""
    assert place.run("git", "log", "--format=%s", "-1").stdout == "first\n"
    assert place.run("git", "status", "--porcelain").stdout == ""
    assert place.run("git", "config", "--get", "http.extraheader").exit_code == 1


@needs_bubblewrap
def test_there_is_no_network_but_loopback(place: Place) -> None:
    """A server of ours is out of reach, one of its own is not; who may use the network reaches ours."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        connect = f"__import__('socket').create_connection(('127.0.0.1', {port}), 5) and 1"
        assert place.look(connect) == ["ConnectionRefusedError"]
        reached = place.run(sys.executable, "-c", LOOK, connect, network=True)
        assert json.loads(reached.stdout) == ["1"]
    own = "(s := __import__('socket').create_server(('127.0.0.1', 0))) and "
    assert place.look(own + "__import__('socket').create_connection(s.getsockname(), 5) and 1") == ["1"]


@needs_bubblewrap
def test_a_program_ends_as_it_would_outside(place: Place) -> None:
    """Its exit code, the signal it died of, its arguments; one that is not there is unavailable."""
    assert place.run("sh", "-c", "exit 7").exit_code == 7
    crashed = place.run("sh", "-c", "kill -SEGV $$")
    assert (crashed.exit_code, crashed.argv[0]) == (-11, "sh")
    assert place.run("sh", "-c", "exit 130").exit_code == 130
    with pytest.raises(ToolUnavailable, match="no-such-program is not available: No such file"):
        place.run("no-such-program")


@needs_bubblewrap
def test_a_timeout_takes_everything_even_what_left_the_process_group(place: Place) -> None:
    """A daemon that made itself a session dies with its namespace."""
    code = (
        "import subprocess, time; "
        "subprocess.Popen(['sleep', '611'], start_new_session=True, stdout=subprocess.DEVNULL); time.sleep(600)"
    )
    began = time.monotonic()
    result = place.environment.run((sys.executable, "-c", code), cwd=place.worktree.path, timeout_sec=1.5)
    assert (result.timed_out, result.exit_code) == (True, 124)
    assert time.monotonic() - began < 10
    assert _gone("611")


@needs_bubblewrap
def test_what_runs_isolated_is_found_by_its_mark(place: Place) -> None:
    """A take-over finds the processes of a driver before it, in their own namespace too."""
    pids: list[int] = []
    runs = threading.Thread(target=place.run, args=("sleep", "612"), kwargs={"on_start": pids.append})
    runs.start()
    end = time.monotonic() + 10
    while len(found := processes_of_runs().get(place.drive.run_id, [])) < 2 and time.monotonic() < end:
        time.sleep(0.02)
    assert {epoch for epoch, _ in found} == {place.drive.epoch}
    stop_process(pids[0])
    runs.join(10)
    assert not runs.is_alive()
    assert _gone("612")


def _gone(seconds: str) -> bool:
    """Whether no such sleep is left, within a moment."""
    end = time.monotonic() + 5
    while subprocess.run(["pgrep", "-f", f"^sleep {seconds}$"], capture_output=True, check=False).stdout:
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


@needs_bubblewrap
def test_what_the_user_names_can_be_read(place: Place) -> None:
    """A cache or a tool's settings in the home are shown where the configuration says so, read-only."""
    (place.home / ".cache").mkdir()
    (place.home / ".cache" / "wheel").write_text("x")
    settings = EnvironmentSettings(readable=(place.home / ".cache",))
    config = place.drive.config.model_copy(update={"environment": settings})
    place.drive.config = config
    _, place.environment = prepared_worktree(place.drive, "ws-01", place.drive.base_commit)
    wheel = f"pathlib.Path({str(place.home / '.cache' / 'wheel')!r})"
    assert place.look(f"{wheel}.read_text()", f"{wheel}.write_text('y')") == ["'x'", "OSError"]


@pytest.mark.parametrize("isolated", [pytest.param(True, marks=needs_bubblewrap), False])
def test_no_variable_leads_to_the_user(
    tmp_path: Path, canonical_url: str, monkeypatch: pytest.MonkeyPatch, *, isolated: bool
) -> None:
    """The agent, the tokens and the home are not passed on; without isolation the home is an empty folder as well."""
    for name in ("SSH_AUTH_SOCK", "GITHUB_TOKEN", "PREFECT_API_KEY", "ACMS_DATABASE_URL", "DBUS_SESSION_BUS_ADDRESS"):
        monkeypatch.setenv(name, TOKEN)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    place = Place(tmp_path / "home", canonical_url)
    if not isolated:
        place.environment = replace(place.environment, isolation=None)
    names = json.loads(place.look("__import__('json').dumps(dict(os.environ))")[0][1:-1])
    assert TOKEN not in names.values()
    assert {name for name in names if name.startswith(("ACMS_", "PREFECT_", "SSH_"))} == {"ACMS_RUN"}
    listing = "[p for p in pathlib.Path.home().iterdir() if p.name != 'work']"
    assert place.look(listing, "pathlib.Path.home().joinpath('x').write_text('x')") == ["[]", "1"]
    assert not (place.home / "x").exists()


@needs_bubblewrap
def test_a_file_can_not_grow_without_end(place: Place) -> None:
    """The kernel ends the program that writes on; other files are as long as they like to be below that."""
    code = f"f = open('big', 'wb'); f.seek({LARGEST_FILE} - 1); f.write(b'x'); f.flush(); f.write(b'x'); f.flush()"
    result = place.run(sys.executable, "-c", code)
    assert "File too large" in result.stderr
    assert (place.worktree.path / "big").stat().st_size == LARGEST_FILE


def test_where_there_is_no_bubblewrap_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Missing, or forbidden by the kernel: auto goes on without, required refuses with the reason."""
    monkeypatch.setattr(isolation, "_bubblewrap", lambda: None)
    assert isolation_problem() == "bubblewrap (bwrap) is not installed"
    require_isolation(EnvironmentSettings())
    with pytest.raises(InvalidValue, match=r"environment\.isolation is 'required'.*not installed"):
        require_isolation(EnvironmentSettings(isolation=IsolationMode.REQUIRED))


def test_a_bubblewrap_that_is_forbidden_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container without namespaces: what it says is the reason."""
    forbidden = tmp_path / "bwrap"
    forbidden.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    forbidden.chmod(0o755)
    monkeypatch.setattr(isolation, "_bubblewrap", lambda: forbidden)
    assert "No permissions to create new namespace" in str(isolation_problem())
