"""Good patches get in, whatever their bytes, and do what git made them from: byte for byte, mode for mode."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from patch_cases import PARTED, git

from prefect_acms.blocks.guardrails import GuardrailSettings, PatchLimits
from prefect_acms.tasks.diffs import read_diff
from prefect_acms.tasks.patches import Validation, apply_validated, validate_patch
from prefect_acms.tasks.repository import DIFF_FORM, Repository
from prefect_acms.tasks.splitting import split_by_hunk
from prefect_acms.tasks.worktrees import Worktree, open_worktree

CHANGES: dict[str, Any] = tomllib.loads(Path(__file__).with_name("changes.toml").read_text(encoding="utf-8"))
CASES: list[dict[str, Any]] = CHANGES["case"]
PARTS = 4
"""Parts of a patch that are tried alone; of many, more would show no more."""


def contents(table: dict[str, Any], name: str) -> dict[str, bytes]:
    """The files of a table: those that are text, and those that are bytes."""
    text = {path: content.replace(PARTED, "").encode() for path, content in table.get(name, {}).items()}
    return text | {path: content.encode("latin-1") for path, content in table.get(f"{name}_bytes", {}).items()}


def write(top: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@pytest.fixture(scope="module")
def worktree(tmp_path_factory: pytest.TempPathFactory) -> Worktree:
    place = tmp_path_factory.mktemp("good")
    top = place / "repository"
    write(top, contents(CHANGES, "before"))
    for name in CHANGES["executables"]:
        (top / name).chmod(0o755)
    for name, target in CHANGES["links"].items():
        (top / name).symlink_to(target)
    git(top, "init", "--quiet", "--initial-branch=main")
    git(top, "add", "--all", "--force")
    git(top, "commit", "--quiet", "--message=first")
    repository = Repository.open(top)
    return open_worktree(repository, place / "w", repository.head())


def changed(worktree: Worktree, case: dict[str, Any]) -> tuple[bytes, str]:
    """What git says is the difference, and the tree that it makes of the files."""
    for name in case.get("delete", ()):
        (worktree.path / name).unlink()
        if not list((worktree.path / name).parent.iterdir()):
            (worktree.path / name).parent.rmdir()
    write(worktree.path, contents(case, "after"))
    for name, mode in case.get("mode", {}).items():
        (worktree.path / name).chmod(int(mode[-3:], 8))
    git(worktree.path, "add", "--all", "--force")
    tree = git(worktree.path, "write-tree").decode().strip()
    patch = git(worktree.path, "diff-tree", *DIFF_FORM, *case.get("options", ()), "HEAD", tree)
    worktree.reset()
    return patch, tree


def validated(worktree: Worktree, patch: bytes, case: dict[str, Any]) -> Validation:
    return validate_patch(
        patch,
        limits=PatchLimits.model_validate(case.get("limits", {})),
        protected=GuardrailSettings().protected_paths,
        scope=("**",),
        repository=worktree.repository,
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["name"]))
def test_a_good_patch_is_accepted_and_applied_byte_for_byte(worktree: Worktree, case: dict[str, Any]) -> None:
    """The tree is the one that git made the patch from; and so are its parts good, each alone."""
    patch, tree = changed(worktree, case)
    found = validated(worktree, patch, case)
    assert found.violations == ()
    assert found.tree == tree
    assert b"".join(file.raw for file in read_diff(patch)) == patch
    assert apply_validated(worktree, patch, found) == tree
    for path, content in contents(case, "after").items():
        assert (worktree.path / path).read_bytes() == content
    for path, mode in case.get("mode", {}).items():
        assert (worktree.path / path).stat().st_mode & 0o111 == int(mode[-3:], 8) & 0o111
    assert not any((worktree.path / path).is_file() for path in case.get("delete", ()))
    worktree.reset()
    parts = split_by_hunk(patch)
    if len(parts) > 1 and not ({"options", "whole"} & case.keys()):
        assert all(validated(worktree, part, case).violations == () for part in parts[:PARTS])


def test_there_are_as_many_as_were_asked_for() -> None:
    """Of every kind that the issue names."""
    assert len(CASES) >= 60
    assert len({case["name"] for case in CASES}) == len(CASES)
