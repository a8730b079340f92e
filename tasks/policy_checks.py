"""What every rule says of one patch, asked as the pipeline asks: of its bytes first, and then of the facts about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from prefect_acms.blocks.guardrails import GuardrailSettings
from prefect_acms.tasks.gates import GateCommand
from prefect_acms.tasks.git import run_git, text_of
from prefect_acms.tasks.patch_rules import FORMAT, Rule
from prefect_acms.tasks.patches import Validation
from prefect_acms.tasks.repository import Repository
from prefect_acms.tasks.review_policy import SETTINGS, Maker, Saying, Verdict, facts_of, sayings, validated_under
from prefect_acms.tasks.scratch import scratch_folder

FIRST = FORMAT | {Rule.TOO_LARGE}
"""Where one of these is broken, no other rule is asked."""

LAST = frozenset(
    {
        *(Rule.SYMLINK, Rule.SUBMODULE, Rule.PATH_COLLIDES, Rule.SYNTAX),
        *(Rule.OTHER_BASE, Rule.MISPLACED, Rule.DOES_NOT_APPLY, Rule.OTHER_RESULT),
    }
)
"""Rules that are asked in full only where no other is broken: they need the tree that the patch is for."""


class Outcome(StrEnum):
    """What one rule says of a patch, or all of them together."""

    PASSED = "passed"
    REFUSED = "refused"
    REVIEW = "review"
    NOT_ASKED = "not asked"


class Decision(BaseModel):
    """What one rule says of a patch."""

    model_config = ConfigDict(frozen=True)

    rule: str = Field(description="rule of the validation, or setting of the policy")
    outcome: Outcome = Field(description="passed, refused, review, or not asked because another rule comes first")
    where: str = Field(default="", description="line of the patch and file, where there is one")
    reason: str = Field(default="", description="why it is refused or needs a review, as a sentence")


class Checked(BaseModel):
    """What all rules say of a patch together, and each of them."""

    model_config = ConfigDict(frozen=True)

    outcome: Outcome = Field(description="passed, refused, or review")
    decisions: tuple[Decision, ...] = Field(description="each rule in the order in which they are asked")


def check_patch(
    content: bytes,
    guardrails: GuardrailSettings,
    maker: Maker,
    *,
    repository: Repository,
    base: str,
    scope: Sequence[str],
    gates: Sequence[GateCommand],
) -> Checked:
    """Ask every rule about a patch on that commit or tree; `gates` are those that can judge it."""
    validation = validated_under(guardrails, content, scope=scope, repository=repository, base=base)
    said: tuple[Saying, ...] = ()
    if validation.ok:
        before = repository.tree_of(base)
        with _copy_with(repository, before, content) as (copy, after):
            facts = facts_of(validation, maker, repository=copy, before=before, after=after, gates=gates, judging=gates)
        said = sayings(guardrails, facts)
    return Checked(
        outcome=outcome_of(validation, said),
        decisions=(*_of_validation(validation), *_of_policy(said, asked=validation.ok)),
    )


@contextmanager
def _copy_with(repository: Repository, tree: str, content: bytes) -> Iterator[tuple[Repository, str]]:
    """A repository that sees the objects of this one and has the patched tree too; both are gone after the block."""
    with scratch_folder() as folder:
        run_git(["init", "-q", "--template=", f"--object-format={repository.object_format}"], cwd=folder)
        copy = Repository(folder, folder / ".git", repository.object_format)
        (copy.common_dir / "objects" / "info").mkdir(exist_ok=True)
        (copy.common_dir / "objects" / "info" / "alternates").write_text(f"{repository.common_dir / 'objects'}\n")
        run_git(["read-tree", tree], cwd=folder)
        run_git(["apply", "--cached", "-p1", "-"], cwd=folder, input=content)
        yield copy, text_of(run_git(["write-tree", "--missing-ok"], cwd=folder))


def outcome_of(validation: Validation, said: Sequence[Saying]) -> Outcome:
    """What becomes of a patch of which that is said."""
    if not validation.ok or any(saying.verdict is Verdict.REFUSED for saying in said):
        return Outcome.REFUSED
    return Outcome.REVIEW if said else Outcome.PASSED


def _of_validation(validation: Validation) -> Iterator[Decision]:
    broken = {violation.rule for violation in validation.violations}
    not_asked = (set(Rule) if broken & FIRST else LAST if broken else frozenset()) - broken
    for rule in Rule:
        if rule not in broken:
            yield Decision(rule=rule, outcome=Outcome.NOT_ASKED if rule in not_asked else Outcome.PASSED)
        for violation in validation.violations:
            if violation.rule is rule:
                yield Decision(rule=rule, outcome=Outcome.REFUSED, where=violation.where, reason=violation.problem)


def _of_policy(said: Sequence[Saying], *, asked: bool) -> Iterator[Decision]:
    for setting in SETTINGS:
        mine = [saying for saying in said if saying.setting == setting]
        if not mine:
            yield Decision(rule=setting, outcome=Outcome.PASSED if asked else Outcome.NOT_ASKED)
        for saying in mine:
            yield Decision(rule=setting, outcome=Outcome(saying.verdict.value), reason=saying.reason)
