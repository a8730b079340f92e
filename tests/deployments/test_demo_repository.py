"""The sample repository: everything that the demonstration shows is really in it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from prefect_acms.canonical.errors import InvalidValue
from prefect_acms.deployments.demo import RENAMED, make_repository, measure, measure_branch
from prefect_acms.tasks.git import run_git
from prefect_acms.tasks.repository import Repository

CURED = "tests/test_pricing.py::test_a_member_gets_a_discount"


def ruff(tree: Path, *arguments: str) -> None:
    """Run ruff on a tree, whatever it finds."""
    subprocess.run([sys.executable, "-m", "ruff", "check", "-q", "--exit-zero", *arguments, "."], cwd=tree, check=True)


def test_the_sample_has_findings_a_failing_test_and_a_passing_suite(tmp_path: Path) -> None:
    """As it is made, before anything is improved."""
    health = measure(make_repository(tmp_path / "shop"))
    assert health.findings > 20
    assert health.failing == (CURED,)
    assert health.passing == 10


def test_a_lint_fix_cures_the_failing_test(tmp_path: Path) -> None:
    """F632 alone: `is` with a literal is what the test stumbles over."""
    shop = make_repository(tmp_path / "shop")
    ruff(shop, "--select=F632", "--fix")
    assert measure(shop).failing == ()


def test_one_of_the_fixes_breaks_a_test(tmp_path: Path) -> None:
    """All safe fixes at once remove an import that another module needs from there."""
    shop = make_repository(tmp_path / "shop")
    ruff(shop, "--fix")
    health = measure(shop)
    assert any("test_receipt" in test for test in health.failing)


def test_something_is_left_that_no_safe_fix_mends(tmp_path: Path) -> None:
    """The demonstration also shows what is deferred."""
    shop = make_repository(tmp_path / "shop")
    ruff(shop, "--fix")
    assert measure(shop).findings > 0
    markers = [
        path.name for path in sorted(shop.rglob("*.py")) if "TODO" in path.read_text() or "FIXME" in path.read_text()
    ]
    assert markers == ["catalog.py", "pricing.py"]


def test_the_repository_is_the_same_on_every_machine(tmp_path: Path) -> None:
    """One commit with a fixed author and time, on main, and nothing left over in the folder."""
    first, second = (Repository.open(make_repository(tmp_path / name)) for name in ("one", "two"))
    assert first.head() == second.head()
    assert first.branch() == "main"
    assert first.dirty_files(untracked=True) == ()
    assert set(RENAMED.values()) <= set(first.files("HEAD"))
    assert not set(RENAMED) & set(first.files("HEAD"))


def test_measuring_leaves_nothing_behind(tmp_path: Path) -> None:
    """Before and after are looked at without a cache or a report in the user's folder."""
    shop = make_repository(tmp_path / "shop")
    before = sorted(shop.rglob("*"))
    measure(shop)
    measure_branch(Repository.open(shop), "main")
    assert sorted(shop.rglob("*")) == before


def test_a_branch_is_measured_by_what_is_committed_on_it(tmp_path: Path) -> None:
    """Not by what lies in the working tree."""
    shop = make_repository(tmp_path / "shop")
    run_git(["branch", "other"], cwd=shop)
    (shop / "src" / "corner_shop" / "money.py").write_text("broken(")
    assert measure_branch(Repository.open(shop), "other").failing == (CURED,)


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    """A demonstration never mixes with files of the user's."""
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InvalidValue, match="--into"):
        make_repository(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_empty_folder_is_used(tmp_path: Path) -> None:
    """`--into` may name a folder that was made for it."""
    assert (make_repository(tmp_path) / "pyproject.toml").is_file()
