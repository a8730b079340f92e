"""What a codemod would change in a repository as it is now."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from prefect_acms.tasks.codemods.codemod import Codemod
from prefect_acms.tasks.codemods.promoting import diff_of
from prefect_acms.tasks.codemods.rewriting import rewritten
from prefect_acms.tasks.repository import Repository

LARGEST_FILE = 1_000_000
"""Bytes of a file that is looked at."""


class Preview(NamedTuple):
    """One file that a codemod would change, and how."""

    path: str
    diff: str


def previews(codemod: Codemod, repository: Repository, revision: str) -> Iterator[Preview]:
    """Every file of a commit that it would change, by name; nothing is written."""
    modes = repository.modes(revision)
    paths = [path for path, mode in modes.items() if mode in {"100644", "100755"} and codemod.suits(path)]
    files = {path: content for path, content in repository.contents(revision, paths) if len(content) <= LARGEST_FILE}
    for path, content in sorted(rewritten(codemod, files).items()):
        yield Preview(path, diff_of(path, *(text.decode(errors="replace") for text in (files[path], content))))
