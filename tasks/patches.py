"""Whether a patch may go in at all: all read it alike, it stays in its scope and limits, and it does what it says."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

from prefect_acms.blocks.guardrails import PatchLimits, PathRules
from prefect_acms.canonical.outside_errors import PatchDoesNotApply
from prefect_acms.tasks.diffs import NotADiff
from prefect_acms.tasks.patch_bases import PatchBase
from prefect_acms.tasks.patch_contents import check_lines, check_syntax
from prefect_acms.tasks.patch_effects import Effects
from prefect_acms.tasks.patch_form import check_form
from prefect_acms.tasks.patch_images import image_of
from prefect_acms.tasks.patch_readers import ParsedPatch, compare_with_unidiff, parse_patch, read_patch
from prefect_acms.tasks.patch_rules import FORMAT, SCOPE, Rule, Violation
from prefect_acms.tasks.patch_secrets import known_secrets, likely_secrets
from prefect_acms.tasks.repository import Repository
from prefect_acms.tasks.worktrees import Worktree

__all__ = ["ParsedPatch", "Rule", "Validation", "Violation", "apply_validated", "parse_patch", "validate_patch"]


@dataclass(frozen=True, slots=True)
class Validation:
    """What is to be said against a patch; the three flags are those of the patch ledger.

    `sha256` names the bytes that were looked at; `tree` is what git made of them on the base, where nothing is to be
    said against them and there is a base.
    """

    violations: tuple[Violation, ...]
    files: tuple[str, ...] = ()
    lines_added: int = 0
    lines_removed: int = 0
    sha256: str = ""
    tree: str | None = None

    @property
    def format_ok(self) -> bool:
        """Whether it is a diff."""
        return not any(violation.rule in FORMAT for violation in self.violations)

    @property
    def scope_ok(self) -> bool:
        """Whether it stays where it may; a patch that can't be read does not."""
        return self.format_ok and not any(violation.rule in SCOPE for violation in self.violations)

    @property
    def constraints_ok(self) -> bool:
        """Whether it keeps to every other rule; a patch that can't be read does not."""
        return self.format_ok and not any(violation.rule not in SCOPE for violation in self.violations)

    @property
    def has_secret(self) -> bool:
        """Whether it holds a secret, so that it must not be stored as it is."""
        return any(violation.rule is Rule.SECRET for violation in self.violations)

    @property
    def ok(self) -> bool:
        """Whether nothing is to be said against it."""
        return not self.violations


def validate_patch(
    content: bytes,
    *,
    limits: PatchLimits,
    protected: Sequence[str],
    scope: Sequence[str],
    forbidden: Collection[str] = (),
    policy: Sequence[PathRules] = (),
    repository: Repository | None = None,
    base: str = "HEAD",
) -> Validation:
    """Everything that is to be said against a patch; what can't be read or decided is refused.

    `scope` and `protected` are gitwildmatch patterns, `policy` are further rules for paths, each of which holds on its
    own; `forbidden` are operations (create, delete, rename) that no file may undergo. With a repository, git applies
    the patch to the commit or tree `base` as well, in a place of its own, and the result must be the one that the patch
    says at exactly the lines that it says.
    """
    digest = sha256(content).hexdigest()
    if len(content) > limits.max_bytes:
        problem = f"it has {len(content)} bytes, {limits.max_bytes} are allowed"
        return Validation((Violation(Rule.TOO_LARGE, "line 1", problem), *_secrets(content)), sha256=digest)
    if not content.strip():
        return Validation((Violation(Rule.EMPTY, "line 1", "it changes nothing"),), sha256=digest)
    try:
        patch = read_patch(content)
    except NotADiff as error:
        unread = Violation(Rule.NOT_A_DIFF, f"line {error.line}", error.problem)
        return Validation((unread, *_secrets(content)), sha256=digest)
    except UnicodeDecodeError as error:
        unread = Violation(Rule.PATH_NOT_TEXT, "line 1", f"{error.object!r} is not UTF-8")
        return Validation((unread, *_secrets(content)), sha256=digest)
    rules = (PathRules.model_construct(protected_paths=tuple(protected)), *policy)
    form = check_form(patch, limits=limits, scope=scope, policy=rules, forbidden=forbidden)
    violations = [*form, *check_lines(patch.files, allow_binary=limits.allow_binary), *_known(content)]
    tree = None
    if not violations:
        try:
            compare_with_unidiff(patch.files)
            if repository is None:
                parse_patch(content)
                violations += _syntax_of_new_files(patch)
            else:
                effects = Effects.of(patch, PatchBase.of(repository, base), content)
                violations, tree = effects.violations, effects.tree
        except NotADiff as error:
            violations = [Violation(Rule.NOT_A_DIFF, f"line {error.line}", error.problem)]
    return Validation(tuple(violations), patch.paths, patch.lines_added, patch.lines_removed, digest, tree)


def apply_validated(worktree: Worktree, content: bytes, validation: Validation) -> str:
    """Apply just what was validated, whole or not at all; the new tree. Raises PatchDoesNotApply for anything else."""
    if not validation.ok or validation.tree is None:
        raise PatchDoesNotApply(problem="it has not been found good for this tree")
    if sha256(content).hexdigest() != validation.sha256:
        raise PatchDoesNotApply(problem="it is not the patch that was validated")
    before = worktree.tree()
    tree = worktree.apply(content)
    if tree != validation.tree:
        worktree.reset(before)
        raise PatchDoesNotApply(problem="it leads to another tree than the one that was validated")
    return tree


def _secrets(content: bytes) -> Iterator[Violation]:
    """Secrets in what is no diff, so that it is not stored with them."""
    for line in likely_secrets(content):
        yield Violation(Rule.SECRET, f"line {line}", "it holds what looks like a secret")
    yield from _known(content)


def _known(content: bytes) -> Iterator[Violation]:
    for line in known_secrets(content):
        yield Violation(Rule.SECRET, f"line {line}", "it holds a value that is known to be secret")


def _syntax_of_new_files(patch: ParsedPatch) -> Iterator[Violation]:
    for file in patch.files:
        if file.old_path is None and not file.is_binary:
            yield from check_syntax(file, {}, image_of(file, b""))
