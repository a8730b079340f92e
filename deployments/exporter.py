"""The HTTP server of `acms metrics`: /metrics for Prometheus, /health and /ready for whoever keeps it running."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from prefect_acms.canonical.errors import InvalidValue
from prefect_acms.deployments.readiness import Readiness
from prefect_acms.tasks.metrics_collector import ANSWER_SEC, StoreCollector

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

PATHS = ("/metrics", "/health", "/ready")


class Exporter:
    """Answers about one store; nothing that it asks is waited for longer than `within_sec`, whatever happens there."""

    def __init__(self, url: str, within_sec: float = ANSWER_SEC) -> None:
        collector = StoreCollector(url, within_sec)
        registry = CollectorRegistry()
        registry.register(collector)
        self._metrics = make_wsgi_app(registry)
        self._readiness = Readiness(url, within_sec)
        collector.start()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request, as WSGI wants it."""
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        if path == "/metrics":
            text: Iterable[bytes] = self._metrics(environ, start_response)
            return text
        if path not in PATHS:
            problem = f"there is no {path}, only {', '.join(PATHS)}"
            return _said(start_response, HTTPStatus.NOT_FOUND, {"error": problem})
        if method != "GET":
            return _said(start_response, HTTPStatus.METHOD_NOT_ALLOWED, {"error": f"{path} knows GET only"})
        if path == "/health":
            return _said(start_response, HTTPStatus.OK, {"status": "alive"})
        answer = self._readiness()
        return _said(start_response, HTTPStatus.OK if answer["ready"] else HTTPStatus.SERVICE_UNAVAILABLE, answer)


def _said(start_response: StartResponse, status: HTTPStatus, body: dict[str, Any]) -> Iterable[bytes]:
    start_response(
        f"{status.value} {status.phrase}", [("Content-Type", "application/json"), ("Cache-Control", "no-store")]
    )
    return [json.dumps(body, indent=2).encode() + b"\n"]


class _Quiet(WSGIRequestHandler):
    """A scrape every few seconds is no news."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name above
        """Log nothing."""


def listening(host: str, port: int, app: Callable[..., Iterable[bytes]]) -> WSGIServer:
    """A server that listens, a thread a request; port 0 takes a free one. Raises InvalidValue."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        server = type("Server", (ThreadingWSGIServer,), {"address_family": found[0]})
        made: WSGIServer = make_server(str(found[4][0]), port, app, server, handler_class=_Quiet)
    except (OSError, UnicodeError) as problem:
        told = getattr(problem, "strerror", None) or problem
        expected = f"an address that can be listened on ({told})"
        raise InvalidValue(field="address", value=f"{host}:{port}", expected=expected) from None
    return made
