"""What a provider of models is asked in a test, and what a test has it answer: replies and faults."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Protocol = Literal["chat", "responses", "messages", "gemini", ""]
"""OpenAI's chat completions and responses, Anthropic's messages, Google's Gemini API; what is none of them is empty."""


@dataclass(frozen=True)
class Asked:
    """One request as the provider got it."""

    protocol: Protocol
    method: str
    path: str
    headers: Mapping[str, str]
    """By names in small letters."""
    raw: bytes
    at: float = field(default_factory=time.monotonic)

    @property
    def body(self) -> dict[str, Any]:
        """The JSON that was sent."""
        sent = json.loads(self.raw or b"{}")
        return sent if isinstance(sent, dict) else {"": sent}

    @property
    def key(self) -> str:
        """The key that came along, however it came."""
        named = self.headers.get("x-api-key") or self.headers.get("x-goog-api-key")
        return named or self.headers.get("authorization", "").removeprefix("Bearer ")

    @property
    def model(self) -> str:
        """The model that was asked."""
        named = self.path.rpartition("/models/")[2].partition(":")[0]
        return named if self.protocol == "gemini" else str(self.body.get("model", ""))

    @property
    def streamed(self) -> bool:
        """Whether events were asked for."""
        return self.body.get("stream") is True or ":stream" in self.path

    @property
    def limit(self) -> int | None:
        """How many tokens may be answered at most."""
        names = ("max_completion_tokens", "max_output_tokens", "max_tokens")
        return next((int(self.body[name]) for name in names if self.body.get(name) is not None), None)

    @property
    def tools(self) -> tuple[str, ...]:
        """The names of the tools that were offered."""
        offered = self.body.get("tools") or []
        if self.protocol == "gemini":
            offered = [tool for group in offered for tool in group.get("functionDeclarations", ())]
        return tuple(str(tool.get("function", tool).get("name", tool.get("type"))) for tool in offered)

    @property
    def instructions(self) -> str:
        """What the model is told beside the conversation, above everything else."""
        said = [one for one in self._turns() if isinstance(one, dict) and one.get("role") in {"system", "developer"}]
        return "\n".join(_texts([self.body.get("system"), self.body.get("instructions"), said]))

    def _turns(self) -> list[Any]:
        turns = self.body.get("messages") or self.body.get("input") or []
        return turns if isinstance(turns, list) else [turns]

    @property
    def prompt(self) -> str:
        """Every text that the model would read, one below the other: instructions, messages, results of tools."""
        read = [
            self.body.get(name)
            for name in ("system", "instructions", "messages", "input", "systemInstruction", "contents")
        ]
        return "\n".join(_texts(read))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, part in value.items():
            if name not in {"role", "type", "id"}:
                yield from _texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)


@dataclass(frozen=True)
class Call:
    """A tool that the model calls; arguments that are a text go out as they are, well formed or not."""

    name: str
    arguments: Mapping[str, Any] | str
    free: bool = False
    """Whether it is one of OpenAI's custom tools, which take any text (`apply_patch` of Codex CLI)."""

    @property
    def written(self) -> str:
        """The arguments as text."""
        return self.arguments if isinstance(self.arguments, str) else json.dumps(self.arguments)


@dataclass(frozen=True)
class Reply:
    """What the model says; figures that aren't given are counted, four characters a token."""

    text: str = ""
    calls: tuple[Call, ...] = ()
    refusal: str | None = None
    """The model says why it won't."""
    overlong: bool = False
    """The answer ends where the limit of tokens was."""
    filtered: bool = False
    """The provider's own filter ended the answer."""
    input_tokens: int | None = None
    """All that was read, cached ones included."""
    cached_tokens: int = 0
    output_tokens: int | None = None
    pause_sec: float = 0.0
    """Before the answer, and before each of its events."""

    def read(self, asked: Asked) -> int:
        """How many tokens were read."""
        return self.input_tokens if self.input_tokens is not None else max(1, len(asked.raw) // 4)

    def said(self) -> int:
        """How many tokens were written."""
        written = self.text + (self.refusal or "") + "".join(call.name + call.written for call in self.calls)
        return self.output_tokens if self.output_tokens is not None else max(1, len(written) // 4)


@dataclass(frozen=True)
class Failure:
    """An HTTP error, told in the words of the protocol that was spoken."""

    status: int
    message: str = "told to fail"
    code: str = ""
    """Instead of the one that goes with the status: `insufficient_quota`, `context_length_exceeded` …"""
    retry_after: str | None = None
    """Seconds or an HTTP date."""
    retry_after_ms: int | None = None


@dataclass(frozen=True)
class Silence:
    """No answer: the connection stays open so long, then ends. At once with 0."""

    sec: float = 60.0


@dataclass(frozen=True)
class Cut:
    """An answer whose connection ends after this share of it."""

    reply: Reply
    share: float = 0.5


@dataclass(frozen=True)
class Garbled:
    """Status 200, and a body that nobody can read; in a stream, such an event."""

    content: str = '{"id": "x", "choices": [{"mess'


@dataclass(frozen=True)
class Broken:
    """A stream in which the provider tells of an error after this share of it; an HTTP error where none was asked."""

    reply: Reply
    status: int = 500
    message: str = "broke while it answered"
    share: float = 0.5


Answer = Reply | Failure | Silence | Cut | Garbled | Broken
Scripted = Answer | Callable[[Asked], Answer]


def structured(value: Any, *, tool: str | None = None, **figures: Any) -> Callable[[Asked], Reply]:
    """A value as the client wants it: by the tool that takes results, or as JSON where no such tool was offered."""

    def reply(asked: Asked) -> Reply:
        taking = tool or next((name for name in asked.tools if name.startswith("final_result")), None)
        if taking is None:
            return Reply(json.dumps(value), **figures)
        return Reply(calls=(Call(taking, value),), **figures)

    return reply
