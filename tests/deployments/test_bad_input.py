"""Bad input to the commands: one clear sentence, exit 2, and nothing changed."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from repositories import git

from prefect_acms.dao.store import open_store
from prefect_acms.deployments.demo import make_repository
from prefect_acms.tasks.locks import repository_lock

from .conftest import Acms, Called, Stored

GAP = {"id": "1", "title": "odd", "file_paths": ["a.py"]}
COMMANDS = ["run", "analyze", "plan"]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository that nothing may change."""
    return make_repository(tmp_path_factory.mktemp("bad") / "shop")


@pytest.fixture
def shop(sample: Path, tmp_path: Path) -> Path:
    """A repository of this test alone."""
    return shutil.copytree(sample, tmp_path / "shop", symlinks=True)


def everything_in(folder: Path) -> dict[str, bytes | None]:
    """Every file below a folder, .git included, byte for byte."""
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


def one_sentence(done: Called) -> str:
    """The sentence of a refusal; asserts exit 2, nothing on stdout and no second line."""
    assert done.returncode == 2, done
    assert done.stdout == ""
    assert re.fullmatch(r"acms: [^\n]+\n", done.stderr), done.stderr
    return done.stderr


def refused(acms: Acms, folder: Path, home: Path | None, *arguments: str, **variables: str) -> str:
    """The sentence with which a command refuses; asserts that nothing below the folder changed and no home was made."""
    before = everything_in(folder)
    sentence = one_sentence(acms(*arguments, **variables))
    assert everything_in(folder) == before
    assert home is None or not home.exists()
    return sentence


def number_of_runs(url: str) -> int:
    """How many runs a store holds."""
    store = open_store(url)
    with store.begin(read_only=True) as dao:
        found = len(dao.runs.latest(100))
    store.close()
    return found


# the place


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_that_is_no_repository(acms: Acms, tmp_path: Path, acms_home: Path, command: str) -> None:
    """Whatever the command."""
    (tmp_path / "folder").mkdir()
    assert "is not a git repository" in refused(acms, tmp_path, acms_home, command, str(tmp_path / "folder"))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_that_does_not_exist(acms: Acms, tmp_path: Path, acms_home: Path, command: str) -> None:
    """It is not made either."""
    assert "is not a git repository" in refused(acms, tmp_path, acms_home, command, str(tmp_path / "none"))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_instead_of_a_folder(acms: Acms, sample: Path, acms_home: Path, command: str) -> None:
    """Even one that lies in a repository."""
    assert "there is no such folder" in refused(acms, sample, acms_home, command, str(sample / "README.md"))


def _bare(folder: Path) -> Path:
    git(folder, "init", "-q", "--bare", "bare.git")
    return folder / "bare.git"


def _without_a_commit(folder: Path) -> Path:
    git(folder, "init", "-q", "empty")
    return folder / "empty"


def _inside_of_git(folder: Path) -> Path:
    return make_repository(folder / "other") / ".git"


def _detached(folder: Path) -> Path:
    other = make_repository(folder / "other")
    git(other, "checkout", "-q", "--detach")
    return other


def _with_a_branch_in_our_way(folder: Path) -> Path:
    other = make_repository(folder / "other")
    git(other, "branch", "acms")
    return other


def _changed(folder: Path) -> Path:
    other = make_repository(folder / "other")
    (other / "README.md").write_text("changed")
    return other


def _staged(folder: Path) -> Path:
    other = make_repository(folder / "other")
    (other / "new.py").write_text("")
    git(other, "add", "new.py")
    return other


def _deleted(folder: Path) -> Path:
    other = make_repository(folder / "other")
    (other / "README.md").unlink()
    return other


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("make", "told"),
    [
        (_bare, "it is a bare repository"),
        (_without_a_commit, "it has no commit yet"),
        (_inside_of_git, "it is the inside of a .git folder"),
        (_detached, "HEAD is detached"),
        (_with_a_branch_in_our_way, "a branch named acms"),
        (_changed, "1 uncommitted change(s), first 'README.md'"),
        (_staged, "1 uncommitted change(s), first 'new.py'"),
        (_deleted, "1 uncommitted change(s), first 'README.md'"),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "",
)
def test_a_repository_that_can_not_be_worked_on(
    acms: Acms, tmp_path: Path, *, acms_home: Path, command: str, make: Callable[[Path], Path], told: str
) -> None:
    """The sentence says what is in the way, and for changed files how many and the first."""
    assert told in refused(acms, tmp_path, acms_home, command, str(make(tmp_path)))


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_folder_of_runs_that_is_none(acms: Acms, shop: Path, acms_home: Path, kind: str) -> None:
    """Where .acms_runs is a file or leads elsewhere, no run begins."""
    if kind == "file":
        (shop / ".acms_runs").write_text("mine")
    else:
        (shop / ".acms_runs").symlink_to(shop.parent)
    with (shop / ".git/info/exclude").open("a") as excluded:
        excluded.write(".acms_runs\n")
    assert ".acms_runs is not a folder" in refused(acms, shop, acms_home, "run", str(shop))


def test_where_we_stand_is_the_default(
    acms: Acms, tmp_path: Path, acms_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without PATH the current folder is meant."""
    monkeypatch.chdir(tmp_path)
    assert "is not a git repository" in refused(acms, tmp_path, acms_home, "run")


@pytest.mark.usefixtures("prefect_server")
def test_a_repository_that_another_run_holds(acms: Acms, shop: Path, acms_home: Path, canonical_url: str) -> None:
    """Two runs at once would move the same refs; the sentence says who holds it."""
    with repository_lock(acms_home, shop, "process 1"):
        sentence = refused(acms, shop, None, "run", str(shop), "--database-url", canonical_url)
    assert "another run (process 1)" in sentence
    assert number_of_runs(canonical_url) == 0


# git


@pytest.mark.parametrize("command", COMMANDS)
def test_a_machine_without_git(acms: Acms, sample: Path, acms_home: Path, tmp_path: Path, command: str) -> None:
    """It is said that git is missing, not that the folder is no repository."""
    sentence = refused(acms, sample, acms_home, command, str(sample), PATH=str(tmp_path))
    assert re.search(r"git 2\.\d+ or newer is needed on PATH, found none", sentence)


@pytest.mark.parametrize("says", ["git version 2.17.1", "no version at all", ""])
def test_a_git_that_is_too_old(acms: Acms, sample: Path, acms_home: Path, tmp_path: Path, says: str) -> None:
    """Or that is no git; what it answered is told."""
    program = tmp_path / "git"
    program.write_text(f"#!/bin/sh\necho {says}\n")
    program.chmod(0o755)
    sentence = refused(acms, sample, acms_home, "run", str(sample), PATH=str(tmp_path))
    assert f"or newer is needed on PATH, found {says or 'no answer'}" in sentence


# options and settings


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--mode", "sideways"], "'sideways' is not one of"),
        (["--by", "colour"], "'colour' is not one of"),
        (["--such"], "No such option"),
        (["--max-gaps", "many"], "'many' is not a valid integer"),
        (["--max-gaps", "0"], "discovery.max_gaps is 0"),
        (["--concurrency", "65"], "execution.concurrency is 65: expected less than or equal to 64"),
        (["--lint", "ruff 'check"], "can't be split into words"),
        (["--source", "oracle"], "unknown gap source 'oracle'"),
        (["--source", "report"], "discovery.reports"),
        (["--no-lint", "--no-unit"], "at least one gate"),
        (["--python", "/no/such/python"], "/no/such/python"),
        (["--tool-file", "no-such.toml"], "no-such.toml"),
        (["--report", "no-such.json"], "no-such.json"),
        (["--report", "/"], "/: file: "),
        (["--baseline", "no-such.json"], "no-such.json"),
        (["--config", "no-such.toml"], "no-such.toml"),
        (["--config", "/"], "/: the file: "),
        (["--mode", "execute_only"], "acms execute"),
        (["more"], "unexpected extra argument"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_option_that_can_not_work(
    acms: Acms, sample: Path, acms_home: Path, arguments: list[str], told: str
) -> None:
    """The sentence names the option, the field or the file."""
    assert told in refused(acms, sample, acms_home, "run", str(sample), *arguments)


def test_a_command_that_there_is_not(acms: Acms, acms_home: Path, tmp_path: Path) -> None:
    """With a hint where to read on."""
    assert "No such command 'rnu'" in refused(acms, tmp_path, acms_home, "rnu")


def report(*entries: object, **facts: object) -> str:
    """The text of a gap report."""
    return json.dumps({"version": "1", "generated_at": "2026-01-01T00:00:00Z", "gaps": entries, **facts})


@pytest.mark.parametrize("option", ["--report", "--baseline"])
@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "line 1 column 2: not JSON"),
        ("", "not JSON"),
        ("\xff", "not UTF-8"),
        ("[" * 100_000, "nested too deeply"),
        ("[]", "broken.json: document: "),
        ('{"version": "1"}', "generated_at"),
        (report(version="2"), "version: "),
        (report(generated_at="yesterday"), "generated_at: "),
        (report(generated_at="2026-01-01T00:00:00"), "generated_at: "),
        (report(GAP, "gap"), "gaps[1]: "),
        (report({**GAP, "title": 3}), "gaps[0] (1).title: "),
        (report({**GAP, "severity": "dire"}), "gaps[0] (1).severity: "),
        (report({**GAP, "start_line": "3"}), "gaps[0] (1).start_line: "),
        (report({**GAP, "file_paths": ["../a.py"]}), "gaps[0] (1).file_paths"),
        (report({**GAP, "colour": "red"}), "gaps[0] (1).colour: "),
        (report({"title": "odd"}), "gaps[0].id: "),
        (report(GAP, {**GAP, "title": "even"}), "gaps[1].id: '1' is taken already by gaps[0]"),
        (report({**GAP, "dependencies": ["9"]}), "'9'"),
        (report({**GAP, "dependencies": ["1"]}), "1"),
    ],
)
def test_a_broken_report(
    acms: Acms, sample: Path, *, tmp_path: Path, acms_home: Path, option: str, content: str, told: str
) -> None:
    """With the entry and the place that is wrong."""
    path = tmp_path / "broken.json"
    path.write_bytes(content.encode("latin-1"))
    sentence = refused(acms, sample, acms_home, "run", str(sample), option, str(path))
    assert sentence.startswith(f"acms: {path}: ")
    assert told in sentence


TOOL = '[tools.mine]\ncommand = ["mend", "{files}"]\ntask_kinds = ["implementation"]\n'


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[[tool]\n", "not TOML"),
        ("\xff", "not UTF-8"),
        ("tool = 1\n", "tool: unknown key"),
        ("tools = 1\n", "tools"),
        ("[tools.mine]\n", "tools.mine.command: Field required"),
        ("[tools.mine]\ncommand = 3\n", "tools.mine.command"),
        (TOOL.replace("{files}", "{filez}"), "tools.mine.command: argument 2: unknown placeholder"),
        (TOOL.replace("{files}", "{files"), "tools.mine.command"),
        (TOOL + "timeout_sec = -1\n", "tools.mine.timeout_sec"),
        (TOOL + "shell = true\n", "tools.mine.shell"),
        (TOOL.replace("tools.mine", "tools.ruff-fix"), "there is another 'ruff-fix' already"),
        (TOOL + '[[rules]]\nrule_id = "r"\nstrategy = "fixed"\ntools = ["none"]\n', "unknown tool 'none'"),
        ("[patterns.p]\n", "patterns.p"),
    ],
)
def test_a_broken_tool_file(
    acms: Acms, sample: Path, *, tmp_path: Path, acms_home: Path, content: str, told: str
) -> None:
    """With the place in it; a tool with an unknown placeholder would be run with a hole in its command."""
    path = tmp_path / "tools.toml"
    path.write_bytes(content.encode("latin-1"))
    sentence = refused(acms, sample, acms_home, "run", str(sample), "--tool-file", str(path))
    assert sentence.startswith(f"acms: {path}: ")
    assert told in sentence


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("mode = full\n", "TOML: "),
        ("\xff", "not UTF-8"),
        ('mode = "sideways"\n', "mode is 'sideways'"),
        ("colour = 1\n", "there is no setting colour"),
        ("[execution]\nspeed = 9\n", "there is no setting execution.speed"),
        ("execution = 3\n", "execution is 3"),
        ("discovery = 3\n", "discovery is 3"),
        ('[discovery]\nsources = "ruff"\n', "discovery.sources"),
    ],
)
def test_a_broken_configuration(
    acms: Acms, sample: Path, *, tmp_path: Path, acms_home: Path, content: str, told: str
) -> None:
    """With the file and the setting."""
    path = tmp_path / "acms.toml"
    path.write_bytes(content.encode("latin-1"))
    sentence = refused(acms, sample, acms_home, "run", str(sample), "--config", str(path))
    assert sentence.startswith(f"acms: {path}: ")
    assert told in sentence


# the store


NOT_A_DATABASE = b"this is not a database at all" * 100
EVERY_KIND = [["run"], ["analyze"], ["plan"], ["execute", "latest"], ["runs"], ["show", "latest"], ["audit", "verify"]]


def on(sample: Path, command: list[str]) -> list[str]:
    """The command, with the repository where it wants one."""
    return [*command, str(sample)] if command[0] in COMMANDS else command


@pytest.mark.parametrize("command", EVERY_KIND, ids=" ".join)
def test_a_database_that_is_none(acms: Acms, sample: Path, tmp_path: Path, acms_home: Path, command: list[str]) -> None:
    """The file stays as it was, and none comes into being beside it."""
    path = tmp_path / "corrupt.db"
    path.write_bytes(NOT_A_DATABASE)
    before = everything_in(sample)
    sentence = refused(acms, tmp_path, acms_home, *on(sample, command), ACMS_DATABASE_URL=f"sqlite:///{path}")
    assert "corrupt.db can't be used" in sentence
    assert everything_in(sample) == before


@pytest.fixture
def newer_url(canonical_url: str) -> str:
    """A database that a later release has migrated."""
    with contextlib.closing(sqlite3.connect(canonical_url.removeprefix("sqlite:///"))) as database:
        database.execute("UPDATE alembic_version SET version_num = '999'")
        database.commit()
    return canonical_url


@pytest.mark.parametrize("command", EVERY_KIND, ids=" ".join)
def test_a_database_of_a_newer_release(
    acms: Acms, sample: Path, acms_home: Path, newer_url: str, command: list[str]
) -> None:
    """To write it with old knowledge would damage it."""
    sentence = refused(acms, sample, acms_home, *on(sample, command), "--database-url", newer_url)
    assert "schema 999 of a newer acms" in sentence


@pytest.mark.parametrize("command", EVERY_KIND, ids=" ".join)
def test_a_database_of_another_program(
    acms: Acms, sample: Path, tmp_path: Path, acms_home: Path, command: list[str]
) -> None:
    """Nothing is added to it."""
    path = tmp_path / "music.db"
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE songs (title TEXT)")
    before = path.read_bytes()
    sentence = refused(acms, sample, acms_home, *on(sample, command), "--database-url", f"sqlite:///{path}")
    assert "it is a database of another program" in sentence
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("canonical.db", "it is not a database URL"),
        ("sqlite://", "a database in memory keeps nothing"),
        ("mysql://localhost/acms", "mysql is not supported"),
        ("postgresql://nobody:secret@127.0.0.1:9/acms", "nobody:***@127.0.0.1"),
        ("sqlite:////tmp/x.db?timeout=soon", "timeout"),
    ],
)
@pytest.mark.parametrize("command", EVERY_KIND, ids=" ".join)
def test_a_store_that_can_not_be(
    acms: Acms, sample: Path, *, acms_home: Path, command: list[str], url: str, told: str
) -> None:
    """A password in its address is not shown."""
    sentence = refused(acms, sample, acms_home, *on(sample, command), "--database-url", url)
    assert told in sentence
    assert "secret" not in sentence


@contextlib.contextmanager
def locked(url: str, *, readers_too: bool) -> Iterator[str]:
    """Somebody else has the database; gives a URL whose user is not patient."""
    with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as holder:
        if readers_too:
            holder.execute("PRAGMA locking_mode = EXCLUSIVE")
        holder.execute("BEGIN EXCLUSIVE")
        yield f"{url}?timeout=0.2"
        holder.execute("ROLLBACK")


@pytest.mark.parametrize("command", EVERY_KIND, ids=" ".join)
def test_a_database_that_is_locked(
    acms: Acms, sample: Path, acms_home: Path, canonical_url: str, command: list[str]
) -> None:
    """The command waits as long as the URL says, 30 s where it says nothing, and then gives up."""
    with locked(canonical_url, readers_too=True) as url:
        sentence = refused(acms, sample, acms_home, *on(sample, command), "--database-url", url)
    assert "database is locked" in sentence


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_database_that_somebody_else_is_writing(acms: Acms, sample: Path, canonical_url: str, command: str) -> None:
    """It can be read, but no run can begin in it."""
    with locked(canonical_url, readers_too=False) as url:
        sentence = refused(acms, sample, None, command, str(sample), "--database-url", url)
    assert "database is locked" in sentence
    assert number_of_runs(canonical_url) == 0


@pytest.mark.parametrize("command", [["run"], ["analyze"], ["plan"], ["db", "upgrade"], ["demo"]], ids=" ".join)
def test_a_store_whose_folder_can_not_be_made(acms: Acms, sample: Path, acms_home: Path, command: list[str]) -> None:
    """The sentence names the place."""
    url = "sqlite:////dev/null/canonical.db"
    sentence = refused(acms, sample, acms_home, *on(sample, command), "--database-url", url)
    assert "/dev/null" in sentence


@pytest.mark.parametrize(
    "command", [["run"], ["analyze"], ["plan"], ["execute", "latest"], ["show", "latest"], ["demo", "--into", "x"]],
    ids=" ".join,
)  # fmt: skip
def test_a_home_that_can_not_be_made(
    acms: Acms, sample: Path, tmp_path: Path, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file stands where the folder of the store should be."""
    (tmp_path / "home").write_text("a file")
    monkeypatch.chdir(tmp_path)
    before = everything_in(sample)
    sentence = refused(acms, tmp_path, None, *on(sample, command), ACMS_HOME=str(tmp_path / "home"))
    assert str(tmp_path / "home") in sentence
    assert everything_in(sample) == before


@pytest.mark.usefixtures("prefect_server")
def test_a_home_that_can_not_be_written(acms: Acms, shop: Path, canonical_url: str) -> None:
    """Though the store is elsewhere, a run needs a place for its locks and worktrees."""
    home = "/dev/null/acms"
    sentence = refused(acms, shop, None, "run", str(shop), "--database-url", canonical_url, ACMS_HOME=home)
    assert home in sentence
    assert number_of_runs(canonical_url) == 0


# runs and plans that are meant


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["show", "nobody"], "there is no run 'nobody'"),
        (["gaps", "nobody"], "there is no run 'nobody'"),
        (["patches", "nobody"], "there is no run 'nobody'"),
        (["diff", "nobody"], "there is no patch 'nobody'"),
        (["execute", "nobody"], "there is no run 'nobody'"),
        (["audit", "verify", "nobody"], "there is no run 'nobody'"),
        (["audit", "export", "nobody"], "there is no run 'nobody'"),
        (["show", "run_"], "a part of one id only, it fits run_"),
        (["gaps", "run_"], "a part of one id only, it fits run_"),
        (["execute", "run_"], "a part of one id only, it fits run_"),
        (["audit", "verify", "run_"], "a part of one id only, it fits run_"),
        (["gaps", "latest", "--state", "lost"], "'lost'"),
        (["patches", "latest", "--state", "lost"], "'lost'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_id_that_means_no_run_or_several(
    acms: Acms, canonical_url: str, acms_home: Path, arguments: list[str], told: str
) -> None:
    """The ids that it fits are named."""
    store = open_store(canonical_url)
    with store.begin() as dao:
        for _ in range(2):
            dao.runs.create(repo_root="/nowhere/shop", base_commit="b" * 40, mode="full", config={})
    store.close()
    assert told in one_sentence(acms(*arguments, "--database-url", canonical_url))
    assert number_of_runs(canonical_url) == 2
    assert not acms_home.exists()


@pytest.mark.parametrize("command", [["show"], ["gaps"], ["patches"], ["execute"], ["audit", "verify"]], ids=" ".join)
def test_the_latest_run_where_there_is_none(acms: Acms, acms_home: Path, tmp_path: Path, command: list[str]) -> None:
    """And no store is made to find that out."""
    assert "there is none yet" in refused(acms, tmp_path, acms_home, *command, "latest")


def test_the_latest_run_of_an_empty_store(acms: Acms, canonical_url: str) -> None:
    """There is none."""
    assert "there is no run 'latest'" in one_sentence(acms("show", "latest", "--database-url", canonical_url))


def test_a_trail_that_does_not_exist_is_not_called_intact(acms: Acms, acms_home: Path, tmp_path: Path) -> None:
    """Else a wrong address, or a database that somebody took away, would look like a good one."""
    assert "there is none yet" in refused(acms, tmp_path, acms_home, "audit", "verify")


def test_a_run_whose_repository_is_gone(acms: Acms, stored: Stored, tmp_path: Path, acms_home: Path) -> None:
    """Its plan can't be executed anywhere."""
    sentence = refused(acms, tmp_path, acms_home, "execute", stored.run, "--database-url", stored.url)
    assert "/nowhere/shop is not a git repository" in sentence


def test_a_run_without_a_plan(acms: Acms, stored: Stored, sample: Path, acms_home: Path) -> None:
    """It stopped before planning."""
    command = ["execute", stored.run, "--repository", str(sample), "--database-url", stored.url]
    assert "a run whose planning has completed" in refused(acms, sample, acms_home, *command)


def plan(**facts: object) -> str:
    """The text of a plan without tasks."""
    base = {"version": "1", "repository": "shop", "base_commit": "a" * 40, "gaps": [], "workstreams": [], "tasks": []}
    return json.dumps({**base, **facts})


GAP_OF_A_PLAN = {"fingerprint": "f" * 16, "source": "ruff", "rule_id": "F401", "title": "odd", "file_paths": ["a.py"]}

WORKSTREAM = {
    "key": "ws-01", "name": "one", "category": "style", "priority_score": 5.0, "effort": "low",
    "file_scope": ["a.py"], "gaps": ["f" * 16],
}  # fmt: skip


def tasks(*planned: dict[str, object]) -> str:
    """The text of a plan with these tasks of one workstream."""
    base = {
        "workstream": "ws-01", "kind": "analysis", "description": "look", "pattern_id": "inspection",
        "file_scope": ["a.py"], "gaps": ["f" * 16],
    }  # fmt: skip
    return plan(gaps=[GAP_OF_A_PLAN], workstreams=[WORKSTREAM], tasks=[{**base, **task} for task in planned])


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "not JSON"),
        ("[]", "document"),
        (json.dumps({"tasks": 3}), "plan.json: "),
        (plan(), "plan again"),
        (plan(tasks="many"), "tasks: "),
        (tasks({"key": "a", "depends_on": ["b"]}, {"key": "b", "depends_on": ["a"]}), "wait for each other: a"),
        (tasks({"key": "a", "depends_on": ["none"]}), "'none'"),
        (tasks({"key": "a"}, {"key": "a"}), "tasks[1].key: 'a' is taken already"),
        (tasks({"key": "a", "pattern_id": "none"}), "'none'"),
        (tasks({"key": "a", "workstream": "none"}), "'none'"),
    ],
)
def test_a_plan_that_is_none_or_for_another_commit(
    acms: Acms, sample: Path, *, tmp_path: Path, acms_home: Path, content: str, told: str
) -> None:
    """A plan file is refused before anything is made, the store included."""
    path = tmp_path / "plan.json"
    path.write_text(content)
    sentence = refused(acms, sample, acms_home, "execute", str(path), "--repository", str(sample))
    assert sentence.startswith(f"acms: {path}: ")
    assert told in sentence


def test_a_stored_plan_for_another_commit(acms: Acms, sample: Path, acms_home: Path, canonical_url: str) -> None:
    """The repository has gone on since."""
    store = open_store(canonical_url)
    with store.begin() as dao:
        run = dao.runs.create(repo_root=str(sample), base_commit="a" * 40, mode="plan_only", config={})
        phase = dao.phases.create(run_id=run.id, name="planning")
        dao.phases.finish(phase.id, "completed", {"plan": json.loads(plan())})
    store.close()
    sentence = refused(acms, sample, acms_home, "execute", run.id, "--database-url", canonical_url)
    assert "plan again" in sentence
    assert number_of_runs(canonical_url) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["machines", "nobody"],
        ["machines", "--format", "poem"],
        ["runs", "--limit", "0"],
        ["runs", "--repository", "."],
        ["db", "upgrade", "999"],
        ["db", "downgrade", "999"],
        ["audit", "export", "--output", "none/x"],
        ["execute"],
        ["diff"],
    ],
    ids=" ".join,
)
def test_an_argument_that_reading_commands_can_not_use(
    acms: Acms, tmp_path: Path, acms_home: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    """Looking never makes a store."""
    monkeypatch.chdir(tmp_path)
    refused(acms, tmp_path, acms_home, *arguments)


@pytest.mark.parametrize("into", [".", "mine.txt", "mine.txt/shop"])
def test_the_demonstration_does_not_mix_with_files(
    acms: Acms, tmp_path: Path, acms_home: Path, monkeypatch: pytest.MonkeyPatch, into: str
) -> None:
    """`--into` a folder that holds something, or that is none, is refused."""
    (tmp_path / "mine.txt").write_text("mine")
    monkeypatch.chdir(tmp_path)
    assert "--into" in refused(acms, tmp_path, acms_home, "demo", "--into", into)


def test_the_demonstration_needs_git(acms: Acms, tmp_path: Path, acms_home: Path) -> None:
    """Nothing is made without it."""
    sentence = refused(acms, tmp_path, acms_home, "demo", "--into", str(tmp_path / "shop"), PATH=str(tmp_path))
    assert "found none" in sentence
