"""How OpenAI's responses are written: `POST /v1/responses`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from provider_answers import Asked, Call, Reply
from provider_chat import pieces

_CREATED = 1_700_000_000


def whole(reply: Reply, asked: Asked, number: int) -> dict[str, Any]:
    """The answer in one piece."""
    ended = "incomplete" if reply.overlong or reply.filtered else "completed"
    reason = "content_filter" if reply.filtered else "max_output_tokens"
    return {
        **_response(asked, number, ended),
        "incomplete_details": {"reason": reason} if ended == "incomplete" else None,
        "output": _items(reply, number, ended),
        "usage": _usage(reply, asked),
    }


def events(reply: Reply, asked: Asked, number: int) -> Iterator[tuple[str, Any]]:
    """The answer as events, each with its name and its number."""
    for at, (name, facts) in enumerate(_told(reply, asked, number)):
        yield name, {"type": name, "sequence_number": at, **facts}


def broken(status: int, message: str) -> tuple[str, Any]:
    """An error within a stream."""
    code = {429: "rate_limit_exceeded"}.get(status, "server_error")
    return "error", {"type": "error", "code": code, "message": message, "param": None, "sequence_number": 99}


def _told(reply: Reply, asked: Asked, number: int) -> Iterator[tuple[str, dict[str, Any]]]:
    started = _response(asked, number, "in_progress")
    yield "response.created", {"response": started}
    yield "response.in_progress", {"response": started}
    end = whole(reply, asked, number)
    for index, item in enumerate(end["output"]):
        place = {"output_index": index, "item_id": item["id"]}
        told = {"message": _message, "function_call": _call, "custom_tool_call": _free_call}[item["type"]]
        yield from told(item, place)
        yield "response.output_item.done", {"output_index": index, "item": item}
    yield f"response.{end['status']}", {"response": end}


def _message(item: dict[str, Any], place: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    opened = {**item, "status": "in_progress", "content": []}
    yield "response.output_item.added", {"output_index": place["output_index"], "item": opened}
    for at, part in enumerate(item["content"]):
        here = {**place, "content_index": at}
        field, name = ("refusal", "refusal") if part["type"] == "refusal" else ("text", "output_text")
        yield "response.content_part.added", {**here, "part": {**part, field: ""}}
        for piece in pieces(part[field]):
            yield f"response.{name}.delta", {**here, "delta": piece, "logprobs": []}
        yield f"response.{name}.done", {**here, field: part[field], "logprobs": []}
        yield "response.content_part.done", {**here, "part": part}


def _call(item: dict[str, Any], place: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    opened = {**item, "status": "in_progress", "arguments": ""}
    yield "response.output_item.added", {"output_index": place["output_index"], "item": opened}
    for piece in pieces(item["arguments"]):
        yield "response.function_call_arguments.delta", {**place, "delta": piece}
    done = {"arguments": item["arguments"], "name": item["name"]}
    yield "response.function_call_arguments.done", {**place, **done}


def _free_call(item: dict[str, Any], place: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "response.output_item.added", {"output_index": place["output_index"], "item": {**item, "input": ""}}
    for piece in pieces(item["input"]):
        yield "response.custom_tool_call_input.delta", {**place, "delta": piece}
    yield "response.custom_tool_call_input.done", {**place, "input": item["input"]}


def _items(reply: Reply, number: int, status: str) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = []
    if reply.text:
        content.append({"type": "output_text", "text": reply.text, "annotations": [], "logprobs": []})
    if reply.refusal is not None:
        content.append({"type": "refusal", "refusal": reply.refusal})
    said = {"type": "message", "id": f"msg_{number}", "status": status, "role": "assistant", "content": content}
    return [*([said] if content else []), *(_called(call, f"{number}_{at}") for at, call in enumerate(reply.calls))]


def _called(call: Call, name: str) -> dict[str, Any]:
    common = {"call_id": f"call_{name}", "name": call.name, "status": "completed"}
    if call.free:
        return {"type": "custom_tool_call", "id": f"ctc_{name}", "input": call.written, **common}
    return {"type": "function_call", "id": f"fc_{name}", "arguments": call.written, **common}


def _response(asked: Asked, number: int, status: str) -> dict[str, Any]:
    body = asked.body
    return {
        "id": f"resp_{number}", "object": "response", "created_at": _CREATED, "status": status, "error": None,
        "incomplete_details": None, "instructions": body.get("instructions"), "metadata": {}, "model": asked.model,
        "max_output_tokens": asked.limit, "output": [], "parallel_tool_calls": True, "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None}, "store": False, "temperature": 1.0,
        "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [], "top_p": 1.0,
        "truncation": "disabled", "usage": None, "user": None,
    }  # fmt: skip


def _usage(reply: Reply, asked: Asked) -> dict[str, Any]:
    read, said = reply.read(asked), reply.said()
    return {
        "input_tokens": read, "input_tokens_details": {"cached_tokens": reply.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": said, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": read + said,
    }  # fmt: skip
