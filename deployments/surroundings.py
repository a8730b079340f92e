"""The process's environment as the command line wants it; must be set before Prefect is imported."""

from __future__ import annotations

import os

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


def prepare_surroundings() -> None:
    """Set what the caller left open; never overrides a variable that is set."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    if not os.environ.get("PREFECT_API_URL"):
        for name, value in FOR_THE_EMBEDDED_SERVER.items():
            os.environ.setdefault(name, value)
