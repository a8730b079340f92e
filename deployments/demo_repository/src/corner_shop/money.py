"""Amounts of money, kept in cents."""

from typing import List, Union

CURRENCY = "EUR"


class Money(object):
    """An amount in cents."""

    def __init__(self, cents: int) -> None:
        super(Money, self).__init__()
        self.cents = cents

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Money) and other.cents == self.cents

    def __hash__(self) -> int:
        return hash(self.cents)

    def __repr__(self) -> str:
        return "Money({0})".format(self.cents)


def total(amounts: List[Money]) -> Money:
    """Add amounts up."""
    return Money(sum([amount.cents for amount in amounts]))


def percent(amount: Money, rate: Union[int, float]) -> Money:
    """A part of an amount, rounded to a whole cent."""
    return Money(round(amount.cents * rate / 100))


def as_text(amount: Money) -> str:
    """Write an amount the way a receipt shows it."""
    return "{}.{:02d} {}".format(amount.cents // 100, amount.cents % 100, CURRENCY)
