"""Gate integrity: what a patch does to its judges is told, and what it does honestly is not."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import pytest

from prefect_acms.tasks.git import Repository
from prefect_acms.tasks.integrity import IntegrityFinding, integrity_findings

Findings = Callable[..., tuple[IntegrityFinding, ...]]


@pytest.fixture
def findings(
    make_repository: Callable[..., Path], run_in: Callable[..., str], write: Callable[[Path, Mapping[str, str]], None]
) -> Findings:
    """What a change from some files to others does to its judges; a file that is not in the second is deleted."""

    def find(before: Mapping[str, str], after: Mapping[str, str], **more: object) -> tuple[IntegrityFinding, ...]:
        top = make_repository(before)
        for name in before.keys() - after.keys():
            (top / name).unlink()
        write(top, after)
        run_in(top, "add", "--all", "--force")
        tree = run_in(top, "write-tree")
        repository = Repository.open(top)
        return integrity_findings(repository, "HEAD", tree, repository.changed_files("HEAD", tree), **more)  # type: ignore[arg-type]

    return find


def test_a_finding_is_json(findings: Findings) -> None:
    """A finding goes into the ledger as it is: rule, path, line, problem."""
    (found,) = findings({"a.py": "import os\n"}, {"a.py": "import os  # noqa: F401\n"})
    assert json.loads(json.dumps(asdict(found))) == {
        "rule": "SUPPRESSION",
        "path": "a.py",
        "line": 1,
        "problem": "it adds a suppression (noqa of F401)",
    }
