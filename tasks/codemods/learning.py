"""Learning a codemod from cases: edits that were made the same way become rules, which must reproduce every case."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple

from prefect_acms.canonical.errors import NotPromotable
from prefect_acms.canonical.outside_errors import ToolFailed
from prefect_acms.tasks.codemods.cases import ENOUGH, Case, Rule
from prefect_acms.tasks.codemods.codemod import Codemod, Import, Rewrite
from prefect_acms.tasks.codemods.edits import Edit, Pair, applied, edits_of
from prefect_acms.tasks.codemods.generalising import generalised
from prefect_acms.tasks.codemods.module_imports import imports_of
from prefect_acms.tasks.codemods.rewriting import rewritten

_NAME = re.compile(r"[^\W\d]\w*")


@dataclass(frozen=True, slots=True)
class Studied:
    """A case with the edits that were made for the rule; other edits of the patch are none of its business."""

    case: Case
    edits: tuple[Edit, ...]

    def expected(self, pairs: Iterable[Pair], *, imports: bool) -> str:
        """The text in which only these pieces of code are what the patch has made of them."""
        edits = {_place(pair): _replacement(pair, self.case) for pair in pairs}
        if edits and imports:
            edits |= {(edit.start, edit.end): edit for edit in self.edits if edit.is_import}
        return applied(self.case.before, list(edits.values()))


def _place(pair: Pair) -> tuple[int, int]:
    place = pair.before.range()
    return place.start.index, place.end.index


def _replacement(pair: Pair, case: Case) -> Edit:
    start, end = _place(pair)
    if not pair.after:  # what goes takes its lines along
        start = case.before.rfind("\n", 0, start) + 1
        end = case.before.find("\n", end) + 1 or len(case.before)
        return Edit(start, end, "", (0, 0))
    first, last = pair.after[0].range(), pair.after[-1].range()
    return Edit(start, end, case.after[first.start.index : last.end.index], (0, 0))


class Mismatch(NamedTuple):
    """A case that a codemod does not reproduce: what it should give, and what it does."""

    case: Case
    expected: str
    found: str


class Example(NamedTuple):
    """A piece of code that a patch has rewritten, and in which case."""

    studied: int
    pair: Pair


@dataclass(frozen=True, slots=True)
class Learned:
    """A codemod that reproduces its cases: and the text that it gives for each."""

    codemod: Codemod
    studied: tuple[Studied, ...]
    expected: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...] = ()

    @property
    def supporting(self) -> tuple[Case, ...]:
        """The cases of which it reproduces something."""
        found = zip(self.studied, self.expected, strict=True)
        return tuple(one.case for one, expected in found if expected != one.case.before)


@dataclass(slots=True)
class _Rules:
    """The rules that were found so far, the examples of each, and why others were refused."""

    rewrites: list[Rewrite] = field(default_factory=list)
    examples: list[Example] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def covers(self, studied: int, edit: Edit) -> bool:
        return any(one.studied == studied and edit.is_in(one.pair) for one in self.examples)


def learn(rule: Rule, cases: Sequence[Case]) -> Learned:
    """The codemod that reproduces what was done the same way in enough of these cases; raises NotPromotable."""
    languages: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        languages[case.language].append(case)
    if not languages:
        raise NotPromotable(rule=rule, problem="none of the accepted patches can be learned from")
    language, mine = max(languages.items(), key=lambda item: len(item[1]))
    studied, left_out = _studied(rule, mine)
    rules = _Rules()
    levels = range(max((len(edit.around) for one in studied for edit in one.edits), default=0))
    for level, whole in [*((level, True) for level in levels), *((level, False) for level in levels)]:
        for limited, examples in _rewrites(studied, rules, level, whole=whole):
            for rewrite in (limited.model_copy(update={"kinds": {}}), limited):
                problem = _objection(Codemod(language=language, rewrites=(rewrite,)), studied, examples)
                if problem is None:
                    rules.rewrites.append(rewrite)
                    rules.examples += examples
                    break
                rules.refused.append(problem)
    if not rules.rewrites:
        raise NotPromotable(rule=rule, problem=_nothing_found(studied, left_out, rules))
    return _with_imports(rule, language, studied, left_out, rules)


def _nothing_found(studied: Sequence[Studied], left_out: Sequence[tuple[str, str]], rules: _Rules) -> str:
    if rules.refused:
        return f"what was done is not the same everywhere: {rules.refused[-1]}"
    if len({one.case.fix.patch.id for one in studied}) < ENOUGH and left_out:
        return f"too few patches can be learned from: {left_out[0][1]}"
    return f"no edit was made the same way in {ENOUGH} patches"


def _studied(rule: Rule, cases: Sequence[Case]) -> tuple[list[Studied], list[tuple[str, str]]]:
    """The cases with the edits of the rule, and those of which they can't be told, each with the reason.

    The same edit of the same file, made again in a run that did not start from the first one, says nothing new.
    """
    studied: list[Studied] = []
    left_out: list[tuple[str, str]] = []
    seen: dict[tuple[str, str, str], str] = {}
    for case in cases:
        patch = case.fix.patch.id
        if (first := seen.setdefault((case.path, case.before, case.after), patch)) != patch:
            left_out.append((patch, f"{case.path}: patch {first} has made the same of the same file"))
            continue
        edits = edits_of(case.before, case.after, case.language)
        if edits is None:
            left_out.append((case.fix.patch.id, f"{case.path}: its edits can't be told by its syntax"))
            continue
        own = [edit for edit in edits if _is_about(rule, case, edit)]
        if own:
            studied.append(Studied(case, tuple(own)))
        else:
            left_out.append((case.fix.patch.id, f"{case.path}: none of its edits is where the gap was"))
    return studied, left_out


def _is_about(rule: Rule, case: Case, edit: Edit) -> bool:
    """Whether an edit was made for a rule: it is the only one in the file, or has its gap in these lines alone."""
    if {(gap.source, gap.rule_id) for gap in case.gaps} == {rule}:
        return True
    first, last = edit.lines
    placed = [(gap, gap.start_line) for gap in case.gaps if gap.start_line]
    near = [gap for gap, start in placed if start <= last and (gap.end_line or start) >= first]
    return bool(near) and all((gap.source, gap.rule_id) == rule for gap in near)


def _rewrites(
    studied: Sequence[Studied], rules: _Rules, level: int, *, whole: bool
) -> Iterator[tuple[Rewrite, list[Example]]]:
    """The rules that say what was done in enough patches, by the pieces of code that lie so far around the edits.

    With `whole` only pieces that hold every name which the edit has taken from around it: `raise A()` is not always
    `raise A() from error`, even where the error has the same name in all cases.
    """
    examples: dict[tuple[int, int, int], Example] = {}
    for number, one in enumerate(studied):
        for edit in one.edits:
            if len(edit.around) > level and not edit.is_import and not rules.covers(number, edit):
                if whole and _leans_on_more(edit, level):
                    continue
                pair = edit.around[level]
                examples[number, *_place(pair)] = Example(number, pair)
    for group in _grouped(list(examples.values()), studied):
        rewrite = _generalised(group, studied)
        if rewrite is not None and len({studied[one.studied].case.fix.patch.id for one in group}) >= ENOUGH:
            yield rewrite, group


def _leans_on_more(edit: Edit, level: int) -> bool:
    """Whether what replaces a piece of code has names that stand not in it but around it, but for the whole file."""
    pair = edit.around[level]
    new = {name for node in pair.after for name in _NAME.findall(node.text())} - {*_NAME.findall(pair.before.text())}
    return bool(new) and any(new.intersection(_NAME.findall(one.before.text())) for one in edit.around[level + 1 : -1])


def _grouped(examples: Sequence[Example], studied: Sequence[Studied]) -> list[list[Example]]:
    """Examples that one rule can say, each in the first group that it fits."""
    groups: list[list[Example]] = []
    for one in examples:
        home = next((group for group in groups if _generalised([*group, one], studied)), None)
        if home is None:
            groups.append([one])
        else:
            home.append(one)
    return groups


def _generalised(examples: Sequence[Example], studied: Sequence[Studied]) -> Rewrite | None:
    return generalised([one.pair for one in examples], [studied[one.studied].case.before for one in examples])


def mismatches(codemod: Codemod, cases: Sequence[Case], expected: Sequence[str]) -> Iterator[Mismatch]:
    """The cases in which a codemod gives another text than expected, be it where the patch has changed nothing."""
    suffix = {number: f"{number}/{case.path}" for number, case in enumerate(cases)}
    found = rewritten(codemod, {suffix[number]: case.before.encode() for number, case in enumerate(cases)})
    for number, case, wanted in zip(count(), cases, expected, strict=False):
        text = found.get(suffix[number], case.before.encode()).decode()
        if text != wanted:
            yield Mismatch(case, wanted, text)


def _objection(codemod: Codemod, studied: Sequence[Studied], examples: Sequence[Example]) -> str | None:
    """What speaks against a rule, None for one that reproduces its examples and touches nothing else in the cases."""
    expected = _expected(studied, examples, imports=False)
    try:
        wrong = next(mismatches(codemod, [one.case for one in studied], expected), None)
    except ToolFailed as problem:
        return str(problem)
    if wrong is None:
        return None
    pattern = codemod.rewrites[-1].pattern.splitlines()[0]
    case = wrong.case
    return f"`{pattern}` does not give what patch {case.fix.patch.id} has made of {case.path}"


def _expected(studied: Sequence[Studied], examples: Sequence[Example], *, imports: bool) -> list[str]:
    pairs: Mapping[int, list[Pair]] = defaultdict(list)
    for example in examples:
        pairs[example.studied].append(example.pair)
    return [one.expected(pairs[number], imports=imports) for number, one in enumerate(studied)]


def _with_imports(
    rule: Rule, language: str, studied: Sequence[Studied], left_out: Sequence[tuple[str, str]], rules: _Rules
) -> Learned:
    """The rules together, with the imports that the patches have added or dropped for them."""
    expected = _expected(studied, rules.examples, imports=True)
    cases = [one.case for one in studied]
    added, dropped = _changed_imports(language, cases, expected)
    plain = Codemod(language=language, rewrites=tuple(rules.rewrites), adds=added, drops=dropped)
    codemod, wrong = plain, next(mismatches(plain, cases, expected), None)
    if wrong is not None and plain.changes_imports:
        codemod = plain.model_copy(update={"sorts_imports": True})
        wrong = next(mismatches(codemod, cases, expected), None)
    if wrong is not None:
        problem = f"the rules together do not give what patch {wrong.case.fix.patch.id} has made of {wrong.case.path}"
        raise NotPromotable(rule=rule, problem=problem)
    return Learned(codemod, tuple(studied), tuple(expected), tuple(left_out))


def _changed_imports(
    language: str, cases: Sequence[Case], expected: Sequence[str]
) -> tuple[tuple[Import, ...], tuple[Import, ...]]:
    if language != "python":
        return (), ()
    added: set[Import] = set()
    dropped: Counter[Import] = Counter()
    for case, text in zip(cases, expected, strict=True):
        before, after = imports_of(case.before), imports_of(text)
        added |= after - before
        dropped.update(before - after)
    # one that went from a single file went for a reason of that file's
    gone = (one for one, files in dropped.items() if files > 1)
    return tuple(sorted(added, key=str)), tuple(sorted(gone, key=str))
