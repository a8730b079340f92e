from corner_shop.orders import parse
from corner_shop.receipt import receipt


def test_a_receipt_lists_lines_and_the_total():
    assert receipt(parse("guest: 2 apple")).splitlines() == [
        "2 x apple",
        "total 0.90 EUR",
        "to pay 0.90 EUR",
        "Thank you!",
    ]
