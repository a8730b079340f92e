"""What a run leaves to be read: the summary as JSON, Markdown and one self-contained HTML page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefect_acms.tasks.reports.markdown import summary_markdown
    from prefect_acms.tasks.reports.writing import read_summary, write_reports

_PLACES = {"read_summary": "writing", "summary_markdown": "markdown", "write_reports": "writing"}

__all__ = ["read_summary", "summary_markdown", "write_reports"]


def __getattr__(name: str) -> Any:
    """Import a writer when it is asked for: who only wants a duration in words needs no template engine."""
    if name not in _PLACES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
