"""The repository to work on, as a Prefect block: a folder on this machine, or a URL that is cloned."""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import ClassVar, Self
from urllib.parse import urlsplit

from prefect.blocks.core import Block
from pydantic import ConfigDict, Field, HttpUrl, SecretStr, field_validator, model_validator

from prefect_acms.blocks.appearance import DOCUMENTATION, FILES_LOGO
from prefect_acms.blocks.secrets import learn_secrets
from prefect_acms.canonical.errors import GitMissing, NotARepository, RepositoryUnfit
from prefect_acms.canonical.outside_errors import GitFailed

_SCP_LIKE = re.compile(r"^[\w.-]+@[\w.-]+:(?!//)")
_SCHEMES = ("https", "http", "ssh", "git", "file")
_QUIET = tuple(
    part
    for setting in ("core.hooksPath=/dev/null", "core.fsmonitor=false", "gc.auto=0", "maintenance.auto=false")
    for part in ("-c", setting)
)


class Workspace(Block):
    """A git repository: a path, or a URL with the credentials to clone it.

    Example:
        ```python
        from prefect_acms.blocks import Workspace

        workspace = Workspace.load("BLOCK_NAME")
        repository = workspace.checkout(Path("/srv/checkouts/project"))
        ```
    """

    _block_type_name: ClassVar[str | None] = "ACMS Workspace"
    _block_type_slug: ClassVar[str | None] = "acms-workspace"
    _logo_url: ClassVar[HttpUrl | None] = FILES_LOGO
    _documentation_url: ClassVar[HttpUrl | None] = DOCUMENTATION

    model_config = ConfigDict(hide_input_in_errors=True)

    repository: str = Field(
        min_length=1, description="Path of a git repository, or its https, http, ssh, git or file URL."
    )
    branch: str | None = Field(
        default=None, description="Branch to work from; none: the one that is checked out, or the remote's default."
    )
    username: str = Field(
        default="x-access-token", min_length=1, description="User name that goes with the credentials."
    )
    credentials: SecretStr | None = Field(
        default=None, description="Token or password for an https or http URL; ssh uses the keys of this machine."
    )
    timeout_sec: float = Field(default=600, gt=0, description="Seconds that cloning may take.")

    @property
    def is_remote(self) -> bool:
        """Whether the repository is a URL, and so has to be cloned."""
        return "://" in self.repository or bool(_SCP_LIKE.match(self.repository))

    @field_validator("repository")
    @classmethod
    def _refuse_odd_transports(cls, repository: str) -> str:
        if repository.startswith("-") or re.match(r"^[a-z]+::", repository):
            message = "expected a path or a URL"
            raise ValueError(message)
        scheme, found, _ = repository.partition("://")
        if found and scheme not in _SCHEMES:
            message = f"unknown scheme {scheme!r}: expected one of {list(_SCHEMES)}"
            raise ValueError(message)
        if found and scheme in {"https", "http"} and "@" in urlsplit(repository).netloc:
            # The value is left out of the message: it holds the secret that is in the wrong place.
            message = "the URL holds a user name or password: put them into `username` and `credentials`"
            raise ValueError(message)
        return repository

    @field_validator("branch")
    @classmethod
    def _plain_branch(cls, branch: str | None) -> str | None:
        if branch is not None and not re.fullmatch(r"(?![-/.])(?!.*(\.\.|//|@\{))[^\s~^:?*\[\\\x00-\x1f\x7f]+", branch):
            message = f"{branch!r} can't be the name of a branch"
            raise ValueError(message)
        return branch

    @model_validator(mode="after")
    def _credentials_fit(self) -> Self:
        if self.credentials is not None and not self.repository.startswith(("https://", "http://")):
            message = "credentials go with an https or http URL only"
            raise ValueError(message)
        learn_secrets(self)
        return self

    def checkout(self, into: Path) -> Path:
        """The folder of the repository: the local path as it is, or a clone of the URL in `into`, as the URL is now.

        Raises NotARepository or RepositoryUnfit for a folder that can't be used, GitFailed when git fails.
        """
        if not self.is_remote:
            return self._local()
        if not (into / ".git").exists():
            return self._clone(into)
        self._update(into)
        return into.resolve()

    def _local(self) -> Path:
        path = Path(self.repository).expanduser()
        if not path.is_dir():
            raise NotARepository(path=path, problem="there is no such folder")
        top = _git(("-C", str(path), "rev-parse", "--show-toplevel"), _clean_environment(), self.timeout_sec)
        if top.returncode:
            raise NotARepository(path=path, problem=_last_line(top.stderr))
        head = _git(("-C", str(path), "symbolic-ref", "--short", "-q", "HEAD"), _clean_environment(), self.timeout_sec)
        found = head.stdout.strip() or "no branch"
        if self.branch is not None and found != self.branch:
            raise RepositoryUnfit(path=path, problem=f"the workspace names branch {self.branch}, it is on {found}")
        return Path(top.stdout.removesuffix("\n"))

    def _clone(self, into: Path) -> Path:
        branch = () if self.branch is None else (f"--branch={self.branch}",)
        self._run("clone", "--quiet", *branch, "--", self.repository, str(into))
        return into.resolve()

    def _update(self, clone: Path) -> None:
        """Bring the branch to where it is at the URL; the other branches of the clone, our results, stay."""
        found = self._run("config", "--get", "remote.origin.url", at=clone).strip()
        if found != self.repository:
            raise RepositoryUnfit(path=clone, problem=f"it is a clone of {found}, not of {self.repository}")
        self._run("fetch", "--quiet", "--prune", "origin", at=clone)
        if self.branch is None:
            self._run("remote", "set-head", "origin", "--auto", at=clone)
        head = "refs/remotes/origin/HEAD"
        remote = f"refs/remotes/origin/{self.branch}" if self.branch else self._run("symbolic-ref", head, at=clone)
        branch = remote.strip().removeprefix("refs/remotes/origin/")
        self._run("checkout", "--quiet", "--force", "-B", branch, remote.strip(), at=clone)

    def _run(self, command: str, *arguments: str, at: Path | None = None) -> str:
        """What git prints, with the credentials at hand; raises GitFailed."""
        where = () if at is None else ("-C", str(at))
        try:
            done = _git((*where, command, *arguments), _clean_environment() | self._authentication(), self.timeout_sec)
        except subprocess.TimeoutExpired:
            raise GitFailed(command=command, exit_code=124, problem=f"no end after {self.timeout_sec} s") from None
        if done.returncode:
            raise GitFailed(command=command, exit_code=done.returncode, problem=_last_line(done.stderr))
        return done.stdout

    def _authentication(self) -> dict[str, str]:
        """The credentials as git configuration in the environment: not in argv, and not kept in `.git/config`."""
        if self.credentials is None:
            return {}
        pair = f"{self.username}:{self.credentials.get_secret_value()}"
        address = urlsplit(self.repository)
        return {
            "GIT_CONFIG_COUNT": "2",
            # Bound to this host, so that a redirect to another one does not carry it along.
            "GIT_CONFIG_KEY_0": f"http.{address.scheme}://{address.netloc}/.extraHeader",
            "GIT_CONFIG_VALUE_0": f"Authorization: Basic {base64.b64encode(pair.encode()).decode()}",
            # No helper of the user's is asked, and none learns these credentials.
            "GIT_CONFIG_KEY_1": "credential.helper",
            "GIT_CONFIG_VALUE_1": "",
        }


def _clean_environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return kept | {
        "LC_ALL": "C",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_ALLOW_PROTOCOL": ":".join(_SCHEMES),
        "GIT_SSH_COMMAND": "ssh -oBatchMode=yes",
    }


def _git(
    arguments: tuple[str, ...], environment: dict[str, str], timeout_sec: float
) -> subprocess.CompletedProcess[str]:
    program = shutil.which("git")
    if program is None:
        raise GitMissing(needed="2.38", found="none")
    return subprocess.run(
        (program, *_QUIET, *arguments),
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout_sec,
        check=False,
    )


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].removeprefix("fatal: ") if lines else "git gave no reason"
