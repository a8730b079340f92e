"""GitHub, and GitHub Enterprise, by PyGithub."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from http import HTTPStatus
from itertools import islice
from typing import TypeVar

import requests
from github import Auth, Github
from github.GithubException import GithubException
from github.PullRequest import PullRequest as Found

from prefect_acms.tasks.forge_addresses import ForgeAddress
from prefect_acms.tasks.forges.pace import Pace, Trouble, unanswered
from prefect_acms.tasks.forges.requests import LATEST, Draft, PullRequest, RequestState

T = TypeVar("T")

_NO_DRAFTS = "draft pull requests are not supported"
"""What it says of private repositories of accounts that don't pay; then it is opened as an ordinary one."""


class GitHub:
    """One repository on GitHub."""

    body_limit = 65_536

    def __init__(self, address: ForgeAddress, token: str, pace: Pace, timeout_sec: float) -> None:
        self._address, self._pace = address, pace
        api = "https://api.github.com" if address.url == "https://github.com" else f"{address.url}/api/v3"
        # We keep the pace ourselves, since the client's own has no end to its patience.
        client = Github(
            base_url=api,
            auth=Auth.Token(token),
            timeout=max(1, round(timeout_sec)),
            per_page=LATEST,
            retry=None,
            seconds_between_requests=None,
            seconds_between_writes=None,
            lazy=True,
        )
        self._repository = client.get_repo(address.project)

    def requests(self, base: str) -> list[PullRequest]:
        """All open ones into that branch, and the latest that were closed or merged; none from a fork."""
        listing = self._repository.get_pulls
        open_ones = self._read(lambda: list(listing(state="open", base=base, sort="created", direction="asc")))
        latest = listing(state="closed", base=base, sort="updated", direction="desc")
        closed = self._read(lambda: list(islice(latest, LATEST)))
        return [_told(found) for found in (*open_ones, *closed) if _is_own(found)]

    def get(self, number: int) -> PullRequest:
        """One, by its number."""
        # a lazy one is asked for only when something of it is read
        return self._read(lambda: _told(self._repository.get_pull(number)))

    def open(self, draft: Draft) -> PullRequest | None:
        """Open one; None where there is an open one for that branch already."""
        create = partial(
            self._repository.create_pull, base=draft.base, head=draft.branch, title=draft.title, body=draft.body
        )

        def ask() -> PullRequest | None:
            try:
                return _told(_asked(lambda: create(draft=draft.is_draft)))
            except Trouble as trouble:
                if trouble.status != HTTPStatus.UNPROCESSABLE_ENTITY:
                    raise
                if _NO_DRAFTS in trouble.said.lower():
                    return _told(_asked(create))
                if "already exists" in trouble.said:
                    return None
                raise

        return self._pace.write(self._address, ask)

    def rewrite(self, number: int, body: str) -> None:
        """Give one another body."""
        self._write(lambda: self._repository.get_pull(number).edit(body=body))

    def label(self, number: int, labels: Sequence[str]) -> None:
        """Add labels, which are made if there are none of these names."""
        self._write(lambda: self._repository.get_pull(number).add_to_labels(*labels))

    def _read(self, request: Callable[[], T]) -> T:
        return self._pace.read(self._address, lambda: _asked(request))

    def _write(self, request: Callable[[], T]) -> T:
        return self._pace.write(self._address, lambda: _asked(request))


def _asked(request: Callable[[], T]) -> T:
    try:
        return request()
    except GithubException as error:
        raise Trouble(error.status, _said(error), error.headers) from error
    except requests.RequestException as error:
        raise unanswered(error) from error
    except RuntimeError as error:
        # how the client tells that it was sent to another host, where the token does not go
        raise Trouble(HTTPStatus.MOVED_PERMANENTLY, str(error)) from error


def _said(error: GithubException) -> str:
    """The message, and what it says of single fields."""
    data = error.data if isinstance(error.data, dict) else {}
    details = [entry.get("message", "") if isinstance(entry, dict) else str(entry) for entry in data.get("errors", ())]
    return "; ".join(filter(None, [data.get("message") or error.message or "it gave no reason", *details]))


def _is_own(found: Found) -> bool:
    """Whether its branch is of the repository itself; that of a fork is nobody's that we know."""
    return found.head.repo is not None and found.head.repo.id == found.base.repo.id


def _told(found: Found) -> PullRequest:
    state: RequestState = "merged" if found.merged_at is not None else "closed" if found.state == "closed" else "open"
    return PullRequest(found.number, found.html_url, found.head.ref, found.base.ref, state, found.body or "")
