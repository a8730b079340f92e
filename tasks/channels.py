"""Channels: saved notification blocks of Prefect, opened by name and told a message."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

from prefect.blocks.abstract import NotificationBlock, NotificationError
from prefect.blocks.core import Block
from prefect.exceptions import ObjectNotFound
from prefect.plugins import load_prefect_collections
from prefect.settings import PREFECT_API_REQUEST_TIMEOUT, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.types import SecretDict

from prefect_acms.blocks.github_issues import GitHubIssues
from prefect_acms.blocks.notifications import NotificationLevel, NotificationSettings
from prefect_acms.blocks.notifier import Notifier
from prefect_acms.blocks.secrets import learn_secrets
from prefect_acms.canonical.errors import AcmsError, NotFound
from prefect_acms.canonical.outside_errors import ChannelFailed
from prefect_acms.dao.redaction import KNOWN, redact
from prefect_acms.tasks.messages import Message
from prefect_acms.tasks.news import RANKS
from prefect_acms.tasks.prefect_server import UNREACHABLE, problem_of
from prefect_acms.tasks.reports.text import one_line

LOAD_SEC = 5.0
"""Seconds that one request to Prefect for a block may take."""

_KINDS = {
    NotificationLevel.INFO: "info",
    NotificationLevel.WARNING: "warning",
    NotificationLevel.ERROR: "failure",
    NotificationLevel.CRITICAL: "failure",
}
"""What apprise calls the levels; many services show them as a colour."""


class Channel(NamedTuple):
    """A channel that can be told, and what it wants to be told."""

    name: str
    settings: NotificationSettings
    block: NotificationBlock


def open_channels(name: str, settings: NotificationSettings) -> list[Channel]:
    """The channel of that name, or those that a notifier of that name has; raises ChannelFailed, or NotFound."""
    block = _loaded(name)
    if isinstance(block, Notifier):
        own = block.settings
        return [channel for inner in own.channels for channel in open_channels(inner, own)]
    if not isinstance(block, NotificationBlock):
        raise ChannelFailed(channel=name, problem="it is no block that notifies")
    return [Channel(name, settings, block)]


def _loaded(name: str) -> Block:
    load_prefect_collections()
    try:
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0, PREFECT_API_REQUEST_TIMEOUT: LOAD_SEC}):
            block: Block = _settled(lambda: Block.load(name))
    except UNREACHABLE as problem:
        raise ChannelFailed(channel=name, problem=f"Prefect: {redact(problem_of(problem))}") from None
    except (ValueError, RuntimeError, KeyError) as problem:
        if isinstance(problem.__cause__, ObjectNotFound):
            raise NotFound(entity="saved block", id=name) from None
        raise ChannelFailed(channel=name, problem="what is saved of it does not fit its type") from None
    learn_secrets(block)
    for value in dict(block).values():
        if isinstance(value, SecretDict):
            KNOWN.learn(*map(str, value.get_secret_value().values()))
    return block


def _settled(call: Callable[[], Any]) -> Any:
    """What a call of Prefect's comes to, which in a flow may be a coroutine and elsewhere is not."""
    found = call()
    if not inspect.isawaitable(found):
        return found

    async def awaited() -> Any:
        return await found

    return asyncio.run(awaited())


def send(channel: Channel, message: Message, since: datetime | None = None) -> None:
    """Tell a channel a message, once; raises ChannelFailed. The subject is the title where a service has one.

    Issues are looked for among those that were changed `since`; news below a warning opens none.
    """
    block = channel.block
    try:
        if isinstance(block, GitHubIssues):
            opens = RANKS[message.level] >= RANKS[NotificationLevel.WARNING]
            block.tell(message.run_id, message.subject, message.body, opens=opens, since=since)
            return
        if hasattr(block, "notify_type"):
            block.notify_type = _KINDS[message.level]
        with block.raise_on_failure():
            _settled(lambda: block.notify(message.body, message.subject))
    except Exception as problem:  # noqa: BLE001 - whatever a channel does, it fails alone
        raise ChannelFailed(channel=channel.name, problem=_told(problem)) from None


def _told(problem: Exception) -> str:
    """What went wrong, in one line without secrets and addresses that may hold some."""
    if isinstance(problem, NotificationError):
        lines = [line.partition("]: ")[2] or line for line in problem.log.splitlines() if line.strip()]
        return one_line(redact(lines[-1] if lines else "the service has not taken it"))
    if isinstance(problem, ChannelFailed):
        return one_line(redact(str(problem.facts["problem"])))
    if isinstance(problem, AcmsError):
        return one_line(redact(str(problem)))
    return one_line(redact(problem_of(problem)))
