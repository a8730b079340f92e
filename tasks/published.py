"""What was published of runs: a record for each branch, in the metadata of the run that it came from."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.store import Store
from prefect_acms.tasks.forge_addresses import ForgeAddress

KEY = "published"
"""Key in a run's metadata."""


class PublishedState(StrEnum):
    """How something that was published stands, when it was last looked at."""

    PUSHED = "pushed"
    """The branch is there, its pull request is not yet."""
    OPEN = "open"
    MERGED = "merged"
    CLOSED = "closed"
    """Closed by somebody without having been merged: it is not opened again."""
    SUPERSEDED = "superseded"
    """The pull request holds what a later run has made of the same."""
    HELD = "held"
    """It was not published, for the reason in `sentence`."""


class Published(BaseModel):
    """One branch of a run on a forge, with its pull or merge request."""

    model_config = ConfigDict(frozen=True)

    forge: str = Field(description="github, gitlab or gitea")
    forge_url: str
    repository: str = Field(description="owner/name on the forge")
    base: str = Field(description="branch that it is to be merged into")
    branch: str = Field(description="branch on the forge; of an earlier run, where its pull request was taken on")
    workstream: str | None = Field(default=None, description="key of the workstream; none: the whole run")
    head: str = Field(description="commit that was pushed")
    number: int | None = None
    url: str | None = None
    state: PublishedState
    gaps: tuple[str, ...] = Field(default=(), description="digests of the gaps that its commits fix")
    labelled: bool = False
    sentence: str = ""

    def is_of(self, address: ForgeAddress, base: str) -> bool:
        """Whether it is in that repository, for that branch."""
        return (self.forge_url, self.repository, self.base) == (address.url, address.project, base)

    def takes_place_of(self, other: Published) -> bool:
        """Whether both are about the same part of a run."""
        mine, its = ((one.forge_url, one.repository, one.base, one.workstream) for one in (self, other))
        return mine == its


def published_of(run: RunRow) -> tuple[Published, ...]:
    """What was published of a run, as it was when it was last looked at."""
    return tuple(Published.model_validate(record) for record in run.info.get(KEY, ()))


def remember(store: Store, run_id: str, published: Published) -> None:
    """Record what was published of a run in the place of what was there of the same part."""
    with store.begin() as dao:
        run = dao.runs.get(run_id)
        kept = [known for known in published_of(run) if not published.takes_place_of(known)]
        records = [record.model_dump(mode="json") for record in (*kept, published)]
        dao.runs.change(run_id, metadata={KEY: records})


def earlier(store: Store, address: ForgeAddress, base: str) -> Iterator[tuple[str, Published]]:
    """What was published of any run in that repository for that branch, with the run's id, the newest run first."""
    with store.begin(read_only=True) as dao:
        runs = dao.runs.holding(KEY)
    return ((run.id, known) for run in runs for known in published_of(run) if known.is_of(address, base))
