"""Commands that a test has called."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Called(NamedTuple):
    """How a command ended, and what it said."""

    returncode: int
    stdout: str
    stderr: str
    raw: bytes


Acms = Callable[..., Called]
"""Calls the command line; keywords are environment variables."""
