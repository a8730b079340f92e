"""The provider of the tests is one: the vendors' clients and pydantic-ai meet replies and faults as they know them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from anthropic.types import Message
from openai.types.chat import ChatCompletion
from providers import KEY, Broken, Call, Cut, Failure, Garbled, Provider, Reply, Scripted, Silence, provided, structured
from pydantic import BaseModel
from pydantic_ai import Agent, ModelHTTPError, UnexpectedModelBehavior
from pydantic_ai.models import Model
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

PROTOCOLS = ("chat", "responses", "messages")
LOOK_UP: Any = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}


@pytest.fixture
def provider() -> Iterator[Provider]:
    with provided() as started:
        yield started


def _openai(provider: Provider, *, retries: int = 0, key: str = KEY, sec: float = 5.0) -> openai.OpenAI:
    return openai.OpenAI(base_url=provider.openai, api_key=key, max_retries=retries, timeout=sec)


def _anthropic(provider: Provider, *, retries: int = 0, key: str = KEY, sec: float = 5.0) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=provider.url, api_key=key, max_retries=retries, timeout=sec)


def _chat(client: openai.OpenAI) -> ChatCompletion:
    return client.chat.completions.create(model="gpt-test", messages=[{"role": "user", "content": "Hello there"}])


def _message(client: anthropic.Anthropic) -> Message:
    messages: Any = [{"role": "user", "content": "Hello there"}]
    return client.messages.create(model="claude-test", max_tokens=50, messages=messages)


# -- replies -----------------------------------------------------------------------------------------------------------


def test_a_chat_is_answered_with_text_calls_and_figures(provider: Provider) -> None:
    provider.script(Reply("Hi", (Call("look", {"name": "a"}),), input_tokens=90, cached_tokens=40, output_tokens=7))
    said = _chat(_openai(provider))
    assert said.choices[0].message.content == "Hi"
    calls = said.choices[0].message.tool_calls
    assert calls
    assert calls[0].type == "function"
    assert (calls[0].function.name, calls[0].function.arguments) == ("look", '{"name": "a"}')
    assert said.usage
    assert said.usage.prompt_tokens_details
    assert (said.usage.prompt_tokens, said.usage.completion_tokens) == (90, 7)
    assert said.usage.prompt_tokens_details.cached_tokens == 40
    asked = provider.asked[0]
    assert (asked.protocol, asked.model, asked.key, asked.prompt) == ("chat", "gpt-test", KEY, "Hello there")


def test_a_chat_streams_text_and_calls(provider: Provider) -> None:
    provider.script(Reply("Hello, you", (Call("look", {"name": "a"}), Call("see", "{not json")), output_tokens=7))
    with _openai(provider).chat.completions.stream(
        model="gpt-test",
        messages=[{"role": "user", "content": "Hello"}],
        stream_options={"include_usage": True},
    ) as stream:
        end = stream.get_final_completion()
    message = end.choices[0].message
    assert message.content == "Hello, you"
    assert [call.function.arguments for call in message.tool_calls or []] == ['{"name": "a"}', "{not json"]
    assert end.usage
    assert end.usage.completion_tokens == 7


def test_responses_stream_text_calls_and_the_tools_that_take_text(provider: Provider) -> None:
    provider.script(Reply("Hello, you", (Call("look", {"name": "a"}), Call("apply_patch", "*** Begin", free=True))))
    with _openai(provider).responses.stream(model="gpt-test", input="Hello", max_output_tokens=100) as stream:
        names = [event.type for event in stream]
        end = stream.get_final_response()
    assert end.output_text == "Hello, you"
    assert end.status == "completed"
    assert [item.type for item in end.output] == ["message", "function_call", "custom_tool_call"]
    assert {"response.output_text.delta", "response.function_call_arguments.done"} <= set(names)
    assert provider.asked[0].limit == 100


def test_a_message_streams_text_and_tool_use(provider: Provider) -> None:
    provider.script(Reply("Hello, you", (Call("look", {"name": "a"}),), input_tokens=90, cached_tokens=40))
    with _anthropic(provider).messages.stream(
        model="claude-test",
        max_tokens=50,
        messages=[{"role": "user", "content": "Hello"}],
        tools=[{"name": "look", "input_schema": LOOK_UP}],
    ) as stream:
        said = "".join(stream.text_stream)
        end = stream.get_final_message()
    assert said == "Hello, you"
    assert end.stop_reason == "tool_use"
    assert end.content[1].type == "tool_use"
    assert end.content[1].input == {"name": "a"}
    assert (end.usage.input_tokens, end.usage.cache_read_input_tokens) == (50, 40)
    assert provider.asked[0].tools == ("look",)


def test_models_are_listed_and_tokens_counted(provider: Provider) -> None:
    messages: Any = [{"role": "user", "content": "Hello"}]
    assert "gpt-test" in [model.id for model in _openai(provider).models.list()]
    assert "claude-test" in [model.id for model in _anthropic(provider).models.list()]
    assert _openai(provider).models.retrieve("gpt-strong").id == "gpt-strong"
    count = _anthropic(provider).messages.count_tokens(model="claude-test", messages=messages)
    assert count.input_tokens > 0
    assert not provider.asked, "none of it is a question to a model"


def test_models_refuse_and_come_to_their_limit(provider: Provider) -> None:
    provider.script(Reply(refusal="No"), Reply(refusal="No"), Reply(refusal="No"))
    provider.script(Reply("cut", overlong=True), Reply("cut", overlong=True), Reply("cut", overlong=True))
    ours, theirs = _openai(provider), _anthropic(provider)
    assert _chat(ours).choices[0].message.refusal == "No"
    item: Any = ours.responses.create(model="gpt-test", input="Hello").output[0]
    assert item.content[0].refusal == "No"
    assert _message(theirs).stop_reason == "refusal"
    assert _chat(ours).choices[0].finish_reason == "length"
    ended = ours.responses.create(model="gpt-test", input="Hello")
    assert ended.incomplete_details
    assert (ended.status, ended.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert _message(theirs).stop_reason == "max_tokens"


# -- faults ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "ours", "theirs"),
    [
        (400, openai.BadRequestError, anthropic.BadRequestError),
        (401, openai.AuthenticationError, anthropic.AuthenticationError),
        (403, openai.PermissionDeniedError, anthropic.PermissionDeniedError),
        (404, openai.NotFoundError, anthropic.NotFoundError),
        (429, openai.RateLimitError, anthropic.RateLimitError),
        (500, openai.InternalServerError, anthropic.InternalServerError),
        (529, openai.InternalServerError, anthropic.InternalServerError),
    ],
)
def test_an_http_error_is_the_clients_own(
    provider: Provider, status: int, ours: type[openai.APIStatusError], theirs: type[anthropic.APIStatusError]
) -> None:
    provider.script(Failure(status, "so told"), Failure(status, "so told"))
    with pytest.raises(ours, match="so told"):
        _chat(_openai(provider))
    with pytest.raises(theirs, match="so told"):
        _message(_anthropic(provider))


def test_a_client_waits_as_long_as_it_is_told_to(provider: Provider) -> None:
    provider.script(Failure(429, retry_after="0.3"), Reply("Hi"), Failure(429, retry_after_ms=300), Reply("Hi"))
    _chat(_openai(provider, retries=1))
    _message(_anthropic(provider, retries=1))
    first, second, third, fourth = (asked.at for asked in provider.asked)
    assert 0.3 <= second - first < 3
    assert 0.3 <= fourth - third < 3


def test_a_wrong_key_is_let_in_nowhere(provider: Provider) -> None:
    with pytest.raises(openai.AuthenticationError):
        _chat(_openai(provider, key="another"))
    with pytest.raises(anthropic.AuthenticationError):
        _message(_anthropic(provider, key="another"))
    assert not provider.asked


def test_silence_is_a_time_out_and_an_ended_connection_an_error(provider: Provider) -> None:
    provider.script(Silence(), Silence(), Silence(0), Silence(0))
    started = time.monotonic()
    with pytest.raises(openai.APITimeoutError):
        _chat(_openai(provider, sec=0.2))
    with pytest.raises(anthropic.APITimeoutError):
        _message(_anthropic(provider, sec=0.2))
    assert time.monotonic() - started < 5
    with pytest.raises(openai.APIConnectionError):
        _chat(_openai(provider))
    with pytest.raises(anthropic.APIConnectionError):
        _message(_anthropic(provider))


def test_cut_and_garbled_answers_cannot_be_read(provider: Provider) -> None:
    provider.script(Cut(Reply("Hello")), Cut(Reply("Hello")), Garbled(), Garbled())
    with pytest.raises(openai.APIConnectionError):
        _chat(_openai(provider))
    with pytest.raises(anthropic.APIConnectionError):
        _message(_anthropic(provider))
    with pytest.raises(ValueError, match="Unterminated"):
        _chat(_openai(provider))
    with pytest.raises(ValueError, match="Unterminated"):
        _message(_anthropic(provider))


def test_streams_are_cut_garbled_and_broken(provider: Provider) -> None:
    ours, theirs = _openai(provider), _anthropic(provider)

    def chat() -> list[Any]:
        return list(ours.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}], stream=True))

    def responses() -> list[Any]:
        return list(ours.responses.create(model="m", input="x", stream=True))

    def messages() -> list[Any]:
        said: Any = [{"role": "user", "content": "x"}]
        return list(theirs.messages.create(model="m", max_tokens=9, messages=said, stream=True))

    for ask in (chat, responses, messages):
        provider.script(Cut(Reply("Hello")), Garbled(), Broken(Reply("Hello"), message="so told"))
        with pytest.raises((openai.APIConnectionError, httpx2.RemoteProtocolError)):  # wrapped by one client only
            ask()
        if ask is messages:
            ask()  # Anthropic's client passes over events without a name
        else:
            with pytest.raises(ValueError, match="Unterminated"):
                ask()
        if ask is responses:
            end = ask()[-1]
            assert (end.type, end.message) == ("error", "so told"), "the client hands it on as an event"
            continue
        with pytest.raises((openai.APIError, anthropic.APIError), match="so told"):
            ask()


def test_what_comes_after_the_script_is_said_too(provider: Provider) -> None:
    with pytest.raises(openai.BadRequestError, match="scripted no answer"):
        _chat(_openai(provider))
    provider.otherwise = lambda asked: Reply(f"read {asked.prompt}")
    assert _chat(_openai(provider)).choices[0].message.content == "read Hello there"


# -- pydantic-ai -------------------------------------------------------------------------------------------------------


class Found(BaseModel):
    """What is to come back."""

    names: list[str]


def _models(provider: Provider) -> dict[str, Model]:
    ours = OpenAIProvider(openai_client=openai.AsyncOpenAI(base_url=provider.openai, api_key=KEY, max_retries=0))
    client = anthropic.AsyncAnthropic(base_url=provider.url, api_key=KEY, max_retries=0)
    return {
        "chat": OpenAIChatModel("gpt-test", provider=ours),
        "responses": OpenAIResponsesModel("gpt-test", provider=ours),
        "messages": AnthropicModel("claude-test", provider=AnthropicProvider(anthropic_client=client)),
    }


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_pydantic_ai_gets_structured_output_by_tools_and_by_its_own_corrections(protocol: str) -> None:
    with provided() as provider:
        provider.script(
            Reply(calls=(Call("look", {"name": "a"}),), input_tokens=10, output_tokens=1),
            structured({"names": 3}, input_tokens=10, output_tokens=1),
            structured({"names": ["a", "b"]}, input_tokens=10, cached_tokens=4, output_tokens=1),
        )
        agent = Agent(_models(provider)[protocol], output_type=Found, retries=2)
        seen: list[str] = []

        @agent.tool_plain
        def look(name: str) -> str:
            """Look something up."""
            seen.append(name)
            return f"looked at {name}"

        result = agent.run_sync("Find them")
        assert result.output == Found(names=["a", "b"])
        assert seen == ["a"]
        usage = result.usage
        assert (usage.requests, usage.input_tokens, usage.cache_read_tokens, usage.output_tokens) == (3, 30, 4, 3)
        assert [asked.protocol for asked in provider.asked] == [protocol] * 3
        assert "looked at a" in provider.asked[1].prompt
        assert "Input should be a valid" in provider.asked[2].prompt, "what was wrong went back"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_pydantic_ai_streams(protocol: str) -> None:
    with provided() as provider:
        provider.script(Reply("Hello, you who read this"))

        async def told() -> list[str]:
            async with Agent(_models(provider)[protocol]).run_stream("Say hello") as stream:
                return [part async for part in stream.stream_text(delta=True, debounce_by=None)]

        parts = asyncio.run(told())
        assert "".join(parts) == "Hello, you who read this"
        assert len(parts) > 1
        assert provider.asked[0].streamed


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (lambda: Failure(503), ModelHTTPError),
        (lambda: Reply(calls=(Call("final_result", "{not json"),)), UnexpectedModelBehavior),
    ],
)
def test_pydantic_ai_meets_faults_as_its_own_errors(
    protocol: str, fault: Callable[[], Scripted], error: type[Exception]
) -> None:
    with provided() as provider:
        provider.script(fault(), fault())
        with pytest.raises(error):
            Agent(_models(provider)[protocol], output_type=Found, retries=1).run_sync("Find them")
