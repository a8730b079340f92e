"""Tokens for forges: from a saved block or from the environment, each for one forge and sent nowhere else."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL

from prefect_acms.blocks.forge_credentials import LOOPBACK, ForgeCredentials
from prefect_acms.canonical.errors import CredentialsMissing, InvalidValue, ServerUnavailable
from prefect_acms.dao.redaction import KNOWN
from prefect_acms.tasks.forge_addresses import origin_of
from prefect_acms.tasks.prefect_server import UNREACHABLE, problem_of

_VARIABLES = (
    ("ACMS_FORGE_TOKEN", "ACMS_FORGE_URL", "https://github.com"),
    ("GITHUB_TOKEN", "GITHUB_SERVER_URL", "https://github.com"),
    ("GH_TOKEN", "GITHUB_SERVER_URL", "https://github.com"),
    ("GITLAB_TOKEN", "CI_SERVER_URL", "https://gitlab.com"),
    ("GITEA_TOKEN", "GITEA_SERVER_URL", "https://gitea.com"),
)
"""Variables with a token, and those that say which forge it is for, where it is not the usual one.

What a remote's URL says is no answer to that: a tool that could write the repository's configuration would get it.
"""


@dataclass(frozen=True, slots=True)
class Token:
    """A token, and the user name that goes with it for git."""

    username: str
    value: str = field(repr=False)


def token_for(url: str, block: str | None) -> Token:
    """The token for the forge at that address, of the named block or of the environment.

    Raises CredentialsMissing when there is none for just this forge, InvalidValue when there is no such block, and
    ServerUnavailable when Prefect can't be asked for it.
    """
    if block is not None:
        return _from_block(url, block)
    here = origin_of(url)
    found = [
        os.environ[name]
        for name, place, usual in _VARIABLES
        if os.environ.get(name) and origin_of(os.environ.get(place) or usual) == here
    ]
    if not found or not _is_safe(url):
        raise CredentialsMissing(url=url, variables=f"ACMS_FORGE_TOKEN and ACMS_FORGE_URL={url}")
    KNOWN.learn(found[0])
    return Token("x-access-token", found[0])


def _is_safe(url: str) -> bool:
    address = urlsplit(url)
    return address.scheme == "https" or address.hostname in LOOPBACK


def _from_block(url: str, name: str) -> Token:
    try:
        loaded = asyncio.run(_loaded(name))
    except ValueError as error:
        expected = "the name of a saved ACMS Forge Credentials block"
        raise InvalidValue(field="publish.credentials", value=name, expected=expected) from error
    except UNREACHABLE as error:
        raise ServerUnavailable(url=PREFECT_API_URL.value(), problem=problem_of(error)) from error
    if origin_of(loaded.forge_url) != origin_of(url):
        expected = f"a block for {url}: the token in this one is for {loaded.forge_url}, and goes nowhere else"
        raise InvalidValue(field="publish.credentials", value=name, expected=expected)
    return Token(loaded.username, loaded.token.get_secret_value())


async def _loaded(name: str) -> ForgeCredentials:
    """The block, by a client of this loop: that of a flow around us belongs to another one."""
    async with get_client() as client:
        return await ForgeCredentials.aload(name, client=client)
