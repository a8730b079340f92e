"""Hostile patches as data: the tree that they are for, the patches, and what must stop each of them."""

from __future__ import annotations

import os
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect_acms.blocks.guardrails import GuardrailSettings, PatchLimits
from prefect_acms.tasks.patches import Rule, Validation, validate_patch
from prefect_acms.tasks.repository import Repository

HOSTILE = Path(__file__).parents[1] / "hostile"

PARTED = "¦"
"""Stands inside of what only looks like a secret, so that nobody's scanner takes these files for a leak."""


@dataclass(frozen=True)
class Case:
    """A patch that must not get in, the settings beside which it is tried, and the rule that must stop it."""

    name: str
    patch: bytes
    rule: Rule
    settings: dict[str, Any]

    def validated(self, repository: Repository | None) -> Validation:
        """What is said of it, for the commit that is checked out."""
        return validate_patch(
            self.patch,
            limits=PatchLimits.model_validate(self.settings.get("limits", {})),
            protected=(*GuardrailSettings().protected_paths, *self.settings.get("protected", ())),
            scope=tuple(self.settings.get("scope", ("**",))),
            forbidden=frozenset(self.settings.get("forbidden", ())),
            repository=repository,
        )


def hostile_patches() -> Iterator[Case]:
    """All cases of `tests/hostile/patches/*.toml`."""
    for path in sorted((HOSTILE / "patches").glob("*.toml")):
        for case in tomllib.loads(path.read_text(encoding="utf-8"))["case"]:
            patch = case["patch"].replace(PARTED, "").encode(case.get("encoding", "utf-8"))
            yield Case(f"{path.stem}: {case['name']}", patch, Rule(case["rule"]), case)


def hostile_base(top: Path) -> Repository:
    """A new repository at this path with the tree of `tests/hostile/base.toml`."""
    base = tomllib.loads((HOSTILE / "base.toml").read_text(encoding="utf-8"))
    for name, content in base["files"].items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode())
    for name in base["executables"]:
        (top / name).chmod(0o755)
    for name, target in base["links"].items():
        (top / name).symlink_to(target)
    git(top, "init", "--quiet", "--initial-branch=main")
    git(top, "add", "--all")
    for name, commit in base["submodules"].items():
        git(top, "update-index", "--add", "--cacheinfo", f"160000,{commit},{name}")
    git(top, "commit", "--quiet", "--message=first")
    return Repository.open(top)


def git(top: Path, *arguments: str, data: bytes | None = None) -> bytes:
    """Run git as a user with no configuration of their own."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    variables |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C"}
    for role in ("AUTHOR", "COMMITTER"):
        variables |= {f"GIT_{role}_NAME": "User", f"GIT_{role}_EMAIL": "u@x", f"GIT_{role}_DATE": "@1700000000 +0000"}
    return subprocess.run(
        ["git", *arguments], cwd=top, env=variables, input=data, capture_output=True, check=True
    ).stdout
