"""What a path of a patch means to the file systems that it may be written to, not only to the one of this machine."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from pathlib import PurePosixPath

_SHORT_NAMES = {
    **{f"gitmod~{n}": ".gitmodules" for n in range(1, 5)},
    **{f"gitatt~{n}": ".gitattributes" for n in range(1, 5)},
    **{f"gitign~{n}": ".gitignore" for n in range(1, 5)},
    "gi7eba~1": ".gitmodules",
    "gi7d29~1": ".gitattributes",
    "gi250a~1": ".gitignore",
    "github~1": ".github",
    "gitlab~1": ".gitlab",
}
"""Names that NTFS makes up for longer ones, as git knows them (and those of folders that hold workflows)."""


def folded(part: str) -> str:
    """A name as a file system sees it that folds case and form, ignores characters, trims ends, and has streams."""
    seen = "".join(c for c in unicodedata.normalize("NFKC", part) if unicodedata.category(c) != "Cf").casefold()
    return seen.partition(":")[0].rstrip(". ")


def plain_spelling(path: str) -> str:
    """The path with each name as other file systems may see it, so that a protected one is known in every spelling."""
    parts = [folded(part) for part in re.split(r"[/\\]", path)]
    return "/".join(_SHORT_NAMES.get(part, part) for part in parts)


def escapes(path: str) -> Iterator[str]:
    """How a path can lead out of the repository; nothing for a plain one."""
    parts = path.split("/")
    if PurePosixPath(path).is_absolute() or path.startswith("\\") or re.match(r"[A-Za-z]:", path):
        yield "it is absolute"
    elif "\0" in path or "" in parts or "." in parts:
        yield "it is no plain path"
    if ".." in re.split(r"[/\\]", path):
        yield "it leaves the repository"


def means_git(path: str) -> bool:
    """Whether a part of it is .git on some file system, by any of the names that this has there."""
    return any(
        name == ".git" or re.fullmatch(r"git~\d+", name) is not None
        for name in (folded(part) for part in re.split(r"[/\\]", path))
    )


def collated(path: str) -> str:
    """What is the same for two paths that are one on a file system that folds case or Unicode form."""
    return path.lower() if path.isascii() else unicodedata.normalize("NFC", path).casefold()
