"""GitHub issues as a channel: one issue for each thing that is told, found again by a marker."""

from __future__ import annotations

import asyncio
import os
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import quote

from prefect.blocks.abstract import NotificationBlock
from pydantic import ConfigDict, Field, HttpUrl, SecretStr

from prefect_acms.blocks.appearance import DOCUMENTATION, WEBHOOK_LOGO
from prefect_acms.blocks.secrets import learn_secrets
from prefect_acms.canonical.outside_errors import ChannelFailed

if TYPE_CHECKING:
    from github.Issue import Issue
    from github.Repository import Repository

TOKENS = ("GITHUB_TOKEN", "GH_TOKEN")
"""Environment variables that hold the token, where the block has none."""


class GitHubIssues(NotificationBlock):
    """Issues in a GitHub repository: one for each run that has something to tell; what follows are comments.

    Example:
        ```python
        from prefect_acms.blocks import GitHubIssues

        issues = GitHubIssues.load("BLOCK_NAME")
        config = PipelineConfig(repository=path, notifications={"channels": ["acms-github-issues/BLOCK_NAME"]})
        ```
    """

    _block_type_name: ClassVar[str | None] = "ACMS GitHub Issues"
    _block_type_slug: ClassVar[str | None] = "acms-github-issues"
    _logo_url: ClassVar[HttpUrl | None] = WEBHOOK_LOGO
    _documentation_url: ClassVar[HttpUrl | None] = DOCUMENTATION

    model_config = ConfigDict(hide_input_in_errors=True)

    repository: str = Field(pattern=r"^[\w.-]+/[\w.-]+$", description="Repository on GitHub, as owner/name.")
    token: SecretStr | None = Field(
        default=None,
        description="Token that may write issues; none: the environment's GITHUB_TOKEN or GH_TOKEN, "
        "where the run takes place.",
    )
    labels: list[str] = Field(
        default=["acms"], min_length=1, description="Labels of the issues; the first also finds them again."
    )
    api_url: str = Field(
        default="https://api.github.com",
        pattern=r"^(https://|http://(127\.0\.0\.1|localhost)(:\d+)?(/|$))",
        description="Address of the API, https, as a token goes there; on GitHub Enterprise https://HOST/api/v3.",
    )
    timeout_sec: int = Field(default=10, ge=1, description="Seconds that GitHub has to answer.")

    def block_initialization(self) -> None:
        """Know the secret before anything can be written."""
        learn_secrets(self)

    async def notify(self, body: str, subject: str | None = None) -> None:
        """Open the issue of that subject, or comment on it."""
        title = subject or "acms"
        await asyncio.to_thread(self.tell, title, title, body)

    def tell(self, key: str, title: str, body: str, *, opens: bool = True, since: datetime | None = None) -> str | None:
        """Open the issue of that key, or comment on it if there is one, closed or not; gives its address.

        None when there is none and none is to be opened. Only issues that were changed `since` are looked at, if given.
        Raises ChannelFailed.
        """
        repository = self._repository()
        from github import GithubException  # noqa: PLC0415 - an optional dependency
        from requests import RequestException  # noqa: PLC0415 - comes with it

        marker = f"<!-- acms: {quote(key)} -->"
        try:
            issue = self._issue(repository, marker, since)
            if issue is not None:
                issue.create_comment(f"**{title}**\n\n{body}")
            elif opens:
                issue = repository.create_issue(title=title, body=f"{body}\n\n{marker}", labels=self.labels)
        except GithubException as problem:
            said = problem.data.get("message") if isinstance(problem.data, dict) else problem.message
            raise ChannelFailed(channel=self.repository, problem=f"GitHub answers {problem.status}: {said}") from None
        except RequestException as problem:
            # what requests says of it holds the address, its parameters and its own object
            said = f"{self.api_url} can't be reached ({type(problem).__name__})"
            raise ChannelFailed(channel=self.repository, problem=said) from None
        return issue.html_url if issue is not None else None

    def _issue(self, repository: Repository, marker: str, since: datetime | None) -> Issue | None:
        """The issue with that marker: by the list, which knows it at once; the search learns of it minutes later."""
        from github.GithubObject import NotSet  # noqa: PLC0415 - an optional dependency

        changed = NotSet if since is None else since
        issues = repository.get_issues(state="all", labels=self.labels[:1], since=changed)
        return next((issue for issue in issues if marker in (issue.body or "")), None)

    def _repository(self) -> Repository:
        try:
            from github import Auth, Github  # noqa: PLC0415 - an optional dependency
        except ImportError:
            problem = "PyGithub is not installed (pip install 'prefect-acms[publish]')"
            raise ChannelFailed(channel=self.repository, problem=problem) from None
        found = [self.token.get_secret_value()] if self.token else [os.environ.get(name) for name in TOKENS]
        token = next((value for value in found if value), None)
        if token is None:
            problem = f"the block has no token, and {' and '.join(TOKENS)} are not set"
            raise ChannelFailed(channel=self.repository, problem=problem)
        # Who calls repeats what failed: PyGithub's own retries would wait for minutes.
        client = Github(
            auth=Auth.Token(token),
            base_url=self.api_url.rstrip("/"),
            timeout=self.timeout_sec,
            retry=None,
            seconds_between_requests=0,
            seconds_between_writes=0,
            lazy=True,
        )
        return client.get_repo(self.repository)
