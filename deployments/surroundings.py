"""The process's environment as the command line wants it; must be set before Prefect is imported."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterable

DEFAULTS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    # what a run does is told by progress.py from our own events; Prefect would tell it a second time
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
    # events that a server which is away was not told are no part of what a command has to say
    "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",
    # the embedded server's first start migrates its database: 4 to 12 s on two idle cores
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    # with these the embedded server spends a third of the time on a task run
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
}
"""Used where the caller's environment says nothing."""

FOR_THE_EMBEDDED_SERVER = {"PREFECT_LOGGING_LEVEL": "CRITICAL", "PREFECT_LOGGING_TO_API_ENABLED": "false"}
"""Used only without a Prefect server of the caller's, whose UI shows the logs."""

_SET_HERE: set[str] = set()
"""The variables that the caller did not set, but we did."""


def prepare_surroundings() -> None:
    """Set what the caller left open; never overrides a variable that is set."""
    fill_in(DEFAULTS)
    if not os.environ.get("PREFECT_API_URL"):
        fill_in(FOR_THE_EMBEDDED_SERVER)


def take_back(names: Iterable[str]) -> None:
    """Leave to Prefect again what we have set ourselves, for a command that is about Prefect's own server or worker."""
    for name in _SET_HERE.intersection(names):
        del os.environ[name]
    _SET_HERE.difference_update(names)


def fill_in(values: dict[str, str]) -> None:
    """Set variables that the caller has not set."""
    for name, value in values.items():
        if name not in os.environ:
            os.environ[name] = value
            _SET_HERE.add(name)


def caller() -> str:
    """The name of whoever calls; a container may run as a user of whom only the number is known."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
