"""Ids: readable, unique, sorted by time."""

from __future__ import annotations

import re
import threading
from datetime import UTC, datetime, timedelta

from ulid import ULID

from prefect_acms.dao.ids import Ids

START = datetime(2026, 1, 31, 9, 5, tzinfo=UTC)


def test_an_id_is_a_prefix_and_a_ulid_with_the_time_in_it() -> None:
    """Any ULID library reads it."""
    new = Ids(clock=lambda: START).new("task")
    assert re.fullmatch(r"task_[0-9A-HJKMNP-TV-Z]{26}", new)
    assert ULID.from_str(new.removeprefix("task_")).datetime == START


def test_ids_of_one_generator_only_grow() -> None:
    """Also within one millisecond, and when the clock is set back."""
    moments = [START, START, START - timedelta(hours=1), START + timedelta(milliseconds=1)] * 50
    clock = iter(moments)
    ids = Ids(clock=lambda: next(clock))
    made = [ids.new("x") for _ in moments]
    assert made == sorted(set(made))


def test_the_same_seed_gives_the_same_ids() -> None:
    """And another seed, or none, others."""
    one, same, other, none = (Ids(seed, lambda: START) for seed in (1, 1, 2, None))
    made = [[ids.new("x") for _ in range(5)] for ids in (one, same, other, none)]
    assert made[0] == made[1]
    assert len({tuple(ids) for ids in made}) == 3


def test_threads_never_get_the_same_id() -> None:
    """One generator serves a whole process."""
    ids, made = Ids(), []

    def make() -> None:
        made.extend([ids.new("x") for _ in range(500)])

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 4000
