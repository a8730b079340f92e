"""The order: the six phases, each a Prefect flow, and the pipeline over them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefect_acms.flows.clustering import cluster_gaps
    from prefect_acms.flows.configure import configure_run
    from prefect_acms.flows.discovery import discover_gaps
    from prefect_acms.flows.execution import execute_plan
    from prefect_acms.flows.nightly import improve_repositories
    from prefect_acms.flows.pipeline import acms_pipeline
    from prefect_acms.flows.planning import compile_run_plan
    from prefect_acms.flows.publish import publish_run
    from prefect_acms.flows.reconcile import reconcile_runs
    from prefect_acms.flows.resume import acms_resume
    from prefect_acms.flows.rollback import roll_back_patches
    from prefect_acms.flows.summary import summarize_run
    from prefect_acms.flows.sweep import sweep_workers
    from prefect_acms.flows.watch import watch_branches

_PLACES = {
    "configure_run": "configure",
    "discover_gaps": "discovery",
    "cluster_gaps": "clustering",
    "compile_run_plan": "planning",
    "execute_plan": "execution",
    "publish_run": "publish",
    "reconcile_runs": "reconcile",
    "roll_back_patches": "rollback",
    "summarize_run": "summary",
    "sweep_workers": "sweep",
    "watch_branches": "watch",
    "acms_pipeline": "pipeline",
    "acms_resume": "resume",
    "improve_repositories": "nightly",
}

__all__ = [
    "acms_pipeline",
    "acms_resume",
    "cluster_gaps",
    "compile_run_plan",
    "configure_run",
    "discover_gaps",
    "execute_plan",
    "improve_repositories",
    "publish_run",
    "reconcile_runs",
    "roll_back_patches",
    "summarize_run",
    "sweep_workers",
    "watch_branches",
]


def __getattr__(name: str) -> Any:
    """Import a flow when it is asked for: Prefect takes a second to import."""
    if name not in _PLACES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
