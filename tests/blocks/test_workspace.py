"""The workspace block, with real git and a real web server."""

from __future__ import annotations

import base64
import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from prefect_acms.blocks.workspace import Workspace
from prefect_acms.canonical.errors import NotARepository, RepositoryUnfit
from prefect_acms.canonical.outside_errors import GitFailed

TOKEN = "s3cret-t0ken"  # noqa: S105 - opens only the door of this test


def git(*arguments: str, cwd: Path) -> str:
    identity = ("-c", "user.name=T", "-c", "user.email=t@localhost", "-c", "init.defaultBranch=main")
    done = subprocess.run(("git", *identity, *arguments), cwd=cwd, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """A repository with a commit on `main` and another on `next`."""
    path = tmp_path / "origin"
    path.mkdir()
    git("init", "-q", cwd=path)
    (path / "a.txt").write_text("one\n")
    git("add", ".", cwd=path)
    git("commit", "-qm", "one", cwd=path)
    git("switch", "-qc", "next", cwd=path)
    (path / "a.txt").write_text("two\n")
    git("commit", "-qam", "two", cwd=path)
    git("switch", "-q", "main", cwd=path)
    return path


class _Guarded(SimpleHTTPRequestHandler):
    expected = "Basic " + base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()

    def do_GET(self) -> None:
        if self.headers.get("Authorization") == self.expected:
            super().do_GET()
            return
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="tests"')
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def address(origin: Path, tmp_path: Path) -> Iterator[str]:
    """The origin behind a web server that asks for the token."""
    git("clone", "-q", "--bare", str(origin), str(tmp_path / "served.git"), cwd=tmp_path)
    git("update-server-info", cwd=tmp_path / "served.git")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Guarded, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/served.git"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_local_repository_is_used_where_it_is(origin: Path, tmp_path: Path) -> None:
    """Its top is returned, wherever inside it the path points; nothing is cloned."""
    (origin / "sub").mkdir()
    assert Workspace(repository=str(origin / "sub")).checkout(tmp_path / "unused") == origin.resolve()
    assert not (tmp_path / "unused").exists()


def test_a_local_repository_on_another_branch_is_refused_and_left_alone(origin: Path, tmp_path: Path) -> None:
    """The user's branch is theirs: it is never switched."""
    with pytest.raises(RepositoryUnfit, match="names branch next, it is on main"):
        Workspace(repository=str(origin), branch="next").checkout(tmp_path)
    assert git("branch", "--show-current", cwd=origin) == "main"
    assert Workspace(repository=str(origin), branch="main").checkout(tmp_path) == origin.resolve()


def test_a_folder_without_a_repository_is_refused(tmp_path: Path) -> None:
    """So is one that does not exist."""
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(NotARepository):
            Workspace(repository=str(path)).checkout(tmp_path / "into")


def test_a_url_is_cloned_on_its_branch(origin: Path, tmp_path: Path) -> None:
    """A file URL needs no server; the clone is on the branch that was named."""
    clone = Workspace(repository=origin.as_uri(), branch="next").checkout(tmp_path / "clone")
    assert (clone / "a.txt").read_text() == "two\n"
    assert git("branch", "--show-current", cwd=clone) == "next"


def test_a_clone_runs_no_hook_and_takes_no_setting_of_the_caller(
    origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hook of the template folder would run in the clone; GIT_DIR would lead it astray."""
    hooks = tmp_path / "template" / "hooks"
    hooks.mkdir(parents=True)
    hook = hooks / "post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path / 'ran'}\n")
    hook.chmod(0o755)
    monkeypatch.setenv("GIT_TEMPLATE_DIR", str(tmp_path / "template"))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    Workspace(repository=origin.as_uri()).checkout(tmp_path / "clone")
    assert not (tmp_path / "ran").exists()


def test_credentials_open_the_door_and_stay_nowhere(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token reaches the server, and is neither in git's argument lists nor in the clone's configuration."""
    real = shutil.which("git")
    shim = tmp_path / "bin" / "git"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >> {tmp_path / "argv"}\nexec {real} "$@"\n')
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", f"{shim.parent}:/usr/bin:/bin")
    clone = Workspace(repository=address, credentials=TOKEN).checkout(tmp_path / "clone")
    assert (clone / "a.txt").read_text() == "one\n"
    encoded = _Guarded.expected.removeprefix("Basic ")
    written = [(tmp_path / "argv").read_text(), (clone / ".git" / "config").read_text()]
    assert written[0].splitlines().count(address) == 1
    assert not [text for text in written if TOKEN in text or encoded in text]


def test_wrong_credentials_fail_without_a_question_and_without_being_told(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No terminal and no credential helper of the user's is asked, and the error names no secret."""
    (tmp_path / ".gitconfig").write_text(f'[credential]\n\thelper = "!touch {tmp_path / "asked"}; true"\n')
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with pytest.raises(GitFailed) as caught:
        Workspace(repository=address, credentials="wr0ng").checkout(tmp_path / "clone")
    assert not (tmp_path / "asked").exists()
    assert "wr0ng" not in str(caught.value)
    assert base64.b64encode(b"x-access-token:wr0ng").decode() not in str(caught.value)


def test_a_clone_that_takes_too_long_is_ended(origin: Path, tmp_path: Path) -> None:
    """The limit is a setting."""
    with pytest.raises(GitFailed, match="no end after"):
        Workspace(repository=origin.as_uri(), timeout_sec=0.0001).checkout(tmp_path / "clone")


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"repository": "--upload-pack=evil"}, "expected a path or a URL"),
        ({"repository": "ext::sh -c evil"}, "expected a path or a URL"),
        ({"repository": "ftp://host/a"}, "unknown scheme 'ftp'"),
        ({"repository": f"https://user:{TOKEN}@host/a"}, "put them into"),
        ({"repository": "git@host:a/b", "credentials": TOKEN}, "https or http URL only"),
        ({"repository": "/srv/a", "credentials": TOKEN}, "https or http URL only"),
        ({"repository": "/srv/a", "branch": "--orphan"}, "can't be the name of a branch"),
        ({"repository": "/srv/a", "branch": "a..b"}, "can't be the name of a branch"),
    ],
)
def test_a_workspace_that_makes_no_sense_is_refused(fields: dict[str, str], problem: str) -> None:
    """The sentence names what is wrong, and no secret."""
    with pytest.raises(ValueError, match=problem) as caught:
        Workspace(**fields)
    assert TOKEN not in str(caught.value)


def test_a_url_is_told_from_a_path() -> None:
    """An scp-like address is remote, a Windows drive or a colon in a name is not."""
    remote = ("https://h/a", "ssh://git@h/a", "git@github.com:a/b.git", "file:///srv/a")
    local = ("/srv/a", "a", "./x:y", "C:/work", "~/code")
    assert [Workspace(repository=one).is_remote for one in (*remote, *local)] == [True] * 4 + [False] * 5
