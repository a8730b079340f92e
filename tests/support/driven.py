"""A run in the hands of a test, without Prefect: its rows, its repository, and a plan of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from repositories import git

from prefect_acms.blocks.config import PipelineConfig
from prefect_acms.blocks.tool_spec import TaskKind
from prefect_acms.canonical.gap import GapTrigger
from prefect_acms.canonical.run import RunTrigger
from prefect_acms.canonical.task import TaskTrigger
from prefect_acms.dao.store import open_store
from prefect_acms.dao.tasks import TaskRow
from prefect_acms.dao.workstreams import WorkstreamRow
from prefect_acms.tasks.driving import Drive, drive_run
from prefect_acms.tasks.gap_rows import store_gap
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.plan_rows import store_tasks, store_workstreams
from prefect_acms.tasks.plans import Effort, Plan, PlannedTask, Workstream
from prefect_acms.tasks.pool import open_pool, ready_workstreams


def repository_of(folder: Path, files: Mapping[str, str]) -> Path:
    """A repository with these files in one commit."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "first")
    return folder


def started_run(repository: Path, url: str, *, flow_run_id: str | None = None, **settings: Any) -> Drive:
    """The drive of a new run that is running; further keywords are sections of its configuration."""
    config = PipelineConfig(repository=repository, database_url=url, **settings)
    with open_store(url).begin() as dao:
        run = dao.runs.create(
            repo_root=str(repository),
            base_commit=git(repository, "rev-parse", "HEAD").strip(),
            config=config.model_dump(mode="json"),
            prefect_flow_run_id=flow_run_id,
        )
    drive = drive_run(run.id, database=url)
    with drive.begin() as dao:
        dao.runs.advance(run.id, RunTrigger.RUN_STARTED)
    drive.folder.mkdir(parents=True)
    return drive


def a_gap(name: str, *files: str, **facts: Any) -> Gap:
    """A gap of that name in those files."""
    given = {"source": "report", "rule_id": "R1", "title": name, "category": "style"}
    return Gap.model_validate({**given, "fingerprint": name, "file_paths": files, **facts})


def a_task(key: str, gaps: Sequence[Gap], *needs: str, kind: TaskKind = TaskKind.ANALYSIS, **facts: Any) -> PlannedTask:
    """A task `workstream/name` about these gaps that needs others."""
    files = tuple(sorted({path for gap in gaps for path in gap.file_paths}))
    given = {"description": key, "pattern_id": "inspection", "file_scope": files, "depends_on": needs, "kind": kind}
    fingerprints = tuple(gap.fingerprint for gap in gaps)
    return PlannedTask(key=key, workstream=key.partition("/")[0], gaps=fingerprints, **{**given, **facts})


def a_plan(drive: Drive, tasks: Sequence[PlannedTask], gaps: Sequence[Gap], **depends_on: Sequence[str]) -> Plan:
    """The plan of these tasks; `depends_on` says which workstream waits for which (`-` written as `_`)."""
    by_name = {gap.fingerprint: gap for gap in gaps}
    members: dict[str, dict[str, Gap]] = {}
    for task in tasks:
        members.setdefault(task.workstream, {}).update({name: by_name[name] for name in task.gaps})
    return Plan(
        repository=drive.repository.top.name,
        base_commit=drive.base_commit,
        gaps=tuple(gaps),
        workstreams=tuple(
            Workstream(
                key=key,
                name=key,
                category="style",
                priority_score=5,
                effort=Effort.LOW,
                file_scope=tuple(sorted({path for gap in own.values() for path in gap.file_paths})),
                gaps=tuple(own),
                depends_on=tuple(depends_on.get(key.replace("-", "_"), ())),
            )
            for key, own in members.items()
        ),
        tasks=tuple(tasks),
    )


class Planned:
    """A stored plan: its rows by key."""

    def __init__(self, drive: Drive, plan: Plan) -> None:
        self.drive, self.plan = drive, plan
        with drive.begin() as dao:
            rows = store_workstreams(dao, drive, plan.workstreams)
            gaps = {gap.fingerprint: store_gap(dao, drive.run_id, gap) for gap in plan.gaps}
            for workstream in plan.workstreams:
                ids = [gaps[name].id for name in workstream.gaps]
                dao.gaps.advance_many(ids, GapTrigger.CLUSTERED, workstream_id=rows[workstream.key].id)
                dao.gaps.advance_many(ids, GapTrigger.PLAN_COMPILED)
            tasks = store_tasks(dao, drive, plan, {key: row.id for key, row in rows.items()})
        self._workstreams = {key: row.id for key, row in rows.items()}
        self._tasks = {key: row.id for key, row in tasks.items()}
        open_pool(drive)

    def task(self, key: str) -> TaskRow:
        """A task as it is now."""
        with self.drive.reading() as dao:
            return dao.tasks.get(self._tasks[key])

    def workstream(self, key: str) -> WorkstreamRow:
        """A workstream as it is now."""
        with self.drive.reading() as dao:
            return dao.workstreams.get(self._workstreams[key])

    def queued(self, key: str) -> TaskRow:
        """The task, after it was assigned."""
        task = self.task(key)
        ready_workstreams(self.drive, task.workstream_id)
        with self.drive.begin() as dao:
            dao.tasks.advance(task.id, TaskTrigger.SCHEDULER_ASSIGNED)
        return self.task(key)

    def running(self, key: str) -> TaskRow:
        """The task, after a worker has claimed it."""
        task = self.queued(key)
        with self.drive.begin() as dao:
            dao.tasks.claim(task.id, run_id=self.drive.run_id)
        return self.task(key)
