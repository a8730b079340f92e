"""Logs without secrets: whatever any logger of this process says, to whatever handler, Prefect's included."""

from __future__ import annotations

import logging
import traceback
from typing import Any

from prefect_acms.dao.redaction import redact


class _CleanRecords:
    """Makes the records that the factory before it has made, cleaned before any handler sees them."""

    def __init__(self, before: Any) -> None:
        self._before = before

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record: logging.LogRecord = self._before(*args, **kwargs)
        try:
            _clean(record)
        except Exception as problem:  # noqa: BLE001 - a message that can't be made is no reason to fail, or to be told
            record.msg, record.args = f"a log message could not be made ({type(problem).__name__})", ()
        return record


def clean_logs() -> None:
    """Take the secrets out of every log record that is made from now on; doing it twice does it once."""
    before = logging.getLogRecordFactory()
    if not isinstance(before, _CleanRecords):
        logging.setLogRecordFactory(_CleanRecords(before))


def _clean(record: logging.LogRecord) -> None:
    if isinstance(record.args, tuple):  # a formatter may want them one by one
        record.args = tuple(redact(value) if isinstance(value, str) else value for value in record.args)
    message = record.getMessage()
    if (clean := redact(message)) != message:
        record.msg, record.args = clean, ()
    if record.exc_info and record.exc_info[1] is not None:
        told = "".join(traceback.format_exception(record.exc_info[1])).rstrip("\n")
        if (clean := redact(told)) != told:
            # what has been made already is not made again
            record.exc_info, record.exc_text = None, clean
    if record.stack_info:
        record.stack_info = redact(record.stack_info)
