"""How Google's Gemini API is written: `POST /v1beta/models/MODEL:generateContent`, and `:streamGenerateContent`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from provider_answers import Asked, Reply
from provider_chat import pieces


def whole(reply: Reply, asked: Asked, number: int) -> dict[str, Any]:
    """The answer in one piece."""
    return _piece(reply, asked, number, reply.text, is_last=True)


def events(reply: Reply, asked: Asked, number: int) -> Iterator[tuple[str, Any]]:
    """The answer as events without names; the last one has the calls and the figures."""
    *before, last = list(pieces(reply.text)) or [""]
    for text in before:
        yield "", _piece(reply, asked, number, text, is_last=False)
    yield "", _piece(reply, asked, number, last, is_last=True)


def broken(status: int, message: str) -> tuple[str, Any]:
    """An error within a stream."""
    return "", failure(status, "", message)


def failure(status: int, code: str, message: str) -> dict[str, Any]:
    """An error as the API tells it."""
    known = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED"}
    return {"error": {"code": status, "message": message, "status": code or known.get(status, "INTERNAL")}}


def _piece(reply: Reply, asked: Asked, number: int, text: str, *, is_last: bool) -> dict[str, Any]:
    parts: list[dict[str, Any]] = [{"text": text}] if text else []
    candidate: dict[str, Any] = {"index": 0}
    if is_last:
        parts += [{"functionCall": {"name": call.name, "args": call.arguments}} for call in reply.calls]
        candidate["finishReason"] = "MAX_TOKENS" if reply.overlong else "SAFETY" if reply.filtered else "STOP"
    read, said = reply.read(asked), reply.said()
    figures = {
        "promptTokenCount": read, "candidatesTokenCount": said, "totalTokenCount": read + said,
        "cachedContentTokenCount": reply.cached_tokens,
    }  # fmt: skip
    return {
        "candidates": [{**candidate, "content": {"role": "model", "parts": parts or [{"text": ""}]}}],
        "usageMetadata": figures if is_last else {},
        "modelVersion": asked.model,
        "responseId": f"response_{number}",
    }
