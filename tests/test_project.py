"""The project keeps its word: packages, pins, commands and links are what the pages say."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

TOP = Path(__file__).parents[1]
PROJECT = tomllib.loads((TOP / "pyproject.toml").read_text())
NOT_OURS = {"build", "demo_repository", ".venv", ".pytest_cache"}
PAGES = sorted(
    path.relative_to(TOP).as_posix() for path in TOP.glob("**/*.md") if not NOT_OURS & set(path.relative_to(TOP).parts)
)
ROOMS = ("canonical", "dao", "blocks", "tasks", "flows", "deployments")


def test_every_package_is_listed_and_every_listed_package_is_there() -> None:
    """A folder with modules that the wheel leaves out would be missing only after an install."""
    folders = {
        path.parent.relative_to(TOP).as_posix().replace("/", ".")
        for room in ROOMS
        for path in (TOP / room).rglob("*.py")
        if "demo_repository" not in path.parts
    }
    assert {f"prefect_acms.{folder}" for folder in folders} == set(PROJECT["tool"]["setuptools"]["packages"])


def test_every_room_is_typed_and_mapped() -> None:
    """Each room carries py.typed and is imported as prefect_acms.<room>."""
    assert all((TOP / room / "py.typed").exists() for room in ROOMS)
    assert PROJECT["tool"]["setuptools"]["package-dir"] == {f"prefect_acms.{room}": room for room in ROOMS}


def test_the_constraints_pin_what_the_project_asks_for() -> None:
    """constraints.txt holds plain `name==version` lines, and they satisfy what pyproject.toml declares."""
    lines = (TOP / "constraints.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!-]+", line) for line in lines)
    pins = {name.lower().replace("_", "-"): version for name, version in (line.split("==") for line in lines)}
    optional = PROJECT["project"]["optional-dependencies"]
    asked = [*PROJECT["project"]["dependencies"], *optional["postgres"], *optional["dev"]]
    for requirement in map(Requirement, asked):
        if requirement.name != "prefect-acms":
            assert Version(pins[requirement.name.lower()]) in requirement.specifier, requirement


def test_ci_runs_the_readmes_test_command() -> None:
    """What the README promises is what guards main, line for line."""
    commands = re.findall(r"```sh\n(pip install [^\n]* && [^\n]*)\n```", (TOP / "README.md").read_text())
    assert len(commands) == 2
    assert commands[1] in (TOP / ".ci/run").read_text().splitlines()


@pytest.mark.parametrize("page", PAGES)
def test_links_of_the_pages_lead_somewhere(page: str) -> None:
    """Every relative link in the documentation names a file that exists."""
    text = (TOP / page).read_text()
    targets = [target for target in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in target]
    assert [target for target in targets if not (TOP / page).parent.joinpath(target).exists()] == []
