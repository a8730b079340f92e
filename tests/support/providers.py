"""A provider of models on this machine: it speaks OpenAI's, Anthropic's and Google's, says what a test has scripted.

```python
with provided() as provider:
    provider.script(Failure(429, retry_after="0"), Reply("Hello"), structured({"edits": []}))
    … openai.OpenAI(base_url=provider.openai, api_key=KEY) … anthropic.Anthropic(base_url=provider.url, api_key=KEY)
    assert "secret" not in provider.asked[0].prompt
```

Answers come in the order of the script, whichever protocol is spoken; `provider.otherwise` says what comes after it.
By hand, for programs that are to speak with a model: `python tests/support/providers.py --port 8100 --say "Hello"`.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import provider_chat
import provider_gemini
import provider_messages
import provider_responses
from provider_answers import (
    Answer,
    Asked,
    Broken,
    Call,
    Cut,
    Failure,
    Garbled,
    Protocol,
    Reply,
    Scripted,
    Silence,
    structured,
)

__all__ = [
    "KEY", "MODELS", "Answer", "Asked", "Broken", "Call", "Cut", "Failure", "Garbled", "Provider", "Reply", "Scripted",
    "Silence", "provided", "structured",
]  # fmt: skip

KEY = "key-of-the-provider"
MODELS = ("gpt-test", "gpt-strong", "claude-test", "claude-strong")
_WRITTEN: dict[str, ModuleType] = {
    "chat": provider_chat, "responses": provider_responses, "messages": provider_messages,
    "gemini": provider_gemini,
}  # fmt: skip


class Provider:
    """What it was asked, and what it says next."""

    def __init__(self) -> None:
        self.url = ""
        """Where Anthropic's clients go; they add `/v1` themselves."""
        self.models: tuple[str, ...] = MODELS
        self.keys: set[str] = {KEY}
        """Keys that it knows; every one if there are none."""
        self.asked: list[Asked] = []
        """What models were asked, in order."""
        self.others: list[Asked] = []
        """What else was asked: models, counts, and what it doesn't know."""
        self.most_at_once = 0
        """The most questions to models that were open at the same time."""
        self.otherwise: Scripted = Failure(400, "the test has scripted no answer to this")
        self.let_go = threading.Event()
        self._script: list[Scripted] = []
        self._open = 0
        self._lock = threading.Lock()

    @property
    def openai(self) -> str:
        """Where OpenAI's clients go."""
        return f"{self.url}/v1"

    @property
    def sent(self) -> bytes:
        """Everything that any request held: its path, its headers, its body."""
        every = [*self.asked, *self.others]
        heads = ("\n".join([one.path, *(f"{name}: {value}" for name, value in one.headers.items())]) for one in every)
        return b"\n".join(part for one, head in zip(every, heads, strict=True) for part in (head.encode(), one.raw))

    def script(self, *answers: Scripted) -> None:
        """Let the next questions be answered so, in this order, after those that were scripted before."""
        with self._lock:
            self._script.extend(answers)

    @property
    def left(self) -> int:
        """How many scripted answers nobody asked for yet."""
        return len(self._script)

    def variables(self) -> dict[str, str]:
        """What clients and command-line agents read from their environment to come here."""
        return {
            "GOOGLE_GEMINI_BASE_URL": self.url, "GEMINI_API_KEY": KEY,
            "OPENAI_BASE_URL": self.openai, "OPENAI_API_BASE": self.openai, "OPENAI_API_KEY": KEY,
            "ANTHROPIC_BASE_URL": self.url, "ANTHROPIC_API_BASE": self.url, "ANTHROPIC_API_KEY": KEY,
        }  # fmt: skip

    def next_answer(self, asked: Asked) -> tuple[int, Answer]:
        """The number of the question, and what it is answered with."""
        with self._lock:
            self.asked.append(asked)
            number = len(self.asked)
            scripted = self._script.pop(0) if self._script else self.otherwise
        return number, scripted(asked) if callable(scripted) else scripted

    @contextmanager
    def answering(self) -> Iterator[None]:
        """While one question is open."""
        with self._lock:
            self._open += 1
            self.most_at_once = max(self.most_at_once, self._open)
        try:
            yield
        finally:
            with self._lock:
                self._open -= 1


class _Handler(BaseHTTPRequestHandler):
    """Reads a request, finds the protocol, writes what was scripted."""

    protocol_version = "HTTP/1.1"
    provider: Provider

    def do_POST(self) -> None:
        """A question to a model, or a count of its tokens."""
        asked = self._read()
        if asked.protocol and self._let_in(asked):
            with self.provider.answering():
                number, answer = self.provider.next_answer(asked)
                with suppress(ConnectionError):  # a client that has waited long enough
                    self._say(asked, number, answer)
            return
        self.provider.others.append(asked)
        if not self._let_in(asked):
            self._fail(asked, Failure(401, "Incorrect API key provided"))
        elif asked.path.endswith("/messages/count_tokens"):
            self._send(200, {"input_tokens": max(1, len(asked.raw) // 4)})
        else:
            self._fail(asked, Failure(404, f"no such path: {asked.path}", "not_found"))

    def do_GET(self) -> None:
        """The models that there are."""
        asked = self._read()
        self.provider.others.append(asked)
        wrote = self._wrote(asked)
        if asked.path.endswith("/models"):
            self._send(200, wrote.listed(self.provider.models))
        elif (model := asked.path.rpartition("/models/")[2]) in self.provider.models:
            self._send(200, wrote.shown(model))
        else:
            self._fail(asked, Failure(404, f"no such path: {asked.path}", "not_found"))

    def do_HEAD(self) -> None:
        """Whether somebody is there."""
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _read(self) -> Asked:
        path = urlsplit(self.path).path
        endings: dict[str, Protocol] = {"/chat/completions": "chat", "/responses": "responses", "/messages": "messages"}
        endings |= {":generateContent": "gemini", ":streamGenerateContent": "gemini"}
        spoken: Iterable[Protocol] = (name for ending, name in endings.items() if path.endswith(ending))
        headers = {name.lower(): value for name, value in self.headers.items()}
        raw = self.rfile.read(int(headers.get("content-length") or 0))
        protocol: Protocol = next(iter(spoken), "") if self.command == "POST" else ""
        return Asked(protocol, self.command, self.path, headers, raw)

    def _let_in(self, asked: Asked) -> bool:
        return not self.provider.keys or asked.key in self.provider.keys

    def _wrote(self, asked: Asked) -> Any:
        if "anthropic-version" in asked.headers:
            return provider_messages
        return provider_gemini if asked.protocol == "gemini" else provider_chat

    # -- what is said ----------------------------------------------------------------------------------------------

    def _say(self, asked: Asked, number: int, answer: Answer) -> None:
        match answer:
            case Silence():
                self._wait(answer.sec)
                self.close_connection = True
            case Failure():
                self._fail(asked, answer)
            case _ if asked.streamed:
                self._say_events(asked, number, answer)
            case Garbled():
                self._send(200, answer.content)
            case Broken():
                self._fail(asked, Failure(answer.status, answer.message))
            case Cut():
                self._send(200, self._whole(answer.reply, asked, number), share=answer.share)
            case Reply():
                self._wait(answer.pause_sec)
                self._send(200, self._whole(answer, asked, number))

    def _say_events(self, asked: Asked, number: int, answer: Reply | Cut | Garbled | Broken) -> None:
        written = _WRITTEN[asked.protocol]
        if isinstance(answer, Garbled):
            self._stream([f"data: {answer.content}\n\n".encode()])
            return
        reply = answer if isinstance(answer, Reply) else answer.reply
        told = _lines(written.events(reply, asked, number))
        match answer:
            case Broken():
                end = _lines([written.broken(answer.status, answer.message)])
                self._stream([*_share(told, answer.share), *end], reply.pause_sec)
            case Cut():
                self._stream(_share(told, answer.share), reply.pause_sec, whole=False)
            case Reply():
                self._stream(told, reply.pause_sec)

    def _whole(self, reply: Reply, asked: Asked, number: int) -> Any:
        return _WRITTEN[asked.protocol].whole(reply, asked, number)

    def _wait(self, sec: float) -> None:
        if sec:
            self.provider.let_go.wait(sec)

    def _fail(self, asked: Asked, failure: Failure) -> None:
        after: dict[str, str] = {} if failure.retry_after is None else {"Retry-After": failure.retry_after}
        if failure.retry_after_ms is not None:
            after["retry-after-ms"] = str(failure.retry_after_ms)
        body = self._wrote(asked).failure(failure.status, failure.code, failure.message)
        self._send(failure.status, body, headers=after)

    def _send(self, status: int, body: Any, *, headers: Mapping[str, str] | None = None, share: float = 1.0) -> None:
        content = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content[: int(len(content) * share)])
        if share < 1.0:
            self.close_connection = True

    def _stream(self, events: Iterable[bytes], pause_sec: float = 0.0, *, whole: bool = True) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in events:
            self._wait(pause_sec)
            self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
            self.wfile.flush()
        if whole:
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.close_connection = True

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


def _lines(events: Iterable[tuple[str, Any]]) -> list[bytes]:
    named = ((f"event: {name}\n" if name else "", provider_chat.line(data)) for name, data in events)
    return [f"{name}data: {data}\n\n".encode() for name, data in named]


def _share(events: list[bytes], share: float) -> list[bytes]:
    return events[: int(len(events) * share)]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # one that keeps silent would hold the end of the test back
    request_queue_size = 64

    def handle_error(self, *_of: Any) -> None:
        """Say nothing of clients that went away."""


@contextmanager
def provided(*, port: int = 0, otherwise: Scripted | None = None) -> Iterator[Provider]:
    """A provider that listens while the test lasts."""
    provider = Provider()
    if otherwise is not None:
        provider.otherwise = otherwise
    handler: Callable[..., BaseHTTPRequestHandler] = type("Handler", (_Handler,), {"provider": provider})
    server = _Server(("127.0.0.1", port), handler)
    provider.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        provider.let_go.set()
        server.shutdown()
        server.server_close()
        thread.join()


def main() -> None:
    """Serve until interrupted, and print what is asked."""
    options = argparse.ArgumentParser()
    options.add_argument("--port", type=int, default=0)
    options.add_argument("--say", default="Hello")
    given = options.parse_args()

    def shown(asked: Asked) -> Reply:
        print(json.dumps({"path": asked.path, "body": asked.body}, indent=1), flush=True)  # noqa: T201
        return Reply(given.say)

    with provided(port=given.port, otherwise=shown) as provider, suppress(KeyboardInterrupt):
        print(provider.url, flush=True)  # noqa: T201
        while True:
            time.sleep(1)


if __name__ == "__main__":
    main()
