"""Services that notifications go to, on this machine: a webhook, GitHub's API of issues, and a mail server."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qs, urlsplit

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from ports import free_port


class Request(NamedTuple):
    """What a service was asked."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Service:
    """An HTTP server that keeps what it is asked; it answers 200, or what is put into `statuses`, in order.

    While it hangs, it takes requests and answers none.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.statuses: list[int] = []
        self.hangs = False
        self.let_go = threading.Event()
        service = self

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                request = Request(self.command, self.path, dict(self.headers), body)
                service.requests.append(request)
                if service.hangs:
                    service.let_go.wait(60)
                    return
                status, answer = (service.statuses.pop(0), None) if service.statuses else service.answer(request)
                said = answer if answer is not None else {"message": f"told to say {status}"}
                content = (said if isinstance(said, str) else json.dumps(said)).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PATCH = do_PUT = handle_any  # noqa: N815 - the names that http.server calls

            def log_message(self, *_arguments: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def answer(self, request: Request) -> tuple[int, Any]:
        """The status and what a request is answered with: JSON, but text where Slack is expected."""
        return 200, "ok" if request.path.startswith("/services/") else {"ok": True}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.let_go.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    @property
    def bodies(self) -> list[str]:
        """The texts that were posted."""
        return [request.body.decode() for request in self.requests]


class GitHub(Service):
    """The issues of GitHub's REST API, as it documents them, for one repository and one token."""

    TOKEN = "ghp_the-token-of-the-tests"  # noqa: S105 - of nobody

    def __init__(self) -> None:
        super().__init__()
        self.issues: list[dict[str, Any]] = []
        self.comments: dict[int, list[str]] = {}

    def answer(self, request: Request) -> tuple[int, Any]:
        """Issues are opened, listed by label and state, and commented on; anything else is not found."""
        address = urlsplit(request.path)
        if request.headers.get("Authorization") != f"token {self.TOKEN}":
            return 401, {"message": "Bad credentials"}
        if address.path == "/repos/example/shop/issues" and request.method == "GET":
            asked = parse_qs(address.query)
            known = [
                issue for issue in self.issues if asked["labels"][0] in [label["name"] for label in issue["labels"]]
            ]
            open_ones = [issue for issue in known if issue["state"] == "open" or asked.get("state") == ["all"]]
            return 200, open_ones
        if address.path == "/repos/example/shop/issues" and request.method == "POST":
            return 201, self._opened(request.json)
        found = re.fullmatch(r"/repos/example/shop/issues/(\d+)/comments", address.path)
        if found and request.method == "POST":
            number = int(found[1])
            self.comments[number].append(request.json["body"])
            return 201, {"id": len(self.comments[number]), "url": f"{self.url}{address.path}/1", **request.json}
        return 404, {"message": "Not Found"}

    def _opened(self, asked: dict[str, Any]) -> dict[str, Any]:
        number = len(self.issues) + 1
        place = f"/repos/example/shop/issues/{number}"
        issue = {
            "number": number,
            "state": "open",
            "title": asked["title"],
            "body": asked["body"],
            "labels": [{"name": label} for label in asked["labels"]],
            "url": f"{self.url}{place}",
            "comments_url": f"{self.url}{place}/comments",
            "html_url": f"{self.url}/example/shop/issues/{number}",
        }
        self.issues.append(issue)
        self.comments[number] = []
        return issue


class MailServer:
    """A mail server that keeps what it is sent; who logs in needs the password."""

    PASSWORD = "p@ss/word of the tests"  # noqa: S105 - of nobody

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.logins: list[tuple[str, str]] = []
        self.refuses = False
        self.controller = Controller(
            self, hostname="127.0.0.1", port=free_port(), authenticator=self._let_in, auth_require_tls=False
        )

    @property
    def port(self) -> int:
        """Where it listens."""
        found: int = self.controller.port
        return found

    def _let_in(self, _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append((data.login.decode(), data.password.decode()))
        return AuthResult(success=data.password.decode() == self.PASSWORD)

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's
        """Keep a mail, or refuse it."""
        if self.refuses:
            return "451 try again later"
        content = envelope.content
        assert isinstance(content, bytes)
        self.mails.append(BytesParser(policy=default).parsebytes(content))
        return "250 OK"


@contextmanager
def mail_server() -> Iterator[MailServer]:
    """A mail server for a block of a test."""
    server = MailServer()
    server.controller.start()
    try:
        yield server
    finally:
        server.controller.stop()
