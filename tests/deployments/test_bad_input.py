"""Bad input to the commands that work: one clear sentence, exit 2, and nothing changed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from prefect_acms.deployments.demo import make_repository
from prefect_acms.tasks.git import run_git

from .conftest import Acms


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository that nothing may change."""
    return make_repository(tmp_path_factory.mktemp("bad") / "shop")


def everything_in(folder: Path) -> dict[str, bytes | None]:
    """Every file below a folder, .git included, byte for byte."""
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


def refused(acms: Acms, folder: Path, home: Path | None, *arguments: str, **variables: str) -> str:
    """The sentence with which a command refuses; asserts that nothing else came of it."""
    before = everything_in(folder)
    done = acms(*arguments, **variables)
    assert done.returncode == 2, done
    assert done.stdout == ""
    assert re.fullmatch(r"acms: [^\n]+\n", done.stderr), done.stderr
    assert everything_in(folder) == before
    assert home is None or not home.exists()
    return done.stderr


@pytest.mark.parametrize("command", ["run", "analyze", "plan"])
def test_a_folder_that_is_no_repository(acms: Acms, tmp_path: Path, acms_home: Path, command: str) -> None:
    """Whatever the command."""
    (tmp_path / "folder").mkdir()
    assert "is not a git repository" in refused(acms, tmp_path, acms_home, command, str(tmp_path / "folder"))


def test_a_folder_that_does_not_exist(acms: Acms, tmp_path: Path, acms_home: Path) -> None:
    """It is not made either."""
    assert "is not a git repository" in refused(acms, tmp_path, acms_home, "run", str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--source", "oracle"], "unknown gap source 'oracle'"),
        (["--no-lint", "--no-unit"], "at least one gate"),
        (["--python", "/no/such/python"], "/no/such/python"),
        (["--tool-file", "no-such.toml"], "no-such.toml"),
        (["--report", "no-such.json"], "no-such.json"),
        (["--baseline", "no-such.json"], "no-such.json"),
        (["--concurrency", "65"], "execution.concurrency is 65: expected less than or equal to 64"),
        (["--source", "report"], "discovery.reports"),
        (["--mode", "execute_only"], "acms execute"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_setting_that_can_not_work(
    acms: Acms, sample: Path, acms_home: Path, arguments: list[str], told: str
) -> None:
    """The sentence names the field or the file."""
    assert told in refused(acms, sample, acms_home, "run", str(sample), *arguments)


@pytest.mark.parametrize(
    ("content", "told"),
    [("{", "broken.json"), ('{"version": "1"}', "generated_at"), ("[]", "broken.json")],
)
def test_a_broken_report(acms: Acms, sample: Path, tmp_path: Path, content: str, told: str) -> None:
    """With the entry or the place that is wrong."""
    (tmp_path / "broken.json").write_text(content)
    report = str(tmp_path / "broken.json")
    assert told in refused(acms, sample, None, "run", str(sample), "--report", report)


def test_a_broken_tool_file(acms: Acms, sample: Path, tmp_path: Path, acms_home: Path) -> None:
    """TOML that is none is named with its place."""
    (tmp_path / "tools.toml").write_text("[[tool]\n")
    sentence = refused(acms, sample, acms_home, "run", str(sample), "--tool-file", str(tmp_path / "tools.toml"))
    assert "tools.toml" in sentence


def test_a_plan_that_is_none(acms: Acms, sample: Path, tmp_path: Path) -> None:
    """A file that is not a plan is refused before anything starts; the store may have been made."""
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({"tasks": 3}))
    assert "plan.json" in refused(acms, sample, None, "execute", str(path), "--repository", str(sample))


def test_a_dirty_tree(acms: Acms, tmp_path: Path, acms_home: Path) -> None:
    """With the number of changed files and the first of them; --allow-dirty is the way on."""
    shop = make_repository(tmp_path / "shop")
    (shop / "README.md").write_text("changed")
    sentence = refused(acms, shop, acms_home, "run", str(shop))
    assert "README.md" in sentence
    assert "1 uncommitted change" in sentence


def test_a_detached_head(acms: Acms, tmp_path: Path, acms_home: Path) -> None:
    """There is no branch whose work could be continued."""
    shop = make_repository(tmp_path / "shop")
    run_git(["checkout", "--quiet", "--detach"], cwd=shop)
    assert "detached" in refused(acms, shop, acms_home, "run", str(shop))


def test_a_machine_without_git(acms: Acms, sample: Path, acms_home: Path, tmp_path: Path) -> None:
    """It is said that git is missing, not that the folder is no repository."""
    assert "git" in refused(acms, sample, acms_home, "run", str(sample), PATH=str(tmp_path))


@pytest.mark.parametrize("command", [["run"], ["analyze"], ["plan"], ["execute", "latest"]], ids=" ".join)
def test_a_database_that_is_none(acms: Acms, sample: Path, tmp_path: Path, acms_home: Path, command: list[str]) -> None:
    """The file stays as it was."""
    path = tmp_path / "corrupt.db"
    path.write_bytes(b"this is not a database at all" * 100)
    where = [] if command[0] == "execute" else [str(sample)]
    sentence = refused(acms, sample, acms_home, *command, *where, ACMS_DATABASE_URL=f"sqlite:///{path}")
    assert "corrupt.db" in sentence
    assert path.read_bytes() == b"this is not a database at all" * 100


def test_a_home_that_can_not_be_made(acms: Acms, sample: Path, tmp_path: Path) -> None:
    """A file stands where the folder of the store should be."""
    (tmp_path / "home").write_text("a file")
    before = everything_in(sample)
    done = acms("analyze", str(sample), ACMS_HOME=str(tmp_path / "home"))
    assert (done.returncode, done.stdout) == (2, ""), done
    assert re.fullmatch(r"acms: [^\n]+\n", done.stderr)
    assert everything_in(sample) == before


def test_the_demonstration_does_not_mix_with_files(acms: Acms, tmp_path: Path, acms_home: Path) -> None:
    """`--into` a folder that holds something is refused."""
    (tmp_path / "mine.txt").write_text("mine")
    assert "--into" in refused(acms, tmp_path, acms_home, "demo", "--into", str(tmp_path))


def test_where_we_stand_is_the_default(
    acms: Acms, tmp_path: Path, acms_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without PATH the current folder is meant."""
    monkeypatch.chdir(tmp_path)
    assert "is not a git repository" in refused(acms, tmp_path, acms_home, "run")
