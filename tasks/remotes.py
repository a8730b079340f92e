"""A git remote as we meet it: from a repository of our own that borrows the objects of the user's.

So no configuration of the user's repository is in force while a token is at hand: no helper, no proxy, no hook, no
other place for the URL. Nothing is written there, and nothing of the token to disk or to a command line.
"""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from prefect_acms.canonical.errors import InvalidValue
from prefect_acms.canonical.outside_errors import GitFailed, PushRefused
from prefect_acms.tasks.forge_addresses import RemoteUrl, origin_of
from prefect_acms.tasks.forge_tokens import Token
from prefect_acms.tasks.git import run_git, text_of
from prefect_acms.tasks.repository import AUTHOR_EMAIL, Repository
from prefect_acms.tasks.scratch import scratch_folder

HEADS = "refs/heads/"

_SCHEMES = "https:http:ssh:git:file"
_PATIENT = (
    *("http.lowSpeedLimit=1000", "http.lowSpeedTime=60", "http.followRedirects=false"),
    *("credential.helper=", "core.askPass=", "push.gpgSign=false", "protocol.version=2"),
)
"""A connection that stands still is given up, and nobody is asked for credentials."""

_CERTIFICATES = ("GIT_SSL_CAINFO", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")


def remote_url(repository: Repository, name: str) -> RemoteUrl:
    """Where a remote of the repository is pushed to, as its user's configuration says; raises InvalidValue."""
    asked = run_git(["remote", "get-url", "--push", name], cwd=repository.top, plain=False, accept=(0, 2, 128))
    if asked.returncode != 0:
        known = text_of(run_git(["remote"], cwd=repository.top, plain=False)).split()
        expected = f"a remote of {repository.top}, which has {', '.join(known) or 'none'}"
        raise InvalidValue(field="publish.remote", value=name, expected=expected)
    url = text_of(asked)
    if "::" in url.partition("/")[0] or url.startswith("-"):
        raise InvalidValue(field="publish.remote", value=name, expected="a remote with an https, ssh or file URL")
    return RemoteUrl.parse(url)


@dataclass(slots=True)
class Remote:
    """One remote: its branches when it was opened, and after each push of ours."""

    repository: Repository
    name: str
    url: str
    folder: Path
    _variables: Mapping[str, str]
    heads: dict[str, str] = field(default_factory=dict)
    """The commits of the branches that were asked for, by their names."""

    def look(self, *patterns: str) -> None:
        """Ask where branches are; raises GitFailed."""
        lines = text_of(self._git("ls-remote", self.url, *(f"{HEADS}{pattern}" for pattern in patterns))).splitlines()
        for line in lines:
            commit, ref = line.split("\t", 1)
            self.heads[ref.removeprefix(HEADS)] = commit

    def fetch(self, branch: str) -> str:
        """The commit of a branch, whose history is here now."""
        commit = self.heads[branch]
        if not self._has(commit):
            self._git("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", self.url, f"{HEADS}{branch}")
        return commit

    def holds(self, commit: str, branch: str) -> bool:
        """Whether a branch has that commit in its history."""
        asked = ("merge-base", "--is-ancestor", commit, self.fetch(branch))
        return self._git(*asked, accept=(0, 1, 128)).returncode == 0

    def foreign(self, branch: str, base: str, ours: str) -> str | None:
        """A commit of somebody else's that would be lost if the branch were moved to `ours`; the last one, told.

        What we have made says so in a trailer, and nobody else has committed it anew.
        """
        tip, start = self.fetch(branch), self.fetch(base)
        # a name may hold a tab, and what Python takes for the end of a line; git lets it hold neither NUL nor "\n"
        form = "--format=%h%x00%cn%x00%ce%x00%(trailers:key=ACMS-Run,valueonly,unfold,separator=%x20)"
        told = text_of(self._git("log", form, tip, f"^{start}", f"^{ours}"))
        for line in filter(None, told.split("\n")):
            commit, name, address, runs = line.split("\0")
            if address != AUTHOR_EMAIL or not runs:
                return f"{commit} by {name}"
        return None

    def push(self, branch: str, commit: str) -> None:
        """Put a branch where that commit is, if it is still where it was seen; raises PushRefused."""
        seen = self.heads.get(branch, "")
        lease = f"--force-with-lease={HEADS}{branch}:{seen}"
        try:
            self._git("push", "--quiet", "--no-verify", lease, self.url, f"{commit}:{HEADS}{branch}")
        except GitFailed as error:
            problem = str(error.facts["problem"])
            if "stale info" in problem:
                problem = "somebody has moved it just now"
            raise PushRefused(remote=self.name, branch=branch, problem=problem, command="push", exit_code=1) from error
        self.heads[branch] = commit

    def _has(self, commit: str) -> bool:
        return self._git("cat-file", "-e", f"{commit}^{{commit}}", accept=(0, 1, 128)).returncode == 0

    def _git(self, *arguments: str, accept: tuple[int, ...] = (0,)) -> subprocess.CompletedProcess[bytes]:
        return run_git(arguments, cwd=self.folder, config=_PATIENT, variables=self._variables, accept=accept)


@contextmanager
def opened_remote(repository: Repository, name: str, url: RemoteUrl, token: Token, forge: str) -> Iterator[Remote]:
    """A remote for a block of work; the token goes along only where it is pushed to the forge that it is for."""
    with scratch_folder() as scratch:
        folder = scratch / "remote.git"
        form = f"--object-format={repository.object_format}"
        run_git(["init", "--quiet", "--bare", form, str(folder)], cwd=scratch)
        borrowed = repository.common_dir / "objects"
        (folder / "objects" / "info" / "alternates").write_bytes(os.fsencode(borrowed) + b"\n")
        shallow = repository.common_dir / "shallow"
        if shallow.is_file():
            (folder / "shallow").write_bytes(shallow.read_bytes())
        variables = {**_surroundings(scratch), **(_authentication(url, token) if _is_there(url, forge) else {})}
        yield Remote(repository, name, url.text, folder, variables)


def _is_there(url: RemoteUrl, forge: str) -> bool:
    return url.web is not None and url.text.startswith(url.web) and origin_of(url.web) == origin_of(forge)


def _surroundings(scratch: Path) -> dict[str, str]:
    certificates = next((os.environ[name] for name in _CERTIFICATES if os.environ.get(name)), None)
    return {
        "GIT_ALLOW_PROTOCOL": _SCHEMES,
        "GIT_SSH_COMMAND": "ssh -oBatchMode=yes -oConnectTimeout=30 -oServerAliveInterval=20",
        # neither ~/.netrc nor what else a home may hold; ssh finds its keys by the user's entry, not by this
        "HOME": str(scratch),
        "XDG_CONFIG_HOME": str(scratch),
        **({"GIT_SSL_CAINFO": certificates} if certificates else {}),
    }


def _authentication(url: RemoteUrl, token: Token) -> dict[str, str]:
    """The token as git configuration in the environment: not in argv and not in any file."""
    pair = base64.b64encode(f"{token.username}:{token.value}".encode()).decode()
    return {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"http.{url.web}/.extraHeader",
        "GIT_CONFIG_VALUE_0": f"Authorization: Basic {pair}",
    }
