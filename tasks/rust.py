"""What rustfmt and clippy are asked of the files of a task alone, which by themselves go on to other files.

Run in the work tree: `python -m prefect_acms.tasks.rust unformatted|format FILE…`, `… version`, `… fix RULES FILE…`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

EDITION = "2015"
"""The edition of a crate that names none."""

RUSTFMT = ("rustfmt",)
FIX = ("cargo", "clippy", "--offline", "--workspace", "--all-targets", "--fix", "--allow-dirty", "--allow-staged")

OTHERS = ("-A", "clippy::all", "-A", "unused")
"""Lints that nobody has asked about; what is asked about comes after them."""


def main(arguments: Sequence[str]) -> int:
    """Do what the first argument says; the exit code is that of the program, or 0."""
    task, *rest = arguments
    match task:
        case "version":
            return subprocess.run((*RUSTFMT, "--version"), check=False).returncode
        case "fix":
            return fix(rest[0].split(","), rest[1:])
    broken = False
    for name in rest:
        path = Path(name)
        before = path.read_bytes()
        after = formatted(path, before)
        broken |= after is None
        if after is not None and after != before:
            if task == "format":
                path.write_bytes(after)
            print(name)  # noqa: T201  a program
    # a file that does not parse is for the compiler to tell
    return 1 if broken and task == "format" else 0


def formatted(path: Path, content: bytes) -> bytes | None:
    """What rustfmt makes of one file, without the modules that it names; None for what it can't read."""
    command = (*RUSTFMT, "--edition", edition_of(path), "--quiet", "--emit", "stdout")
    done = subprocess.run(command, input=content, cwd=path.parent, capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else None


def edition_of(path: Path) -> str:
    """The edition of the crate that a file is of, by the nearest Cargo.toml above it."""
    for folder in path.absolute().parents:
        package = _manifest(folder).get("package", {})
        if not package:
            continue
        edition = package.get("edition", EDITION)
        if isinstance(edition, str):
            return edition
        above = (
            _manifest(top).get("workspace", {}).get("package", {}).get("edition") for top in (folder, *folder.parents)
        )
        return next(filter(None, above), EDITION)
    return EDITION


@cache
def _manifest(folder: Path) -> Mapping[str, Any]:
    path = folder / "Cargo.toml"
    return tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def fix(rules: Iterable[str], files: Iterable[str]) -> int:
    """Make clippy's fixes for these rules, and put back what it has changed in other files."""
    asked = {Path(name).resolve() for name in files}
    lock = Path("Cargo.lock")
    had_lock = lock.exists()
    others = {
        path: path.read_bytes() for path in Path().rglob("*.rs") if path.resolve() not in asked and path.is_file()
    }
    lints = [word for rule in rules for word in ("-W", rule)]
    with tempfile.TemporaryDirectory() as built:
        done = subprocess.run((*FIX, "--target-dir", built, "--", *OTHERS, *lints), check=False)
    for path, content in others.items():
        if path.read_bytes() != content:
            path.write_bytes(content)
    if not had_lock:
        lock.unlink(missing_ok=True)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
