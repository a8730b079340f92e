"""A model and the key for it, as a Prefect block."""

from __future__ import annotations

from typing import ClassVar, Self
from urllib.parse import urlsplit

from prefect.blocks.core import Block
from pydantic import ConfigDict, Field, HttpUrl, SecretStr, model_validator

from prefect_acms.blocks.ai import ModelName
from prefect_acms.blocks.appearance import DOCUMENTATION, SECRET_LOGO
from prefect_acms.blocks.forge_credentials import LOOPBACK
from prefect_acms.blocks.saved import AI_MODEL
from prefect_acms.blocks.secrets import learn_secrets


class AiModel(Block):
    """A model that finds and fixes gaps, with its key and address; any provider that pydantic-ai knows.

    Example:
        ```python
        from prefect_acms.blocks import AiModel

        model = AiModel.load("BLOCK_NAME")
        config = PipelineConfig(repository=path, ai={"model_block": "BLOCK_NAME"})
        ```
    """

    _block_type_name: ClassVar[str | None] = "ACMS AI Model"
    _block_type_slug: ClassVar[str | None] = AI_MODEL
    _logo_url: ClassVar[HttpUrl | None] = SECRET_LOGO
    _documentation_url: ClassVar[HttpUrl | None] = DOCUMENTATION

    model_config = ConfigDict(hide_input_in_errors=True)

    model: ModelName = Field(
        description="Model as provider:model, for example openai:gpt-5-mini or anthropic:claude-haiku-4-5."
    )
    api_key: SecretStr | None = Field(
        default=None,
        description="Key for the provider; none: the provider's own environment variable, where the run takes place.",
    )
    base_url: str | None = Field(
        default=None,
        description="Address of the API, where it is not the provider's own: a gateway, or a model that runs locally.",
    )

    @model_validator(mode="after")
    def _key_is_secret(self) -> Self:
        learn_secrets(self)
        if self.base_url is None:
            return self
        address = urlsplit(self.base_url)
        if address.scheme not in {"https", "http"} or not address.hostname or "@" in address.netloc:
            message = "base_url: expected the http or https address of an API, without a user name"
            raise ValueError(message)
        if self.api_key is not None and address.scheme == "http" and address.hostname not in LOOPBACK:
            message = "base_url: a key is sent over https only"
            raise ValueError(message)
        return self
