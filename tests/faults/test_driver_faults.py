"""More than one process that means to drive a run: one does, the others are fenced off or refused."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest
from faults import Site, alive, until
from repositories import git

pytestmark = pytest.mark.usefixtures("prefect_server")

LEASE_SEC = 2.0


def test_a_driver_that_was_stopped_past_its_lease_is_fenced_off(site: Callable[..., Site]) -> None:
    """SIGSTOP, another process resumes, SIGCONT: the first changes nothing any more, in the store or in git."""
    here = site()
    settings = here.folder / "settings.toml"
    settings.write_text(f"[resilience]\nlease_sec = {LEASE_SEC}\n")
    driver = here.run_it("--config", str(settings))
    pids = here.wait_for_mark()
    os.kill(driver.pid, signal.SIGSTOP)
    time.sleep(LEASE_SEC + 0.5)
    here.release()
    assert here.resume() == 0
    after = _everything(here)
    assert [pid for pid in pids if alive(pid)] == []
    os.kill(driver.pid, signal.SIGCONT)
    assert here.ended(driver).code == 0  # what the run came to, whoever drove it there
    assert _everything(here) == after
    here.assert_succeeded(here.run)


@pytest.mark.campaign
def test_a_driver_that_wakes_up_while_another_drives_its_run_is_fenced_off(site: Callable[..., Site]) -> None:
    """The same, but the run has not ended when it wakes up: it says that the run is driven by another, and ends."""
    here = site()
    settings = here.folder / "settings.toml"
    settings.write_text(f"[resilience]\nlease_sec = {LEASE_SEC}\n")
    first = here.run_it("--config", str(settings))
    here.wait_for_mark()
    os.kill(first.pid, signal.SIGSTOP)
    time.sleep(LEASE_SEC + 0.5)
    here.mark.unlink()
    second = here.start("resume", "latest")
    until(here.mark.exists, "the second has come to where it hangs")
    os.kill(first.pid, signal.SIGCONT)
    refused = here.ended(first)
    assert refused.code != 0
    assert "Superseded" in refused.err or "driver" in refused.err, refused.err
    assert second.poll() is None
    here.release()
    assert here.ended(second).code == 0
    here.assert_succeeded(here.run)


@pytest.mark.campaign
def test_of_two_resumes_at_once_one_wins(site: Callable[..., Site]) -> None:
    """The other is refused with exit code 2, and the run succeeds once."""
    here = site()
    driver = here.run_it()
    here.wait_for_mark()
    driver.kill()
    driver.communicate()
    both = [here.start("resume", "latest") for _ in range(2)]
    until(lambda: any(process.poll() is not None for process in both), "one is refused")
    lost, won = sorted(both, key=lambda process: process.poll() is None)
    refused = here.ended(lost)
    assert refused.code == 2, refused.err + refused.out
    assert won.poll() is None
    here.release()
    assert here.ended(won).code == 0
    assert here.run.epoch == 2
    here.assert_succeeded(here.run)


def _everything(here: Site) -> tuple[object, ...]:
    """Every row of the run, its trail, its refs, and the files beside them."""
    run = here.run
    with here.store.begin(read_only=True) as dao:
        rows = [
            [(row.id, row.version, row.state, row.updated_at) for row in found]
            for found in (
                [dao.runs.get(run.id)],
                dao.workstreams.of_run(run.id),
                dao.tasks.of_run(run.id),
                dao.gaps.of_run(run.id),
                dao.ledger.of_run(run.id),
                dao.test_gates.of_run(run.id),
                dao.workers.of_run(run.id),
            )
        ]
        trail = [row.hash for row in dao.transitions.of_run(run.id)]
    refs = git(here.repository, "for-each-ref")
    files = {
        path.name: path.read_bytes()
        for path in sorted((here.repository / ".acms_runs" / run.id).iterdir())
        if path.suffix in {".jsonl", ".json"}
    }
    return rows, trail, refs, files
