"""Times: UTC, one fixed width, and nothing else is read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_acms.canonical.clock import system_clock, utc_moment, utc_text

moments = st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - made aware by Hypothesis


@given(moments)
def test_a_moment_is_read_back_as_it_was_written(moment: datetime) -> None:
    """Every microsecond survives, in 27 characters."""
    text = utc_text(moment)
    assert len(text) == 27
    assert utc_moment(text) == moment


@given(moments, moments)
def test_texts_sort_as_their_moments_do(first: datetime, second: datetime) -> None:
    """So that a database and a person can compare them as text."""
    assert (utc_text(first) < utc_text(second)) == (first < second)


def test_another_zone_is_written_in_utc() -> None:
    """The zone of the caller doesn't matter."""
    assert utc_text(datetime(2026, 1, 31, 11, 5, tzinfo=timezone(timedelta(hours=2)))) == "2026-01-31T09:05:00.000000Z"


def test_a_moment_without_a_zone_is_refused() -> None:
    """A naive time could mean anything."""
    with pytest.raises(ValueError, match="says no time zone"):
        utc_text(datetime(2026, 1, 31))  # noqa: DTZ001 - the mistake that is tested


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-01-31",
        "2026-01-31T09:05:00Z",
        "2026-01-31T09:05:00.1Z",
        "2026-1-31T09:05:00.000000Z",
        "2026-01-31T09:05:00.000000",
        "2026-01-31T09:05:00.000000+00:00",
        "2026-01-31T11:05:00.000000+02:00",
        "2026-01-31 09:05:00.000000Z",
        "2026-02-30T09:05:00.000000Z",
        "2026-01-31T09:05:00.000000z",
    ],
)
def test_any_other_form_is_refused(text: str) -> None:
    """One format, written by one function, is the only one that is read."""
    with pytest.raises(ValueError, match=r".+"):
        utc_moment(text)


def test_the_system_clock_is_aware_and_in_utc() -> None:
    """What it gives can be written at once."""
    assert system_clock().utcoffset() == timedelta(0)
    assert utc_moment(utc_text(system_clock())) <= system_clock()
