"""The automations that come with us, and their way onto a Prefect server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.events.schemas.automations import Automation, AutomationCore
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL

from prefect_acms.canonical.errors import AutomationUnfit, ServerUnavailable, ServerUnnamed, UnknownName
from prefect_acms.tasks.prefect_server import UNREACHABLE, problem_of

TAG = "acms"
"""By which our automations are known on a server, whatever else is there."""

_ON_SQLITE = (
    "on SQLite it makes the Prefect server stall; where its database is PostgreSQL, say --postgresql,"
    " and else let the deployment acms-reconcile/reconcile run on its schedule, which does that work"
)
_WITHOUT_BLOCK = "it sends a notification: --notify names the block for it, as TYPE/NAME"


class Shipped(NamedTuple):
    """An automation that comes with us; its actions still name what the server has numbers for."""

    name: str
    description: str
    trigger: dict[str, Any]
    actions: list[dict[str, Any]]
    needs: str | None = None

    @property
    def notifies(self) -> bool:
        """Whether it sends notifications, for which a block is needed."""
        return any(action["type"] == "send-notification" for action in self.actions)


@cache
def shipped() -> tuple[Shipped, ...]:
    """All of them, in the order of the list."""
    text = files("prefect_acms.deployments").joinpath("automations.yaml").read_text(encoding="utf-8")
    return tuple(Shipped(**record) for record in yaml.safe_load(text))


def named(names: Sequence[str]) -> list[Shipped]:
    """Those of these names; raises UnknownName."""
    known = {automation.name: automation for automation in shipped()}
    for name in names:
        if name not in known:
            raise UnknownName(kind="automation", name=name, known=list(known))
    return [known[name] for name in names]


class Standing(StrEnum):
    """Whether an automation is on the server."""

    ENABLED = "enabled"
    PAUSED = "paused"
    MISSING = "not installed"


class Target(NamedTuple):
    """What is told of the server: whether its database is PostgreSQL, and the block for notifications."""

    postgresql: bool = False
    block: str | None = None

    def unfit(self, automation: Shipped) -> str | None:
        """Why the automation can't be installed there, or None."""
        if automation.needs == "postgresql" and not self.postgresql:
            return _ON_SQLITE
        if automation.notifies and self.block is None:
            return _WITHOUT_BLOCK
        return None


@contextmanager
def server() -> Iterator[SyncPrefectClient]:
    """The client of the server that PREFECT_API_URL names; raises ServerUnnamed and ServerUnavailable."""
    if not PREFECT_API_URL.value():
        raise ServerUnnamed(what="an automation")
    try:
        with get_client(sync_client=True) as client:
            yield client
    except UNREACHABLE as trouble:
        raise ServerUnavailable(url=PREFECT_API_URL.value(), problem=problem_of(trouble)) from trouble


def install(client: SyncPrefectClient, names: Sequence[str], target: Target) -> tuple[list[str], dict[str, str]]:
    """Install these automations, or all that fit; the names of the installed, and of each other one why it is not.

    One that is there already is brought up to date, and stays paused if it was. Raises UnknownName, and AutomationUnfit
    for one that was asked for by its name and does not fit, or for want of a deployment or a block; then nothing was
    changed.
    """
    wanted = named(names) or list(shipped())
    left = {automation.name: why for automation in wanted if (why := target.unfit(automation))}
    for name, why in left.items():
        if names:
            raise AutomationUnfit(name=name, problem=why)
    made = [_made(client, automation, target) for automation in wanted if automation.name not in left]
    there = installed(client)
    for automation in made:
        before = there.get(automation.name)
        if before is None:
            client.create_automation(automation)
        else:
            automation.enabled = before.enabled
            client.update_automation(before.id, automation)
    return [automation.name for automation in made], left


def installed(client: SyncPrefectClient) -> dict[str, Automation]:
    """Those of ours that the server has, by name."""
    known = {automation.name for automation in shipped()}
    found: list[Automation] = []
    for name in known:
        found += client.read_automations_by_name(name)
    return {automation.name: automation for automation in found if TAG in automation.tags}


def standings(client: SyncPrefectClient) -> dict[str, Standing]:
    """How each of ours stands on the server."""
    there = installed(client)
    return {automation.name: _standing(there.get(automation.name)) for automation in shipped()}


def remove(client: SyncPrefectClient, names: Sequence[str]) -> list[str]:
    """Take these off the server, or all of ours; the names of those that were there."""
    wanted = {automation.name for automation in named(names) or shipped()}
    there = {name: automation for name, automation in installed(client).items() if name in wanted}
    for automation in there.values():
        client.delete_automation(automation.id)
    return sorted(there)


def _standing(found: Automation | None) -> Standing:
    if found is None:
        return Standing.MISSING
    return Standing.ENABLED if found.enabled else Standing.PAUSED


def _made(client: SyncPrefectClient, automation: Shipped, target: Target) -> AutomationCore:
    return AutomationCore.model_validate(
        {
            "name": automation.name,
            "description": automation.description,
            "tags": [TAG],
            "trigger": automation.trigger,
            "actions": [_action(client, automation.name, action, target) for action in automation.actions],
        }
    )


def _action(client: SyncPrefectClient, name: str, action: dict[str, Any], target: Target) -> dict[str, Any]:
    """The action with the numbers that the server has for what it names."""
    made = dict(action)
    deployment = made.pop("deployment", None)
    if deployment is not None:
        try:
            made |= {"source": "selected", "deployment_id": client.read_deployment_by_name(deployment).id}
        except ObjectNotFound:
            missing = f"the server has no deployment {deployment}, which `acms deploy` makes"
            raise AutomationUnfit(name=name, problem=missing) from None
    if action["type"] == "send-notification":
        kind, _, block = str(target.block).partition("/")
        try:
            made["block_document_id"] = client.read_block_document_by_name(block, kind).id
        except ObjectNotFound:
            raise AutomationUnfit(name=name, problem=f"the server has no block {target.block}") from None
    return made
