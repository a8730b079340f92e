"""`acms top`: the live view of everything that is in a store."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from importlib.util import find_spec

import click

from prefect_acms.canonical.errors import ExtraMissing, InvalidValue
from prefect_acms.deployments.options import database_option


@click.command()
@database_option
def top(database_url: str | None) -> int:
    """Watch runs, tasks, patches, workers, breakers and events as they change.

    Keys: 1 to 6 go to a pane, d opens the diff of a patch, a approves and x rejects one that waits, c cancels a run
    after a question, q leaves. It needs the extra `top`. All that it can do these do too: acms runs, show, gaps,
    patches, diff, review, cancel, workers, breakers and audit.
    """
    if find_spec("textual") is None:
        raise ExtraMissing(what="acms top", library="textual", choice="top")
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise InvalidValue(field="the output", value="no terminal", expected="a terminal; acms runs and show print")
    from prefect_acms.deployments.existing import found_store
    from prefect_acms.deployments.top.app import TopApp

    # what can never be a store is told before the view opens; one that there is not yet is waited for
    store = found_store(database_url)
    if store is not None:
        store.close()
    # what libraries log would be written over the view
    logging.disable()
    app = TopApp(database_url)
    try:
        with suppress(KeyboardInterrupt):
            app.run()
    finally:
        logging.disable(logging.NOTSET)
    # a view that has failed has told so, and raises nothing
    return app.return_code or 0
