"""How Anthropic's messages are written: `POST /v1/messages`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from provider_answers import Asked, Call, Reply
from provider_chat import pieces

_KINDS = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    413: "request_too_large", 429: "rate_limit_error", 504: "timeout_error", 529: "overloaded_error",
}  # fmt: skip


def whole(reply: Reply, asked: Asked, number: int) -> dict[str, Any]:
    """The answer in one piece."""
    content: list[dict[str, Any]] = [{"type": "text", "text": said}] if (said := _said(reply)) else []
    content += [_use(call, f"toolu_{number}_{at}") for at, call in enumerate(reply.calls)]
    ended = {"stop_reason": _reason(reply), "stop_sequence": None, "usage": _usage(reply, asked)}
    return {**_head(asked, number), "content": content, **ended}


def events(reply: Reply, asked: Asked, number: int) -> Iterator[tuple[str, Any]]:
    """The answer as events, each with its name."""
    for name, facts in _told(reply, asked, number):
        yield name, {"type": name, **facts}


def _told(reply: Reply, asked: Asked, number: int) -> Iterator[tuple[str, dict[str, Any]]]:
    opened: dict[str, Any] = {"content": [], "stop_reason": None, "stop_sequence": None}
    usage = _usage(reply, asked)
    yield "message_start", {"message": {**_head(asked, number), **opened, "usage": {**usage, "output_tokens": 1}}}
    yield "ping", {}
    index = 0
    if said := _said(reply):
        yield "content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}}
        for part in pieces(said):
            yield "content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": part}}
        yield "content_block_stop", {"index": 0}
        index = 1
    for at, call in enumerate(reply.calls):
        block = {"type": "tool_use", "id": f"toolu_{number}_{at}", "name": call.name, "input": {}}
        yield "content_block_start", {"index": index + at, "content_block": block}
        for part in pieces(call.written):
            delta = {"type": "input_json_delta", "partial_json": part}
            yield "content_block_delta", {"index": index + at, "delta": delta}
        yield "content_block_stop", {"index": index + at}
    ended = {"stop_reason": _reason(reply), "stop_sequence": None}
    yield "message_delta", {"delta": ended, "usage": usage}
    yield "message_stop", {}


def failure(status: int, code: str, message: str) -> dict[str, Any]:
    """An error as this protocol tells it."""
    kind = code or _KINDS.get(status, "api_error" if status >= 500 else "invalid_request_error")
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_test"}


def broken(status: int, message: str) -> tuple[str, Any]:
    """An error within a stream."""
    return "error", failure(status, "", message)


def listed(models: tuple[str, ...]) -> dict[str, Any]:
    """The models of `GET /v1/models`."""
    shown_ones = [shown(model) for model in models]
    return {"data": shown_ones, "has_more": False, "first_id": models[0], "last_id": models[-1]}


def shown(model: str) -> dict[str, Any]:
    """One model of it."""
    return {"type": "model", "id": model, "display_name": model, "created_at": "2026-01-01T00:00:00Z"}


def _head(asked: Asked, number: int) -> dict[str, Any]:
    return {"id": f"msg_{number}", "type": "message", "role": "assistant", "model": asked.model}


def _said(reply: Reply) -> str:
    return reply.text or reply.refusal or ""


def _use(call: Call, name: str) -> dict[str, Any]:
    given: Any = call.arguments
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError:
            given = call.arguments  # not what the protocol allows, and meant so by the test
    return {"type": "tool_use", "id": name, "name": call.name, "input": given}


def _reason(reply: Reply) -> str:
    if reply.refusal is not None or reply.filtered:
        return "refusal"
    if reply.overlong:
        return "max_tokens"
    return "tool_use" if reply.calls else "end_turn"


def _usage(reply: Reply, asked: Asked) -> dict[str, Any]:
    return {
        "input_tokens": max(0, reply.read(asked) - reply.cached_tokens), "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": reply.cached_tokens, "output_tokens": reply.said(),
    }  # fmt: skip
