"""Where the product keeps its things: `$ACMS_HOME`, and the address of the canonical database."""

from __future__ import annotations

import os
from pathlib import Path


def acms_home() -> Path:
    """The folder of the product: `$ACMS_HOME`, or `~/.acms`."""
    return Path(os.environ.get("ACMS_HOME") or "~/.acms").expanduser().absolute()


def database_url(given: str | None = None) -> str:
    """The SQLAlchemy URL of the canonical database: given, `$ACMS_DATABASE_URL`, or a file in the home folder."""
    return given or os.environ.get("ACMS_DATABASE_URL") or f"sqlite:///{acms_home() / 'canonical.db'}"
