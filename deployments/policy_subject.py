"""A patch that `acms policy check` is asked about, from a file or from the store, and what holds for it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from prefect_acms.blocks.config import PipelineConfig
from prefect_acms.blocks.guardrails import GuardrailSettings
from prefect_acms.canonical.errors import InvalidValue, NotFound
from prefect_acms.dao.store import Store
from prefect_acms.deployments.existing import found_store
from prefect_acms.deployments.lookup import find_patch
from prefect_acms.deployments.options import build_config
from prefect_acms.tasks.documents import read_bytes
from prefect_acms.tasks.environment import environment_for
from prefect_acms.tasks.gate_finding import find_gates
from prefect_acms.tasks.gates import GateCommand
from prefect_acms.tasks.patterns import PatternIndex
from prefect_acms.tasks.policies import repository_policy
from prefect_acms.tasks.profiles import load_profiles
from prefect_acms.tasks.repository import Repository
from prefect_acms.tasks.review_policy import UNKNOWN_MAKER, Maker
from prefect_acms.tasks.tightening import tightened

EVERYWHERE = ("/**",)
"""The scope of a patch that belongs to no task."""


class Subject(NamedTuple):
    """A patch that is to be checked, and what holds for it."""

    content: bytes
    guardrails: GuardrailSettings
    maker: Maker
    repository: Repository
    base: str
    scope: Sequence[str]
    gates: Sequence[GateCommand]


class _Given(NamedTuple):
    """What the options say, and what a stored patch says where they say nothing."""

    repository: Path | None
    base: str | None
    pattern_id: str | None
    tool_id: str | None
    config: Path | None


def subject_of(patch: str, options: Mapping[str, Any]) -> Subject:
    """What a PATCH argument means: a file, `-`, or a stored patch; raises BadInput."""
    given = _Given(**{name: options[name] for name in _Given._fields})
    path = Path(patch)
    if patch == "-" or path.is_file():
        content = sys.stdin.buffer.read() if patch == "-" else read_bytes(path)
        return _of_bytes(content, given)
    store = found_store(options["database_url"])
    if store is None:
        raise NotFound(entity="file or stored patch", id=patch)
    return _of_stored(store, find_patch(store, patch).id, given)


def commit_of(repository: Repository, revision: str) -> str:
    """The commit that an option names; raises InvalidValue where there is none."""
    found = repository.find(revision)
    if found is None:
        raise InvalidValue(field="--base", value=revision, expected=f"a commit of {repository.top}")
    return found


def _of_bytes(content: bytes, given: _Given) -> Subject:
    settings = _configured(given)
    repository = Repository.open(settings.path)
    base = commit_of(repository, given.base or "HEAD")
    guardrails, maker = _held(settings, repository, base, given)
    return Subject(content, guardrails, maker, repository, base, EVERYWHERE, _gates(settings, repository))


def _of_stored(store: Store, patch_id: str, given: _Given) -> Subject:
    """A stored patch, where it was made and by what held there, unless the options say otherwise."""
    with store.begin(read_only=True) as dao:
        patch = dao.patches.get(patch_id)
        task = dao.tasks.get(patch.task_id)
        run = dao.runs.get(task.run_id)
    top = given.repository or Path(run.repo_root)
    repository = Repository.open(top)
    known = given._replace(
        repository=top, pattern_id=given.pattern_id or task.pattern_id, tool_id=given.tool_id or task.tool_id
    )
    settings = _configured(known) if given.config else PipelineConfig.model_validate({**run.config, "repository": top})
    base = commit_of(repository, given.base or patch.base_commit or run.base_commit or "HEAD")
    guardrails, maker = _held(settings, repository, commit_of(repository, given.base or run.base_commit or base), known)
    scope = tuple(task.file_scope or EVERYWHERE)
    return Subject(patch.content, guardrails, maker, repository, base, scope, _gates(settings, repository))


def _configured(given: _Given) -> PipelineConfig:
    return build_config(given.repository, {"config": given.config})


def _held(
    settings: PipelineConfig, repository: Repository, commit: str, given: _Given
) -> tuple[GuardrailSettings, Maker]:
    """The guardrails that hold for the patch, with the repository's policy of that commit, and who made it."""
    guardrails, tool_id = settings.guardrails, given.tool_id
    stated = repository_policy(repository, commit)
    if stated is not None:
        guardrails = tightened(guardrails, stated.policy)
    files = settings.execution.tool_files
    if given.pattern_id is not None:
        pattern = PatternIndex.load(files).get(given.pattern_id)
        only = GuardrailSettings(allowed_tools=pattern.allowed_tools)
        guardrails = tightened(tightened(guardrails, pattern.policy), only)
        tools = guardrails.allowed_tools or ()
        tool_id = tool_id or (tools[0] if len(tools) == 1 else None)
    return guardrails, Maker.of(load_profiles(files).get(tool_id)) if tool_id else UNKNOWN_MAKER


def _gates(settings: PipelineConfig, repository: Repository) -> tuple[GateCommand, ...]:
    """The gates that the working tree has; that they can judge is taken for granted."""
    environment = environment_for(repository.top, repository.top, settings.environment)
    return find_gates(repository.top, settings.gates, environment)
