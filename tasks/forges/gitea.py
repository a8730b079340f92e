"""Gitea and Forgejo, by a small client of our own.

The Python clients that there are know neither a timeout nor what an answer says beside its status, so none of them can
be told to wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import httpx

from prefect_acms.tasks.forge_addresses import ForgeAddress
from prefect_acms.tasks.forges.pace import Pace, Trouble, unanswered
from prefect_acms.tasks.forges.requests import LATEST, Draft, PullRequest, RequestState

PAGE = 50
"""The most that Gitea gives at a time, unless its owner has allowed for more."""

MOST_PAGES = 100

_COLOUR = "#6c5ce7"


class Gitea:
    """One repository on Gitea or Forgejo."""

    body_limit = 65_535

    def __init__(self, address: ForgeAddress, token: str, pace: Pace, timeout_sec: float) -> None:
        self._address, self._pace = address, pace
        # it follows no redirect, which could carry the token away
        self._client = httpx.Client(
            base_url=f"{address.url}/api/v1/repos/{address.project}",
            headers={"Authorization": f"token {token}", "Accept": "application/json"},
            timeout=timeout_sec,
        )

    def requests(self, base: str) -> list[PullRequest]:
        """All open ones into that branch, and the latest that were closed or merged; none from a fork."""
        found = self._listed("/pulls", MOST_PAGES, state="open", sort="oldest")
        found += self._listed("/pulls", LATEST // PAGE, state="closed", sort="recentupdate")
        own = [one for one in found if one["head"].get("repo_id") == one["base"].get("repo_id")]
        # not every version of Gitea can be asked for one base only
        return [_told(one) for one in own if one["base"]["ref"] == base]

    def get(self, number: int) -> PullRequest:
        """One, by its number."""
        return _told(self._read(f"/pulls/{number}").json())

    def open(self, draft: Draft) -> PullRequest | None:
        """Open one; None where there is an open one for that branch already."""
        title = f"WIP: {draft.title}" if draft.is_draft else draft.title
        facts = {"head": draft.branch, "base": draft.base, "title": title, "body": draft.body}

        def ask() -> PullRequest | None:
            try:
                return _told(self._asked("POST", "/pulls", json=facts).json())
            except Trouble as trouble:
                if trouble.status == HTTPStatus.CONFLICT:
                    return None
                raise

        return self._pace.write(self._address, ask)

    def rewrite(self, number: int, body: str) -> None:
        """Give one another body."""
        self._write("PATCH", f"/pulls/{number}", json={"body": body})

    def label(self, number: int, labels: Sequence[str]) -> None:
        """Add labels, which are made if there are none of these names."""
        known = {label["name"]: label["id"] for label in self._listed("/labels", MOST_PAGES)}
        for name in labels:
            if name not in known:
                made = self._write("POST", "/labels", json={"name": name, "color": _COLOUR})
                known[name] = made.json()["id"]
        self._write("POST", f"/issues/{number}/labels", json={"labels": [known[name] for name in labels]})

    def _listed(self, path: str, pages: int, **asked: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for page in range(1, pages + 1):
            answer = self._read(path, params={**asked, "page": page, "limit": PAGE})
            found += answer.json()
            if "next" not in answer.links:
                break
        return found

    def _read(self, path: str, **given: Any) -> httpx.Response:
        return self._pace.read(self._address, lambda: self._asked("GET", path, **given))

    def _write(self, method: str, path: str, **given: Any) -> httpx.Response:
        return self._pace.write(self._address, lambda: self._asked(method, path, **given))

    def _asked(self, method: str, path: str, **given: Any) -> httpx.Response:
        try:
            answer = self._client.request(method, path, **given)
        except httpx.HTTPError as error:
            raise unanswered(error) from error
        if not answer.is_success:
            raise Trouble(answer.status_code, _said(answer), answer.headers)
        return answer


def _said(answer: httpx.Response) -> str:
    try:
        return str(answer.json().get("message") or answer.reason_phrase)
    except (ValueError, AttributeError):
        return answer.reason_phrase


def _told(found: dict[str, Any]) -> PullRequest:
    state: RequestState = "merged" if found["merged"] else "closed" if found["state"] == "closed" else "open"
    head = found["head"]
    # once a branch is deleted, `ref` is refs/pull/N/head, and only the label still has its name
    branch = head.get("label") or head["ref"]
    return PullRequest(found["number"], found["html_url"], branch, found["base"]["ref"], state, found["body"] or "")
