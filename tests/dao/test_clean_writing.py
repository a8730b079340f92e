"""What leaves this process by a log or an exception has no secret in it."""

from __future__ import annotations

import io
import logging
import os
import pickle
import subprocess
from base64 import b64encode
from collections.abc import Iterator

import pytest

from prefect_acms.canonical.outside_errors import ToolFailed
from prefect_acms.dao.connections import told_by_environment
from prefect_acms.dao.error_redaction import clean_error, clean_errors
from prefect_acms.dao.log_redaction import clean_logs
from prefect_acms.dao.redaction import HIDDEN, KNOWN, redact

SECRET = "canary-of-" + "clean-writing"


@pytest.fixture(autouse=True)
def _known() -> None:
    KNOWN.learn(SECRET)


@pytest.fixture
def log() -> Iterator[tuple[logging.Logger, io.StringIO]]:
    """A logger, and what it has written."""
    clean_logs()
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger = logging.getLogger("test_clean_writing")
    logger.addHandler(handler)
    logger.propagate = False
    yield logger, out
    logger.removeHandler(handler)


def test_log_messages_are_clean(log: tuple[logging.Logger, io.StringIO]) -> None:
    """In the message, in an argument, in an object whose text it is, and where both make it together."""
    logger, out = log
    logger.warning("it is %s", SECRET)
    logger.warning("it is " + SECRET)  # noqa: G003 - as others write it
    logger.warning("it is %r", {"a": SECRET.encode()})
    logger.warning("it is %s%s", SECRET[:9], SECRET[9:])
    logger.warning("%d of %d", 1, 2)
    assert SECRET not in out.getvalue()
    assert out.getvalue().count(HIDDEN) == 4
    assert "1 of 2" in out.getvalue()


def _fail() -> None:
    """Raise an error because of another, both with the secret in them."""
    cause = subprocess.CalledProcessError(2, ["curl", SECRET], output=SECRET.encode())
    cause.add_note(f"seen {SECRET}")
    raise ToolFailed(tool="curl", problem=f"said {SECRET}") from cause


def test_tracebacks_in_logs_are_clean(log: tuple[logging.Logger, io.StringIO]) -> None:
    """Of the error, and of the one that led to it."""
    logger, out = log
    try:
        _fail()
    except ToolFailed:
        logger.exception("it failed", stack_info=True)
    assert "Traceback" in out.getvalue()
    assert f"tool curl failed: said {HIDDEN}" in out.getvalue()
    assert SECRET not in out.getvalue()


def test_a_message_that_can_not_be_made_fails_nothing(log: tuple[logging.Logger, io.StringIO]) -> None:
    """A log line is never why a run fails."""
    logger, out = log
    logger.warning("%d", "no number")
    assert "could not be made" in out.getvalue()


def test_errors_are_clean_and_stay_what_they_are() -> None:
    """Arguments, facts, notes, causes; the class and what is no text are as they were."""
    with pytest.raises(ToolFailed) as raised, clean_errors():
        _fail()
    told = raised.value
    assert str(told) == f"tool curl failed: said {HIDDEN}"
    assert str(pickle.loads(pickle.dumps(told))) == str(told)  # noqa: S301 - our own
    cause = told.__cause__
    assert isinstance(cause, subprocess.CalledProcessError)
    assert (cause.returncode, cause.cmd, cause.output) == (2, ["curl", HIDDEN], HIDDEN.encode())
    assert cause.__notes__ == [f"seen {HIDDEN}"]


def test_an_error_group_is_clean_too() -> None:
    """And one that has come from itself ends."""
    inner = ValueError(SECRET)
    inner.__context__ = group = ExceptionGroup("two", [inner, KeyError(SECRET)])
    clean_error(group)
    assert [error.args for error in group.exceptions] == [(HIDDEN,), (HIDDEN,)]


def test_a_database_url_with_a_password_is_told_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefect stores the parameters of a flow: the URL is not among them, and the password is known from then on."""
    url = "postgresql://ada:pw-of-the-store@localhost/acms"
    monkeypatch.delenv("ACMS_DATABASE_URL", raising=False)
    with told_by_environment(url) as told:
        assert (told, os.environ["ACMS_DATABASE_URL"]) == (None, url)
        assert redact("pw-of-the-store") == HIDDEN
        assert redact(b64encode(b"pw-of-the-store").decode()) == HIDDEN
    assert "ACMS_DATABASE_URL" not in os.environ
    with told_by_environment("sqlite:////tmp/x.db") as told:
        assert told == "sqlite:////tmp/x.db"
    with told_by_environment(None) as told:
        assert told is None
