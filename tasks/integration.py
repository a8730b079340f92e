"""Integration of what a tool has made: it goes in, or back to its tool with what was said, or to the next tool."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tenacity import Retrying

from prefect_acms.blocks.tool_spec import ToolSpec
from prefect_acms.canonical.errors import AcmsError, BudgetExceeded
from prefect_acms.canonical.events import Notice
from prefect_acms.canonical.patch import PatchState
from prefect_acms.dao.store import UnitOfWork
from prefect_acms.tasks.admission import Gatekeeper
from prefect_acms.tasks.anti_patterns import HALLUCINATED_SUCCESS, unfounded_claim
from prefect_acms.tasks.attempts import Finished
from prefect_acms.tasks.bench import Bench
from prefect_acms.tasks.captures import REDACTED, drop_entry, stored_capture
from prefect_acms.tasks.choices import next_tool
from prefect_acms.tasks.commits import commit_kept
from prefect_acms.tasks.driving import Drive
from prefect_acms.tasks.edits import edited
from prefect_acms.tasks.faults import stops_run
from prefect_acms.tasks.feedback import plain_said, said_of_entry
from prefect_acms.tasks.fix_loop import FIX_LOOP, FIX_LOOP_POLICY, Attempt, FixLoop, Move, Said, Step
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.preparation import baseline_of
from prefect_acms.tasks.processes import ProcessResult
from prefect_acms.tasks.quarantine import forget_tree
from prefect_acms.tasks.reports.text import count
from prefect_acms.tasks.retries import retrying
from prefect_acms.tasks.run_quarantine import condemn_run
from prefect_acms.tasks.tool_requests import FeedbackKind, ToolRequest
from prefect_acms.tasks.trials import Trials

_IN_PLACE = "The change of the last attempt is still in the files: mend it there."
_OF_APPLIED = frozenset({"gate", "tests", "proof"})
"""Who speaks of the patched files, so that the tool should see these."""


def request_of(
    bench: Bench, gaps: Sequence[Gap], loop: FixLoop | None = None, *, stricter: bool = False, in_place: bool = False
) -> ToolRequest:
    """What a tool is asked for on this bench; after the first attempt also what was said of those before."""
    return ToolRequest(
        task_id=bench.task.id,
        title=bench.task.description,
        instructions=_IN_PLACE if in_place else "",
        gaps=tuple(gaps),
        files=tuple(sorted({path for gap in gaps for path in gap.file_paths})),
        scope=tuple(bench.task.file_scope),
        feedback=loop.feedback if loop else (),
        stricter=stricter,
    )


def store_attempt(  # noqa: PLR0917  # all six are always needed
    dao: UnitOfWork, bench: Bench, loop: FixLoop, profile: ToolSpec, result: ProcessResult, diff: bytes
) -> FixLoop:
    """Store what a tool has made, before it is judged: whoever drives the run then goes on from there."""
    patch = stored_capture(dao, bench, diff)
    # a tool without a model deletes by its rule, where its pattern lets it, and the proof says what that is worth
    kept_files = bench.files if profile.ai else frozenset()
    made = Attempt(
        tool_id=profile.tool_id,
        patch_id=patch.id,
        sha256=patch.sha256 if diff else None,
        exit_code=result.exit_code,
        claim=unfounded_claim(profile.tool_id, result.exit_code, result.stdout, diff, kept_files),
    )
    return kept_loop(dao, bench, loop.with_attempt(made))


def failed_attempt(profile: ToolSpec, error: AcmsError) -> Attempt:
    """A run of a tool that did not come to its end."""
    return Attempt(tool_id=profile.tool_id, said=plain_said("refusal", str(error)))


def finished_of(rejected: Sequence[Mapping[str, Any]]) -> Finished:
    """The end of a task whose patch is on its branch, without these parts."""
    partial = f"{count(len(rejected), 'part')} had to be left out" if rejected else None
    return Finished(partial=partial, metadata={"rejected": list(rejected)})


@dataclass(slots=True)
class Integration:
    """Brings in what the tools of one task make; `loop` are their attempts, the last of which is to be judged."""

    bench: Bench
    before: Sequence[Gap]
    """What the sources of the gaps found before anything was changed."""
    loop: FixLoop
    rejected: list[dict[str, Any]]
    fresh: bytes | None = None
    """The diff of the last attempt as it was made, where it was made here: a stored one may lack its secrets."""

    @classmethod
    def of(cls, bench: Bench, before: Sequence[Gap], fresh: bytes | None = None) -> Integration:
        """The integration as the rows of the task say that it stands."""
        with bench.drive.reading() as dao:
            task = dao.tasks.get(bench.task.id)
        return cls(bench, before, FixLoop.of(task), list(task.info.get("rejected", ())), fresh)

    def finished(self) -> Finished:
        """How it came out, once an attempt has gone in or none is left; every step of it is stored."""
        while True:
            if self.loop.last.said is None:
                kept = self._judged()
                if kept is not None:
                    return kept
            problem = self._went_on()
            if problem is not None:
                return Finished(problem=problem, metadata={"rejected": self.rejected})

    @property
    def _profile(self) -> ToolSpec:
        return self.bench.drive.toolbox.get(self.loop.last.tool_id)

    def _judged(self) -> Finished | None:
        """The end of the task if the last attempt goes in; else what was said of it is stored."""
        attempt, before = self.loop.last, self.loop.same_before(self.bench.drive.config.fix_loop.window)
        if attempt.claim is not None:
            self._store_lie(attempt.claim)
        elif attempt.sha256 is None:
            reason = f"{attempt.tool_id} proposes no change, and ended with exit code {attempt.exit_code}"
            self._store_said(plain_said("no_change", reason))
        elif before is not None and before.said is not None:
            self._store_said(before.said.model_copy(update={"entries": ()}))
        else:
            diff = self._diff(attempt)
            if diff is not None:
                return self._tried(diff)
            reason = "its patch holds a secret, and is stored without it: it can't be judged again"
            self._store_said(plain_said("scope", reason))
        return None

    def _diff(self, attempt: Attempt) -> bytes | None:
        """What an attempt has changed; None where it was stored without its secrets, and not made here."""
        if self.fresh is not None:
            return self.fresh
        with self.bench.drive.reading() as dao:
            patch = dao.patches.get(attempt.patch_id or "")
        return None if REDACTED in patch.info else patch.content

    def _tried(self, diff: bytes) -> Finished | None:
        """Try the diff as any patch is tried; what stays is committed, and takes the place of earlier attempts."""
        bench, waits = self.bench, self.bench.drive.guardrails.review.wait
        trials = Trials(bench, Gatekeeper(bench, baseline_of(bench.drive), self._profile, waits=waits), self.before)
        trials.bring_in(diff)
        self.rejected = [trial.record for trial in trials.rejected]
        entries = tuple(trial.entry_id for trial in trials.rejected)
        if trials.kept:
            # Before the commit: whoever finds the commit knows then what is not in it.
            with bench.drive.begin() as dao:
                dao.tasks.change(bench.task.id, metadata={"rejected": self.rejected})
            self._drop_earlier(but=entries)
            commit_kept(bench, trials.kept, self.before)
            return finished_of(self.rejected)
        refusal = trials.rejected[0].refusal
        with bench.drive.reading() as dao:
            said = said_of_entry(dao, dao.ledger.get(entries[0]), refusal.reason)
        self._store_said(
            said.model_copy(update={"entries": entries, "reason": f"its patch {refusal.fate}: {refusal.reason}"})
        )
        self._drop_earlier(but=entries)
        return None

    def _went_on(self) -> str | None:
        """Let the tool, or the next one, make another attempt; why there is none, if there is none."""
        drive = self.bench.drive
        move = self.loop.move(drive.config.fix_loop, is_ai=self._profile.ai)
        match move.step:
            case Step.AGAIN:
                return self._made_again(self._profile, stricter=move.stricter)
            case Step.NEXT_TOOL if profile := next_tool(self.bench, self._present, self.loop.tried):
                return self._made_again(profile, stricter=self.loop.lies > 0)
            case Step.QUARANTINE:
                lies = count(self.loop.lies, "success", "successes")
                with drive.begin() as dao:
                    condemn_run(dao, drive.run_id, f"{HALLUCINATED_SUCCESS}: {lies} in one task that were none")
        return self._problem(move)

    def _problem(self, move: Move) -> str:
        """Why nothing goes in: what was said last, and of which tool no more is expected."""
        because = f"; {self.loop.last.tool_id} {move.because}" if move.because else ""
        said = self.loop.last.said
        return f"{said.reason if said else ''}{because}"

    @property
    def _present(self) -> tuple[Gap, ...]:
        return self.bench.rescanner.between(self.bench.gaps, self.before).kept

    def _made_again(self, profile: ToolSpec, *, stricter: bool) -> str | None:
        """Let a tool make another attempt, and store it; why it could not, if that ends the loop."""
        bench, last, present = self.bench, self.loop.last, self._present
        goes_on = last.tool_id == profile.tool_id and last.said is not None and last.said.kind in _OF_APPLIED
        diff = self._diff(last) if goes_on else None
        request = request_of(bench, present, self.loop, stricter=stricter, in_place=diff is not None)

        def run() -> ProcessResult:
            bench.worktree.reset()
            if diff is not None:
                bench.worktree.apply(diff)
            return edited(bench, profile, present, self.before, request)

        try:
            result = self._retrying()(run)
        except BudgetExceeded as error:
            bench.worktree.reset()
            return f"{self._problem(Move(Step.STOP))}; {error}"
        except AcmsError as error:
            if stops_run(error):
                raise
            bench.worktree.reset()
            self._keep(self.loop.with_attempt(failed_attempt(profile, error)))
            return None
        self.fresh = bench.worktree.capture()
        with bench.drive.begin() as dao:
            self.loop = store_attempt(dao, bench, self.loop, profile, result, self.fresh)
        return None

    def _retrying(self) -> Retrying:
        """Retries of the tool that are left to the task; it has no state of its own for them, as it is validating."""
        task, drive = self.bench.task, self.bench.drive
        left = {"max_retries": max(0, task.max_retries - task.retry_count)}
        seed = f"{task.id}/{len(self.loop.attempts)}"
        return retrying(drive.config.resilience.model_copy(update=left), seed=seed, sleep=_sleep_in(drive))

    def _store_lie(self, claim: str) -> None:
        """Note the anti-pattern; of a tool without a model people are told what it comes to, as that is no lie."""
        reason = f"{HALLUCINATED_SUCCESS}: {claim}"
        with self.bench.drive.begin() as dao:
            dao.tasks.note(self.bench.task.id, Notice.ANTI_PATTERN_DETECTED, reason=reason)
        kind: FeedbackKind = "scope" if self.loop.last.sha256 else "no_change"
        is_lie = self._profile.ai
        plain = reason if is_lie else f"{claim}: it has no fix for this, or its configuration leaves the file out"
        self._store_said(plain_said(kind, plain, is_lie=is_lie))

    def _store_said(self, said: Said) -> None:
        self._keep(self.loop.with_said(said))

    def _keep(self, loop: FixLoop) -> None:
        with self.bench.drive.begin() as dao:
            self.loop = kept_loop(dao, self.bench, loop)
            dao.tasks.change(self.bench.task.id, metadata={"rejected": self.rejected})

    def _drop_earlier(self, but: Collection[str]) -> None:
        """Drop the patches of earlier attempts, in whose place a later one was tried; their evidence stays."""
        drive = self.bench.drive
        reason = f"attempt {len(self.loop.attempts)} has taken its place"
        with drive.begin() as dao:
            earlier = [dao.ledger.get(entry_id) for entry_id in self.loop.entries if entry_id not in but]
            dropped = [entry for entry in earlier if entry.state == PatchState.QUARANTINED]
            for entry in dropped:
                drop_entry(dao, entry, reason, FIX_LOOP_POLICY)
        for entry in dropped:
            forget_tree(drive.repository, entry)


def kept_loop(dao: UnitOfWork, bench: Bench, loop: FixLoop) -> FixLoop:
    """The loop, once it is kept with the task."""
    dao.tasks.change(bench.task.id, metadata={FIX_LOOP: loop.model_dump(mode="json")})
    return loop


def _sleep_in(drive: Drive) -> Callable[[float], None]:
    """Waits out a delay, or until the run is being ended."""

    def sleep(delay_sec: float) -> None:
        drive.stopping.wait(delay_sec)
        drive.require_going()

    return sleep
