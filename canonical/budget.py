"""Budgets: what work may use up, and whether one more call fits in. Pure functions over facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from typing import NamedTuple

LEAST_WALL_SEC = 1.0
"""A call that can't be given so much time is not worth to be begun."""


@dataclass(frozen=True, slots=True)
class Amount:
    """What is used up, or may be: seconds at work, runs of tools, tokens of models, US dollars."""

    wall_sec: float = 0.0
    tool_runs: int = 0
    tokens: int = 0
    usd: Decimal = Decimal(0)

    def __add__(self, other: Amount) -> Amount:
        return Amount(**{name: getattr(self, name) + getattr(other, name) for name in RESOURCES})


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may be used up at most; None is no limit."""

    wall_sec: float | None = None
    tool_runs: int | None = None
    tokens: int | None = None
    usd: Decimal | None = None


RESOURCES = tuple(field.name for field in fields(Amount))
"""The names of what is limited."""


class Account(NamedTuple):
    """One budget as it stands: what it limits, what was used up, and what is set aside for calls that are going on."""

    limits: Limits
    spent: Amount
    reserved: Amount


def first_over(limits: Limits, used: Amount, asked: Amount) -> str | None:
    """The first resource that a call asks for and of which there is not enough left."""
    for name in RESOURCES:
        limit, wanted = getattr(limits, name), getattr(asked, name)
        if limit is not None and wanted > 0 and getattr(used, name) + wanted > limit:
            return name
    return None


def spent_for_good(account: Account, asked: Amount) -> str | None:
    """The first resource of which a call could not have enough even if all that is set aside came back."""
    least = replace(asked, wall_sec=min(asked.wall_sec, LEAST_WALL_SEC))
    return first_over(account.limits, account.spent, least)


def fitted(accounts: Sequence[Account], asked: Amount) -> Amount:
    """What is asked for, its time cut to what is left: a call that has less time is still a call."""
    left = [
        account.limits.wall_sec - account.spent.wall_sec for account in accounts if account.limits.wall_sec is not None
    ]
    return replace(asked, wall_sec=min([asked.wall_sec, *left]))


def fits_beside(accounts: Sequence[Account], asked: Amount) -> bool:
    """Whether a call fits in beside all that is set aside for others."""
    return all(first_over(one.limits, one.spent + one.reserved, asked) is None for one in accounts)
