"""Refusals of the commands: one clear sentence, exit 2, and nothing changed."""

from __future__ import annotations

import re
from pathlib import Path

from commands import Acms, Called

from prefect_acms.dao.store import open_store

COMMANDS = ["run", "analyze", "plan"]


def everything_in(folder: Path) -> dict[str, bytes | None]:
    """Every file below a folder, .git included, byte for byte."""
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


def one_sentence(done: Called) -> str:
    """The sentence of a refusal; asserts exit 2, nothing on stdout and no second line."""
    assert done.returncode == 2, done
    assert done.stdout == ""
    assert re.fullmatch(r"acms: [^\n]+\n", done.stderr), done.stderr
    return done.stderr


def refused(acms: Acms, folder: Path, home: Path | None, *arguments: str, **variables: str) -> str:
    """The sentence with which a command refuses; asserts that nothing below the folder changed and no home was made."""
    before = everything_in(folder)
    sentence = one_sentence(acms(*arguments, **variables))
    assert everything_in(folder) == before
    assert home is None or not home.exists()
    return sentence


def number_of_runs(url: str) -> int:
    """How many runs a store holds."""
    store = open_store(url)
    with store.begin(read_only=True) as dao:
        found = len(dao.runs.latest(100))
    store.close()
    return found
