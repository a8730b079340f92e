"""How OpenAI's chat completions are written: `POST /v1/chat/completions`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from provider_answers import Asked, Reply

_CODES = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}
_CREATED = 1_700_000_000


def whole(reply: Reply, asked: Asked, number: int) -> dict[str, Any]:
    """The answer in one piece."""
    message: dict[str, Any] = {"role": "assistant", "content": reply.text or None, "refusal": reply.refusal}
    if reply.calls:
        message["tool_calls"] = _calls(reply, number)
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _reason(reply)}
    return {**_head(asked, number, "chat.completion"), "choices": [choice], "usage": _usage(reply, asked)}


def events(reply: Reply, asked: Asked, number: int) -> Iterator[tuple[str, Any]]:
    """The answer as events, without names as this protocol has it."""
    head = _head(asked, number, "chat.completion.chunk")

    def chunk(delta: dict[str, Any], reason: str | None = None) -> tuple[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return "", {**head, "choices": [choice]}

    yield chunk({"role": "assistant", "content": "", "refusal": None})
    for part in pieces(reply.text):
        yield chunk({"content": part})
    for part in pieces(reply.refusal or ""):
        yield chunk({"refusal": part})
    for index, call in enumerate(_calls(reply, number)):
        arguments = call["function"]["arguments"]
        started = {**call, "function": {**call["function"], "arguments": ""}}
        yield chunk({"tool_calls": [{"index": index, **started}]})
        for part in pieces(arguments):
            yield chunk({"tool_calls": [{"index": index, "function": {"arguments": part}}]})
    yield chunk({}, _reason(reply))
    if (asked.body.get("stream_options") or {}).get("include_usage"):
        yield "", {**head, "choices": [], "usage": _usage(reply, asked)}
    yield "", "[DONE]"


def failure(status: int, code: str, message: str) -> dict[str, Any]:
    """An error as both of OpenAI's protocols tell it."""
    kind = {429: "requests"}.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": code or kind, "param": None, "code": code or _CODES.get(status)}}


def broken(status: int, message: str) -> tuple[str, Any]:
    """An error within a stream."""
    return "", failure(status, "", message)


def pieces(text: str) -> list[str]:
    """A text in at most eight parts, none empty."""
    size = -(-len(text) // 8)
    return [text[start : start + size] for start in range(0, len(text), size)] if text else []


def _head(asked: Asked, number: int, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{number}", "object": kind, "created": _CREATED, "model": asked.model}


def _calls(reply: Reply, number: int) -> list[dict[str, Any]]:
    return [
        {"id": f"call_{number}_{at}", "type": "function", "function": {"name": call.name, "arguments": call.written}}
        for at, call in enumerate(reply.calls)
    ]


def _reason(reply: Reply) -> str:
    if reply.filtered:
        return "content_filter"
    if reply.overlong:
        return "length"
    return "tool_calls" if reply.calls else "stop"


def _usage(reply: Reply, asked: Asked) -> dict[str, Any]:
    read, said = reply.read(asked), reply.said()
    return {
        "prompt_tokens": read, "completion_tokens": said, "total_tokens": read + said,
        "prompt_tokens_details": {"cached_tokens": reply.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }  # fmt: skip


def listed(models: tuple[str, ...]) -> dict[str, Any]:
    """The models of `GET /v1/models`."""
    return {"object": "list", "data": [shown(model) for model in models]}


def shown(model: str) -> dict[str, Any]:
    """One model of it."""
    return {"id": model, "object": "model", "created": _CREATED, "owned_by": "test"}


def line(data: Any) -> str:
    """The data of an event as its line holds it."""
    return data if isinstance(data, str) else json.dumps(data)
