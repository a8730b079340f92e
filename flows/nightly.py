"""A list of repositories, improved one after the other as a schedule says; a bad one stops none of the others."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from pydantic import BaseModel, ConfigDict, Field

from prefect_acms.blocks.config import PipelineConfig
from prefect_acms.dao.error_redaction import clean_error
from prefect_acms.flows.outcome import Outcome
from prefect_acms.flows.pipeline import acms_pipeline
from prefect_acms.tasks.artifacts import publish_night
from prefect_acms.tasks.reports.text import count

_log = logging.getLogger(__name__)


class Visited(BaseModel):
    """What came of one repository in one night."""

    model_config = ConfigDict(frozen=True)

    repository: str
    state: str = Field(description="name of the Prefect state of its run")
    said: str = Field(default="", description="message of that state")
    is_bad: bool = Field(default=False, description="whether its run has failed, or could not even begin")
    run_id: str | None = None
    branch: str | None = None
    found: int = 0
    resolved: int = 0


@flow(name="acms-nightly", flow_run_name="improve repositories", persist_result=False)
async def improve_repositories(
    repositories: Annotated[
        Sequence[Path], Field(min_length=1, description="paths of the git repositories to improve")
    ],
    settings: Annotated[
        dict[str, Any], Field(description="sections of the configuration that go before the nightly ones, for each")
    ] = {},  # noqa: B006 - Prefect copies what a flow is given, and shows this as the default
) -> State[Any]:
    """Improve each repository by a run of its own, one after the other, and show what came of each.

    A run remembers earlier ones, is skipped where another still works, and leaves patches waiting that a person has to
    see, instead of waiting itself. The state is Failed when no repository went well.
    """
    visited = [await _visited(repository, settings) for repository in dict.fromkeys(repositories)]
    bad = [one for one in visited if one.is_bad]
    resolved = sum(one.resolved for one in visited)
    told = f"{count(len(visited), 'repository', 'repositories')}: {count(resolved, 'gap')} fixed"
    told += f"; {len(bad)} went wrong: {', '.join(Path(one.repository).name for one in bad)}" if bad else ""
    await publish_night([one.model_dump() for one in visited], told)
    if len(bad) == len(visited):
        return Failed(message=told, data=visited)
    return Completed(name="Partial" if bad else None, message=told, data=visited)


async def _visited(repository: Path, settings: dict[str, Any]) -> Visited:
    try:
        config = nightly_config(repository, settings)
        state: State[Any] = await acms_pipeline(config, return_state=True)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with one, the others have their turn
        clean_error(error)
        _log.warning("%s could not be improved: %s", repository, error)
        return Visited(repository=str(repository), state="Refused", said=str(error), is_bad=True)
    outcome = await state.aresult(raise_on_failure=False)
    known = outcome if isinstance(outcome, Outcome) else None
    return Visited(
        repository=str(repository),
        state=state.name or state.type.value,
        said=state.message or "",
        is_bad=not state.is_completed(),
        run_id=known.run_id if known else None,
        branch=known.branch if known else None,
        found=known.found if known else 0,
        resolved=known.resolved if known else 0,
    )


def nightly_config(repository: Path, settings: dict[str, Any]) -> PipelineConfig:
    """The configuration of a run that comes again and that nobody watches; `settings` go before it."""
    values: dict[str, Any] = {
        "skip_if_busy": True,
        "discovery": {"remember": True},
        "guardrails": {"review": {"wait": False}},
    }
    return PipelineConfig.model_validate({**_over(values, settings), "repository": repository})


def _over(values: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """These values, with what is given put over them, section by section."""
    merged = dict(values)
    for name, value in given.items():
        before = merged.get(name)
        merged[name] = _over(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return merged
