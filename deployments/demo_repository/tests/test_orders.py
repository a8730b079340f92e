from corner_shop.orders import Line, parse


def test_an_order_has_a_customer_and_lines():
    order = parse("guest: 2 apple, 1 milk")
    assert order.customer == "guest"
    assert order.lines == [Line("apple", 2), Line("milk", 1)]


def test_pieces_are_added_up():
    assert parse("guest: 2 apple, 1 milk").pieces() == 3


def test_an_order_may_be_empty():
    assert parse("guest:").lines == []
