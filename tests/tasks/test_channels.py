"""Channels by their real blocks and real clients, against services on this machine that speak the documented shapes."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from prefect.blocks.notifications import (
    CustomWebhookNotificationBlock,
    MattermostWebhook,
    MicrosoftTeamsWebhook,
    SlackWebhook,
)
from pydantic import SecretStr, ValidationError
from services import GitHub, MailServer, Service, mail_server

from prefect_acms.blocks.email import Email, MailSecurity
from prefect_acms.blocks.github_issues import TOKENS, GitHubIssues
from prefect_acms.blocks.notifications import NotificationLevel, NotificationSettings
from prefect_acms.blocks.notifier import Notifier
from prefect_acms.blocks.workspace import Workspace
from prefect_acms.canonical.errors import NotFound
from prefect_acms.canonical.outside_errors import ChannelFailed
from prefect_acms.dao.redaction import redact
from prefect_acms.tasks.channels import Channel, open_channels, send
from prefect_acms.tasks.messages import Message

SETTINGS = NotificationSettings()
BODY = "- warning: patch p1 (a.py) was quarantined: a < b & c\n  look: `acms show run_1`\n\nMore: `acms show run_1`"
WARNING = Message("run_1", NotificationLevel.WARNING, "acms: shop: a patch was quarantined", BODY)
INFO = WARNING._replace(level=NotificationLevel.INFO, subject="acms: shop: succeeded")


@pytest.fixture
def service() -> Iterator[Service]:
    """A webhook."""
    with Service() as running:
        yield running


@pytest.fixture
def github(monkeypatch: pytest.MonkeyPatch) -> Iterator[GitHub]:
    """GitHub."""
    for name in TOKENS:
        monkeypatch.delenv(name, raising=False)
    with GitHub() as running:
        yield running


@pytest.fixture(scope="module")
def mails() -> Iterator[MailServer]:
    """A mail server."""
    with mail_server() as running:
        yield running


def of(block: Any) -> Channel:
    return Channel("kind/name", SETTINGS, block)


def issues_of(github: GitHub, **facts: Any) -> Channel:
    given = {"repository": "example/shop", "token": github.TOKEN, "api_url": github.url}
    return of(GitHubIssues.model_validate({**given, **facts}))


def redirected(block: Any, service: Service) -> Any:
    """A block of Slack or Teams whose client, otherwise as it is, speaks to our service."""
    plugin = block._apprise_client.servers[0]
    plugin.webhook_url = f"{service.url}/services"
    return block


def test_slack_is_sent_text_that_reads_well(service: Service) -> None:
    """The lines, the code and the subject arrive as Slack's own markup; `<` and `&` steer nothing."""
    slack = SlackWebhook(url=SecretStr("https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"))
    send(of(redirected(slack, service)), WARNING)
    (request,) = service.requests
    assert request.path == "/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"
    (attachment,) = request.json["attachments"]
    assert attachment["title"] == WARNING.subject
    assert "a.py) was quarantined: a &lt; b &amp; c\n" in attachment["text"]
    assert "`acms show run_1`" in attachment["text"]


def test_mattermost_is_sent_through_its_block(service: Service) -> None:
    """Another of apprise's services, over plain http on this machine."""
    host, _, port = service.url.removeprefix("http://").partition(":")
    block = MattermostWebhook(hostname=host, token=SecretStr("tokenOfTheTests1"), port=int(port), secure=False)
    send(of(block), WARNING)
    assert service.requests[0].path == "/hooks/tokenOfTheTests1"
    assert "`acms show run_1`" in service.requests[0].json["text"]


def test_teams_is_sent_a_card(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Power Automate gets an adaptive card with the lines as text; only its https is plain here."""
    url = "https://prod-1.westeurope.logic.azure.com:443/workflows/643e69f83c8944/triggers/manual/paths/invoke"
    teams = MicrosoftTeamsWebhook(url=SecretStr(f"{url}?api-version=2016-06-01&sp=%2Ftriggers&sv=1.0&sig=KODuebWbDG"))
    import requests  # noqa: PLC0415 - apprise's way out

    post = requests.post

    def plainly(address: str, **how: Any) -> requests.Response:
        return post(re.sub(r"^https://prod-1.westeurope.logic.azure.com(:443)?", service.url, address), **how)

    monkeypatch.setattr(requests, "post", plainly)
    send(of(teams), WARNING)
    (card,) = service.requests[0].json["attachments"]
    texts = [part.get("text", "") for part in card["content"]["body"]]
    assert any("was quarantined" in text for text in texts), texts


def test_mail_is_plain_text_and_the_password_opens_the_door(mails: MailServer) -> None:
    """One mail a recipient, line by line as it was written, though apprise would send HTML."""
    block = Email(
        server="127.0.0.1",
        port=mails.port,
        security=MailSecurity.INSECURE,
        username="acms",
        password=SecretStr(mails.PASSWORD),
        sender="acms@example.com",
        recipients=["mia@example.com"],
    )
    send(of(block), WARNING)
    (mail,) = mails.mails
    assert mail.get_content_type() == "text/plain"
    assert mail.get_content().splitlines() == BODY.splitlines()
    assert (mail["Subject"], mail["From"], mail["To"]) == (WARNING.subject, "acms@example.com", "mia@example.com")
    assert mails.logins == [("acms", mails.PASSWORD)]
    assert mails.PASSWORD not in redact(f"the password is {mails.PASSWORD}")


def test_one_issue_a_run_however_often_it_is_told(github: GitHub) -> None:
    """The first opens it, what follows comments on it, though it was closed; another run has another issue."""
    issues = issues_of(github)
    send(issues, WARNING)
    github.issues[0]["state"] = "closed"
    send(issues, INFO)
    send(issues, WARNING._replace(run_id="run_2"))
    assert [issue["title"] for issue in github.issues] == [WARNING.subject] * 2
    assert github.issues[0]["body"] == f"{BODY}\n\n<!-- acms: run_1 -->"
    assert github.comments[1] == [f"**{INFO.subject}**\n\n{BODY}"]
    assert not github.comments[2]


def test_an_info_opens_no_issue(github: GitHub) -> None:
    """A run that went well leaves nothing to do."""
    send(issues_of(github), INFO)
    assert not github.issues


def test_the_token_comes_from_the_block_or_the_environment(github: GitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without either it is said which variables are looked at, and nothing is asked of GitHub."""
    issues = issues_of(github, token=None)
    with pytest.raises(ChannelFailed, match="GITHUB_TOKEN and GH_TOKEN are not set"):
        send(issues, WARNING)
    assert not github.requests
    monkeypatch.setenv("GITHUB_TOKEN", github.TOKEN)
    send(issues, WARNING)
    assert len(github.issues) == 1


@pytest.mark.parametrize("status", [401, 403, 410, 422, 500])
def test_what_github_refuses_is_told_in_its_words(github: GitHub, status: int) -> None:
    """And at once: who calls repeats it, not the client for minutes."""
    github.statuses = [status]
    with pytest.raises(ChannelFailed, match=f"GitHub answers {status}: told to say {status}"):
        send(issues_of(github), WARNING)
    assert len(github.requests) == 1


def test_a_token_goes_over_https_only() -> None:
    """But for this machine."""
    with pytest.raises(ValidationError, match="api_url"):
        GitHubIssues(repository="example/shop", api_url="http://github.example.com/api/v3")


def nobody_there() -> str:
    """The address of a port at which nobody listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{found.getsockname()[1]}"


def test_a_refused_connection_and_a_hanging_service_are_told_without_the_address(service: Service) -> None:
    """In bounded time; the address of a webhook is a secret by itself."""
    data = {"text": "{{body}}"}
    gone = CustomWebhookNotificationBlock(name="x", url=f"{nobody_there()}/secret-path", json_data=data)
    service.hangs = True
    hangs = CustomWebhookNotificationBlock(name="x", url=f"{service.url}/secret-path", json_data=data, timeout=0.3)
    refuses = CustomWebhookNotificationBlock(name="x", url=f"{service.url}/secret-path", json_data=data)
    for block in (gone, hangs):
        with pytest.raises(ChannelFailed) as failed:
            send(of(block), WARNING)
        assert "secret-path" not in str(failed.value)
    service.hangs = False
    service.statuses = [500]
    with pytest.raises(ChannelFailed, match="it answers 500") as failed:
        send(of(refuses), WARNING)
    assert "secret-path" not in str(failed.value)


def test_github_that_is_away_is_told_in_a_few_words() -> None:
    """Without the addresses and objects that its client puts into the message."""
    block = GitHubIssues(repository="example/shop", token=SecretStr("token-of-the-tests"), api_url=nobody_there())
    with pytest.raises(ChannelFailed, match="can't be reached") as failed:
        send(of(block), WARNING)
    assert "issues?" not in str(failed.value)


@pytest.mark.usefixtures("prefect_server")
def test_saved_blocks_are_opened_by_their_names(service: Service) -> None:
    """A notifier opens its channels with its own level; secrets of all of them are known from then on."""
    webhook = CustomWebhookNotificationBlock.model_validate(
        {
            "name": "team",
            "url": f"{service.url}/hook?key={{{{key}}}}",
            "json_data": {"text": "{{body}}"},
            "secrets": {"key": "the-key-of-the-webhook"},
        }
    )
    webhook.save("team", overwrite=True)
    critical = NotificationSettings(channels=("custom-webhook/team",), level=NotificationLevel.CRITICAL)
    Notifier(settings=critical).save("on-call", overwrite=True)
    (found,) = open_channels("acms-notifier/on-call", SETTINGS)
    assert (found.name, found.settings.level) == ("custom-webhook/team", NotificationLevel.CRITICAL)
    send(found, WARNING)
    assert service.requests[0].path == "/hook?key=the-key-of-the-webhook"
    assert redact("the-key-of-the-webhook") == "[redacted]"


@pytest.mark.usefixtures("prefect_server")
def test_a_channel_that_there_is_not_is_named() -> None:
    """A name that nobody has saved, and a block that tells nobody anything."""
    with pytest.raises(NotFound, match="there is no saved block 'slack-webhook/nobody'"):
        open_channels("slack-webhook/nobody", SETTINGS)
    with pytest.raises(NotFound, match="there is no saved block 'no-such-type/x'"):
        open_channels("no-such-type/x", SETTINGS)
    Workspace(repository="/nowhere").save("shop", overwrite=True)
    with pytest.raises(ChannelFailed, match="it is no block that notifies"):
        open_channels("acms-workspace/shop", SETTINGS)


def test_a_name_that_names_no_block_is_refused_before_a_run_begins() -> None:
    """In a sentence that says how it is written; a notifier within a notifier is refused too."""
    for name in ("team", "Slack/team", "slack-webhook/", "https://hooks.slack.com/services/T/B/x"):
        with pytest.raises(ValidationError, match="TYPE/NAME of saved blocks"):
            NotificationSettings(channels=(name,))
    with pytest.raises(ValidationError, match="is a notifier"):
        Notifier(settings=NotificationSettings(channels=("acms-notifier/other",)))
