"""GitLab, by python-gitlab."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any, TypeVar, cast

import requests
from gitlab import Gitlab
from gitlab.exceptions import GitlabError

from prefect_acms.tasks.forge_addresses import ForgeAddress
from prefect_acms.tasks.forges.pace import NO_ANSWER, Pace, Trouble, unanswered
from prefect_acms.tasks.forges.requests import LATEST, Draft, PullRequest, RequestState

T = TypeVar("T")

_STATES: dict[str, RequestState] = {"opened": "open", "locked": "open", "closed": "closed", "merged": "merged"}
_OUR_PACE: dict[str, Any] = {"obey_rate_limit": False, "retry_transient_errors": False}
"""We keep the pace ourselves, since the client's own patience has no bound in seconds."""


class GitLab:
    """One project on GitLab."""

    body_limit = 1_048_576

    def __init__(self, address: ForgeAddress, token: str, pace: Pace, timeout_sec: float) -> None:
        self._address, self._pace = address, pace
        session = requests.Session()
        # with an auth of its own, a session leaves ~/.netrc alone
        session.auth = _unchanged
        session.hooks["response"].append(self._remember)
        # as a bearer the token does not follow a redirect to another host
        client = Gitlab(address.url, oauth_token=token, timeout=timeout_sec, session=session, keep_base_url=True)
        self._headers: dict[str, str] = {}
        self._requests = client.projects.get(address.project, lazy=True).mergerequests

    def _remember(self, response: requests.Response, *_: Any, **__: Any) -> None:
        """Keep what the answer says of limits: the client's errors don't."""
        self._headers = dict(response.headers)

    def requests(self, base: str) -> list[PullRequest]:
        """All open ones into that branch, and the latest that were closed or merged; none from a fork."""
        asked: dict[str, Any] = {"target_branch": base, "per_page": LATEST, **_OUR_PACE}
        latest = {**asked, "order_by": "updated_at", "sort": "desc", "page": 1, "get_all": False}
        found = [*self._read(lambda: self._requests.list(state="opened", get_all=True, **asked))]
        for state in ("closed", "merged"):
            found += self._read(partial(self._requests.list, state=state, **latest))
        return [_told(one) for one in found if one.source_project_id == one.target_project_id]

    def get(self, number: int) -> PullRequest:
        """One, by its number."""
        return self._read(lambda: _told(self._requests.get(number, **_OUR_PACE)))

    def open(self, draft: Draft) -> PullRequest | None:
        """Open one; None where there is an open one for that branch already."""
        facts = {
            "source_branch": draft.branch,
            "target_branch": draft.base,
            "title": f"Draft: {draft.title}" if draft.is_draft else draft.title,
            "description": draft.body,
        }

        def ask() -> PullRequest | None:
            try:
                return _told(self._asked(lambda: self._requests.create(facts, **_OUR_PACE)))
            except Trouble as trouble:
                if trouble.status == HTTPStatus.CONFLICT:
                    return None
                raise

        return self._pace.write(self._address, ask)

    def rewrite(self, number: int, body: str) -> None:
        """Give one another body."""
        self._write(lambda: self._requests.update(number, {"description": body}, **_OUR_PACE))

    def label(self, number: int, labels: Sequence[str]) -> None:
        """Add labels, which are made if there are none of these names."""
        self._write(lambda: self._requests.update(number, {"add_labels": ",".join(labels)}, **_OUR_PACE))

    def _read(self, request: Callable[[], T]) -> T:
        return self._pace.read(self._address, lambda: self._asked(request))

    def _write(self, request: Callable[[], T]) -> T:
        return self._pace.write(self._address, lambda: self._asked(request))

    def _asked(self, request: Callable[[], T]) -> T:
        try:
            return request()
        except GitlabError as error:
            raise Trouble(error.response_code or NO_ANSWER, str(error.error_message), self._headers) from error
        except requests.RequestException as error:
            raise unanswered(error) from error


def _unchanged(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _told(found: Any) -> PullRequest:
    state = _STATES[cast("str", found.state)]
    branches = found.source_branch, found.target_branch
    return PullRequest(found.iid, found.web_url, *branches, state, found.description or "")
