"""A server that takes Prefect events as the API of Prefect does, and can be out of order."""

from __future__ import annotations

import json
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import TracebackType
from typing import Any, Self


class EventListener:
    """Keeps what is posted to `/api/events`; answers 204, or what it is told to. Used as a context manager."""

    def __init__(self) -> None:
        self.answer = HTTPStatus.NO_CONTENT
        self.taken: list[dict[str, Any]] = []
        self.requests = 0
        listener = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.path == "/api/events"
                listener.requests += 1
                if listener.answer is HTTPStatus.NO_CONTENT:
                    listener.taken += json.loads(body)
                self._say(listener.answer)

            def do_GET(self) -> None:
                # A server without CSRF protection knows no tokens.
                self._say(HTTPStatus.NOT_FOUND)

            def _say(self, status: HTTPStatus) -> None:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_arguments: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self.api_url = f"http://127.0.0.1:{self._server.server_port}/api"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def names(self) -> list[str]:
        """What the events are called that were taken, in order."""
        return [event["event"] for event in self.taken]
