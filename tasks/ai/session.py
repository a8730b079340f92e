"""What the program in which models are asked is told by its variables: which model, its key, and how patiently."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, ValidationError

from prefect_acms.blocks.ai import AiSettings, ModelName
from prefect_acms.canonical.errors import InvalidValue

SESSION, KEY, ADDRESS = "ACMS_AI", "ACMS_AI_API_KEY", "ACMS_AI_BASE_URL"
"""The variables: the session as JSON, and the key and the address of a saved model, which stand in no file."""

AWAY = 3
"""The exit code of that program where the provider did not answer, or turned the request away."""


def family_of(model: str) -> str:
    """The provider of a model, whichever of its protocols is spoken."""
    provider = re.split(r"[:/]", model, maxsplit=1)[0]
    return "google" if provider.startswith("google") else re.sub(r"-(chat|responses|decisions|mantle)$", "", provider)


class Session(BaseModel):
    """How a model is asked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: ModelName
    strong: bool = False
    """Whether it is the stronger of the two models."""
    context_tokens: int
    max_output_tokens: int
    request_timeout_sec: float
    request_retries: int
    patience_sec: float
    edit_retries: int
    withheld: tuple[str, ...] = ()
    """Tracked files that are not to be sent, though nothing in them or in their names says so."""

    @classmethod
    def by(cls, settings: AiSettings, model: str, withheld: tuple[str, ...], *, strong: bool) -> Session:
        """The session with that model by the settings of a run."""
        shared = settings.model_dump(include=set(cls.model_fields) - {"model"})
        return cls(model=model, strong=strong, withheld=withheld, **shared)

    @classmethod
    def given(cls, variables: Mapping[str, str] = os.environ) -> Session:
        """The session that this process was started for; raises InvalidValue."""
        told = variables.get(SESSION, "")
        try:
            return cls.model_validate_json(told)
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]["msg"]
            expected = f"what acms hands to this program ({problem}): name a model in ai.model or ai.model_block"
            raise InvalidValue(field=SESSION, value=told[:100], expected=expected) from None
