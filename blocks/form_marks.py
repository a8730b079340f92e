"""The marks that the form of the Prefect UI leaves in parameters: where JSON was typed, or nothing was."""

from __future__ import annotations

from typing import Any

MARK = "__prefect_kind"


def without_marks(values: Any) -> Any:
    """Parameters as they were meant: what was typed as JSON is read, what was left alone is left out.

    Prefect's server does this for a run that is started by hand, and leaves the parameters of a schedule as they are
    (measured on 3.8.8). Raises ValueError for what is not JSON.
    """
    if not _has_mark(values):
        return values
    # Prefect takes a second to import; who has a mark has imported it.
    from prefect.utilities.schema_tools.hydration import HydrationContext, HydrationError, hydrate  # noqa: PLC0415

    try:
        return hydrate(values, HydrationContext(raise_on_error=True))
    except HydrationError as problem:
        raise ValueError(problem.message) from problem


def _has_mark(values: Any) -> bool:
    if isinstance(values, dict):
        return MARK in values or any(map(_has_mark, values.values()))
    return isinstance(values, list) and any(map(_has_mark, values))
