"""Where the product keeps its things: `$ACMS_HOME`, and the address of the canonical database."""

from __future__ import annotations

import os
from pathlib import Path

from prefect_acms.canonical.errors import InvalidValue


def acms_home() -> Path:
    """The folder of the product: `$ACMS_HOME`, or `~/.acms`."""
    return Path(os.environ.get("ACMS_HOME") or "~/.acms").expanduser().absolute()


def can_be_written(folder: Path) -> bool:
    """Whether the folder, or the nearest one above it that exists, lets us write; nothing is made to find out."""
    nearest = next(above for above in (folder, *folder.parents) if above.exists())
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)


def require_home() -> None:
    """Raise InvalidValue when the home folder is in nobody's power to make or to write."""
    if not can_be_written(acms_home()):
        raise InvalidValue(field="ACMS_HOME", value=str(acms_home()), expected="a folder that can be made and written")


def database_url(given: str | None = None) -> str:
    """The SQLAlchemy URL of the canonical database: given, `$ACMS_DATABASE_URL`, or a file in the home folder."""
    return given or os.environ.get("ACMS_DATABASE_URL") or f"sqlite:///{acms_home() / 'canonical.db'}"
