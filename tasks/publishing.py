"""Publishing: what a run has made is pushed, and one pull request is open for it, however often this is called.

The same thing is what fixes a gap in common: an open pull request of ours about one of the gaps is brought up to the
newer run, on its own branch, so that there is never a second one. Runs that share no gap have each their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from prefect_acms.blocks.config import PipelineConfig
from prefect_acms.blocks.publishing import ForgeKind, PublishPer, PublishSettings
from prefect_acms.canonical.errors import NotPublishable
from prefect_acms.canonical.machines import MACHINES
from prefect_acms.canonical.outside_errors import ForgeFailed
from prefect_acms.canonical.run import RunState
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.store import Store
from prefect_acms.tasks.driving import Drive, drive_run
from prefect_acms.tasks.ending import remove_worktrees
from prefect_acms.tasks.forge_addresses import ForgeAddress, address_of
from prefect_acms.tasks.forge_tokens import token_for
from prefect_acms.tasks.forges import open_forge
from prefect_acms.tasks.forges.pace import Pace
from prefect_acms.tasks.forges.requests import Draft, Forge, PullRequest, RequestState
from prefect_acms.tasks.publish_bodies import part_of, title_of
from prefect_acms.tasks.publish_branches import Branch, run_branch, workstream_branches
from prefect_acms.tasks.publish_marks import gaps_in, run_in, with_part, without_part
from prefect_acms.tasks.published import Published, PublishedState, earlier, published_of, remember
from prefect_acms.tasks.remotes import Remote, opened_remote, remote_url
from prefect_acms.tasks.reports.text import count
from prefect_acms.tasks.repository import Repository
from prefect_acms.tasks.summary import build_summary
from prefect_acms.tasks.summary_model import Summary
from prefect_acms.tasks.visiting import visited

OURS = "acms/"
"""What the name of every branch of ours begins with."""

_DONE = {PublishedState.OPEN, PublishedState.MERGED, PublishedState.SUPERSEDED}


class Publication(BaseModel):
    """What one call has published of a run, branch by branch."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    published: tuple[Published, ...]

    @property
    def exit_code(self) -> int:
        """0 when each branch has its pull request, has been merged, or was taken on by a later run; else 1."""
        return int(any(one.state not in _DONE for one in self.published))

    @property
    def sentence(self) -> str:
        """What was done, branch by branch."""
        return "; ".join(one.sentence for one in self.published) or "there is nothing to publish"


def publish(
    store: Store,
    run_id: str,
    settings: PublishSettings | None = None,
    *,
    epoch: int | None = None,
    pace: Pace | None = None,
) -> Publication:
    """Push what a run has made and open or bring up its pull request; safe to be done twice, or after it was cut off.

    Without settings those of the run hold. `epoch` is that of a driver that is not done with the run yet. Raises
    NotPublishable, InvalidValue, CredentialsMissing or ExtraMissing before anything is done, PushRefused or ForgeFailed
    when the remote or the forge does not do its part: what was done until then is recorded, and the next call goes on.
    """
    with store.begin(read_only=True) as dao:
        run = dao.runs.get(run_id)
    settings = settings or PipelineConfig.model_validate(run.config).publish
    _require_ended(run)
    repository = Repository.open(Path(run.repo_root))
    base_commit = run.base_commit or ""
    whole = run_branch(repository, run_id, base_commit)
    base = settings.base or run.info.get("branch")
    if base is None:
        raise NotPublishable(run_id=run_id, problem="it is not known which branch it started from, name it: --base")
    url = remote_url(repository, settings.remote)
    address = address_of(url, settings)
    token = token_for(address.url, settings.credentials)
    forge = open_forge(address, token.value, pace or Pace(settings.patience_sec), settings.timeout_sec)
    with opened_remote(repository, settings.remote, url, token, address.url) as remote:
        remote.look(base, f"{OURS}*")
        _require_base(run, remote, base)
        publisher = _Publisher(store, run, settings, address, base, forge, remote)
        publisher.survey()
        if settings.per is PublishPer.RUN:
            return publisher.carried_out([whole])
        judged = {known.head for known in published_of(run) if known.workstream}
        with _in_hand(store, run_id, epoch) as drive:
            branches = list(workstream_branches(drive, judged))
        return publisher.carried_out(branches)


def _require_ended(run: RunRow) -> None:
    if run.state not in MACHINES["run"].terminal:
        raise NotPublishable(run_id=run.id, problem=f"it is {run.state}, and has not ended")
    if run.state == RunState.QUARANTINED:
        raise NotPublishable(run_id=run.id, problem=f"it is quarantined: {run.quarantine_reason}")


def _require_base(run: RunRow, remote: Remote, base: str) -> None:
    """What the run started from is on the remote: else commits would be published that nobody has asked for."""
    if base not in remote.heads:
        raise NotPublishable(run_id=run.id, problem=f"remote {remote.name} has no branch {base}")
    if not remote.holds(str(run.base_commit), base):
        problem = (
            f"branch {base} of remote {remote.name} does not hold its base commit {run.base_commit}: push it first"
        )
        raise NotPublishable(run_id=run.id, problem=problem)


@contextmanager
def _in_hand(store: Store, run_id: str, epoch: int | None) -> Iterator[Drive]:
    """A drive to judge branches with: that of the driver who is about to let go, or one of our own."""
    if epoch is None:
        with visited(store, run_id) as drive:
            yield drive
        return
    drive = drive_run(run_id, epoch=epoch, database=store.url)
    try:
        yield drive
    finally:
        with suppress(Exception):
            remove_worktrees(drive, only_own=True)


@dataclass(slots=True)
class _Publisher:
    """One call of `publish`: what is known of the forge, and what is done branch by branch."""

    store: Store
    run: RunRow
    settings: PublishSettings
    address: ForgeAddress
    base: str
    forge: Forge
    remote: Remote
    known: tuple[PullRequest, ...] = ()
    """The pull requests of ours, open or not."""
    branches: tuple[Branch, ...] = ()
    """What is published together; a pull request can take one of them on, not several."""
    gaps: dict[int, frozenset[str]] = field(default_factory=dict)
    """The gaps that each of them is about, by its number."""

    def survey(self) -> None:
        """Learn which pull requests of ours there are and how they stand, and tell the runs that they came from."""
        recorded = list(earlier(self.store, self.address, self.base))
        listed = {one.number: one for one in self.forge.requests(self.base) if one.branch.startswith(OURS)}
        for _, known in recorded:
            if known.number is not None and known.number not in listed:
                self._add_unlisted(listed, known.number, known)
        self.gaps = {number: gaps_in(one.body) for number, one in listed.items()}
        for run_id, known in recorded:
            found = listed.get(known.number) if known.number is not None else None
            if found is None or known.state is PublishedState.SUPERSEDED:
                continue
            self.gaps[found.number] |= frozenset(known.gaps)
            state = PublishedState(found.state)
            is_held = known.state is PublishedState.HELD and state is PublishedState.OPEN
            if known.state is not state and not is_held:
                told = f"{known.branch}: {found.url} is {state}"
                remember(self.store, run_id, known.model_copy(update={"state": state, "sentence": told}))
        self.known = tuple(listed.values())

    def _add_unlisted(self, listed: dict[int, PullRequest], number: int, known: Published) -> None:
        """Look at one that is not among the latest: how it ended is asked once, and remembered from then on."""
        if known.state in {PublishedState.OPEN, PublishedState.HELD}:
            with suppress(ForgeFailed):
                listed[number] = self.forge.get(number)
        elif known.state in {PublishedState.CLOSED, PublishedState.MERGED}:
            state: RequestState = "closed" if known.state is PublishedState.CLOSED else "merged"
            listed[number] = PullRequest(number, known.url or "", known.branch, known.base, state, "")

    def carried_out(self, branches: Sequence[Branch]) -> Publication:
        """Publish each branch, and record how it went."""
        with self.store.begin(read_only=True) as dao:
            self.run = dao.runs.get(self.run.id)
        summary = build_summary(self.store, self.run.id, self.remote.repository)
        self.branches = tuple(branches)
        return Publication(run_id=self.run.id, published=tuple(self._published(one, summary) for one in branches))

    def _published(self, branch: Branch, summary: Summary) -> Published:
        if branch.head is None:
            return self._record(branch, PublishedState.HELD, told=f"{branch.key} is not published: {branch.problem}")
        mine = self._mine(branch)
        if self.remote.holds(branch.head, self.base):
            return self._record(branch, PublishedState.MERGED, mine, told=f"{self.base} has {branch.branch} already")
        request = self._same(branch)
        fate = self._ended(branch, mine) if request is None else self._kept_off(branch, request)
        return fate or self._offer(branch, request, summary)

    def _mine(self, branch: Branch) -> PullRequest | None:
        """The ended pull request of this very branch, or the one that had taken it on, by the record of that."""
        before = self._before(branch)
        number = before.number if before is not None and before.is_of(self.address, self.base) else None
        ended = (one for one in self.known if one.state != "open")
        return next((one for one in ended if one.branch == branch.branch or one.number == number), None)

    def _before(self, branch: Branch) -> Published | None:
        return next((one for one in published_of(self.run) if one.workstream == branch.key), None)

    def _kept_off(self, branch: Branch, request: PullRequest) -> Published | None:
        """Why an open pull request about the same is not brought up, if there is a reason."""
        if run_in(request.body) > self.run.id:
            told = f"{request.url} holds what a later run has made of the same"
            return self._record(branch, PublishedState.SUPERSEDED, request, told=told)
        if others := self._others_of(request, branch):
            named = ", ".join(others)
            told = f"{branch.key} is not published: {request.url} is about it and {named}, merge or close it"
            return self._record(branch, PublishedState.HELD, told=told)
        return None

    def _ended(self, branch: Branch, mine: PullRequest | None) -> Published | None:
        """How a pull request of this branch, or about all that is on it, has ended; None where a new one is due."""
        if mine is not None and self._is_settled(branch, mine):
            return self._record(branch, PublishedState(mine.state), mine, told=f"{mine.url} was {mine.state}")
        if refused := self._refused(branch):
            told = f"{refused.url} about the same was closed without having been merged, and is not opened again"
            return self._record(branch, PublishedState.CLOSED, refused, told=told)
        return None

    def _same(self, branch: Branch) -> PullRequest | None:
        """The open pull request about the same thing: that of this very branch, or the one with most gaps in common."""
        same = [one for one in self._open_ones() if one.branch == branch.branch or self._about(one) & branch.gaps]
        return max(
            same,
            key=lambda one: (one.branch == branch.branch, len(self._about(one) & branch.gaps), one.number),
            default=None,
        )

    def _others_of(self, request: PullRequest, branch: Branch) -> list[str]:
        """The branches beside this one that a pull request is about as well, so that none of them may have it alone."""
        if request.branch == branch.branch:
            return []
        return [str(one.key) for one in self.branches if one is not branch and self._about(request) & one.gaps]

    def _is_settled(self, branch: Branch, mine: PullRequest) -> bool:
        """Whether the fate of this very branch's pull request holds: closed for good, merged for what was in it."""
        before = [one for one in published_of(self.run) if one.workstream == branch.key]
        return mine.state == "closed" or not before or any(one.head == branch.head for one in before)

    def _refused(self, branch: Branch) -> PullRequest | None:
        """The closed pull request that was about all of it, or the last of several that were."""
        closed = self._closed_about(branch)
        covered = frozenset[str]().union(*map(self._about, closed))
        return closed[-1] if closed and branch.gaps <= covered else None

    def _offer(self, branch: Branch, request: PullRequest | None, summary: Summary) -> Published:
        """Push the branch, and open a pull request for it, or bring the one up that there is."""
        name = request.branch if request is not None else branch.branch
        tip = self.remote.heads.get(name)
        before = self._before(branch)
        if tip is not None and (foreign := self.remote.foreign(name, self.base, str(branch.head))):
            told = f"branch {name} has a commit that is not ours, {foreign}: it is left alone"
            labelled = before is not None and before.labelled
            return self._record(branch, PublishedState.HELD, request, labelled=labelled, told=told)
        there = replace(branch, branch=name)
        if tip != branch.head:
            self.remote.push(name, str(branch.head))
        if request is None:
            before = self._record(there, PublishedState.PUSHED, told=f"{name} is pushed, and has no pull request yet")
        opened = request or self._opened(there, summary)
        body = self._body(there, opened, summary)
        if body != opened.body.replace("\r\n", "\n"):
            self.forge.rewrite(opened.number, body)
        # labels go on once: what a person has taken off an open one stays off
        wants_labels = before is not None and not before.labelled and bool(self.settings.labels)
        told = f"{opened.url} is open" if request is None else f"{opened.url} is open and up to date"
        done = self._record(there, PublishedState.OPEN, opened, labelled=not wants_labels, told=told)
        if wants_labels:
            self.forge.label(opened.number, self.settings.labels)
            done = self._record(there, PublishedState.OPEN, opened, labelled=True, told=told)
        self._take_on(opened)
        return done

    def _opened(self, branch: Branch, summary: Summary) -> PullRequest:
        """A new pull request; or the one that there is, if another call was faster or was cut off after it."""
        title = title_of(self.store, branch, summary)
        body = self._body(branch, None, summary)
        new = Draft(branch.branch, self.base, title, body, is_draft=self.settings.draft)
        made = self.forge.open(new)
        if made is not None:
            return made
        for one in self.forge.requests(self.base):
            if one.branch == branch.branch and one.state == "open":
                return one
        problem = f"it says that there is a pull request for {branch.branch} already, and lists none"
        raise ForgeFailed(forge=self.address.url, problem=problem)

    def _body(self, branch: Branch, request: PullRequest | None, summary: Summary) -> str:
        body = request.body if request is not None else ""
        room = self.forge.body_limit - len(without_part(body))
        return with_part(body, part_of(self.store, branch, summary, list(self._notes(branch, request)), room))

    def _notes(self, branch: Branch, request: PullRequest | None) -> Iterator[str]:
        """What a reader should know of other pull requests of ours."""
        sign = "!" if self.address.kind is ForgeKind.GITLAB else "#"
        for one in self._open_ones():
            shared = len(self._about(one) & branch.gaps)
            if shared and one.branch != branch.branch:
                yield f"{sign}{one.number} is about {count(shared, 'gap')} of these too."
        for one in self._closed_about(branch):
            shared = len(self._about(one) & branch.gaps)
            yield f"{count(shared, 'gap')} of these: {sign}{one.number}, which was closed, was about the same."
        if request is not None and (gone := self._about(request) - branch.gaps):
            yield f"{count(len(gone), 'gap')} that an earlier run had fixed here: no part of this run's fixes."

    def _take_on(self, request: PullRequest) -> None:
        """Tell the runs that the pull request came from that it is about a later one's work now."""
        for run_id, known in list(earlier(self.store, self.address, self.base)):
            if run_id != self.run.id and known.number == request.number and known.state is PublishedState.OPEN:
                told = f"{request.url} holds what run {self.run.id} has made of the same"
                update = {"state": PublishedState.SUPERSEDED, "sentence": told}
                remember(self.store, run_id, known.model_copy(update=update))

    def _about(self, request: PullRequest) -> frozenset[str]:
        return self.gaps.get(request.number, frozenset())

    def _open_ones(self) -> list[PullRequest]:
        return [one for one in self.known if one.state == "open"]

    def _closed_about(self, branch: Branch) -> list[PullRequest]:
        closed = [one for one in self.known if one.state == "closed" and self._about(one) & branch.gaps]
        return sorted(closed, key=lambda one: one.number)

    def _record(
        self,
        branch: Branch,
        state: PublishedState,
        request: PullRequest | None = None,
        *,
        told: str,
        labelled: bool = False,
    ) -> Published:
        published = Published(
            forge=self.address.kind.value,
            forge_url=self.address.url,
            repository=self.address.project,
            base=self.base,
            branch=branch.branch,
            workstream=branch.key,
            head=branch.head or "",
            number=request.number if request is not None else None,
            url=request.url if request is not None else None,
            state=state,
            gaps=tuple(sorted(branch.gaps)),
            labelled=labelled,
            sentence=told,
        )
        remember(self.store, self.run.id, published)
        return published
