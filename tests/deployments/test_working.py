"""What listens or works until it is told to stop."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest
from commands import Acms

from prefect_acms.deployments.working import told_to_stop, unless_told


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_whatever_ends_the_command_ends_what_it_has_started(number: signal.Signals) -> None:
    """A terminal that is closed is no reason to leave a server behind, which is in a session of its own."""

    async def told() -> bool:
        async with told_to_stop() as stop:
            os.kill(os.getpid(), number)
            return await asyncio.wait_for(stop.wait(), 10)

    before = signal.getsignal(signal.SIGHUP)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # a test run may be under nohup
    try:
        assert asyncio.run(told())
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_start_that_hangs_is_given_up_when_told_to_stop() -> None:
    """Nobody waits for the longest time that a server may take."""

    async def given_up() -> tuple[bool, bool]:
        async with told_to_stop() as stop:
            asyncio.get_running_loop().call_later(0.1, os.kill, os.getpid(), signal.SIGTERM)
            hanging = await asyncio.wait_for(unless_told(stop, asyncio.sleep(180)), 10)
        return await unless_told(asyncio.Event(), asyncio.sleep(0)), hanging

    assert asyncio.run(given_up()) == (True, False)


def test_a_host_that_can_be_none_is_bad_input(acms: Acms, canonical_url: str) -> None:
    """One sentence, though Python refuses to look such a name up in a way of its own."""
    for command in (("server",), ("metrics", "--database-url", canonical_url)):
        for host in ("a..b", "x" * 70):
            done = acms(*command, "--host", host)
            assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
