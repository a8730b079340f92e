"""What of a repository may leave the machine: tracked text that no pattern withholds, without anything secret in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from prefect_acms.dao.redaction import HIDDEN, KNOWN, redact
from prefect_acms.tasks.diffs import HunkLine
from prefect_acms.tasks.git import names_of, run_git
from prefect_acms.tasks.guardrails import escape
from prefect_acms.tasks.patch_secrets import secrets_added

IGNORE_FILE = ".acmsignore"
"""Names what is never sent, in the syntax of .gitignore; like that, it may lie in any folder."""

NEVER_SENT = (
    *(".env", ".env.*", ".envrc", ".netrc", ".pgpass", ".npmrc", ".pypirc", ".htpasswd", ".git-credentials"),
    *("*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx", "*.gpg", "*.asc", "*.age", "*.ppk"),
    *("id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", ".ssh/", ".aws/", ".gnupg/", ".kube/", ".docker/config.json"),
    *("*.tfstate", "*.tfvars", "credentials.json", "service-account*.json", "secrets.*", ".vault-token"),
)
"""What holds credentials by its name, withheld whether a repository says so or not."""

LARGEST_FILE = 512 * 1024
"""Bytes of a file from which on it is taken for data."""


@dataclass(frozen=True, slots=True)
class Shown:
    """The text of a file as a model sees it, each line ended by a line feed; `hidden` are those left out as secret."""

    path: str
    text: str
    hidden: frozenset[int] = frozenset()
    """Numbers of lines, counted from 1."""

    @property
    def lines(self) -> list[str]:
        """Its lines, without what ends them."""
        return self.text.removesuffix("\n").split("\n")


@dataclass(frozen=True, slots=True)
class Disclosure:
    """What of a work tree a model may be shown, and so may change."""

    root: Path
    files: tuple[str, ...]
    """Every file that may be sent, sorted, if its content allows it."""
    _read: dict[str, Shown | None] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, root: Path, withheld: Iterable[str] = ()) -> Disclosure:
        """Look at the tracked files of a work tree; `withheld` are further ones that are not to be sent."""
        listed = run_git(["ls-files", "--cached", "-z"], cwd=root)
        may_be_sent = {*names_of(listed.stdout)}.difference(never_sent(root), withheld)
        return cls(root, tuple(sorted(filter(_is_nameable, may_be_sent))))

    def shown(self, path: str) -> Shown | None:
        """A file as a model may see it; None for what is withheld, no text, a link, or too large."""
        if path not in self._read:
            self._read[path] = self._shown(path) if path in self.files else None
        return self._read[path]

    def _shown(self, path: str) -> Shown | None:
        place = self.root / path
        if place.is_symlink() or not place.is_file() or place.stat().st_size > LARGEST_FILE:
            return None
        if not place.resolve().is_relative_to(self.root.resolve()):
            return None
        try:
            text = place.read_bytes().decode("utf-8").replace("\r\n", "\n")
        except UnicodeDecodeError:
            return None
        if "\0" in text:
            return None
        secret = secret_lines(text)
        if not secret:
            return Shown(path, text)
        lines = [HIDDEN if number in secret else line for number, line in enumerate(text.split("\n"), 1)]
        return Shown(path, "\n".join(lines), hidden=secret)


def never_sent(root: Path) -> tuple[str, ...]:
    """The tracked files of a work tree that no model may see, by what they are called or by an ignore file."""
    never = [f"--exclude={pattern}" for pattern in NEVER_SENT]
    closed = run_git(
        ["ls-files", "--cached", "--ignored", "-z", f"--exclude-per-directory={IGNORE_FILE}", *never],
        cwd=root,
        config=("core.ignoreCase=true",),
    )
    return tuple(names_of(closed.stdout))


def secret_lines(text: str) -> frozenset[int]:
    """The numbers of the lines in which something stands that is secret or looks like it."""
    found: set[int] = set()
    for shape in KNOWN.found(text):
        first = text.count("\n", 0, shape.start) + 1
        found.update(range(first, first + text.count("\n", shape.start, shape.end) + 1))
    lines = [HunkLine(number, b"+", f"{line}\n".encode()) for number, line in enumerate(text.split("\n"), 1)]
    return frozenset(found.union(number for number, _ in secrets_added(lines, "")))


def _is_nameable(path: str) -> bool:
    return path.isprintable() and escape(path) is None and redact(path) == path
