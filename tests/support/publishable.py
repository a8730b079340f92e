"""Runs that can be published: made without Prefect, their patches on branches, and a bare remote to push to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from driven import Planned, a_gap, a_plan, a_task, repository_of, started_run
from forges import Forge
from operated import leave, merged, patched
from repositories import git

from prefect_acms.blocks.config import GateSettings
from prefect_acms.blocks.publishing import PublishSettings
from prefect_acms.canonical.run import RunTrigger
from prefect_acms.dao.store import Store
from prefect_acms.tasks.closing import put_away
from prefect_acms.tasks.driving import Drive
from prefect_acms.tasks.forges.pace import Pace
from prefect_acms.tasks.published import Published, published_of
from prefect_acms.tasks.publishing import Publication, publish

GATES = GateSettings(lint_enabled=False, security_enabled=False, unit=("sh", "-c", "! grep -rq BROKEN *.py"))
FILES = {"a.py": "A = 1\n", "b.py": "B = 1\n", "c.py": "C = 1\n"}


@dataclass
class Shop:
    """A repository with a bare remote `origin`, a forge for it, and runs in it."""

    folder: Path
    url: str
    forge: Forge
    waited: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Make both repositories."""
        self.top = repository_of(self.folder / "shop", FILES)
        self.remote = self.folder / "remote.git"
        git(self.folder, "clone", "-q", "--bare", str(self.top), str(self.remote))
        git(self.top, "remote", "add", "origin", f"file://{self.remote}")

    def run(self, *streams: tuple[str, Mapping[str, str]], **given: Any) -> Drive:
        """A run that has ended: each workstream `ws-NN` fixes the gap of that name in these files, and is merged.

        What several workstreams need of each other is what they do to the same files, in this order.
        """
        drive = started_run(self.top, self.url, **{"gates": GATES, **given})
        gaps = [a_gap(gap, *files) for gap, files in streams]
        keys = [f"ws-{number:02}" for number in range(1, len(gaps) + 1)]
        tasks = [a_task(f"{key}/one", [gap]) for key, gap in zip(keys, gaps, strict=True)]
        planned = Planned(drive, a_plan(drive, tasks, gaps))
        for key, (_, files) in zip(keys, streams, strict=True):
            patched(planned, f"{key}/one", dict(files))
            merged(planned, key)
        with drive.begin() as dao:
            dao.runs.change(drive.run_id, metadata={"branch": "main"})
            dao.runs.advance(drive.run_id, RunTrigger.ALL_WORKSTREAMS_COMPLETE)
        put_away(drive)
        return drive

    def ended(self, *streams: tuple[str, Mapping[str, str]], **given: Any) -> str:
        """The same, let go by its driver; the run's id."""
        drive = self.run(*streams, **given)
        leave(drive)
        return drive.run_id

    def settings(self, **given: Any) -> PublishSettings:
        """Where it is published."""
        there = {"forge": self.forge.kind, "forge_url": self.forge.url, "project": self.forge.project}
        return PublishSettings.model_validate({**there, **given})

    def publish(self, store: Store, run_id: str, **given: Any) -> Publication:
        """Publish a run; what would be waited is only kept."""
        return publish(store, run_id, self.settings(**given), pace=Pace(100, self.waited.append))

    def heads(self) -> dict[str, str]:
        """The branches of the remote."""
        lines = git(self.remote, "for-each-ref", "--format=%(refname:short) %(objectname)", "refs/heads").splitlines()
        return dict(line.split() for line in lines)

    def tip(self, branch: str) -> str:
        """Where a branch of the repository is."""
        return git(self.top, "rev-parse", branch).strip()

    def files(self, branch: str, names: Sequence[str] = tuple(FILES)) -> list[str]:
        """What these files hold on a branch of the remote."""
        return [git(self.remote, "show", f"{branch}:{name}").strip() for name in names]


def records(store: Store, run_id: str) -> tuple[Published, ...]:
    """What was published of a run, as it is stored."""
    with store.begin(read_only=True) as dao:
        return published_of(dao.runs.get(run_id))
