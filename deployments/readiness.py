"""Whether a process that serves others has what it needs."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from prefect_acms.canonical.errors import AcmsError
from prefect_acms.dao import migration
from prefect_acms.dao.connections import shown
from prefect_acms.dao.redaction import redact
from prefect_acms.deployments.checkup import server_check
from prefect_acms.tasks.metrics_collector import opened_store


@dataclass(frozen=True, slots=True)
class Answer:
    """One thing that was asked, and what it said."""

    ok: bool
    found: str


@dataclass(frozen=True, slots=True)
class Readiness:
    """The store decides; a Prefect server that is away is told, and is no reason not to serve metrics."""

    ready: bool
    store: Answer
    prefect_server: Answer

    def as_dict(self) -> dict[str, object]:
        """The same as JSON has it."""
        return asdict(self)


def readiness_of(url: str) -> Readiness:
    """Ask the store and, where PREFECT_API_URL is set, the Prefect server."""
    store = _store(url)
    server = server_check()
    return Readiness(store.ok, store, Answer(server.state == "good", redact(server.found)))


def unready(url: str, problem: str) -> Readiness:
    """What is to be said when the question itself has come to no end."""
    return Readiness(
        ready=False,
        store=Answer(ok=False, found=f"{shown(url)}: {problem}"),
        prefect_server=Answer(ok=False, found="not asked"),
    )


def _store(url: str) -> Answer:
    try:
        opened_store(url).close()
    except AcmsError as problem:
        return Answer(ok=False, found=redact(str(problem)))
    return Answer(ok=True, found=f"{shown(url)} at {migration.head()}")
