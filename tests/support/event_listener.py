"""A server that takes Prefect events as the API of Prefect does, and can be out of order."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from services import Request, Service


class EventListener(Service):
    """Keeps what is posted to `/api/events`, unless it is told to answer otherwise; it knows no CSRF tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.status = HTTPStatus.OK
        self.taken: list[dict[str, Any]] = []
        self.api_url = f"{self.url}/api"

    def answer(self, request: Request) -> tuple[int, Any]:
        """The status of what was asked."""
        if (request.method, request.path) != ("POST", "/api/events"):
            return HTTPStatus.NOT_FOUND, {}
        if self.status is HTTPStatus.OK:
            self.taken += request.json
        return self.status, {}

    def names(self) -> list[str]:
        """What the events are called that were taken, in order."""
        return [event["event"] for event in self.taken]

    def posts(self) -> int:
        """How often events were posted."""
        return sum(request.method == "POST" for request in self.requests)
