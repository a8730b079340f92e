"""Asking a model for a structured answer, and sending back what is wrong with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic_ai import Agent, ModelRetry, ToolOutput
from pydantic_ai.exceptions import AgentRunError, ModelAPIError, UnexpectedModelBehavior, UsageLimitExceeded
from pydantic_ai.messages import ModelResponse
from pydantic_ai.settings import ModelSettings
from pydantic_ai.usage import UsageLimits

from prefect_acms.dao.redaction import redact
from prefect_acms.tasks.ai.models import careful_model, is_away
from prefect_acms.tasks.ai.prompts import refusal_of
from prefect_acms.tasks.ai.session import Session, family_of
from prefect_acms.tasks.usage import Usage

_Answer = TypeVar("_Answer")

LONGEST_PROBLEM = 4_000
"""Characters of a problem that go back to a model, or on to a person."""


class NoAnswer(Exception):
    """A model that was asked has given nothing that can be used; asked the same again, it would hardly do better."""


class ProviderAway(Exception):
    """A provider did not answer, or turned the request away."""

    def __init__(self, model: str, error: Exception) -> None:
        what = "did not answer" if is_away(error) else "turned the request away"
        wait_sec = error.retry_after if isinstance(error, ModelAPIError) else None
        later = f"; it asks to wait {wait_sec:g} s" if wait_sec else ""
        super().__init__(f"{model} {what}: {said(error)}{later}")


class Asker:
    """Asks the model of a session, and keeps in a file what it has cost so far."""

    def __init__(self, session: Session, usage_file: Path | None = None) -> None:
        self.session = session
        self.usage = Usage(model=session.model.partition(":")[2], provider=family_of(session.model))
        self._usage_file = usage_file
        self._model = careful_model(session, self._answered)
        self._write()

    def ask(
        self,
        instructions: str,
        prompt: str,
        answers: Sequence[ToolOutput[Any]],
        check: Callable[[_Answer], str | None],
    ) -> _Answer:
        """One of these answers in which `check` finds no fault; what it finds goes back, as often as is allowed.

        Raises NoAnswer and ProviderAway.
        """
        faults: list[str] = []

        def checked(answer: _Answer) -> _Answer:
            if (fault := check(answer)) is not None:
                faults.append(fault[:LONGEST_PROBLEM])
                raise ModelRetry(refusal_of(redact(faults[-1])))
            return answer

        agent: Agent[None, Any] = Agent(
            self._model,
            output_type=list(answers),
            instructions=instructions,
            retries=self.session.edit_retries,
            model_settings=ModelSettings(
                max_tokens=self.session.max_output_tokens,
                timeout=self.session.request_timeout_sec,
                max_retries=0,  # it is tenacity that repeats, with what the provider says of the time to wait
            ),
        )
        agent.output_validator(checked)
        try:
            # the retries of each tool are counted alone, so a model that calls another one each time would go on and on
            limits = UsageLimits(request_limit=self.session.edit_retries + 1)
            answer: _Answer = asyncio.run(agent.run(prompt, usage_limits=limits)).output
        except (ModelAPIError, TimeoutError) as error:
            raise ProviderAway(self.session.model, error) from error
        except (UnexpectedModelBehavior, UsageLimitExceeded) as error:
            raise NoAnswer(faults[-1] if faults else said(error)) from error
        except AgentRunError as error:
            raise NoAnswer(said(error)) from error
        return answer

    def _answered(self, response: ModelResponse) -> None:
        spent = response.usage
        self.usage += Usage(
            model=self.usage.model,
            provider=self.usage.provider,
            requests=1,
            input_tokens=spent.input_tokens,
            cached_tokens=spent.cache_read_tokens,
            output_tokens=spent.output_tokens,
        )
        self._write()

    def _write(self) -> None:
        if self._usage_file is not None:
            self._usage_file.write_text(self.usage.model_dump_json(), encoding="utf-8")


def said(error: Exception) -> str:
    """What an error says, in one line and without secrets."""
    message = error.message if isinstance(error, AgentRunError) else str(error)
    return redact(" ".join(message.split()))[:LONGEST_PROBLEM] or type(error).__name__
