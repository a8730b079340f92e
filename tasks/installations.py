"""Where programs are installed: what has to be readable so that one can be started where its folder is hidden."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

_MODULES = "node_modules"
_SHEBANG = b"#!"
_LONGEST_SHEBANG = 256


def located(program: str, variables: Mapping[str, str]) -> Path | None:
    """The file that a program is, as a shell would find it with these variables; None if there is none."""
    found = shutil.which(program, path=variables.get("PATH", os.defpath))
    return Path(found) if found else None


def installation_of(program: str, variables: Mapping[str, str]) -> tuple[Path, ...]:
    """The folders that a program needs beside the one it was found in: its package, its interpreter's."""
    found = located(program, variables)
    return () if found is None else tuple(dict.fromkeys(_folders(found)))


def _folders(found: Path) -> Iterator[Path]:
    real = found.resolve()
    for path in (real, _interpreter(real)):
        if path is not None:
            yield from _package(path)


def _package(path: Path) -> Iterator[Path]:
    """The folder that a file was installed with: all packages of npm beside it, or a virtual environment."""
    for folder in path.parents:
        if folder.name == _MODULES or (folder / "pyvenv.cfg").is_file():
            yield folder
            return
    if path.parent.name == "bin":  # of a prefix: its libraries lie beside it
        yield from (folder for folder in (path.parent, path.parent.parent / "lib") if folder.is_dir())


def _interpreter(path: Path) -> Path | None:
    """The program that a script names in its first line, if it is no link of the system's."""
    with path.open("rb") as file:
        first = file.read(_LONGEST_SHEBANG).partition(b"\n")[0]
    words = first.removeprefix(_SHEBANG).split() if first.startswith(_SHEBANG) else []
    named = Path(os.fsdecode(words[0])) if words else None
    return named if named is not None and named.is_absolute() and named.name != "env" else None
