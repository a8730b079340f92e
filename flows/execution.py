"""Phase 4: carry the plan out, a task as soon as what it needs has ended; then each workstream is merged."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prefect import allow_failure, flow
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture
from prefect.states import Cancelled
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from prefect_acms.canonical.errors import CyclicPlan, RunSuspended
from prefect_acms.canonical.task import TaskState
from prefect_acms.canonical.verdicts import ENDED_TASK, ENDED_WORKSTREAM, MET
from prefect_acms.dao.tasks import TaskRow
from prefect_acms.dao.workstreams import WorkstreamRow
from prefect_acms.flows.reviewing import asking_in_prefect
from prefect_acms.flows.schedule import Node, Schedule
from prefect_acms.tasks.artifacts import progress_shown
from prefect_acms.tasks.driving import Drive, drive_run, phase
from prefect_acms.tasks.ending import stopping_tools
from prefect_acms.tasks.execution import end_task, judge_base, lose_tasks, queue_task, run_task, settle_workstream
from prefect_acms.tasks.loading import load_plan
from prefect_acms.tasks.ordering import in_order
from prefect_acms.tasks.pool import open_pool, ready_workstreams
from prefect_acms.tasks.prefect_server import server_trouble
from prefect_acms.tasks.run_quarantine import require_sound

MOST_THREADS = 64
"""As many as `concurrency` may ever ask for."""

THREADS: TaskRunner[Any] = ThreadPoolTaskRunner(max_workers=MOST_THREADS)
"""The schedule never has more in flight than there are threads."""


@flow(
    name="acms-execution",
    flow_run_name="execute {run_id}",
    persist_result=False,
    task_runner=THREADS,
)
async def execute_plan(
    run_id: str, epoch: int | None = None, database_url: str | None = None
) -> dict[str, str] | State[Any]:
    """Execute the stored plan of a run; the state of each of its workstreams, by id.

    In a run that may be suspended it stops when it only waits for a person, as the drive and the Prefect state say.
    """
    drive = drive_run(run_id, epoch=epoch, database=database_url)
    try:
        return await _executed(drive)
    except RunSuspended as waiting:
        return Cancelled(name="Suspended", message=str(waiting))


async def _executed(drive: Drive) -> dict[str, str]:
    run_id = drive.run_id
    with phase(drive, "execution") as artifacts:
        require_sound(drive)
        load_plan(drive)
        with drive.reading() as dao:
            tasks = dao.tasks.of_run(run_id)
            upstream = {task.id: [row.id for row in dao.tasks.dependencies(task.id)] for task in tasks}
            workstreams = {row.id: row for row in dao.workstreams.of_run(run_id)}
            prerequisites = {
                row_id: [row.id for row in dao.workstreams.prerequisites(row_id)] for row_id in workstreams
            }
        if tasks:
            with stopping_tools(drive):
                await asyncio.to_thread(judge_base.submit(run_id, drive.epoch).result)
                open_pool(drive)
                execution = _Execution(drive, tasks, workstreams, upstream, prerequisites)
                async with asking_in_prefect(drive), progress_shown(drive, execution.percent):
                    await execution.run()
        with drive.reading() as dao:
            ended = {row.id: row.state for row in dao.workstreams.of_run(run_id)}
        artifacts["workstreams"] = ended
    return ended


@dataclass
class _Execution:
    """Hands tasks to Prefect; at most `concurrency` are in flight, so no thread ever waits for another.

    A task whose patch waits for a person does not count, as long as there are threads.
    """

    drive: Drive
    tasks: list[TaskRow]
    workstreams: Mapping[str, WorkstreamRow]
    upstream: Mapping[str, list[str]]
    prerequisites: Mapping[str, list[str]]
    futures: dict[str, PrefectFuture[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.by_id = {task.id: task for task in self.tasks}
        self.nodes = self._nodes()
        self.schedule = Schedule(self.nodes)
        self.idle_since: float | None = None
        """Since when nothing is left to do but wait for people; by the monotonic clock."""
        self.ends: asyncio.Queue[str | None] = asyncio.Queue()
        """The nodes that have ended; None: only something about patches that wait has changed."""

    def _nodes(self) -> dict[str, Node]:
        """A node a task, and one that settles each workstream; what crosses workstreams waits for the settling.

        The tasks of a workstream share its worktree, so that each comes after the one before it.
        """
        keys = {task.info["key"]: task.id for task in self.tasks}
        workstream_keys = {row.info["key"]: row.id for row in self.workstreams.values()}
        waits = {task.id: [*self.upstream[task.id], *self._soft(task, keys)] for task in self.tasks}
        own: dict[str, list[str]] = defaultdict(list)
        nodes: dict[str, Node] = {}
        for task_id in in_order(waits, {task.id: place for place, task in enumerate(self.tasks)}.__getitem__):
            task = self.by_id[task_id]
            siblings = own[task.workstream_id]
            nodes[task_id] = self._node(task, keys, workstream_keys, before=siblings[-1:])
            siblings.append(task_id)
        busy = {workstream_id: Node(after=frozenset(task_ids)) for workstream_id, task_ids in own.items()}
        # What nobody works on (a workstream that was skipped) is waited for by nobody.
        known = nodes.keys() | busy.keys()
        return {name: Node(node.needs & known, node.after & known) for name, node in (nodes | busy).items()}

    @staticmethod
    def _soft(row: TaskRow | WorkstreamRow, keys: Mapping[str, str]) -> list[str]:
        """What comes before a task or a workstream, however it ends."""
        return [keys[key] for key in row.info.get("order_only", ())]

    def _node(
        self, task: TaskRow, keys: Mapping[str, str], workstream_keys: Mapping[str, str], before: Sequence[str]
    ) -> Node:
        def place(upstream_id: str) -> str:
            other = self.by_id[upstream_id].workstream_id
            return upstream_id if other == task.workstream_id else other

        needs = frozenset(
            [*map(place, self.upstream[task.id]), *self.prerequisites[task.workstream_id]],
        )
        soft = self._soft(self.workstreams[task.workstream_id], workstream_keys)
        after = frozenset([*map(place, self._soft(task, keys)), *soft, *before])
        return Node(needs=needs, after=after - needs)

    def _already_ended(self) -> None:
        """What a driver before this one has brought to its end is not done again."""
        for name in self.nodes:
            row: TaskRow | WorkstreamRow = self.by_id.get(name) or self.workstreams[name]
            if row.state in ENDED_TASK | ENDED_WORKSTREAM:
                self._lose(self.schedule.ended(name, well=row.state in MET), because=name)

    async def run(self) -> None:
        """Go on until every node has ended; an exception of our own code ends the run."""
        self._already_ended()
        in_flight = 0
        loop = asyncio.get_running_loop()
        with self.drive.waits.heard(lambda: loop.call_soon_threadsafe(self.ends.put_nowait, None)):
            while self.schedule.unfinished:
                for name in self.schedule.ready(self._slots(in_flight)):
                    self._submit(name)
                    in_flight += 1
                if not in_flight:
                    circle = "workstreams wait in a circle"
                    raise CyclicPlan(path="plan", where="depends_on", problem="cycle", cycle=circle)
                ended = await self._next_end(in_flight)
                if ended is not None:
                    in_flight -= 1
                    await self._ended(ended)

    async def _next_end(self, in_flight: int) -> str | None:
        """What ends next, or None; raises RunSuspended when the run waits for people alone, for as long as it may."""
        patience = self.drive.guardrails.review.suspend_after_sec
        waits = len(self.drive.waits.entries)
        if not self.drive.suspends or patience is None or in_flight > waits:
            self.idle_since = None
            return await self.ends.get()
        now = time.monotonic()
        self.idle_since = now if self.idle_since is None else self.idle_since
        try:
            async with asyncio.timeout(max(0.0, self.idle_since + patience - now)):
                return await self.ends.get()
        except TimeoutError:
            self.idle_since = None
            if await server_trouble() is not None:
                # it can't be suspended now: the time begins anew
                return None
        self.drive.suspended = True
        raise RunSuspended(run_id=self.drive.run_id)

    def percent(self) -> float:
        """How much of the plan has ended."""
        return 100.0 * (1 - self.schedule.unfinished / len(self.nodes))

    def _slots(self, in_flight: int) -> int:
        """How many more tasks may start now."""
        allowed = self.drive.config.execution.concurrency + len(self.drive.waits.entries)
        return max(0, min(allowed, MOST_THREADS) - in_flight)

    def _submit(self, name: str) -> None:
        """Hand a node to Prefect; finished upstream futures go along, only so that the UI draws the edges."""
        node = self.nodes[name]
        upstream = [allow_failure(self.futures[up]) for up in sorted(node.needs | node.after) if up in self.futures]
        if name in self.by_id:
            ready_workstreams(self.drive, self.by_id[name].workstream_id)
            queue_task(self.drive, name)
            label = self.by_id[name].description
            submit: Any = run_task.submit
        else:
            label = self.workstreams[name].name
            submit = settle_workstream.submit
        future: PrefectFuture[Any] = submit(
            self.drive.run_id, self.drive.epoch, name, label, return_state=False, wait_for=upstream
        )
        self.futures[name] = future
        future.add_done_callback(self._teller(name, asyncio.get_running_loop()))

    def _teller(self, name: str, loop: asyncio.AbstractEventLoop) -> Callable[[PrefectFuture[Any]], None]:
        def tell(_future: PrefectFuture[Any]) -> None:
            loop.call_soon_threadsafe(self.ends.put_nowait, name)

        return tell

    async def _ended(self, name: str) -> None:
        if name in self.by_id:
            well = end_task(self.drive, name, self.futures[name]) == TaskState.COMPLETED
        else:
            with self.drive.reading() as dao:
                state = dao.workstreams.get(name).state
            if state not in ENDED_WORKSTREAM:
                # Settling it has failed by an error of our own: that one ends the run.
                await asyncio.to_thread(self.futures[name].result)
            well = state in MET
        self._lose(self.schedule.ended(name, well=well), because=name)

    def _lose(self, lost: Sequence[str], *, because: str) -> None:
        lose_tasks(self.drive, [task_id for task_id in lost if task_id in self.by_id], because=because)
