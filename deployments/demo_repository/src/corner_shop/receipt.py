"""What the customer gets to read."""

from corner_shop.orders import Order
from corner_shop.pricing import as_text, discount_rate, gross, net


def receipt(order: Order, greeting: str = "Thank you!") -> str:
    """Write the receipt of an order."""
    rows = ["%d x %s" % (line.pieces, line.article) for line in order.lines]
    rows.append("total {}".format(as_text(gross(order))))
    if discount_rate(order) != 0:
        rows.append("discount {}%".format(discount_rate(order)))
    rows.append("to pay {}".format(as_text(net(order))))
    return "\n".join(rows + [greeting])
