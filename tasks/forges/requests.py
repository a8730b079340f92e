"""Pull and merge requests as we see them, whatever the forge calls them, and what a forge has to offer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

RequestState = Literal["open", "closed", "merged"]

LATEST = 100
"""How many of the closed ones are looked at, those that changed last first."""


@dataclass(frozen=True, slots=True)
class PullRequest:
    """A pull or merge request of the repository's own branches; `closed` is closed without having been merged."""

    number: int
    url: str
    branch: str
    base: str
    state: RequestState
    body: str


@dataclass(frozen=True, slots=True)
class Draft:
    """What a new one is opened with."""

    branch: str
    base: str
    title: str
    body: str
    is_draft: bool


class Forge(Protocol):
    """One repository on a forge; every method raises ForgeFailed with one sentence."""

    body_limit: int
    """Characters that a body may have."""

    def requests(self, base: str) -> list[PullRequest]:
        """All open ones into that branch, and the latest that were closed or merged; none from a fork."""
        ...

    def get(self, number: int) -> PullRequest:
        """One, by its number."""
        ...

    def open(self, draft: Draft) -> PullRequest | None:
        """Open one; None where there is an open one for that branch already."""
        ...

    def rewrite(self, number: int, body: str) -> None:
        """Give one another body."""
        ...

    def label(self, number: int, labels: Sequence[str]) -> None:
        """Add labels, which are made if there are none of these names."""
        ...
