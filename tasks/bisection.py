"""Bisection as `git bisect` does it, over any history with merges, but with a question of ours and no ref moved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from prefect_acms.tasks.git import run_git, text_of
from prefect_acms.tasks.repository import Repository


class Answer(StrEnum):
    """What a commit is, as far as the question goes."""

    GOOD = "good"
    BAD = "bad"
    SKIP = "skip"


Ask = Callable[[str], Answer]


@dataclass(frozen=True, slots=True)
class Bisection:
    """The first bad commit; none when only skipped ones are left, of which each of the suspects may be it."""

    first_bad: str | None
    suspects: tuple[str, ...]
    answers: Mapping[str, Answer]


def bisect(repository: Repository, good: str, bad: str, ask: Ask) -> Bisection:
    """Find the first bad commit of those that `bad` has and `good` has not; `bad` is known to be bad, `good` good.

    A commit is bad that has a bad answer, and all of whose ancestors here are good: as with `git bisect`, a merge of
    two good sides can be it.
    """
    answers: dict[str, Answer] = {good: Answer.GOOD, bad: Answer.BAD}
    first_bad = bad
    while True:
        candidates = _candidates(repository, first_bad, [name for name, said in answers.items() if said is Answer.GOOD])
        asked = next((name for name in candidates if name not in answers), None)
        if asked is None:
            skipped = tuple(name for name in candidates if answers[name] is Answer.SKIP)
            suspects = (first_bad, *skipped)
            return Bisection(None if skipped else first_bad, suspects, answers)
        answers[asked] = ask(asked)
        if answers[asked] is Answer.BAD:
            first_bad = asked


def _candidates(repository: Repository, bad: str, good: list[str]) -> list[str]:
    """The commits among which the first bad one is, the one that halves them best first."""
    asked = ["rev-list", "--bisect-all", bad, *(f"^{name}" for name in good)]
    return [line.split()[0] for line in text_of(run_git(asked, cwd=repository.top)).splitlines()]
