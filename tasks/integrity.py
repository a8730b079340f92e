"""Gate integrity: what a patch does to the things that judge it, read from the two trees alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from prefect_acms.tasks.blobs import contents_of
from prefect_acms.tasks.integrity_comments import suppressions_added
from prefect_acms.tasks.integrity_machinery import machinery_changed
from prefect_acms.tasks.integrity_rules import ChangedFile, IntegrityFinding, IntegrityRule
from prefect_acms.tasks.integrity_settings import settings_changed
from prefect_acms.tasks.integrity_tests import weakened_tests
from prefect_acms.tasks.repository import Repository

__all__ = ["IntegrityFinding", "IntegrityRule", "integrity_findings"]


def integrity_findings(
    repository: Repository,
    before: str,
    after: str,
    files: Sequence[str],
    *,
    gate_commands: Sequence[Sequence[str]] = (),
) -> tuple[IntegrityFinding, ...]:
    """What a patch of these files does to tests, fixtures, configuration and gate commands, sorted by place.

    `before` and `after` are commits or trees. Nothing is run, and a finding says only that a person should look:
    much of what makes a test weaker can't be told from what makes it better.
    """
    old, new = contents_of(repository, before, files), contents_of(repository, after, files)
    changed = [ChangedFile(path, old.get(path), new.get(path)) for path in sorted(set(files))]
    changed = [file for file in changed if file.before != file.after]
    tree = set(repository.files(after))
    findings = {*weakened_tests(changed)}
    for file in changed:
        findings.update(settings_changed(file), suppressions_added(file), machinery_changed(file, tree))
        findings.update(_named(file, gate_commands))
    return tuple(sorted(findings, key=lambda found: (found.path, found.line, found.rule, found.problem)))


def _named(file: ChangedFile, commands: Sequence[Sequence[str]]) -> Iterator[IntegrityFinding]:
    """A file that a gate command names is part of that gate: as a path, or as the module of `python -m`."""
    path = PurePosixPath(file.path)
    module = ".".join(path.with_suffix("").parts).removesuffix(".__main__").removeprefix("src.")
    for command in commands:
        names = {PurePosixPath(argument).as_posix() for argument in command}
        if file.path in names or (path.suffix == ".py" and module in command[1:]):
            yield file.finding(IntegrityRule.GATE_COMMAND, 1, f"it changes what the gate runs: {' '.join(command)}")
