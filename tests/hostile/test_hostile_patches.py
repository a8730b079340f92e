"""No hostile patch gets in: each is stopped by the rule that is there for it, and nothing anywhere has changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from patch_cases import Case, hostile_base, hostile_patches

from prefect_acms.canonical.outside_errors import PatchDoesNotApply
from prefect_acms.tasks.patches import Rule, apply_validated
from prefect_acms.tasks.worktrees import Worktree, open_worktree

CASES = tuple(hostile_patches())


def surroundings(place: Path) -> dict[str, str]:
    """Every file below a folder by its hash, links by their targets."""
    return {
        str(path.relative_to(place)): str(path.readlink())
        if path.is_symlink()
        else sha256(path.read_bytes()).hexdigest()
        for path in sorted(place.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("hostile")
    (place / "a.txt").write_text("one\n")
    (place / "passwd").write_text("one\n")
    return place


@pytest.fixture(scope="module")
def worktree(place: Path) -> Iterator[Worktree]:
    """A worktree of the base; whatever was tried in it, it, its repository and all around are as they were."""
    repository = hostile_base(place / "repository")
    opened = open_worktree(repository, place / "worktrees" / "w", repository.head())
    before = surroundings(place)
    yield opened
    assert surroundings(place) == before


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_hostile_patch_is_stopped_by_its_rule(worktree: Worktree, case: Case) -> None:
    """With the rule's name and the line of the patch; and what was not found good can't be applied either."""
    found = case.validated(worktree.repository)
    told = [violation for violation in found.violations if violation.rule is case.rule]
    assert told, [str(violation) for violation in found.violations]
    assert told[0].where.startswith("line ")
    line = int(told[0].where.split()[1])
    assert 1 <= line <= case.patch.count(b"\n") + 1
    assert told[0].problem
    assert found.tree is None
    with pytest.raises(PatchDoesNotApply):
        apply_validated(worktree, case.patch, found)


@pytest.mark.parametrize("case", [case for case in CASES if case.name.startswith("form")], ids=lambda case: case.name)
def test_what_is_no_diff_is_none_without_a_repository_either(case: Case) -> None:
    """Its bytes alone say so."""
    assert case.rule in {violation.rule for violation in case.validated(None).violations}


def test_every_rule_has_its_cases() -> None:
    """A rule that stops nothing is not tested; and there are as many cases as were asked for."""
    counted = Counter(case.rule for case in CASES)
    assert set(Rule) == set(counted)
    assert len(CASES) >= 110
    assert len({case.patch for case in CASES}) >= len(CASES) - 10


def test_every_rule_is_explained() -> None:
    """By its name, on the page that a user finds it on."""
    page = (Path(__file__).parents[2] / "docs" / "validation.md").read_text(encoding="utf-8")
    assert [rule for rule in Rule if f"`{rule}`" not in page] == []
