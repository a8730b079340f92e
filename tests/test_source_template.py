"""The template of a gap source works as it is: found by the entry point of its own distribution."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from repositories import git

from prefect_acms.blocks.config import DiscoverySettings, EnvironmentSettings
from prefect_acms.tasks.discovery import discover
from prefect_acms.tasks.environment import environment_for
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.sources import Scan

TEMPLATE = Path(__file__).parents[1] / "examples/source_template"
CONFLICT = "<<<<<<< ours\nx = 1\n=======\nx = 2\n>>>>>>> theirs\n"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The template as its pyproject.toml says it is installed: its module, its name and its entry points."""
    project = tomllib.loads((TEMPLATE / "pyproject.toml").read_text())["project"]
    facts = tmp_path / "site" / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = [
        line
        for group, entries in project["entry-points"].items()
        for line in (f"[{group}]", *(f"{name} = {value}" for name, value in entries.items()))
    ]
    (facts / "entry_points.txt").write_text("\n".join(points))
    for folder in (facts.parent, TEMPLATE):
        monkeypatch.syspath_prepend(str(folder))


def found(root: Path, *names: str, files: tuple[str, ...] | None = None) -> tuple[Gap, ...]:
    """What the source finds, asked as a run asks it."""
    environment = environment_for(root, root, EnvironmentSettings())
    result = discover(Scan(root, environment, DiscoverySettings(), timeout_sec=30, files=files), names)
    assert [outcome.problem for outcome in result.sources] == [None] * len(names)
    assert result.sources[0].version == "conflicts 1.0"
    return result.gaps


@pytest.mark.usefixtures("installed")
def test_the_template_finds_its_gaps_beside_our_sources(tmp_path: Path) -> None:
    """Each once, the same when lines move, and of some files what it says of them otherwise."""
    top = tmp_path / "shop"
    top.mkdir()
    git(top, "init", "-q")
    for name in ("a.py", "b.txt"):
        (top / name).write_text(CONFLICT * 2)
    git(top, "add", "-A")
    git(top, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "first")
    gaps = found(top, "conflicts", "markers")
    assert [(gap.file_paths[0], gap.start_line) for gap in gaps] == [
        ("a.py", 1),
        ("a.py", 6),
        ("b.txt", 1),
        ("b.txt", 6),
    ]
    assert len({gap.fingerprint for gap in gaps}) == len(gaps)
    assert found(top, "conflicts", files=("b.txt",)) == gaps[2:]
    (top / "b.txt").write_text("more\n" + CONFLICT * 2)
    assert [gap.fingerprint for gap in found(top, "conflicts")] == [gap.fingerprint for gap in gaps]
