"""A patch, read three times: by us, by unidiff and by git. What they don't read alike is refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from unidiff.errors import UnidiffParseError
from unidiff.patch import PatchSet

from prefect_acms.canonical.outside_errors import GitFailed
from prefect_acms.tasks.diffs import FileDiff, NotADiff, read_diff
from prefect_acms.tasks.git import run_git
from prefect_acms.tasks.scratch import scratch_folder

Counts = tuple[tuple[bytes, ...], ...]
"""Of each file the lines added, the lines removed, and the path; `-` for both of a binary one."""


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


def parse_patch(content: bytes) -> ParsedPatch:
    """Read a patch, and have unidiff and git read it too: raises NotADiff unless all three see the same."""
    patch = read_patch(content)
    compare_with_unidiff(patch.files)
    # a folder of its own: what git reads must not depend on a repository
    with scratch_folder() as folder:
        try:
            asked = run_git(["apply", "--numstat", "-z", "-p1", "-"], cwd=folder, input=content)
        except GitFailed as error:
            raise NotADiff(1, f"git can't read it: {error.facts['problem']}") from error
    compare_counts(counts_in(asked.stdout), patch.files)
    return patch


def read_patch(content: bytes) -> ParsedPatch:
    """Read a patch as we do; raises NotADiff, or UnicodeDecodeError for a path that is no text."""
    files = read_diff(content)
    paths = {path for file in files for path in (file.old_path, file.new_path) if path is not None}
    return ParsedPatch(files, tuple(sorted(path.decode("utf-8") for path in paths)))


def compare_with_unidiff(files: Sequence[FileDiff]) -> None:
    """Raise NotADiff unless unidiff reads the same files with the same numbers of lines."""
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


def counts_in(numstat: bytes) -> Counts:
    """What `git apply --numstat -z` says."""
    return tuple(tuple(entry.split(b"\t", 2)) for entry in numstat.split(b"\0")[:-1])


def compare_counts(theirs: Counts, files: Sequence[FileDiff]) -> None:
    """Raise NotADiff unless git has read the same files with the same numbers of lines."""
    ours = tuple(
        (b"-", b"-", file.path) if file.is_binary else (b"%d" % file.added, b"%d" % file.removed, file.path)
        for file in files
    )
    if ours != theirs:
        raise NotADiff(_first_difference(ours, theirs, files), "git reads it differently")


def _with_plain_names(file: FileDiff, name: bytes) -> bytes:
    """The file's part under a name that unidiff reads: it takes ` b/` in a folder's name for the second name."""
    names = file.names.split(b"\n")[:-1]
    plain = [
        b"%s%s" % (line[:4], b"/dev/null" if line[4:] == b"/dev/null" else side + name)
        for line, side in zip(names, (b"a/", b"b/"), strict=False)
    ]
    rest = file.raw[len(file.first) :].replace(file.names, b"".join(line + b"\n" for line in plain), 1)
    return b"diff --git a/%s b/%s\n" % (name, name) + rest


def _first_difference(ours: Sequence[object], theirs: Sequence[object], files: Sequence[FileDiff]) -> int:
    same = sum(1 for _ in _common_start(ours, theirs))
    return files[same].line if same < len(files) else files[-1].line


def _common_start(ours: Sequence[object], theirs: Sequence[object]) -> Iterator[object]:
    for one, other in zip(ours, theirs, strict=False):
        if one != other:
            return
        yield one
