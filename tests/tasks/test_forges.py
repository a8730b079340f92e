"""The three forges, asked by their real clients: the same questions and answers, one sentence for each trouble."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from forges import TOKEN, Answer, Forge, forge_server

from prefect_acms.blocks.publishing import ForgeKind
from prefect_acms.canonical.outside_errors import ForgeFailed
from prefect_acms.tasks.forge_addresses import ForgeAddress
from prefect_acms.tasks.forges import open_forge
from prefect_acms.tasks.forges import requests as contract
from prefect_acms.tasks.forges.pace import Pace

BRANCH = "acms/run_1"
NEW = contract.Draft(BRANCH, "main", "Fix 2 gaps", "body", is_draft=True)


class Waited(list[float]):
    """What a pace has waited, without waiting for it."""

    def __call__(self, seconds: float) -> None:
        """Remember it."""
        self.append(seconds)


@pytest.fixture(params=["github", "gitlab", "gitea"])
def server(request: pytest.FixtureRequest) -> Iterator[Forge]:
    """A forge of each kind."""
    with forge_server(request.param) as forge:
        yield forge


@pytest.fixture
def waited() -> Waited:
    """What was waited."""
    return Waited()


def client_of(
    server: Forge, waited: Waited, *, token: str = TOKEN, patience_sec: float = 100, timeout_sec: float = 5
) -> contract.Forge:
    """The client that we use for it."""
    address = ForgeAddress(ForgeKind(server.kind), server.url, server.project)
    return open_forge(address, token, Pace(patience_sec, waited), timeout_sec)


def test_one_is_opened_found_rewritten_and_labelled(server: Forge, waited: Waited) -> None:
    """What was opened is a draft, is listed as ours, and comes back by its number with what it was given since."""
    client = client_of(server, waited)
    assert client.requests("main") == []
    made = client.open(NEW)
    assert made is not None
    assert client.requests("main") == [made]
    assert (made.branch, made.base, made.state, made.body) == (BRANCH, "main", "open", "body")
    assert server.pulls[0]["draft"]
    assert server.pulls[0]["title"].endswith("Fix 2 gaps")
    client.rewrite(made.number, "another body")
    client.label(made.number, ("acms", "bot"))
    client.label(made.number, ("acms",))
    assert client.get(made.number).body == "another body"
    assert server.pulls[0]["labels"] == ["acms", "bot", "acms"]
    assert made.url.startswith(f"{server.url}/{server.project}/")
    assert len(waited) == 3 + (2 if server.kind == "gitea" else 0), "a pause before each write but the first"


def test_one_that_is_there_is_not_opened_again(server: Forge, waited: Waited) -> None:
    """The forge's refusal means that there is one, not that something went wrong."""
    server.pull(BRANCH)
    assert client_of(server, waited).open(NEW) is None
    assert len(server.pulls) == 1


def test_one_whose_branch_was_deleted_keeps_its_name(server: Forge, waited: Waited) -> None:
    """Else a closed one of ours would be taken for somebody else's, and opened a second time."""
    server.pull(BRANCH, state="closed", deleted=True)
    (found,) = client_of(server, waited).requests("main")
    assert (found.branch, found.state) == (BRANCH, "closed")
    assert client_of(server, waited).get(1).branch == BRANCH


def test_all_open_ones_are_listed_with_their_fate_and_none_of_a_fork(server: Forge, waited: Waited) -> None:
    """However many pages there are; another base's and a fork's are not ours."""
    for number in range(120):
        server.pull(f"acms/{number}")
    server.pull("acms/fork", fork=True)
    server.pull("acms/other", base="next")
    server.pull("acms/closed", state="closed")
    server.pull("acms/merged", state="merged")
    found = {one.branch: one.state for one in client_of(server, waited).requests("main")}
    assert found == {f"acms/{number}": "open" for number in range(120)} | {
        "acms/closed": "closed",
        "acms/merged": "merged",
    }


SLOW_DOWN = {
    "github": Answer(403, {"message": "You have exceeded a secondary rate limit."}, {"Retry-After": "7"}),
    "gitlab": Answer(429, {"message": "Retry later"}, {"Retry-After": "7"}),
    "gitea": Answer(429, {"message": "too many requests"}, {"Retry-After": "7"}),
}


def test_a_forge_that_says_to_slow_down_is_waited_for(server: Forge, waited: Waited) -> None:
    """As long as it says, and then the same is asked again; a longer wait than is allowed is one sentence."""
    path = "/merge_requests" if server.kind == "gitlab" else "/pulls"
    limit = SLOW_DOWN[server.kind]
    server.trouble("POST", path, limit, limit)
    assert client_of(server, waited).open(NEW) is not None
    assert waited == [7.0, 7.0]
    server.trouble("GET", path, limit)
    with pytest.raises(ForgeFailed, match=r"slow down for 7 s \(4\d\d\), longer than publish.patience_sec allows"):
        client_of(server, waited, patience_sec=6).requests("main")


def test_githubs_primary_limit_is_waited_for_until_its_reset(waited: Waited) -> None:
    """`X-RateLimit-Remaining: 0` with a reset in the past is over in a second."""
    with forge_server("github") as server:
        headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1000"}
        server.trouble("GET", "/pulls", Answer(403, {"message": "API rate limit exceeded for user."}, headers))
        assert client_of(server, waited).requests("main") == []
    assert waited == [1.0]


@pytest.mark.parametrize(
    ("answer", "sentence", "attempts"),
    [
        (Answer(401, {"message": "Bad credentials"}), "the token is not accepted (401)", 1),
        (Answer(403, {"message": "no scope"}), "the token may not do that (403): no scope", 1),
        (Answer(404, {"message": "Not Found"}), "there is no acme/shop, or the token may not see it (404)", 1),
        (Answer(422, {"message": "base is invalid"}), "it refuses (422): base is invalid", 1),
        (Answer(500, {"message": "oops"}), "it has trouble of its own (500), try again later", 3),
    ],
)
def test_each_trouble_is_one_sentence(
    server: Forge, waited: Waited, answer: Answer, sentence: str, attempts: int
) -> None:
    """What can pass by itself is tried three times, all else once."""
    path = "/merge_requests" if server.kind == "gitlab" else "/pulls"
    server.trouble("POST", path, *[answer] * 3)
    with pytest.raises(ForgeFailed) as caught:
        client_of(server, waited).open(NEW)
    assert str(caught.value) == f"{server.url}: {sentence}"
    assert len(server.wrote()) == attempts


def test_a_forge_that_does_not_answer_in_time_is_asked_again(server: Forge, waited: Waited) -> None:
    """A slow answer is none; the next one counts."""
    path = "/merge_requests" if server.kind == "gitlab" else "/pulls"
    server.trouble("GET", path, Answer(200, ["not", "waited", "for"], slow_sec=1.2))
    assert client_of(server, waited, timeout_sec=1).requests("main") == []
    assert waited == [1.0]


@pytest.mark.parametrize("kind", ["github", "gitlab", "gitea"])
def test_a_forge_that_is_not_there_is_given_up(waited: Waited, kind: str) -> None:
    """After three attempts."""
    with forge_server(kind) as server:
        client = client_of(server, waited)
    with pytest.raises(ForgeFailed, match=r"there is no answer: \[Errno 111\] Connection refused$"):
        client.requests("main")
    assert waited == [1.0, 4.0]


def test_a_wrong_token_is_told_and_not_shown(server: Forge, waited: Waited) -> None:
    """The server's own check: what we send is the token that it knows."""
    with pytest.raises(ForgeFailed, match="the token is not accepted") as caught:
        client_of(server, waited, token="wr0ng-t0ken").requests("main")  # noqa: S106
    assert "wr0ng" not in str(caught.value)


def test_github_that_sends_to_another_host_is_one_sentence(waited: Waited) -> None:
    """The client does not follow it there with the token, and neither do we."""
    with forge_server("github") as server:
        server.trouble(
            "GET", "/pulls", Answer(301, {}, {"Location": "https://elsewhere.example/repos/acme/shop/pulls"})
        )
        with pytest.raises(ForgeFailed, match=r"it refuses \(301\): .* redirected"):
            client_of(server, waited).requests("main")


def test_github_that_knows_no_drafts_gets_an_ordinary_one(waited: Waited) -> None:
    """Private repositories of free accounts refuse drafts."""
    with forge_server("github") as server:
        refusal = {"message": "Draft pull requests are not supported in this repository."}
        server.trouble("POST", "/pulls", Answer(422, refusal))
        assert client_of(server, waited).open(NEW) is not None
        assert [pull["draft"] for pull in server.pulls] == [False]
