"""The README's examples run as they are printed."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text()
PIPELINE, PHASES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one finding that ruff can fix."""
    from repositories import git  # noqa: PLC0415 - needs Prefect, which takes a second

    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "app.py").write_text("import os\n")
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "first")
    return folder


@pytest.mark.usefixtures("prefect_server")
def test_the_pipeline_example_runs(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first example improves a repository and prints the branch."""
    exec(compile(PIPELINE.replace("path/to/repository", str(repository)), "README.md", "exec"), {})  # noqa: S102
    assert "succeeded acms/run_" in capsys.readouterr().out


@pytest.mark.usefixtures("prefect_server")
def test_the_example_of_phases_in_a_flow_of_ones_own_runs(repository: Path) -> None:
    """The second example counts the findings inside a flow of the user's."""
    names: dict[str, Any] = {"__name__": "readme"}
    exec(compile(PHASES.replace("from __future__", ""), "README.md", "exec"), names)  # noqa: S102
    assert asyncio.run(names["nightly_findings"](str(repository))) == 1
