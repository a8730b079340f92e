"""Phase 0: refuse early what can't work, then make the run's row and take it into our hands."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.runtime import flow_run
from pydantic import BaseModel, ConfigDict

from prefect_acms.blocks.config import Mode, PipelineConfig
from prefect_acms.canonical.errors import InvalidValue, RepositoryUnfit
from prefect_acms.canonical.run import RunTrigger
from prefect_acms.dao.home import require_home
from prefect_acms.tasks.abilities import ABILITIES, abilities_of
from prefect_acms.tasks.ai.handover import require_models
from prefect_acms.tasks.artifacts import publish_start
from prefect_acms.tasks.documents import read_report, write_atomically
from prefect_acms.tasks.driving import Attempt, Drive, drive_run, phase, shared_store
from prefect_acms.tasks.ending import end_run
from prefect_acms.tasks.git import run_git, text_of
from prefect_acms.tasks.isolation import require_isolation
from prefect_acms.tasks.patterns import index_of
from prefect_acms.tasks.policies import policy_record, repository_policy
from prefect_acms.tasks.profiles import toolbox_of
from prefect_acms.tasks.repository import Repository
from prefect_acms.tasks.sarif.checking import read_log
from prefect_acms.tasks.saved import chosen, names_of
from prefect_acms.tasks.sources import load_sources
from prefect_acms.tasks.stored_plans import stored_plan

RECORDED = ("prefect-acms", "prefect", "ruff", "pytest")
"""The packages whose versions are recorded with a run."""


class RunHandle(BaseModel):
    """What a phase needs to go on with a run: its id, and the epoch that says who drives it."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    epoch: int


def check_config(config: PipelineConfig) -> Repository:
    """Refuse everything that can be seen to be wrong before anything is written; returns the opened repository.

    Raises a BadInput: no git, not a repository, dirty or detached, unknown source, broken report, plan, tool file or
    policy of the repository.
    """
    repository = Repository.open(config.path)
    repository.require_fit(allow_dirty=config.allow_dirty)
    folder_of_runs(repository)
    require_home()
    if config.mode is not Mode.EXECUTE_ONLY:
        _check_discovery(config)
    require_models(config.ai)
    _check_tools(config)
    repository_policy(repository, repository.head())
    if not config.gates.may_judge:
        raise InvalidValue(field="gates", value="none enabled", expected="at least one gate, or nothing judges a patch")
    interpreter = config.environment.interpreter
    if interpreter is not None and not interpreter.exists():
        raise InvalidValue(field="environment.interpreter", value=str(interpreter), expected="a Python that exists")
    require_isolation(config.environment)
    return repository


def _check_tools(config: PipelineConfig) -> None:
    toolbox = toolbox_of(config.execution)
    for name in config.ai.tools:
        if not toolbox.get(name).ai:
            raise InvalidValue(field="ai.tools", value=name, expected="an agent: a tool whose profile says ai = true")
    index_of(config)


def _check_discovery(config: PipelineConfig) -> None:
    settings = config.discovery
    if not settings.sources:
        raise InvalidValue(field="discovery.sources", value=[], expected="at least one gap source")
    load_sources(settings.sources)
    if "report" in settings.sources and not settings.reports:
        raise InvalidValue(field="discovery.reports", value=[], expected="a gap report for the source `report`")
    if "sarif" in settings.sources and not settings.sarif:
        raise InvalidValue(field="discovery.sarif", value=[], expected="a SARIF file for the source `sarif`")
    for path in settings.sarif:
        read_log(path)
    if "ai" in settings.sources and not config.ai.asks_models:
        expected = "a model for the source `ai`: set ai.model or ai.model_block"
        raise InvalidValue(field="discovery.sources", value="ai", expected=expected)
    for path in (*settings.reports, *([settings.baseline] if settings.baseline else [])):
        read_report(path)


@flow(name="acms-configure", flow_run_name="configure {config.title}", persist_result=False)
async def configure_run(
    config: PipelineConfig,
    attempt: Attempt | None = None,
    retry_of: str | None = None,
    saved: Mapping[str, Any] | None = None,
) -> RunHandle:
    """Start a run: check the configuration, make its row and its folder, and drive it from here on.

    `attempt` is the Prefect run that stands for it, none: the one that calls this; `retry_of` the run tried again;
    `saved` the names of the blocks that the configuration was made with, none: those that it names itself.
    """
    saved = saved or names_of(config.blocks)
    config = await asyncio.to_thread(chosen, config)
    repository = check_config(config)
    store = shared_store(config.database)
    if config.mode is Mode.EXECUTE_ONLY:
        stored_plan(config, repository, lambda: store)
    attempt = attempt or Attempt(str(flow_run.parent_flow_run_id or flow_run.id), flow_run.run_count)
    with store.begin() as dao:
        run = dao.runs.create(
            project_id=repository.top.name,
            repo_root=str(repository.top),
            base_commit=repository.head(),
            mode=config.mode.value,
            config=config.model_dump(mode="json"),
            prefect_flow_run_id=attempt.flow_run_id,
            prefect_run_count=attempt.run_count,
            metadata={
                "branch": repository.branch(),
                **({"retry_of": retry_of} if retry_of else {}),
                **({"blocks": dict(saved)} if saved else {}),
            },
        )
    drive = drive_run(run.id, database=config.database, attempt=attempt)
    with drive.begin() as dao:
        dao.runs.advance(run.id, RunTrigger.RUN_STARTED)
    try:
        await begin_run(drive)
    except Exception as error:
        end_run(drive, RunTrigger.RUN_CRASHED, str(error))
        raise
    return RunHandle(run_id=run.id, epoch=drive.epoch)


async def begin_run(drive: Drive) -> None:
    """Make the run's folder, and record what it starts from."""
    repository = drive.repository
    with drive.reading() as dao:
        branch = dao.runs.get(drive.run_id).info.get("branch")
    with phase(drive, "configure") as artifacts:
        make_folder(repository, drive.run_id)
        with drive.begin() as dao:
            dao.runs.change(drive.run_id, metadata={ABILITIES: abilities_of(drive)})
        artifacts.update(
            repository=str(repository.top),
            branch=branch,
            base_commit=drive.base_commit,
            versions=tool_versions(repository),
            policy=policy_record(drive.repository_policy),
        )
        await publish_start(drive, artifacts)


def tool_versions(repository: Repository) -> dict[str, str]:
    """The versions of the programs whose word the run goes by."""
    git = text_of(run_git(["version"], cwd=repository.top)).removeprefix("git version ")
    return {"python": platform.python_version(), "git": git} | {name: version(name) for name in RECORDED}


def folder_of_runs(repository: Repository) -> Path:
    """Where the files of all runs lie; raises RepositoryUnfit when something else has that name."""
    top = repository.top / ".acms_runs"
    if top.is_symlink() or (top.exists() and not top.is_dir()):
        raise RepositoryUnfit(path=repository.top, problem=".acms_runs is not a folder")
    return top


def make_folder(repository: Repository, run_id: str) -> Path:
    """The folder of a run's files in the repository; it brings its own .gitignore, so no file of the user's changes."""
    top = folder_of_runs(repository)
    folder = top / run_id
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(top / ".gitignore", b"*\n")
    return folder
