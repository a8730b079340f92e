"""What AI tools have fixed in patches that were accepted: the cases that a codemod is learned from and tried on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from prefect_acms.canonical.errors import BadInput
from prefect_acms.canonical.gap import GapState
from prefect_acms.canonical.outside_errors import GitFailed
from prefect_acms.dao.gaps import GapRow
from prefect_acms.dao.ledger import LedgerRow
from prefect_acms.dao.patches import PatchRow
from prefect_acms.dao.store import Store, UnitOfWork
from prefect_acms.dao.tasks import TaskRow
from prefect_acms.tasks.captures import REDACTED
from prefect_acms.tasks.codemods.codemod import language_of
from prefect_acms.tasks.git import run_git
from prefect_acms.tasks.repository import Repository
from prefect_acms.tasks.review_policy import FACTS

ENOUGH = 3
"""In how many accepted patches a rule must have been fixed the same way."""


class Rule(NamedTuple):
    """What a codemod is about: a rule of a gap source."""

    source: str
    rule_id: str

    def __str__(self) -> str:
        return f"{self.source}:{self.rule_id}"


@dataclass(frozen=True, slots=True)
class Fix:
    """An accepted patch of an AI tool, and the gaps that it has resolved."""

    entry: LedgerRow
    patch: PatchRow
    task: TaskRow
    repository: str
    gaps: tuple[GapRow, ...]

    @property
    def rules(self) -> frozenset[Rule]:
        """The rules of its gaps."""
        return frozenset(Rule(gap.source, gap.rule_id) for gap in self.gaps)


@dataclass(frozen=True, slots=True)
class Case:
    """One file of an accepted patch: its text before and after, and the gaps that were in it."""

    fix: Fix
    path: str
    language: str
    before: str
    after: str

    @property
    def gaps(self) -> tuple[GapRow, ...]:
        """The gaps of this file that the patch has resolved."""
        return tuple(gap for gap in self.fix.gaps if self.path in gap.file_paths)


class Unusable(NamedTuple):
    """An accepted patch from which nothing can be learned, and why."""

    patch_id: str
    reason: str


def accepted_fixes(store: Store) -> list[Fix]:
    """Every patch of an AI tool that is committed and was not taken back, with the gaps that it has resolved."""
    with store.begin(read_only=True) as dao:
        return [fix for entry in dao.ledger.committed() if _is_ai_made(entry) if (fix := _fix(dao, entry)).gaps]


def _is_ai_made(entry: LedgerRow) -> bool:
    """What policy was told when the patch was judged: that its maker is no deterministic tool."""
    return bool(entry.info.get(FACTS, {}).get("ai_made"))


def _fix(dao: UnitOfWork, entry: LedgerRow) -> Fix:
    patch, task = dao.patches.get(entry.patch_id), dao.tasks.get(entry.task_id)
    mine, files = set(task.info.get("gaps", ())), set(patch.files)
    rows = dao.gaps.of_workstream(entry.workstream_id)
    gaps = (row for row in rows if row.fingerprint in mine and files.intersection(row.file_paths))
    resolved = tuple(row for row in gaps if row.state == GapState.RESOLVED)
    return Fix(entry, patch, task, dao.runs.get(entry.run_id).repo_root, resolved)


def by_rule(fixes: Sequence[Fix]) -> Mapping[Rule, list[Fix]]:
    """The fixes of each rule, the rules that were fixed most often first."""
    found: dict[Rule, list[Fix]] = defaultdict(list)
    for fix in fixes:
        for rule in fix.rules:
            found[rule].append(fix)
    return dict(sorted(found.items(), key=lambda item: (-len(item[1]), item[0])))


def cases_of(fixes: Sequence[Fix], rule: Rule) -> tuple[list[Case], list[Unusable]]:
    """The files of these patches that had a gap of the rule; a patch whose base can't be had any more is told of."""
    cases: list[Case] = []
    unusable: list[Unusable] = []
    for fix in fixes:
        try:
            found = list(_files_of(fix, rule))
        except (BadInput, GitFailed, UnicodeDecodeError) as problem:
            unusable.append(Unusable(fix.patch.id, str(problem)))
            continue
        cases += found
        if not found:
            unusable.append(Unusable(fix.patch.id, "no file with such a gap is of a language that is known"))
    return cases, unusable


def _files_of(fix: Fix, rule: Rule) -> Iterator[Case]:
    """The texts before, as git has them at the patch's base commit, and after, as git applies the patch to them."""
    if REDACTED in fix.patch.info:
        return
    repository, base = Repository.open(Path(fix.repository)), fix.patch.base_commit or ""
    wanted = {path for gap in fix.gaps if (gap.source, gap.rule_id) == rule for path in gap.file_paths}
    before = {path: repository.content(base, path) for path in fix.patch.files}
    after = _patched({path: content for path, content in before.items() if content is not None}, fix.patch.content)
    for path in sorted(wanted & after.keys()):
        content, language = before[path], language_of(path)
        if content is not None and language is not None:
            yield Case(fix, path, language, content.decode(), after[path].decode())


def _patched(files: Mapping[str, bytes], diff: bytes) -> dict[str, bytes]:
    """The files after a diff; those that it has removed are left out."""
    with TemporaryDirectory(prefix="acms-case-") as folder:
        for path, content in files.items():
            Path(folder, path).parent.mkdir(parents=True, exist_ok=True)
            Path(folder, path).write_bytes(content)
        outside = {"GIT_CEILING_DIRECTORIES": str(Path(folder).parent)}
        run_git(["apply", "--whitespace=nowarn", "-p1", "-"], cwd=Path(folder), variables=outside, input=diff)
        return {path: Path(folder, path).read_bytes() for path in files if Path(folder, path).is_file()}
