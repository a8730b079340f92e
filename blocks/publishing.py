"""How what a run has made is published: on which forge, as how many pull requests, and how they look."""

from __future__ import annotations

import re
from enum import StrEnum

from pydantic import Field, field_validator

from prefect_acms.blocks.section import Section


class ForgeKind(StrEnum):
    """Which forge is spoken to; `auto` goes by the address of the remote."""

    AUTO = "auto"
    GITHUB = "github"
    GITLAB = "gitlab"
    GITEA = "gitea"


class PublishPer(StrEnum):
    """What becomes one branch and one pull request."""

    RUN = "run"
    WORKSTREAM = "workstream"


class PublishSettings(Section):
    """Whether and where a run's branch is pushed, and a pull or merge request opened for it."""

    enabled: bool = Field(default=False, description="whether a run that succeeds is published at its end")
    remote: str = Field(
        default="origin",
        min_length=1,
        pattern=r"^[^-\s]\S*$",
        description="git remote of the repository to which branches are pushed",
    )
    credentials: str | None = Field(
        default=None,
        description="name of a saved ACMS Forge Credentials block; none: the environment, as ACMS_FORGE_TOKEN",
    )
    per: PublishPer = Field(
        default=PublishPer.RUN, description="one pull request for the run, or one for each workstream"
    )
    draft: bool = Field(default=True, description="whether pull requests are opened as drafts")
    labels: tuple[str, ...] = Field(default=("acms",), description="labels that a new pull request gets")
    base: str | None = Field(default=None, description="branch to merge into; none: the one that the run started from")
    forge: ForgeKind = Field(
        default=ForgeKind.AUTO, description="auto: told by the remote's address; else github, gitlab or gitea"
    )
    forge_url: str | None = Field(
        default=None, description="address of the forge, where it is not that of the remote: https://git.example.org"
    )
    project: str | None = Field(
        default=None,
        pattern=r"^[^/\s]+(/[^/\s]+)+$",
        description="owner/name on the forge, where the remote's address does not say it",
    )
    timeout_sec: float = Field(default=30.0, gt=0, le=600, description="seconds that one request to the forge may take")
    patience_sec: float = Field(
        default=180.0, ge=0, le=3600, description="seconds in all that are waited when the forge says to slow down"
    )

    @field_validator("forge_url")
    @classmethod
    def _an_address(cls, url: str | None) -> str | None:
        if url is not None and not re.fullmatch(r"https?://[^/\s@?#]+(/[^\s?#]*)?", url):
            message = "the http or https address of a forge, without a user name"
            raise ValueError(message)
        return url.rstrip("/") if url else None

    @field_validator("labels")
    @classmethod
    def _named(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        if any(not label.strip() or "," in label for label in labels):
            message = "names without a comma"
            raise ValueError(message)
        return labels
