"""Patches of past runs under another policy, from what is stored of them: nothing is run, and nothing is changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from prefect_acms.blocks.guardrails import GuardrailSettings
from prefect_acms.canonical.errors import InvalidDocument
from prefect_acms.dao.ledger import LedgerRow
from prefect_acms.dao.patches import PatchRow
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.store import Store, UnitOfWork
from prefect_acms.dao.tasks import TaskRow
from prefect_acms.tasks.patterns import PatternIndex
from prefect_acms.tasks.policies import RepositoryPolicy, recorded_policy
from prefect_acms.tasks.policy_checks import Outcome, outcome_of
from prefect_acms.tasks.profiles import Toolbox, load_profiles
from prefect_acms.tasks.review_policy import FACTS, UNKNOWN_MAKER, Maker, PatchFacts, sayings, validated_under
from prefect_acms.tasks.tightening import tightened


class Replayed(BaseModel):
    """What became of a stored patch by the policy of its run, and what would by the other."""

    model_config = ConfigDict(frozen=True)

    run_id: str = Field(description="the run")
    patch_id: str = Field(description="the patch")
    entry_id: str = Field(description="its entry in the patch ledger")
    state: str = Field(description="its state")
    files: tuple[str, ...] = Field(description="the files that it touches")
    was: Outcome = Field(description="passed, refused or review, by the policy of its run")
    now: Outcome = Field(description="passed, refused or review, by the other policy")
    reasons: tuple[str, ...] = Field(description="what the other policy has against it, as sentences")

    @property
    def changes(self) -> bool:
        """Whether the other policy comes to another end."""
        return self.was is not self.now


def replay(store: Store, policy: GuardrailSettings, runs: Sequence[RunRow]) -> list[Replayed]:
    """Ask another policy about every patch of these runs; the repositories' own policies go on tightening it."""
    known = _Known(load_profiles(), PatternIndex.load())
    return [replayed for run in runs for replayed in _of_run(store, run, policy, known)]


class _Known(NamedTuple):
    """The tools and patterns that come with acms; those of files may have changed since."""

    tools: Toolbox
    patterns: PatternIndex


class _Stored(NamedTuple):
    """A patch as it is stored, and what policy is told about it."""

    entry: LedgerRow
    content: bytes
    scope: tuple[str, ...]
    facts: PatchFacts

    @property
    def refused_by(self) -> set[str]:
        """The rules that the validation found broken then."""
        evidence = self.entry.quarantine_metadata or {}
        return {violation.partition(" ")[0] for violation in evidence.get("violations", ())}

    @property
    def was_invalid(self) -> bool:
        """Whether the validation refused it then."""
        flags = (self.entry.validation_format, self.entry.validation_scope, self.entry.validation_constraints)
        return False in flags


def _of_run(store: Store, run: RunRow, policy: GuardrailSettings, known: _Known) -> Iterator[Replayed]:
    then = _guardrails(run)
    with store.begin(read_only=True) as dao:
        own = _own_policy(dao, run)
        gates = dao.test_gates.of_run(run.id)
        judging = [row.gate_type for row in gates if row.info.get("base") and not row.info.get("unavailable")]
        entries = dao.ledger.of_run(run.id)
        patches = {entry.id: dao.patches.get(entry.patch_id) for entry in entries}
        tasks = {entry.id: dao.tasks.get(patches[entry.id].task_id) for entry in entries}
    if own is not None:
        then, policy = tightened(then, own.policy), tightened(policy, own.policy)
    for entry in entries:
        patch, task = patches[entry.id], tasks[entry.id]
        pattern = known.patterns.find(task.pattern_id or "")
        narrow = pattern.policy if pattern else GuardrailSettings()
        stored = _Stored(entry, patch.content, tuple(task.file_scope or ()), _facts(entry, patch, task, judging, known))
        was, now, reasons = _compared(stored, tightened(then, narrow), tightened(policy, narrow))
        yield Replayed(
            run_id=run.id,
            patch_id=patch.id,
            entry_id=entry.id,
            state=entry.state,
            files=tuple(patch.files),
            was=was,
            now=now,
            reasons=reasons,
        )


def _guardrails(run: RunRow) -> GuardrailSettings:
    try:
        return GuardrailSettings.model_validate((run.config or {}).get("guardrails") or {})
    except ValidationError as error:
        problem = "they are of another version of acms"
        raise InvalidDocument(path=run.id, where="config.guardrails", problem=problem) from error


def _own_policy(dao: UnitOfWork, run: RunRow) -> RepositoryPolicy | None:
    done = [row.artifacts for row in dao.phases.of_run(run.id) if row.name == "configure" and row.artifacts]
    return recorded_policy(done[-1].get("policy")) if done else None


def _facts(entry: LedgerRow, patch: PatchRow, task: TaskRow, judging: Sequence[str], known: _Known) -> PatchFacts:
    """What policy was told then; of a patch about which it was not asked, what the rows say."""
    stored = entry.info.get(FACTS)
    if stored is not None:
        return PatchFacts.model_validate(stored)
    tool_id = task.tool_id or ""
    maker = Maker.of(known.tools.get(tool_id)) if tool_id in known.tools else UNKNOWN_MAKER
    rows = {"files": tuple(patch.files), "lines": patch.lines_added + patch.lines_removed, "judging": judging}
    return PatchFacts.model_validate({**rows, **maker._asdict(), "tool_id": tool_id or maker.tool_id})


def _compared(
    stored: _Stored, then: GuardrailSettings, now: GuardrailSettings
) -> tuple[Outcome, Outcome, tuple[str, ...]]:
    """What becomes of it by the one policy and by the other, and why by the other.

    What refused it then for a cause that is not stored, its base tree say, refuses it still.
    """
    before, after = (
        validated_under(rails, stored.content, scope=stored.scope, repository=None, base="") for rails in (then, now)
    )
    seen = {violation.rule.value for violation in before.violations}
    unseen = sorted(stored.refused_by - seen) or (["the validation"] if stored.was_invalid and not seen else [])
    said = sayings(now, stored.facts)
    reasons = (*map(str, after.violations), *(f"it was refused by {rule} then" for rule in unseen))
    if not reasons:
        reasons = tuple(saying.reason for saying in said)
    was = Outcome.REFUSED if stored.was_invalid else outcome_of(before, sayings(then, stored.facts))
    return was, Outcome.REFUSED if unseen else outcome_of(after, said), reasons
