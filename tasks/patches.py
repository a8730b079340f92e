"""Whether a patch may go in at all, by its bytes alone: it parses, stays in its scope, and keeps to the limits."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath

from unidiff.errors import UnidiffParseError
from unidiff.patch import PatchSet

from prefect_acms.blocks.guardrails import PatchLimits
from prefect_acms.canonical.errors import GitFailed
from prefect_acms.tasks.diffs import FileDiff, NotADiff, read_diff
from prefect_acms.tasks.git import Repository, run_git
from prefect_acms.tasks.guardrails import outside_scope, protected_among
from prefect_acms.tasks.scratch import scratch_folder

REGULAR, EXECUTABLE, SYMLINK, SUBMODULE = b"100644", b"100755", b"120000", b"160000"


class Rule(StrEnum):
    """What a patch can break, by the name that a report shows."""

    EMPTY = "EMPTY"
    NOT_A_DIFF = "NOT_A_DIFF"
    PATH_TWICE = "PATH_TWICE"
    PATH_ESCAPES = "PATH_ESCAPES"
    PATH_IN_GIT = "PATH_IN_GIT"
    PATH_NOT_TEXT = "PATH_NOT_TEXT"
    OUT_OF_SCOPE = "OUT_OF_SCOPE"
    PROTECTED = "PROTECTED"
    FORBIDDEN = "FORBIDDEN"
    SYMLINK = "SYMLINK"
    SUBMODULE = "SUBMODULE"
    OTHER_MODE = "OTHER_MODE"
    EXECUTABLE = "EXECUTABLE"
    BINARY = "BINARY"
    TOO_LARGE = "TOO_LARGE"
    TOO_MANY_FILES = "TOO_MANY_FILES"
    TOO_MANY_LINES = "TOO_MANY_LINES"


FORMAT = frozenset({Rule.EMPTY, Rule.NOT_A_DIFF, Rule.PATH_TWICE, Rule.PATH_NOT_TEXT})
SCOPE = frozenset({Rule.PATH_ESCAPES, Rule.PATH_IN_GIT, Rule.OUT_OF_SCOPE, Rule.PROTECTED})


@dataclass(frozen=True, slots=True)
class Violation:
    """One rule that a patch breaks, and where."""

    rule: Rule
    where: str
    problem: str

    def __str__(self) -> str:
        return f"{self.rule} at {self.where}: {self.problem}"


@dataclass(frozen=True, slots=True)
class ParsedPatch:
    """A patch that is a diff; `paths` are those of every file that it touches, before and after, sorted."""

    files: tuple[FileDiff, ...]
    paths: tuple[str, ...]

    @property
    def lines_added(self) -> int:
        """Lines added in all files."""
        return sum(file.added for file in self.files)

    @property
    def lines_removed(self) -> int:
        """Lines removed in all files."""
        return sum(file.removed for file in self.files)


@dataclass(frozen=True, slots=True)
class Validation:
    """What is to be said against a patch; the three flags are those of the patch ledger."""

    violations: tuple[Violation, ...]
    files: tuple[str, ...] = ()
    lines_added: int = 0
    lines_removed: int = 0

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
    def ok(self) -> bool:
        """Whether nothing is to be said against it."""
        return not self.violations


def parse_patch(content: bytes) -> ParsedPatch:
    """Read a patch, and have unidiff and git read it too: raises NotADiff unless all three see the same."""
    files = read_diff(content)
    _compare_with_unidiff(files)
    _compare_with_git(content, files)
    paths = {path for file in files for path in (file.old_path, file.new_path) if path is not None}
    return ParsedPatch(files, tuple(sorted(_text(path) for path in paths)))


def validate_patch(
    content: bytes,
    *,
    limits: PatchLimits,
    protected: Sequence[str],
    scope: Sequence[str],
    forbidden: Collection[str] = (),
    repository: Repository | None = None,
    base: str = "HEAD",
) -> Validation:
    """Everything that is to be said against a patch; what can't be read or decided is refused.

    `scope` and `protected` are gitwildmatch patterns, `forbidden` are operations (create, delete, rename) that no
    file may undergo. With a repository, links and submodules of the commit `base` are known too, so that nothing is
    written through one.
    """
    if len(content) > limits.max_bytes:
        problem = f"it has {len(content)} bytes, {limits.max_bytes} are allowed"
        return Validation((Violation(Rule.TOO_LARGE, "line 1", problem),))
    if not content.strip():
        return Validation((Violation(Rule.EMPTY, "line 1", "it changes nothing"),))
    try:
        patch = parse_patch(content)
    except NotADiff as error:
        return Validation((Violation(Rule.NOT_A_DIFF, f"line {error.line}", error.problem),))
    except UnicodeDecodeError as error:
        return Validation((Violation(Rule.PATH_NOT_TEXT, "line 1", f"{error.object!r} is not UTF-8"),))
    violations = [
        *_format(patch),
        *(violation for file in patch.files for violation in _file(file, limits)),
        *_whole(patch, limits),
        *_operations(patch, forbidden),
        *_places(patch, scope, protected),
        *(_base(patch, repository, base) if repository is not None else ()),
    ]
    return Validation(tuple(violations), patch.paths, patch.lines_added, patch.lines_removed)


def _text(path: bytes) -> str:
    return path.decode("utf-8")


def _where(file: FileDiff) -> str:
    return f"line {file.line} ({file.path.decode('utf-8', errors='replace')})"


# -- the three readers -------------------------------------------------------------------------------------------------


def _compare_with_unidiff(files: Sequence[FileDiff]) -> None:
    plain = b"".join(_with_plain_names(file, b"%d" % number) for number, file in enumerate(files))
    try:
        # one character a byte: nothing is decoded, and only \n ends a line
        seen = PatchSet.from_string(plain.decode("latin-1"), metadata_only=True)
    except UnidiffParseError as error:
        raise NotADiff(1, f"unidiff can't read it: {error}") from error
    ours = [(file.added, file.removed, file.is_binary) for file in files]
    theirs = [(file.added, file.removed, bool(file.is_binary_file)) for file in seen]
    if ours != theirs:
        raise NotADiff(_first_difference(ours, theirs, files), "unidiff reads it differently")


def _with_plain_names(file: FileDiff, name: bytes) -> bytes:
    """The file's part under a name that unidiff reads: it takes ` b/` in a folder's name for the second name."""
    names = file.names.split(b"\n")[:-1]
    plain = [
        b"%s%s" % (line[:4], b"/dev/null" if line[4:] == b"/dev/null" else side + name)
        for line, side in zip(names, (b"a/", b"b/"), strict=False)
    ]
    rest = file.raw[len(file.first) :].replace(file.names, b"".join(line + b"\n" for line in plain), 1)
    return b"diff --git a/%s b/%s\n" % (name, name) + rest


def _compare_with_git(content: bytes, files: Sequence[FileDiff]) -> None:
    # a folder of its own: what git reads must not depend on a repository
    with scratch_folder() as folder:
        try:
            asked = run_git(["apply", "--numstat", "-z", "-p1", "-"], cwd=folder, input=content)
        except GitFailed as error:
            raise NotADiff(1, f"git can't read it: {error.facts['problem']}") from error
    theirs = [tuple(entry.split(b"\t", 2)) for entry in asked.stdout.split(b"\0")[:-1]]
    ours = [
        (b"-", b"-", file.path) if file.is_binary else (b"%d" % file.added, b"%d" % file.removed, file.path)
        for file in files
    ]
    if ours != theirs:
        raise NotADiff(_first_difference(ours, theirs, files), "git reads it differently")


def _first_difference(ours: Sequence[object], theirs: Sequence[object], files: Sequence[FileDiff]) -> int:
    same = sum(1 for _ in _common_start(ours, theirs))
    return files[same].line if same < len(files) else files[-1].line


def _common_start(ours: Sequence[object], theirs: Sequence[object]) -> Iterator[object]:
    for one, other in zip(ours, theirs, strict=False):
        if one != other:
            return
        yield one


# -- the rules ---------------------------------------------------------------------------------------------------------


def _format(patch: ParsedPatch) -> Iterator[Violation]:
    times = Counter(path for file in patch.files for path in {file.old_path, file.new_path} if path is not None)
    for file in patch.files:
        if any(times[path] > 1 for path in (file.old_path, file.new_path) if path is not None):
            yield Violation(Rule.PATH_TWICE, _where(file), "another part of the patch touches the same file")


def _file(file: FileDiff, limits: PatchLimits) -> Iterator[Violation]:
    for path in sorted({path for path in (file.old_path, file.new_path) if path is not None}):
        yield from _path(_text(path), _where(file))
    yield from _modes(file, limits)
    if file.is_binary and not limits.allow_binary:
        yield Violation(Rule.BINARY, _where(file), "it is binary")
    changed = file.added + file.removed
    if changed > limits.max_lines_per_file:
        problem = f"{changed} lines are changed, {limits.max_lines_per_file} are allowed"
        yield Violation(Rule.TOO_MANY_LINES, _where(file), problem)


def _path(path: str, where: str) -> Iterator[Violation]:
    parts = path.split("/")
    if PurePosixPath(path).is_absolute() or re.match(r"[A-Za-z]:", path):
        yield Violation(Rule.PATH_ESCAPES, where, "it is absolute")
    elif "\0" in path or "" in parts or "." in parts:
        yield Violation(Rule.PATH_ESCAPES, where, "it is no plain path")
    if ".." in parts or ".." in path.split("\\"):
        yield Violation(Rule.PATH_ESCAPES, where, "it leaves the repository")
    if any(_means_git(part) for part in re.split(r"[/\\]", path)):
        yield Violation(Rule.PATH_IN_GIT, where, "it means .git on some file system")


def _means_git(part: str) -> bool:
    """Whether a name is .git to a file system that folds case, trims ends, ignores characters or has short names."""
    seen = "".join(c for c in unicodedata.normalize("NFKC", part) if unicodedata.category(c) != "Cf").casefold()
    return seen.partition(":")[0].rstrip(". ") in {".git", "git~1"}


def _modes(file: FileDiff, limits: PatchLimits) -> Iterator[Violation]:
    old, new = file.old_mode, file.new_mode
    if SUBMODULE in {old, new}:
        yield Violation(Rule.SUBMODULE, _where(file), "it is a submodule")
    elif new == SYMLINK:
        yield Violation(Rule.SYMLINK, _where(file), "it makes or changes a symbolic link")
    elif any(mode not in {REGULAR, EXECUTABLE, SYMLINK, None} for mode in (old, new)):
        modes = " to ".join((mode or b"none").decode() for mode in (old, new))
        yield Violation(Rule.OTHER_MODE, _where(file), f"its mode goes from {modes}")
    elif new == EXECUTABLE != old and not limits.allow_executable:
        yield Violation(Rule.EXECUTABLE, _where(file), "it makes the file executable")


def _whole(patch: ParsedPatch, limits: PatchLimits) -> Iterator[Violation]:
    if len(patch.files) > limits.max_files:
        problem = f"it touches {len(patch.files)} files, {limits.max_files} are allowed"
        yield Violation(Rule.TOO_MANY_FILES, _where(patch.files[limits.max_files]), problem)


def _operations(patch: ParsedPatch, forbidden: Collection[str]) -> Iterator[Violation]:
    for file in patch.files:
        if file.operation in forbidden:
            yield Violation(Rule.FORBIDDEN, _where(file), f"its pattern forbids to {file.operation} a file")


def _places(patch: ParsedPatch, scope: Sequence[str], protected: Sequence[str]) -> Iterator[Violation]:
    where = {_text(path): _where(file) for file in patch.files for path in (file.old_path, file.new_path) if path}
    try:
        outside = outside_scope(patch.paths, scope)
        # a file system that ignores case finds a protected file under every spelling
        shielded = {*protected_among(patch.paths, protected)}
        shielded |= {path for path in patch.paths if protected_among([path.casefold()], protected)}
    except ValueError as error:
        yield Violation(Rule.PROTECTED, _where(patch.files[0]), f"a pattern can't be read: {error}")
        return
    for path in outside:
        yield Violation(Rule.OUT_OF_SCOPE, where[path], "it is outside of what the task may touch")
    for path in sorted(shielded):
        yield Violation(Rule.PROTECTED, where[path], "no patch may change it")


def _base(patch: ParsedPatch, repository: Repository, base: str) -> Iterator[Violation]:
    special = {name: mode for name, mode in repository.modes(base).items() if mode not in {"100644", "100755"}}
    for file in patch.files:
        for path in sorted({_text(path) for path in (file.old_path, file.new_path) if path is not None}):
            hit = [name for name in special if path == name or path.startswith(name + "/")]
            if not hit or (file.new_path is None and path == hit[0]):
                continue
            rule = Rule.SUBMODULE if special[hit[0]] == SUBMODULE.decode() else Rule.SYMLINK
            yield Violation(rule, _where(file), f"{hit[0]} is a link in the commit that it is for")
