"""The token for a forge, as a Prefect block; it goes to that forge only."""

from __future__ import annotations

from typing import ClassVar, Self
from urllib.parse import urlsplit

from prefect.blocks.core import Block
from pydantic import ConfigDict, Field, HttpUrl, SecretStr, field_validator, model_validator

from prefect_acms.blocks.appearance import DOCUMENTATION, SECRET_LOGO
from prefect_acms.blocks.secrets import learn_secrets

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class ForgeCredentials(Block):
    """A token with which branches are pushed and pull requests opened on GitHub, GitLab, Gitea or Forgejo.

    Example:
        ```python
        from prefect_acms.blocks import ForgeCredentials

        credentials = ForgeCredentials.load("BLOCK_NAME")
        config = PipelineConfig(repository=path, publish={"enabled": True, "credentials": "BLOCK_NAME"})
        ```
    """

    _block_type_name: ClassVar[str | None] = "ACMS Forge Credentials"
    _block_type_slug: ClassVar[str | None] = "acms-forge-credentials"
    _logo_url: ClassVar[HttpUrl | None] = SECRET_LOGO
    _documentation_url: ClassVar[HttpUrl | None] = DOCUMENTATION

    model_config = ConfigDict(hide_input_in_errors=True)

    forge_url: str = Field(
        default="https://github.com",
        description="Address of the forge that the token is for; it is sent nowhere else.",
    )
    username: str = Field(
        default="x-access-token",
        min_length=1,
        pattern=r"^[^:\s]+$",
        description="User name that goes with the token when git pushes over https; most forges take any.",
    )
    token: SecretStr = Field(
        description="Access token that may push branches, and read and write pull or merge requests."
    )

    @field_validator("forge_url")
    @classmethod
    def _plain_address(cls, url: str) -> str:
        address = urlsplit(url)
        if address.scheme not in {"https", "http"} or not address.hostname or "@" in address.netloc:
            message = "expected the https address of a forge, without a user name"
            raise ValueError(message)
        if address.scheme == "http" and address.hostname not in LOOPBACK:
            message = "a token is sent over https only"
            raise ValueError(message)
        return url.rstrip("/")

    @model_validator(mode="after")
    def _token_is_secret(self) -> Self:
        learn_secrets(self)
        return self
