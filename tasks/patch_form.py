"""What is to be said against a patch by its bytes alone: its paths, modes, amounts, operations and places."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from prefect_acms.blocks.guardrails import PatchLimits, PathRules
from prefect_acms.tasks.diffs import FileDiff
from prefect_acms.tasks.guardrails import outside_scope, path_problems
from prefect_acms.tasks.patch_binaries import size_of
from prefect_acms.tasks.patch_paths import collated, escapes, means_git, plain_spelling
from prefect_acms.tasks.patch_readers import ParsedPatch
from prefect_acms.tasks.patch_rules import Rule, Violation

REGULAR, EXECUTABLE, SYMLINK, SUBMODULE = b"100644", b"100755", b"120000", b"160000"


def check_form(
    patch: ParsedPatch,
    *,
    limits: PatchLimits,
    scope: Sequence[str],
    policy: Sequence[PathRules],
    forbidden: Collection[str],
) -> Iterator[Violation]:
    """Everything that the bytes of a patch alone give cause for."""
    yield from _twice(patch)
    for file in patch.files:
        for path in sorted({path.decode() for path in (file.old_path, file.new_path) if path is not None}):
            yield from (Violation.at(Rule.PATH_ESCAPES, file, problem) for problem in escapes(path))
            if means_git(path):
                yield Violation.at(Rule.PATH_IN_GIT, file, "it means .git on some file system")
        yield from _modes(file, limits)
        yield from _amount(file, limits)
        if file.operation in forbidden:
            yield Violation.at(Rule.FORBIDDEN, file, f"the policy forbids to {file.operation} a file")
    if len(patch.files) > limits.max_files:
        problem = f"it touches {len(patch.files)} files, {limits.max_files} are allowed"
        yield Violation.at(Rule.TOO_MANY_FILES, patch.files[limits.max_files], problem)
    yield from _inflated(patch, limits)
    yield from _places(patch, scope, policy)


def _twice(patch: ParsedPatch) -> Iterator[Violation]:
    times = Counter(path for file in patch.files for path in {file.old_path, file.new_path} if path is not None)
    names = Counter(collated(file.new_path.decode()) for file in patch.files if file.new_path is not None)
    for file in patch.files:
        if any(times[path] > 1 for path in (file.old_path, file.new_path) if path is not None):
            yield Violation.at(Rule.PATH_TWICE, file, "another part of the patch touches the same file")
        elif file.new_path is not None and file.old_path != file.new_path and names[collated(file.path.decode())] > 1:
            yield Violation.at(Rule.PATH_COLLIDES, file, "some file systems take it for another file of the patch")


def _modes(file: FileDiff, limits: PatchLimits) -> Iterator[Violation]:
    old, new = file.old_mode, file.new_mode
    if SUBMODULE in {old, new}:
        yield Violation.at(Rule.SUBMODULE, file, "it is a submodule")
    elif new == SYMLINK:
        yield Violation.at(Rule.SYMLINK, file, "it makes or changes a symbolic link")
    elif any(mode not in {REGULAR, EXECUTABLE, SYMLINK, None} for mode in (old, new)) or (old == SYMLINK and new):
        modes = " to ".join((mode or b"none").decode() for mode in (old, new))
        yield Violation.at(Rule.OTHER_MODE, file, f"its mode goes from {modes}")
    elif new == EXECUTABLE != old and not limits.allow_executable:
        yield Violation.at(Rule.EXECUTABLE, file, "it makes the file executable")


def _amount(file: FileDiff, limits: PatchLimits) -> Iterator[Violation]:
    changed = file.added + file.removed
    if changed > limits.max_lines_per_file:
        problem = f"{changed} lines are changed, {limits.max_lines_per_file} are allowed"
        yield Violation.at(Rule.TOO_MANY_LINES, file, problem)
    if file.is_binary and not file.parts:
        yield Violation.at(Rule.BINARY, file, "it says that the file is binary, and does not hold it")
    elif file.is_binary and not limits.allow_binary:
        yield Violation.at(Rule.BINARY, file, "it is binary")


def _inflated(patch: ParsedPatch, limits: PatchLimits) -> Iterator[Violation]:
    """Binary data counts by what comes out of it; no more than the limit is ever inflated."""
    left = limits.max_bytes
    for file in patch.files:
        for part in file.parts:
            try:
                size = size_of(part, left)
            except ValueError as error:
                yield Violation.at(Rule.NOT_A_DIFF, file, str(error), part.line)
                return
            if size > left:
                problem = f"its binary data inflates to more than the {limits.max_bytes} bytes that are allowed"
                yield Violation.at(Rule.INFLATES, file, problem, part.line)
                return
            left -= size


def _places(patch: ParsedPatch, scope: Sequence[str], policy: Sequence[PathRules]) -> Iterator[Violation]:
    where = {path.decode(): file for file in patch.files for path in (file.old_path, file.new_path) if path}
    try:
        outside = outside_scope(patch.paths, scope)
        spelled = {path: plain_spelling(path) for path in patch.paths}
        closed = path_problems(spelled, policy)
        hit = {problem.path for problem in path_problems({*spelled, *spelled.values()}, policy) if problem.is_protected}
    except ValueError as error:
        yield Violation.at(Rule.PROTECTED, patch.files[0], f"a pattern can't be read: {error}")
        return
    for path in outside:
        yield Violation.at(Rule.OUT_OF_SCOPE, where[path], "it is outside of what the task may touch")
    for problem in closed:
        if not problem.is_protected and problem.path not in outside:
            yield Violation.at(Rule.OUT_OF_SCOPE, where[problem.path], f"it {problem.problem}")
    for path in (path for path, plain in spelled.items() if {path, plain} & hit):
        yield Violation.at(Rule.PROTECTED, where[path], "no patch may change it")
