"""The gap source `markers`: TODO, FIXME and XXX in comments, with who wrote them and how long ago."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prefect_acms.canonical.gap import GapSeverity
from prefect_acms.canonical.outside_errors import GitFailed
from prefect_acms.tasks.fingerprints import Fingerprinter
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.git import names_of, run_git, text_of
from prefect_acms.tasks.sources import Discovered, Scan
from prefect_acms.tasks.sources.comments import comments_in

SEVERITIES: Mapping[str, GapSeverity] = {
    "FIXME": GapSeverity.MEDIUM,
    "XXX": GapSeverity.LOW,
    "TODO": GapSeverity.LOW,
}

LARGEST_FILE = 1 << 20
LONGEST_LINE = 1000
"""What is longer was made by a program."""

LONGEST_TITLE = 200

BLAME_SEC = 60.0
"""Seconds after which no more authors are asked for; a marker without one is still a marker."""

_MARKER = re.compile(r"^@?(?P<word>TODO|FIXME|XXX)\b(?P<text>.*)$")
_BLAMED = re.compile(r"^(?P<commit>[0-9a-f]{40,64}) \d+ (?P<line>\d+)")
_DAY = 86_400


@dataclass(frozen=True, slots=True)
class Marker:
    """One marker in a file."""

    line: int
    word: str
    text: str


class MarkersSource:
    """Reads the comments of every tracked text file, and git's blame of those with a marker."""

    name = "markers"

    def discover(self, scan: Scan) -> Discovered:
        """Every marker; none is fixable by a program."""
        blame = _Blame(scan.root, time.monotonic() + min(BLAME_SEC, scan.timeout_sec))
        gaps = [gap for path in _files(scan) for gap in _gaps(path, _markers(path, scan.root), blame)]
        return Discovered(tuple(gaps), text_of(run_git(["version"], cwd=scan.root)), ("git", "blame", "--porcelain"))


def _files(scan: Scan) -> list[str]:
    tracked = set(names_of(run_git(["ls-files", "-z"], cwd=scan.root).stdout))
    asked = tracked if scan.files is None else tracked.intersection(scan.files)
    return sorted(path for path in asked if _is_nameable(path))


def _is_nameable(path: str) -> bool:
    """Whether a document can hold the name: git's may be any bytes, and have ends of line."""
    return path.isprintable() and path.encode(errors="replace").decode() == path


def _markers(path: str, root: Path) -> list[Marker]:
    text = _text(root / path)
    if text is None or not any(word in text for word in SEVERITIES):
        return []
    return [
        Marker(line, found["word"], _tidy(comment))
        for line, comment in comments_in(path, text)
        if len(comment) <= LONGEST_LINE and (found := _MARKER.match(comment))
    ]


def _text(path: Path) -> str | None:
    """The text of a file; None for a link, a submodule, a binary or a very large one."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size > LARGEST_FILE:
        return None
    content = path.read_bytes()
    if b"\0" in content:
        return None
    return content.decode("utf-8", errors="replace").replace("\r\n", "\n")


def _tidy(comment: str) -> str:
    """The comment without what closes it."""
    return re.sub(r"\s*(\*/|-->|#\})\s*$", "", comment).strip()


def _gaps(path: str, markers: Sequence[Marker], blame: _Blame) -> Iterator[Gap]:
    numbered = Fingerprinter()
    written = blame.of(path, [marker.line for marker in markers])
    for marker in markers:
        yield Gap(
            source=MarkersSource.name,
            rule_id=marker.word,
            fingerprint=numbered.next(marker.word, path, [marker.text]),
            title=marker.text[:LONGEST_TITLE],
            description=written.get(marker.line, ""),
            category="marker",
            severity=SEVERITIES[marker.word],
            file_paths=(path,),
            start_line=marker.line,
            end_line=marker.line,
        )


class _Blame:
    """Who wrote a line and when, told relative to the commit that is checked out."""

    def __init__(self, root: Path, deadline: float) -> None:
        self._root = root
        self._deadline = deadline
        self._now = int(text_of(run_git(["log", "-1", "--format=%ct"], cwd=root)))

    def of(self, path: str, lines: Sequence[int]) -> dict[int, str]:
        """A sentence for each line; none where git can't say, or not in time."""
        if not lines or time.monotonic() > self._deadline:
            return {}
        ranges = [f"-L{line},{line}" for line in sorted(set(lines))]
        try:
            done = run_git(["blame", "--porcelain", *ranges, "--", path], cwd=self._root)
        except GitFailed:
            # a shallow or damaged history: the marker is what counts
            return {}
        return dict(self._told(done.stdout.decode("utf-8", errors="replace").split("\n")))

    def _told(self, porcelain: Sequence[str]) -> Iterator[tuple[int, str]]:
        """Porcelain tells a commit's author and time only the first time that it names the commit."""
        facts: dict[str, dict[str, str]] = {}
        commit, line = "", 0
        for row in porcelain:
            if row.startswith("\t"):
                yield line, self._sentence(commit, facts[commit])
            elif found := _BLAMED.match(row):
                commit, line = found["commit"], int(found["line"])
                facts.setdefault(commit, {})
            elif commit:
                key, _, value = row.partition(" ")
                facts[commit][key] = value

    def _sentence(self, commit: str, facts: Mapping[str, str]) -> str:
        if not commit.strip("0"):
            return "not committed yet"
        days = max(0, self._now - int(facts.get("author-time", self._now))) // _DAY
        when = "on the day of the base commit" if days == 0 else f"{days} day(s) before the base commit"
        return f"written by {facts.get('author', 'somebody')} {when}"
