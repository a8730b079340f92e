"""A model that is asked with care: never with a secret, again where its provider was away, its usage told each time."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic_ai.exceptions import ModelAPIError, ModelQuotaExceededError, ModelRequestRejectedError, UserError
from pydantic_ai.messages import ModelMessage, ModelResponse
from pydantic_ai.models import Model, ModelRequestParameters, infer_model
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.providers import Provider, infer_provider_class
from pydantic_ai.settings import ModelSettings
from pydantic_core import to_jsonable_python
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_exponential

from prefect_acms.canonical.errors import GuardrailViolation, InvalidValue
from prefect_acms.dao.redaction import KNOWN
from prefect_acms.tasks.ai.session import ADDRESS, KEY, Session

FIRST_WAIT_SEC = 0.5
"""Seconds before the first repetition, where the provider does not say; they double each time."""

OnResponse = Callable[[ModelResponse], None]


class CarefulModel(WrapperModel):
    """A model to which nothing that looks secret is sent, whichever way it got into a message."""

    def __init__(self, wrapped: Model, session: Session, on_response: OnResponse) -> None:
        super().__init__(wrapped)
        self._session = session
        self._on_response = on_response

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        """Ask, and again as long as it is worth it; raises GuardrailViolation before anything secret is sent."""
        require_nothing_secret(messages)
        async for attempt in _retrying(self._session):
            with attempt:
                # of the whole answer, where a client's own time-out starts anew with each byte
                async with asyncio.timeout(self._session.request_timeout_sec):
                    response = await super().request(messages, model_settings, model_request_parameters)
        self._on_response(response)
        return response


def careful_model(session: Session, on_response: OnResponse) -> CarefulModel:
    """The model of a session; raises InvalidValue for one that pydantic-ai does not know, or that has no key."""
    key, address = os.environ.get(KEY), os.environ.get(ADDRESS)
    try:
        model = infer_model(session.model, lambda name: _provider(name, key, address))
    except (UserError, ValueError, ImportError, TypeError) as error:
        raise InvalidValue(
            field="ai.model", value=session.model, expected=f"a model that can be asked: {error}"
        ) from error
    return CarefulModel(model, session, on_response)


def is_away(error: BaseException) -> bool:
    """Whether a provider may answer the same request later: it was busy, broken, slow or cut off."""
    refusals = (ModelRequestRejectedError, ModelQuotaExceededError)
    return isinstance(error, ModelAPIError | TimeoutError) and not isinstance(error, refusals)


def require_nothing_secret(messages: list[ModelMessage]) -> None:
    """Raise GuardrailViolation if something in the messages is secret or looks like it."""
    for text in _texts(to_jsonable_python(messages, fallback=str)):
        if shapes := KNOWN.found(text):
            raise GuardrailViolation(rule="secrets", problem=f"a prompt holds a secret ({shapes[0].kind}): not sent")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def _provider(name: str, key: str | None, address: str | None) -> Provider[Any]:
    """The provider of that name with the key and the address of a saved model; else those of its own variables."""
    kind = infer_provider_class(name)
    given = {"api_key": key, "base_url": address, "azure_endpoint": address}
    taken = {part: value for part, value in given.items() if value and part in inspect.signature(kind).parameters}
    for part, value in (("api_key", key), ("base_url", address)):
        if value and part not in taken and not (part == "base_url" and "azure_endpoint" in taken):
            message = f"provider {name} takes no {part} of a saved model"
            raise UserError(message)
    return kind(**taken)


def _retrying(session: Session) -> AsyncRetrying:
    growing = wait_exponential(multiplier=FIRST_WAIT_SEC, max=session.patience_sec)

    def wait(state: RetryCallState) -> float:
        return max(growing(state), _asked_for(state))

    def stop(state: RetryCallState) -> bool:
        # a provider that wants more patience than there is will not answer before it is over
        return stop_after_attempt(session.request_retries + 1)(state) or _asked_for(state) > session.patience_sec

    return AsyncRetrying(retry=retry_if_exception(is_away), wait=wait, stop=stop, reraise=True)


def _asked_for(state: RetryCallState) -> float:
    """The seconds that the provider asked to wait."""
    error = state.outcome.exception() if state.outcome else None
    return error.retry_after or 0.0 if isinstance(error, ModelAPIError) else 0.0
