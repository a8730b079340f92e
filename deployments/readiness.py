"""Whether a process that serves others has what it needs."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from prefect_acms.canonical.errors import AcmsError
from prefect_acms.dao import migration
from prefect_acms.dao.connections import shown
from prefect_acms.dao.redaction import redact
from prefect_acms.deployments.checkup import server_check
from prefect_acms.tasks.bounded import Bounded
from prefect_acms.tasks.metrics_collector import opened_store


@dataclass(frozen=True, slots=True)
class Answer:
    """One thing that was asked, and what it said."""

    ok: bool
    found: str


class Readiness:
    """Asks the store, which decides, and the Prefect server, which is told of; neither for longer than it may take."""

    def __init__(self, url: str, within_sec: float) -> None:
        self._url = url
        self._store = Bounded(self._ask_store, within_sec, "readiness of the store")
        self._server = Bounded(_ask_server, within_sec, "readiness of the Prefect server")

    def __call__(self) -> dict[str, object]:
        """What /ready answers; `ready` is what its status says too."""
        store, server = _answer(self._store), _answer(self._server)
        return {"ready": store.ok, "store": asdict(store), "prefect_server": asdict(server)}

    def _ask_store(self) -> Answer:
        opened_store(self._url).close()
        return Answer(ok=True, found=f"{shown(self._url)} at {migration.head()}")


def _ask_server() -> Answer:
    check = server_check()
    return Answer(check.state == "good", redact(check.found))


def _answer(ask: Bounded[Answer]) -> Answer:
    try:
        return ask()
    except (AcmsError, TimeoutError) as problem:
        return Answer(ok=False, found=redact(str(problem)))
