"""One run from the command line: the pipeline, its progress on the terminal, and its verdict."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.text import Text

from prefect_acms.blocks.config import PipelineConfig
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.store import open_store
from prefect_acms.deployments.output import console, emit_json
from prefect_acms.deployments.progress import Progress
from prefect_acms.deployments.verdict import show_summary
from prefect_acms.flows.foreground import Listener
from prefect_acms.flows.outcome import Outcome
from prefect_acms.flows.pipeline import run_pipeline
from prefect_acms.flows.resume import resume_pipeline
from prefect_acms.tasks.published import Published, published_of
from prefect_acms.tasks.reports.text import printable
from prefect_acms.tasks.repository import Repository
from prefect_acms.tasks.saved import at_saved_store
from prefect_acms.tasks.summary import build_summary
from prefect_acms.tasks.summary_model import Summary


class Carried(NamedTuple):
    """What came of a run: the pipeline's outcome, the summary, and what was published."""

    outcome: Outcome
    summary: Summary
    published: tuple[Published, ...]


def carry_out(config: PipelineConfig, *, as_json: bool = False) -> int:
    """Run the pipeline, tell what happens, and return the exit code; with JSON, only the summary goes to stdout."""
    screen = console(to_stderr=as_json)
    return _told(watch(config, screen), screen, as_json=as_json)


def go_on_with(run: RunRow, database_url: str | None, *, wait_sec: float, take_over: bool, as_json: bool) -> int:
    """Resume a run, tell what happens, and return the exit code, as `carry_out` does."""
    screen = console(to_stderr=as_json)
    carried = _watched(
        lambda listener: resume_pipeline(run.id, database_url, listener, wait_sec=wait_sec, take_over=take_over),
        database_url,
        screen,
    )
    return _told(carried, screen, as_json=as_json)


def watch(config: PipelineConfig, screen: Console) -> Carried:
    """Run the pipeline with its progress on the screen."""
    config = at_saved_store(config)
    return _watched(lambda listener: run_pipeline(config, listener), config.database_url, screen)


def _watched(start: Callable[[Listener], Outcome], database_url: str | None, screen: Console) -> Carried:
    with Progress(database_url, screen) as progress:
        outcome = start(progress.listen)
    screen.print()
    store = open_store(database_url)
    summary = build_summary(store, outcome.run_id, Repository.open(Path(outcome.folder).parents[1]))
    with store.begin(read_only=True) as dao:
        return Carried(outcome, summary, published_of(dao.runs.get(outcome.run_id)))


def _told(carried: Carried, screen: Console, *, as_json: bool) -> int:
    if as_json:
        emit_json(carried.summary.model_dump(mode="json"))
    else:
        show_summary(carried.summary, screen)
        for one in carried.published:
            screen.print(Text(f"Review   {printable(one.sentence)}"))
    return carried.outcome.exit_code
