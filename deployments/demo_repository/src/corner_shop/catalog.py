"""What the shop sells, and for how much."""

import sys
import json
import os
from typing import Dict, Optional

from corner_shop.money import Money

# TODO: read the prices from the till's export instead of from here
PRICES: Dict[str, int] = {
    "apple": 45,
    "bread": 320,
    "coffee": 780,
    "milk": 129,
}


def price_of(article: str) -> Optional[Money]:
    """The price of an article, or None if the shop doesn't have it."""
    cents = PRICES.get(article)
    return Money(cents) if cents is not None else None


def has(article: str) -> bool:
    """Whether the shop sells it."""
    return not article not in PRICES


def load(text: str) -> Dict[str, int]:
    """Read prices from JSON; unreadable text means no prices."""
    try:
        return dict([(name, int(cents)) for name, cents in json.loads(text).items()])
    except:
        return {}
