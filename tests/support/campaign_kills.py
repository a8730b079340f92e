"""A kill campaign: each kill is carried out, the run is resumed, and compared with one that nobody has killed."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import httpx
from campaign_checks import problems_of
from campaign_inspection import Facts, Inspection, Problem
from campaign_plans import Plan, drawn
from campaign_points import REST, Blow, Kind
from campaign_processes import ForkServer
from campaign_records import Record
from campaign_repositories import SHAPES, Shape
from campaign_sites import ENDED, Attempt, Site

from prefect_acms.dao.store import open_store


@dataclass(frozen=True, slots=True)
class Reference:
    """A run that nobody has killed: how long it takes, how many points it has, what comes of it."""

    seconds: float
    counts: Mapping[Kind, int]
    outcome: Mapping[str, Any]
    facts: Facts


@dataclass
class Campaign:
    """A fork server, a folder, and the runs without kills that the others are compared with."""

    folder: Path
    api_url: str
    seed: str
    shapes: tuple[Shape, ...] = SHAPES
    references: dict[str, Reference] = field(default_factory=dict)
    locks: dict[str, threading.Lock] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._stack = ExitStack()
        variables = {"PREFECT_API_URL": self.api_url, "PREFECT_LOGGING_LEVEL": "ERROR"}
        self.server = self._stack.enter_context(ForkServer(self.folder / "fork-server.log", variables))
        self.locks = {shape.name: threading.Lock() for shape in self.shapes}
        _ = self.database
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @cached_property
    def database(self) -> Path:
        """A database without rows."""
        path = self.folder / "empty.db"
        path.unlink(missing_ok=True)
        open_store(f"sqlite:///{path}").close()
        return path

    def reference(self, shape: Shape) -> Reference:
        """The run of a shape that nobody kills; made once."""
        with self.locks[shape.name]:
            if shape.name not in self.references:
                self.references[shape.name] = self._reference(shape)
            return self.references[shape.name]

    def _reference(self, shape: Shape) -> Reference:
        site = Site.made(self.folder / f"reference-{shape.name}", shape, self.database)
        attempt = site.attempt(self.server, None)
        with inspected(site) as inspection:
            problems = [attempt.problem, *map(str, problems_of(inspection, None))] if inspection else [attempt.problem]
            found = [problem for problem in problems if problem]
            left = _told(attempt).get("deferred")
            found += [] if left == shape.left else [f"{left} gaps are left instead of {shape.left}"]
            assert not found, f"the run without kills in {site.folder} is not as it must be: {found}"
            assert inspection is not None
            assert attempt.result is not None
            counts = {kind: attempt.result["counts"].get(kind, 0) for kind in Kind}
            reference = Reference(attempt.seconds, counts, _told(attempt), inspection.facts)
        shutil.rmtree(site.folder)
        return reference

    def carry_out_all(self, numbers: Iterable[int], jobs: int) -> Iterator[Record]:
        """The kills of these numbers, so many at a time, each as soon as it is over."""
        pool = ThreadPoolExecutor(jobs)
        try:
            for done in as_completed([pool.submit(self.carry_out, number) for number in numbers]):
                yield done.result()
        finally:
            pool.shutdown(cancel_futures=True)

    def carry_out(self, number: int) -> Record:
        """One kill from its beginning to its checks; the folder stays when something is not as it must be."""
        plan = drawn(self.seed, number, self.shapes)
        reference = self.reference(plan.shape)
        began = time.monotonic()
        folder = self.folder / f"kill-{plan.seed}-{number}"
        site = Site.made(folder, plan.shape, self.database if plan.has_database else None)
        for place, draw in enumerate(plan.draws):
            resumed = place > 0 and site.seen().run_id is not None
            if not site.attempt(self.server, draw.blow(reference.counts, reference.seconds, resumed=resumed)).killed:
                break
        if site.attempts[-1].killed:
            site.attempt(self.server, None)
        problems = tuple(self._problems(site, reference))
        record = Record(plan, tuple(site.attempts), problems, time.monotonic() - began, folder)
        (folder / "record.json").write_text(json.dumps(record.as_dict(), indent=1))
        if not problems:
            shutil.rmtree(folder)
        return record

    def fill(self, shape: Shape, blow: Blow, disk: Path) -> Record:
        """A run whose disk is full from a point on; with room again it is resumed, and everything is checked."""
        reference = self.reference(shape)
        began = time.monotonic()
        notes = self.folder / f"full-{blow.kind}-{blow.number}"
        site = Site.made(disk / "site", shape, self.database, elsewhere=notes)
        site.attempt(self.server, blow)
        (disk / REST).unlink(missing_ok=True)
        site.attempt(self.server, None)
        plan = Plan(self.seed, blow.number, shape, has_database=True, draws=())
        # git leaves the object that it could not write whole, and removes it with its next gc
        problems = tuple(problem for problem in self._problems(site, reference) if "tmp_obj_" not in problem.details)
        return Record(plan, tuple(site.attempts), problems, time.monotonic() - began, notes)

    def interrupt(self, shape: Shape, blow: Blow) -> Record:
        """A run whose user presses Ctrl-C at a point: it is canceled, with nothing left of its work."""
        began = time.monotonic()
        site = Site.made(self.folder / f"interrupt-{blow.kind}-{blow.number}", shape, self.database)
        site.attempt(self.server, blow)
        with inspected(site) as inspection:
            assert inspection is not None
            problems = list(problems_of(inspection, None))
            if inspection.run.state != "canceled":
                problems.append(Problem("the run is canceled", f"it is {inspection.run.state}"))
        plan = Plan(self.seed, blow.number, shape, has_database=True, draws=())
        return Record(plan, tuple(site.attempts), tuple(problems), time.monotonic() - began, site.folder)

    def _problems(self, site: Site, reference: Reference) -> Iterator[Problem]:
        last = site.attempts[-1]
        if last.problem is not None:
            yield Problem("the last driver comes to its end", last.problem)
        elif _told(last) != reference.outcome:
            yield Problem("same outcome as without kills", f"{_told(last)} instead of {reference.outcome}")
        with inspected(site) as inspection:
            if inspection is None:
                yield Problem("there is a run", "the store holds none")
                return
            yield from problems_of(inspection, reference.facts)
            if _ended_by_last(site) and (state := self._prefect_state(inspection)) != "COMPLETED":
                yield Problem("Prefect says the same", f"its run is {state}, ours is {inspection.run.state}")

    def _prefect_state(self, inspection: Inspection) -> str:
        """What Prefect says of the flow run that is recorded with our run."""
        answer = httpx.get(f"{self.api_url}/flow_runs/{inspection.run.prefect_flow_run_id}", timeout=60)
        return str(answer.json()["state"]["type"])


def _told(attempt: Attempt) -> dict[str, Any]:
    """What a driver has said that came of the run, but for names of its own."""
    outcome = (attempt.result or {}).get("outcome") or {}
    return {name: value for name, value in outcome.items() if name not in {"run_id", "branch", "folder"}}


def _ended_by_last(site: Site) -> bool:
    """Whether the last driver is the one that ended the run."""
    return len(site.attempts) == 1 or site.attempts[-2].seen.phase != ENDED


@contextmanager
def inspected(site: Site) -> Iterator[Inspection | None]:
    """A look at a site where nobody works any more; none where there is no run."""
    run_id = site.seen().run_id
    if run_id is None:
        yield None
        return
    store = open_store(site.url)
    try:
        yield Inspection(site, store, run_id)
    finally:
        store.close()
