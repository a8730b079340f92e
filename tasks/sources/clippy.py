"""The gap source `clippy`: what clippy and the Rust compiler warn of, in every crate of the repository."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from prefect_acms.canonical.gap import GapSeverity
from prefect_acms.tasks.code_context import CodeContext
from prefect_acms.tasks.fingerprints import Fingerprinter
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.scratch import scratch_folder
from prefect_acms.tasks.sources import Discovered, Scan
from prefect_acms.tasks.sources.program import Program, files_of

COMMAND = ("cargo", "clippy", "--offline", "--workspace", "--all-targets", "--message-format", "json", "--quiet")

SURE = "MachineApplicable"
"""How clippy calls a suggestion that `--fix` makes."""

_SEVERITIES = {"error": GapSeverity.HIGH, "warning": GapSeverity.MEDIUM}


class ClippySource:
    """Compiles the crates into a folder of its own; writes nothing into the tree that was not there."""

    name = "clippy"

    def discover(self, scan: Scan) -> Discovered:
        """The warnings of the workspace at the top; raises SourceFailed where it can't be built without the network."""
        files = files_of(scan, (".rs",))
        if not files or not (scan.root / "Cargo.toml").is_file():
            return Discovered(())
        hint = "rustup component add clippy"
        Program(self.name, scan, ("cargo-clippy",), hint).require()
        lock = scan.root / "Cargo.lock"
        had_lock = lock.exists()
        lines: list[str] = []
        cargo = Program(self.name, scan, COMMAND[:1], hint)
        with scratch_folder() as folder:
            built = {"CARGO_TARGET_DIR": str(folder)}
            # 101: something does not compile, which is among what it tells
            cargo.run(*COMMAND[1:], good=(0, 101), lines=lines, writable=(folder,), variables=built)
        if not had_lock:
            lock.unlink(missing_ok=True)
        version = cargo.run("clippy", "--version").stdout.strip()
        gaps = tuple(_gaps(filter(None, map(_message, lines)), scan.root, frozenset(files)))
        return Discovered(gaps, version, COMMAND)


def _message(line: str) -> dict[str, Any] | None:
    """What the compiler says in a line of cargo's, if it does; cargo tells of what it builds as well."""
    try:
        told = json.loads(line)
    except ValueError:
        return None
    said: dict[str, Any] | None = told.get("message") if told.get("reason") == "compiler-message" else None
    return said if said and said.get("code") else None


def _gaps(messages: Iterable[Mapping[str, Any]], root: Path, files: frozenset[str]) -> Iterator[Gap]:
    context, numbered = CodeContext(root), Fingerprinter()
    seen = set()
    for told in sorted(messages, key=_place):
        span = next((one for one in told["spans"] if one["is_primary"]), None)
        # a crate is checked once as itself and once for its tests, with the same words
        if span is None or span["file_name"] not in files or (place := _place(told)) in seen:
            continue
        seen.add(place)
        rule, path = told["code"]["code"], span["file_name"]
        code = context.lines(path, span["line_start"], span["line_end"])
        yield Gap(
            source=ClippySource.name,
            rule_id=rule,
            fingerprint=numbered.next(f"clippy {rule}", path, code),
            title=" ".join(told["message"].split()),
            description=str(told.get("rendered") or ""),
            category="lint",
            severity=_SEVERITIES.get(told["level"], GapSeverity.LOW),
            file_paths=(path,),
            start_line=span["line_start"],
            end_line=span["line_end"],
            fixable=_is_sure(told),
        )


def _place(told: Mapping[str, Any]) -> tuple[Any, ...]:
    span: Mapping[str, Any] = next((one for one in told["spans"] if one["is_primary"]), {})
    where = span.get("file_name", ""), span.get("line_start", 0), span.get("column_start", 0)
    return *where, told["code"]["code"], told["message"]


def _is_sure(told: Mapping[str, Any]) -> bool:
    """Whether one of its suggestions, which lie in what it says further, is one that `--fix` makes."""
    parts = (told, *told.get("children", ()))
    return any(span.get("suggestion_applicability") == SURE for part in parts for span in part["spans"])
