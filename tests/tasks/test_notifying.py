"""What channels are told of a run, and when, and what becomes of what could not be told, by the clock of the store."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from breakers import SetClock
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from services import Service

from prefect_acms.blocks.notifications import NotificationSettings
from prefect_acms.canonical.circuit_breaker import CircuitBreakerTrigger
from prefect_acms.canonical.events import Notice
from prefect_acms.canonical.outside_errors import ChannelFailed
from prefect_acms.canonical.patch import PatchTrigger
from prefect_acms.canonical.run import RunTrigger
from prefect_acms.canonical.task import TaskTrigger
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.store import Store
from prefect_acms.tasks.channels import Channel
from prefect_acms.tasks.marks import CLAIM_SEC, claim, mark_of
from prefect_acms.tasks.notifying import tell, untold
from prefect_acms.tasks.reviews import ask_review

NAME = "custom-webhook/team"


@pytest.fixture
def service() -> Iterator[Service]:
    """The webhook."""
    with Service() as running:
        yield running


@pytest.fixture
def ending() -> threading.Event:
    """Set: nothing is tried twice by one call."""
    event = threading.Event()
    event.set()
    return event


def channel(service: Service, **settings: object) -> Channel:
    """A channel to the webhook."""
    data = {"subject": "{{subject}}", "text": "{{body}}"}
    block = CustomWebhookNotificationBlock(name="team", url=f"{service.url}/hook", json_data=data)
    return Channel(NAME, NotificationSettings.model_validate({"channels": [NAME], **settings}), block)


@pytest.fixture
def run(store: Store) -> str:
    """A run that goes on."""
    with store.begin() as dao:
        row = dao.runs.create(repo_root="/nowhere/shop", mode="full", config={})
        dao.runs.advance(row.id, RunTrigger.RUN_STARTED)
    return row.id


def note(store: Store, run: str, reason: str, notice: Notice = Notice.MANUAL_OVERRIDE) -> None:
    """Something that is a warning."""
    with store.begin() as dao:
        dao.runs.note(run, notice, reason=reason, operator="mia", event_metadata={"action": "reset_task"})


def entry_of(store: Store, run: str, *files: str) -> tuple[str, str]:
    """A validated patch of those files: its id, and that of its entry."""
    with store.begin() as dao:
        workstream = dao.workstreams.create(run_id=run, name="style")
        task = dao.tasks.create(workstream_id=workstream.id, kind="implementation")
        patch = dao.patches.create(task_id=task.id, content=b"--- a\n+++ b\n", files=list(files))
        entry = dao.ledger.create(patch_id=patch.id)
        flags: dict[str, Any] = dict.fromkeys(("validation_format", "validation_scope", "validation_constraints"), True)
        dao.ledger.advance(entry.id, PatchTrigger.VALIDATION_PASSED, **flags)
    return patch.id, entry.id


def row_of(store: Store, run: str) -> RunRow:
    with store.begin(read_only=True) as dao:
        return dao.runs.get(run)


def test_the_first_is_told_at_once_and_what_follows_is_gathered(
    store: Store, clock: SetClock, service: Service, run: str, ending: threading.Event
) -> None:
    """Within the window nothing is sent; when it is over, all of it is one message, and nothing is sent twice."""
    team = channel(service, throttle_sec=60)
    note(store, run, "first")
    assert tell(store, run, team, ending, at_end=False) is None
    assert len(service.requests) == 1
    clock.pass_by(20)
    note(store, run, "second")
    note(store, run, "third")
    assert tell(store, run, team, ending, at_end=False) == pytest.approx(40)
    assert len(service.requests) == 1
    clock.pass_by(40)
    assert tell(store, run, team, ending, at_end=False) is None
    told = service.requests[1].json
    assert "second" in told["text"]
    assert "third" in told["text"]
    assert "first" not in told["text"]
    assert told["subject"].startswith("acms: shop: override by hand (reset_task of run_")
    assert "(and 1 more)" in told["subject"]
    clock.pass_by(600)
    assert tell(store, run, team, ending, at_end=False) is None
    assert len(service.requests) == 2


def test_critical_news_do_not_wait(store: Store, service: Service, run: str, ending: threading.Event) -> None:
    """Commits that nobody ordered are told within the window, with what has waited."""
    team = channel(service, throttle_sec=600)
    note(store, run, "first")
    tell(store, run, team, ending, at_end=False)
    note(store, run, "second")
    with store.begin() as dao:
        facts = {"kind": "commits_unknown"}
        dao.runs.note(run, Notice.DRIFT_DETECTED, reason="commit abc is in no ledger", event_metadata=facts)
    assert tell(store, run, team, ending, at_end=False) is None
    text = service.requests[1].json["text"]
    assert "critical: the branch and the audit trail differ: commit abc is in no ledger" in text
    assert "second" in text


@pytest.mark.parametrize(("level", "told"), [("warning", True), ("error", False), ("critical", False)])
def test_a_channel_is_told_from_its_level_on(
    store: Store, service: Service, run: str, ending: threading.Event, level: str, *, told: bool
) -> None:
    """A warning reaches who wants warnings."""
    note(store, run, "by hand")
    tell(store, run, channel(service, level=level), ending, at_end=False)
    assert bool(service.requests) is told


def test_a_review_that_waits_is_told_with_how_to_answer_until_it_is_answered(
    store: Store, service: Service, run: str, ending: threading.Event
) -> None:
    """The commands are in the message; once somebody has answered, it is no news any more."""
    patch, entry = entry_of(store, run, "shop/cart.py", "shop/till.py")
    asked = {"reasons": ["it touches <!channel> @everyone"], "sha256": "0" * 64, "base": "b", "tree": "t"}
    with store.begin() as dao:
        ask_review(dao, entry, expires_after_sec=3600, **asked)
    tell(store, run, channel(service), ending, at_end=False)
    text = service.requests[0].json["text"]
    assert f"`acms review approve {patch} --operator NAME --reason TEXT`" in text
    assert f"{patch} (shop/cart.py and 1 more) waits for a review until 2026-01-31 01:00:00 UTC" in text
    assert "< !channel> @ everyone" in text, "foreign words must not call a whole channel"
    with store.begin() as dao:
        dao.ledger.advance(entry, PatchTrigger.REVIEW_REJECTED, operator="mia", reason="no")
    late = channel(service)._replace(name="custom-webhook/late")
    assert not untold(store, run, late).news


def test_a_patch_is_told_as_quarantined_when_its_task_is_over(
    store: Store, service: Service, run: str, ending: threading.Event
) -> None:
    """Until then its parts are tried, and what took its place is told instead of it; a later one is told at once."""
    _, whole = entry_of(store, run, "shop/cart.py", "shop/till.py")
    with store.begin() as dao:
        task = dao.ledger.get(whole).task_id
        dao.ledger.advance(whole, PatchTrigger.POLICY_VIOLATION, quarantine_reason="whole")
        patch = dao.patches.create(task_id=task, content=b"--- a\n+++ b\n", files=["shop/cart.py"])
        part = dao.ledger.create(patch_id=patch.id, supersedes=whole)
        dao.ledger.advance(part.id, PatchTrigger.VALIDATION_FAILED, quarantine_reason="it breaks @till")
    team = channel(service, throttle_sec=0)
    tell(store, run, team, ending, at_end=False)
    assert not service.requests
    with store.begin() as dao:
        dao.tasks.advance(task, TaskTrigger.USER_CANCELLED)
    tell(store, run, team, ending, at_end=False)
    (told,) = service.requests
    assert told.json["text"].startswith(
        f"- warning: {patch.id} (shop/cart.py) was quarantined: it breaks @ till\n"
        f"  look: `acms quarantine show {patch.id}`\n"
    )
    assert told.json["subject"] == f"acms: shop: {patch.id} (shop/cart.py) was quarantined"


def test_a_breaker_that_opens_is_told_to_the_runs_that_go_on(
    store: Store, service: Service, run: str, ending: threading.Event
) -> None:
    """It belongs to no run, and is told once; a run that has ended before hears nothing of it."""
    with store.begin() as dao:
        breaker = dao.circuit_breakers.create(tool_id="ruff-fix", failure_threshold=1)
        dao.circuit_breakers.advance(
            breaker.id, CircuitBreakerTrigger.FAILURE_THRESHOLD_EXCEEDED, reason="it failed", failure_count=5
        )
    team = channel(service)
    tell(store, run, team, ending, at_end=False)
    tell(store, run, team, ending, at_end=False)
    assert ["the circuit breaker of ruff-fix is open" in body for body in service.bodies] == [True]


def test_what_could_not_be_told_is_kept_and_told_later(
    store: Store, clock: SetClock, service: Service, run: str, ending: threading.Event
) -> None:
    """A 500 is told as the reason, without the address, and the next time all of it arrives, once."""
    team = channel(service)
    note(store, run, "first")
    service.statuses = [500]
    with pytest.raises(ChannelFailed, match="500") as refused:
        tell(store, run, team, ending, at_end=False)
    assert service.url not in str(refused.value)
    assert "500" in (mark_of(row_of(store, run), NAME).problem or "")
    clock.pass_by(3600)
    tell(store, run, team, ending, at_end=False)
    assert "first" in service.requests[1].json["text"]
    mark = mark_of(row_of(store, run), NAME)
    assert mark.problem is None
    assert mark.sent_at is not None


def test_a_failing_channel_is_tried_a_few_times(store: Store, service: Service, run: str) -> None:
    """An outage of a moment costs nobody a message."""
    note(store, run, "first")
    service.statuses = [503]
    tell(store, run, channel(service), threading.Event(), at_end=False)
    assert len(service.requests) == 2


def test_after_a_week_nobody_is_told_any_more(
    store: Store, clock: SetClock, service: Service, run: str, ending: threading.Event
) -> None:
    """What is old is let go, what is new is told."""
    note(store, run, "old")
    clock.pass_by(7 * 86400 + 1)
    note(store, run, "new")
    tell(store, run, channel(service), ending, at_end=False)
    text = service.requests[0].json["text"]
    assert "new" in text
    assert "old" not in text


def test_of_two_who_would_tell_one_does(
    store: Store, clock: SetClock, service: Service, run: str, ending: threading.Event
) -> None:
    """Who has claimed it is left to it; who was cut off is not waited for longer than the claim lasts."""
    note(store, run, "first")
    team = channel(service)
    assert claim(store, run, NAME, mark_of(row_of(store, run), NAME))
    assert tell(store, run, team, ending, at_end=False) == CLAIM_SEC
    assert not service.requests
    clock.pass_by(CLAIM_SEC)
    assert tell(store, run, team, ending, at_end=False) is None
    assert len(service.requests) == 1


def test_the_end_comes_as_a_summary_with_what_is_untold(
    store: Store, service: Service, run: str, ending: threading.Event
) -> None:
    """It waits for the reports, not for the window; a run that failed says so in the subject."""
    team = channel(service, throttle_sec=600)
    note(store, run, "first")
    tell(store, run, team, ending, at_end=False)
    note(store, run, "second")
    url = "https://github.example/acme/shop/pull/7"
    facts = {"forge": "github", "forge_url": "https://github.example", "repository": "acme/shop", "base": "main"}
    published = {**facts, "branch": "acms/run", "head": "a" * 40, "number": 7, "url": url, "state": "open"}
    with store.begin() as dao:
        dao.runs.change(run, metadata={"published": [published]})
        dao.runs.advance(run, RunTrigger.RUN_CRASHED, error="it broke", reason="it broke")
    assert tell(store, run, team, ending, at_end=False) is None
    assert len(service.requests) == 1
    tell(store, run, team, ending, at_end=True)
    told = service.requests[1].json
    assert told["subject"] == "acms: shop: failed, 0 of 0 gaps fixed"
    for part in (
        "0 gaps found",
        "second",
        "error: run failed: it broke",
        f"Published, open: {url}",
        f"`acms show {run}`",
    ):
        assert part in told["text"]
    tell(store, run, team, ending, at_end=True)
    assert len(service.requests) == 2


@pytest.mark.parametrize(("digest", "told"), [("always", True), ("news", False), ("never", False)])
def test_a_run_with_nothing_new_is_summed_up_only_for_who_wants_it(
    store: Store, service: Service, run: str, ending: threading.Event, digest: str, *, told: bool
) -> None:
    """A nightly run that finds nothing is silent by default."""
    with store.begin() as dao:
        dao.runs.advance(run, RunTrigger.ALL_WORKSTREAMS_COMPLETE)
    tell(store, run, channel(service, digest=digest), ending, at_end=True)
    assert bool(service.requests) is told


def test_no_secret_is_told(store: Store, service: Service, run: str, ending: threading.Event) -> None:
    """What looks like a key is hidden in the trail already, and again on the way out."""
    note(store, run, "the key is ghp_0123456789abcdefghijABCDEFGHIJ012345")
    tell(store, run, channel(service), ending, at_end=False)
    assert "[redacted]" in service.bodies[0]
    assert "0123456789abcdef" not in service.bodies[0]
