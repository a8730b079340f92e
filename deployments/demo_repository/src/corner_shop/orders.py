"""Orders, as the till writes them."""

from dataclasses import dataclass, field
from typing import List, Tuple
import re


@dataclass
class Line:
    """So many pieces of an article."""

    article: str
    pieces: int


@dataclass
class Order:
    """What one customer buys."""

    customer: str = "guest"
    lines: List[Line] = field(default_factory=list)

    def pieces(self) -> int:
        """How many pieces there are in all."""
        return sum([line.pieces for line in self.lines])


def parse(text: str) -> Order:
    """Read an order such as `member: 2 apple, 1 milk`."""
    customer, _, rest = text.partition(":")
    found: List[Tuple[str, str]] = re.findall("(\d+) (\w+)", rest)
    return Order(customer.strip(), [Line(article, int(pieces)) for pieces, article in found])
