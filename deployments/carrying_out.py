"""One run from the command line: the pipeline, its progress on the terminal, and its verdict."""

from __future__ import annotations

from typing import NamedTuple

from rich.console import Console

from prefect_acms.blocks.config import PipelineConfig
from prefect_acms.dao.store import open_store
from prefect_acms.deployments.output import console, emit_json
from prefect_acms.deployments.progress import Progress
from prefect_acms.deployments.verdict import show_summary
from prefect_acms.flows.pipeline import Outcome, run_pipeline
from prefect_acms.tasks.git import Repository
from prefect_acms.tasks.summary import build_summary
from prefect_acms.tasks.summary_model import Summary


class Carried(NamedTuple):
    """What came of a run: the pipeline's outcome, and the summary."""

    outcome: Outcome
    summary: Summary


def carry_out(config: PipelineConfig, *, as_json: bool = False) -> int:
    """Run the pipeline, tell what happens, and return the exit code; with JSON, only the summary goes to stdout."""
    screen = console(to_stderr=as_json)
    carried = watch(config, screen)
    if as_json:
        emit_json(carried.summary.model_dump(mode="json"))
    else:
        show_summary(carried.summary, screen)
    return carried.outcome.exit_code


def watch(config: PipelineConfig, screen: Console) -> Carried:
    """Run the pipeline with its progress on the screen."""
    with Progress(config.database_url, screen) as progress:
        outcome = run_pipeline(config, store_listener=progress.listen)
    screen.print()
    summary = build_summary(open_store(config.database_url), outcome.run_id, Repository.open(config.repository))
    return Carried(outcome, summary)
