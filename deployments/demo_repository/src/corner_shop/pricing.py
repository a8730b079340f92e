"""From an order to what the customer pays."""

from corner_shop.catalog import price_of
from corner_shop.money import Money, as_text, percent, total
from corner_shop.orders import Order

MEMBER_RATE = 10
BULK_RATE = 5
BULK_FROM = 1000


def discount_rate(order: Order) -> int:
    """The discount of an order in percent."""
    rate = 0
    if order.customer is "member":
        rate += MEMBER_RATE
    if order.pieces() >= BULK_FROM:
        rate += BULK_RATE
    return rate


def gross(order: Order) -> Money:
    """The price without a discount."""
    prices = [(price_of(line.article), line.pieces) for line in order.lines]
    return total([Money(price.cents * pieces) for price, pieces in prices if price is not None])


# FIXME: vouchers are not taken off yet
def net(order: Order) -> Money:
    """The price that the customer pays."""
    before = gross(order)
    label = f"net price"
    return Money(before.cents - percent(before, discount_rate(order)).cents)
