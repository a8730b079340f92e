"""GitHub, GitLab and Gitea, each spoken to by its own client, and all in the same way by us."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from prefect_acms.blocks.publishing import ForgeKind
from prefect_acms.canonical.errors import ExtraMissing

if TYPE_CHECKING:
    from prefect_acms.tasks.forge_addresses import ForgeAddress
    from prefect_acms.tasks.forges.pace import Pace
    from prefect_acms.tasks.forges.requests import Forge

_CLIENTS = {
    ForgeKind.GITHUB: ("github", "GitHub", "PyGithub"),
    ForgeKind.GITLAB: ("gitlab", "GitLab", "python-gitlab"),
    ForgeKind.GITEA: ("gitea", "Gitea", "httpx"),
}


def open_forge(address: ForgeAddress, token: str, pace: Pace, timeout_sec: float) -> Forge:
    """The forge at that address; raises ExtraMissing when its client is not installed. Nothing is asked yet."""
    module, name, library = _CLIENTS[address.kind]
    try:
        found = import_module(f"{__name__}.{module}")
    except ModuleNotFoundError as missing:
        raise ExtraMissing(what=f"publishing on {name}", library=library, choice="publish") from missing
    forge: Forge = getattr(found, name)(address, token, pace, timeout_sec)
    return forge
