"""Publishing: one pull request for the same thing, whatever happens on the way."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from forges import TOKEN, Answer, Forge, forge_server
from publishable import Shop, records
from repositories import git
from sqlalchemy import update

from prefect_acms.canonical.errors import InvalidValue, NotPublishable
from prefect_acms.canonical.outside_errors import ForgeFailed, GitFailed
from prefect_acms.dao.gaps import GapRow
from prefect_acms.dao.redaction import KNOWN
from prefect_acms.dao.store import Store
from prefect_acms.tasks.forge_addresses import RemoteUrl
from prefect_acms.tasks.forge_tokens import Token
from prefect_acms.tasks.publish_marks import without_part
from prefect_acms.tasks.remotes import opened_remote
from prefect_acms.tasks.repository import Repository

A = ("gap-a", {"a.py": "A = 2\n"})
B = ("gap-b", {"b.py": "B = 2\n"})
C = ("gap-c", {"c.py": "C = 2\n"})


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch, forge: Forge) -> None:
    """The token of the forge, in the environment."""
    monkeypatch.setenv("ACMS_FORGE_TOKEN", TOKEN)
    monkeypatch.setenv("ACMS_FORGE_URL", forge.url)


@pytest.fixture
def forge() -> Iterator[Forge]:
    """A GitHub."""
    with forge_server("github") as server:
        yield server


@pytest.fixture
def shop(tmp_path: Path, canonical_url: str, forge: Forge) -> Shop:
    """A repository with a remote."""
    return Shop(tmp_path, canonical_url, forge)


def test_a_run_is_published_once(shop: Shop, store: Store) -> None:
    """Its branch is pushed, a draft is opened, labelled and recorded; the second call changes nothing anywhere."""
    run_id = shop.ended(A, B)
    done = shop.publish(store, run_id)
    branch = f"acms/{run_id}"
    assert done.exit_code == 0
    assert shop.heads()[branch] == shop.tip(branch)
    (pull,) = shop.forge.pulls
    assert (pull["branch"], pull["base"], pull["draft"], pull["labels"]) == (branch, "main", True, ["acms"])
    assert pull["title"] == "Fix 2 gaps: R1"
    for told in (run_id, "acms evidence export", "gap-a", "a.py", "2 gaps fixed"):
        assert told in pull["body"]
    (record,) = records(store, run_id)
    assert (record.state, record.number, record.branch, record.head) == ("open", 1, branch, shop.tip(branch))
    assert record.url == f"{shop.forge.url}/acme/shop/pull/1"
    wrote = shop.forge.wrote()
    assert shop.publish(store, run_id).exit_code == 0
    assert shop.forge.wrote() == wrote


def test_what_was_pushed_and_not_opened_is_opened_the_next_time(
    shop: Shop, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what was opened and not labelled is labelled: nothing stays half done, nothing is done twice.

    A token that is not accepted is found out before anything is pushed.
    """
    run_id = shop.ended(A)
    with monkeypatch.context() as patch:
        patch.setenv("ACMS_FORGE_TOKEN", "wr0ng-t0ken")
        with pytest.raises(ForgeFailed, match="the token is not accepted"):
            shop.publish(store, run_id)
    assert set(shop.heads()) == {"main"}
    shop.forge.trouble("POST", "/pulls", *[Answer(500, {"message": "oops"})] * 3)
    with pytest.raises(ForgeFailed):
        shop.publish(store, run_id)
    assert [record.state for record in records(store, run_id)] == ["pushed"]
    assert f"acms/{run_id}" in shop.heads()
    shop.forge.trouble("POST", "/labels", Answer(422, {"message": "no"}))
    with pytest.raises(ForgeFailed):
        shop.publish(store, run_id)
    assert shop.publish(store, run_id).exit_code == 0
    assert [pull["labels"] for pull in shop.forge.pulls] == [["acms"]]
    assert shop.publish(store, shop.ended(B)).published[0].number == 2, "no gap in common: it is not the same thing"


def test_one_that_another_call_has_opened_meanwhile_is_taken(shop: Shop, store: Store) -> None:
    """The forge says that there is one: it is found and recorded."""
    run_id = shop.ended(A)
    shop.forge.trouble("GET", "/pulls", Answer(200, []), Answer(200, []))
    shop.forge.pull(f"acms/{run_id}", body="by hand")
    assert shop.publish(store, run_id).published[0].number == 1
    assert len(shop.forge.pulls) == 1
    assert shop.forge.pulls[0]["body"].startswith("by hand\n\n<!-- acms run=")


def test_a_later_run_about_the_same_brings_the_open_one_up(shop: Shop, store: Store) -> None:
    """On its branch, with what people have written; the earlier run is told, and can't push its own back."""
    first = shop.ended(A, B)
    shop.publish(store, first)
    shop.forge.pulls[0]["body"] = f"Please wait.\n\n{shop.forge.pulls[0]['body']}\n\n- [x] seen"
    shop.forge.pulls[0]["labels"] = []
    second = shop.ended(A, C)
    done = shop.publish(store, second)
    assert [one.number for one in done.published] == [1]
    assert len(shop.forge.pulls) == 1
    assert shop.heads() == {"main": shop.tip("main"), f"acms/{first}": shop.tip(f"acms/{second}")}
    body = shop.forge.pulls[0]["body"]
    assert body.startswith("Please wait.\n\n<!-- acms run=")
    assert body.endswith("- [x] seen")
    assert second in body
    assert first not in body
    assert "1 gap that an earlier run had fixed here" in body
    assert shop.forge.pulls[0]["labels"] == [], "what a person has taken off stays off"
    assert [record.state for record in records(store, first)] == ["superseded"]
    assert shop.publish(store, first).published[0].state == "superseded"
    assert shop.heads()[f"acms/{first}"] == shop.tip(f"acms/{second}")


def test_a_finding_that_is_called_like_our_mark_does_not_end_our_part(shop: Shop, store: Store) -> None:
    """Else what comes after it in the body would be taken for a person's words, and stay for ever."""
    run_id = shop.ended(A)
    with store.begin() as dao:
        dao.session.execute(update(GapRow).values(title="gap <!-- /acms --> and more"))
    shop.publish(store, run_id)
    body = shop.forge.pulls[0]["body"]
    assert "gap < !-- /acms --> and more" in body
    assert without_part(body) == ""


def test_a_closed_one_is_remembered_and_not_opened_again(shop: Shop, store: Store) -> None:
    """Neither for its run nor for a later one about the same; what is new comes with that said."""
    run_id = shop.ended(A)
    shop.publish(store, run_id)
    shop.forge.pulls[0]["state"] = "closed"
    assert shop.publish(store, run_id).published[0].state == "closed"
    again = shop.ended(A)
    done = shop.publish(store, again)
    assert (done.published[0].state, done.exit_code) == ("closed", 1)
    assert f"acms/{again}" not in shop.heads()
    assert [record.state for record in records(store, run_id)] == ["closed"]
    more = shop.publish(store, shop.ended(A, B)).published[0]
    assert (more.state, more.number) == ("open", 2)
    assert "1 gap of these: #1, which was closed" in shop.forge.pulls[1]["body"]


def test_a_closed_one_that_is_listed_no_more_is_remembered_by_its_number(shop: Shop, store: Store) -> None:
    """A hundred others were closed since; that it is closed is asked by its number, and then known."""
    run_id = shop.ended(A)
    shop.publish(store, run_id)
    shop.forge.pulls[0]["state"] = "closed"
    nothing = Answer(200, [])
    again = shop.ended(A)
    for _ in range(2):
        shop.forge.trouble("GET", "/pulls", nothing, nothing)
        assert shop.publish(store, again).published[0].state == "closed"
    assert len(shop.forge.pulls) == 1


def test_a_merged_one_is_recorded(shop: Shop, store: Store) -> None:
    """Squashed, so that the branch is not in the base: the forge's word counts; merged for real, git's."""
    run_id = shop.ended(A)
    shop.publish(store, run_id)
    shop.forge.pulls[0]["state"] = "merged"
    git(shop.remote, "update-ref", "-d", f"refs/heads/acms/{run_id}")
    assert shop.publish(store, run_id).published[0].state == "merged"
    other = shop.ended(B)
    git(shop.top, "push", "-q", "origin", f"acms/{other}:main")
    assert shop.publish(store, other).published[0].state == "merged"
    assert [(one.state, one.number) for one in (*records(store, run_id), *records(store, other))] == [
        ("merged", 1),
        ("merged", None),
    ]


@pytest.mark.parametrize("is_held", [False, True])
def test_one_that_was_taken_on_and_then_merged_is_not_opened_again(shop: Shop, store: Store, *, is_held: bool) -> None:
    """Squashed, from the branch of the earlier run, which is gone: the later run knows it by its number."""
    first, second = shop.ended(A), shop.ended(A, B)
    shop.publish(store, first)
    assert shop.publish(store, second).published[0].number == 1
    if is_held:
        committed = (
            "-c",
            "user.name=Jane",
            "-c",
            "user.email=j@x",
            "commit-tree",
            "-p",
            "main",
            "-m",
            "x",
            "main^{tree}",
        )
        theirs = git(shop.remote, *committed).strip()
        git(shop.remote, "update-ref", f"refs/heads/acms/{first}", theirs)
        assert shop.publish(store, second).published[0].state == "held"
    shop.forge.pulls[0]["state"] = "merged"
    git(shop.remote, "update-ref", "-d", f"refs/heads/acms/{first}")
    done = shop.publish(store, second).published[0]
    assert (done.state, done.number, len(shop.forge.pulls)) == ("merged", 1, 1)
    assert set(shop.heads()) == {"main"}


def test_a_branch_with_somebody_elses_commit_is_left_alone(shop: Shop, store: Store) -> None:
    """Whether it is a branch of ours that a person has worked on, or one that only has the name."""
    first = shop.ended(A)
    shop.publish(store, first)
    work = shop.folder / "work"
    git(shop.folder, "clone", "-q", str(shop.remote), str(work))
    git(work, "switch", "-q", f"acms/{first}")
    (work / "a.py").write_text("A = 3\n")
    # a tab and a line separator are no reason to stumble over a name
    git(work, "-c", "user.name=Jane\tO\u2028Neil", "-c", "user.email=j@x", "commit", "-qam", "Better")
    git(work, "push", "-q")
    theirs = shop.heads()[f"acms/{first}"]
    done = shop.publish(store, shop.ended(A, B))
    assert done.published[0].state == "held"
    assert "has a commit that is not ours" in done.sentence
    assert "by Jane" in done.sentence
    assert shop.heads()[f"acms/{first}"] == theirs
    assert len(shop.forge.pulls) == 1


def test_commits_that_are_not_on_the_remote_are_not_published(shop: Shop, store: Store) -> None:
    """The run started from a commit that its user has not pushed; nothing is pushed for them."""
    (shop.top / "a.py").write_text("A = 0\n")
    git(shop.top, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qam", "private")
    run_id = shop.ended(B)
    with pytest.raises(NotPublishable, match=r"does not hold its base commit .*: push it first"):
        shop.publish(store, run_id)
    assert set(shop.heads()) == {"main"}
    assert shop.forge.wrote() == []


def test_what_is_wrong_is_said_before_anything_is_asked(shop: Shop, store: Store) -> None:
    """An unknown remote, a base that is not there, a run without a branch."""
    run_id = shop.ended(A)
    with pytest.raises(InvalidValue, match=r"publish.remote is 'upstream': expected a remote of .*, which has origin"):
        shop.publish(store, run_id, remote="upstream")
    with pytest.raises(NotPublishable, match="remote origin has no branch next"):
        shop.publish(store, run_id, base="next")
    git(shop.top, "branch", "-D", f"acms/{run_id}")
    with pytest.raises(NotPublishable, match="nothing was kept, or it was deleted"):
        shop.publish(store, run_id)
    assert shop.forge.wrote() == []


def test_workstreams_are_published_alone_where_they_stand_alone(shop: Shop, store: Store) -> None:
    """Each on the base by itself, judged there; what needs another's work is held back, with the reason."""
    needs_a = ("gap-d", {"a.py": "A = 2\nD = 1\n"})
    run_id = shop.ended(A, B, needs_a)
    done = shop.publish(store, run_id, per="workstream")
    assert [(one.workstream, one.state) for one in done.published] == [
        ("ws-01", "open"),
        ("ws-02", "open"),
        ("ws-03", "held"),
    ]
    assert "ws-03 is not published: it needs what another workstream did to a.py" in done.sentence
    one, two = (f"acms/work/{run_id}/ws-0{number}" for number in (1, 2))
    assert shop.files(one) == ["A = 2", "B = 1", "C = 1"]
    assert shop.files(two) == ["A = 1", "B = 2", "C = 1"]
    assert [pull["title"] for pull in shop.forge.pulls] == ["Fix 1 gap in ws-01: R1", "Fix 1 gap in ws-02: R1"]
    assert "gap-b" not in shop.forge.pulls[0]["body"]
    trailers = git(shop.remote, "log", "-1", "--format=%(trailers:key=ACMS-Gap,valueonly)%ce", two).split()
    assert trailers == ["gap-b", "acms@localhost"]
    with store.begin(read_only=True) as dao:
        judged = len(dao.test_gates.of_run(run_id))
    wrote, heads = shop.forge.wrote(), shop.heads()
    shop.publish(store, run_id, per="workstream")
    assert (shop.forge.wrote(), shop.heads()) == (wrote, heads)
    with store.begin(read_only=True) as dao:
        assert len(dao.test_gates.of_run(run_id)) == judged, "the same commits are not judged twice"


def test_a_pull_request_of_the_whole_run_is_not_taken_on_by_one_of_its_workstreams(shop: Shop, store: Store) -> None:
    """It is about several of them: each would push the other's work out of it."""
    run_id = shop.ended(A, B)
    shop.publish(store, run_id)
    heads = shop.heads()
    done = shop.publish(store, run_id, per="workstream")
    assert [one.state for one in done.published] == ["held", "held"]
    assert f"ws-01 is not published: {shop.forge.url}/acme/shop/pull/1 is about it and ws-02" in done.sentence
    assert shop.heads() == heads
    shop.publish(store, run_id, per="workstream")
    assert [record.state for record in records(store, run_id)] == ["open", "held", "held"]


def test_a_workstream_that_breaks_the_base_when_it_is_alone_is_held_back(shop: Shop, store: Store) -> None:
    """It applies, but the gates object: another workstream's file is what made it good."""
    gates = {
        "gates": {
            "lint_enabled": False,
            "security_enabled": False,
            "unit": ("sh", "-c", "test ! -s c.py || ! grep -q NEW b.py"),
        }
    }
    run_id = shop.ended(("gap-c", {"c.py": ""}), ("gap-b", {"b.py": "NEW = 1\n"}), **gates)
    held = shop.publish(store, run_id, per="workstream").published[1]
    assert held.state == "held"
    assert "alone on the base commit it does not pass: UNIT" in held.sentence


def test_no_secret_leaves_and_nothing_of_the_token_stays(shop: Shop, store: Store) -> None:
    """Neither in a body, nor in the repository, nor in the database; a hostile configuration is not in force."""
    KNOWN.learn("hunter2-the-password")
    marker = shop.folder / "ran"
    for key in ("credential.helper", "core.sshCommand", "core.fsmonitor", "core.askPass"):
        git(shop.top, "config", key, f"!touch {marker}; false")
    hook = shop.top / ".git" / "hooks" / "pre-push"
    hook.write_text(f"#!/bin/sh\ntouch {marker}\n")
    hook.chmod(0o755)
    run_id = shop.ended(("hunter2-the-password", {"a.py": "A = 2\n"}))
    shop.publish(store, run_id)
    assert "hunter2" not in str(shop.forge.pulls)
    assert not marker.exists()
    found = subprocess.run(["grep", "-rlF", TOKEN, str(shop.folder)], capture_output=True, text=True, check=False)
    assert found.stdout == ""


def test_the_users_repository_is_not_written_to(shop: Shop, store: Store) -> None:
    """No ref, no FETCH_HEAD, no configuration: what publishing needs it has in a folder of its own."""
    run_id = shop.ended(A)
    before = _written(shop.top)
    shop.publish(store, run_id)
    assert _written(shop.top) == before
    assert {path.name for path in shop.top.iterdir()} == {".git", ".acms_runs", "a.py", "b.py", "c.py"}


def _written(top: Path) -> set[tuple[str, int]]:
    """The files of a repository's .git, objects excepted, and when they were written."""
    files = [path for path in (top / ".git").rglob("*") if path.is_file() and "objects" not in path.parts]
    return {(str(path), path.stat().st_mtime_ns) for path in files}


@pytest.mark.parametrize("is_there", [True, False])
def test_git_takes_the_token_along_to_its_own_forge_only(top: Path, forge: Forge, *, is_there: bool) -> None:
    """Over http it is what the server is asked with; a remote at another place is asked without."""
    with forge_server("github") as elsewhere:
        host = forge if is_there else elsewhere
        url = RemoteUrl.parse(f"{host.url}/acme/shop.git")
        token = Token("x-access-token", TOKEN)
        opened = opened_remote(Repository.open(top), "origin", url, token, forge.url)
        with pytest.raises(GitFailed) as caught, opened as remote:
            remote.look("main")
        (asked,) = host.asked
    pair = base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()
    assert asked.path == "/acme/shop.git/info/refs"
    assert asked.authorization == (f"Basic {pair}" if is_there else "")
    assert pair not in str(caught.value)
