"""Faults of the place where a run works, which say nothing about the task at hand: the run stops and can be resumed."""

from __future__ import annotations

import errno
import os

from prefect_acms.canonical.errors import RunEnding, StoreUnavailable, Superseded

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_SAID = (*(os.strerror(number) for number in _NO_ROOM), "Out of diskspace", "couldn't write '")
"""How programs say so; the last two are git's own words, about its index and about its refs."""


def stops_run(error: BaseException) -> bool:
    """Whether an error means that this driver can't go on, whatever it was doing: no store, no room, no longer ours."""
    return isinstance(error, (StoreUnavailable, Superseded, RunEnding)) or is_out_of_room(error)


def is_out_of_room(error: BaseException) -> bool:
    """Whether a disk is full, be it for us or for a program of ours that said so."""
    return (isinstance(error, OSError) and error.errno in _NO_ROOM) or any(said in str(error) for said in _SAID)
