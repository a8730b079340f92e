"""From accepted patches to a tool: a codemod is proposed with its evidence, and used once an operator accepts it."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import unified_diff
from hashlib import sha256

from prefect_acms.canonical.clock import utc_text
from prefect_acms.canonical.errors import InvalidValue, NotPromotable, UnknownName
from prefect_acms.canonical.events import Notice
from prefect_acms.canonical.machine import Severity
from prefect_acms.canonical.patch import PatchState
from prefect_acms.dao.store import Store
from prefect_acms.tasks.codemods.cases import ENOUGH, Rule, Unusable, accepted_fixes, by_rule, cases_of
from prefect_acms.tasks.codemods.files import accepted_file
from prefect_acms.tasks.codemods.learning import Learned, learn
from prefect_acms.tasks.codemods.proposals import (
    Decision,
    Evidence,
    LeftOut,
    Proposal,
    Status,
    find_proposal,
    get_proposal,
    keep,
    name_of,
    proposals,
)
from prefect_acms.tasks.codemods.tool_file import tool_file
from prefect_acms.tasks.documents import write_atomically


def propose(store: Store, rule: Rule) -> Proposal:
    """Learn a codemod for a rule from the accepted patches of AI tools, and keep it as a proposal.

    It reproduces at least three patches byte for byte and touches nothing else in the files of any. Raises
    NotPromotable where there is none, and InvalidValue where one of this rule is accepted already.
    """
    known = find_proposal(name_of(rule))
    if known is not None and known.status is Status.ACCEPTED:
        raise InvalidValue(field="rule", value=str(rule), expected=f"one without a codemod: revoke {known.name} first")
    proposal = _proposal(store, rule)
    if known is not None:
        proposal = proposal.model_copy(update={"decisions": known.decisions})
    keep(proposal)
    return proposal


def _proposal(store: Store, rule: Rule) -> Proposal:
    fixes = by_rule(accepted_fixes(store)).get(rule, [])
    if len(fixes) < ENOUGH:
        problem = f"AI tools have fixed it in {len(fixes)} accepted patches, it takes {ENOUGH}"
        raise NotPromotable(rule=rule, problem=problem)
    cases, unusable = cases_of(fixes, rule)
    learned = learn(rule, cases)
    gap = next(gap for fix in fixes for gap in fix.gaps if (gap.source, gap.rule_id) == rule)
    return Proposal(
        name=name_of(rule),
        source=rule.source,
        rule_id=rule.rule_id,
        category=gap.category,
        codemod=learned.codemod,
        rules=learned.codemod.rules,
        cases=_evidence(learned),
        left_out=_left_out(learned, unusable),
        proposed_at=utc_text(store.clock()),
    )


def _evidence(learned: Learned) -> tuple[Evidence, ...]:
    return tuple(
        Evidence(
            patch_id=one.case.fix.patch.id,
            entry_id=one.case.fix.entry.id,
            run_id=one.case.fix.entry.run_id,
            tool_id=one.case.fix.task.tool_id or "",
            repository=one.case.fix.repository,
            base_commit=one.case.fix.patch.base_commit or "",
            commit=one.case.fix.entry.commit_sha or "",
            path=one.case.path,
            diff=diff_of(one.case.path, one.case.before, expected),
            sha256=sha256(expected.encode()).hexdigest(),
        )
        for one, expected in zip(learned.studied, learned.expected, strict=True)
        if expected != one.case.before
    )


def _left_out(learned: Learned, unusable: Sequence[Unusable]) -> tuple[LeftOut, ...]:
    supported = {case.fix.patch.id for case in learned.supporting}
    other = [(one.case.fix.patch.id, "it was fixed another way there") for one in learned.studied]
    told = [*unusable, *learned.left_out, *(one for one in other if one[0] not in supported)]
    return tuple(LeftOut(patch_id=patch, reason=reason) for patch, reason in dict.fromkeys(map(tuple, told)))


def diff_of(path: str, before: str, after: str) -> str:
    """The difference of two texts of a file, for people."""
    old, new = (text.splitlines(keepends=True) for text in (before, after))
    return "".join(unified_diff(old, new, f"a/{path}", f"b/{path}"))


def taken_back(store: Store, proposal: Proposal) -> list[str]:
    """The patches of its cases that were rolled back since."""
    with store.begin(read_only=True) as dao:
        entries = {case.patch_id: dao.ledger.find(case.entry_id) for case in proposal.cases}
    return [patch for patch, entry in entries.items() if entry is None or entry.state != PatchState.COMMITTED]


def accept(store: Store, name: str, *, operator: str, reason: str) -> Proposal:
    """Make a proposal a tool that runs use first; it is learned and tried once more before.

    Raises NotPromotable when the accepted patches lead to another codemod by now: that one has to be seen first.
    """
    proposal = _waiting(name)
    again = _proposal(store, proposal.rule)
    if again.codemod != proposal.codemod:
        problem = "what accepted patches teach has changed since it was proposed: propose it again"
        raise NotPromotable(rule=proposal.rule, problem=problem)
    current = proposal.model_copy(update={"cases": again.cases, "left_out": again.left_out})
    decided = _decided(store, current, Status.ACCEPTED, operator, reason)
    write_atomically(accepted_file(decided.name), tool_file(decided).encode())
    keep(decided)
    return decided


def reject(store: Store, name: str, *, operator: str, reason: str) -> Proposal:
    """Put a proposal aside; proposing again takes it up again."""
    decided = _decided(store, _waiting(name), Status.REJECTED, operator, reason)
    keep(decided)
    return decided


def revoke(store: Store, name: str, *, operator: str, reason: str) -> Proposal:
    """Take an accepted codemod out of use: from the next run on, its gaps go where they went before."""
    proposal = get_proposal(name)
    if proposal.status is not Status.ACCEPTED:
        raise InvalidValue(field="codemod", value=proposal.name, expected=f"an accepted one, it is {proposal.status}")
    decided = _decided(store, proposal, Status.REVOKED, operator, reason)
    accepted_file(decided.name).unlink(missing_ok=True)
    keep(decided)
    return decided


def _waiting(name: str) -> Proposal:
    proposal = get_proposal(name)
    if proposal.status is not Status.PROPOSED:
        raise InvalidValue(field="codemod", value=proposal.name, expected=f"a proposed one, it is {proposal.status}")
    return proposal


def _decided(store: Store, proposal: Proposal, status: Status, operator: str, reason: str) -> Proposal:
    """Put the decision into the trail of every patch that it rests on."""
    for field, value in (("operator", operator), ("reason", reason)):
        if not value.strip():
            raise InvalidValue(field=field, value=value, expected="a name" if field == "operator" else "a reason")
    told = {"codemod": proposal.name, "status": status.value, "rules": proposal.rules}
    with store.begin() as dao:
        for entry_id in dict.fromkeys(case.entry_id for case in proposal.cases):
            dao.ledger.note(
                entry_id,
                Notice.CODEMOD_DECIDED,
                reason=reason,
                severity=Severity.INFO,
                operator=operator,
                event_metadata=told,
            )
    decision = Decision(status=status, operator=operator, reason=reason, at=utc_text(store.clock()))
    return proposal.model_copy(update={"status": status, "decisions": (*proposal.decisions, decision)})


def promotable(store: Store) -> list[Rule]:
    """The rules that were fixed in enough accepted patches and have no accepted codemod."""
    taken = {one.rule for one in proposals() if one.status is Status.ACCEPTED}
    found = by_rule(accepted_fixes(store)).items()
    return [rule for rule, fixes in found if len(fixes) >= ENOUGH and rule not in taken]


def the_rule(store: Store, text: str) -> Rule:
    """The rule that is meant: `source:rule`, or a rule that one source has; raises UnknownName or InvalidValue."""
    known = list(by_rule(accepted_fixes(store)))
    found = [rule for rule in known if text in {str(rule), rule.rule_id}]
    if not found:
        raise UnknownName(kind="rule fixed by AI tools", name=text, known=[str(rule) for rule in known])
    if len(found) > 1:
        raise InvalidValue(field="rule", value=text, expected=f"one of {', '.join(map(str, found))}")
    return found[0]
