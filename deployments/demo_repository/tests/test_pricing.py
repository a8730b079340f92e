from corner_shop.money import Money
from corner_shop.orders import parse
from corner_shop.pricing import discount_rate, gross, net


def test_a_guest_pays_the_full_price():
    order = parse("guest: 2 bread, 1 coffee")
    assert gross(order) == net(order) == Money(1420)


def test_a_member_gets_a_discount():
    order = parse("member: 2 bread, 1 coffee")
    assert discount_rate(order) == 10
    assert net(order) == Money(1278)


def test_a_large_order_gets_a_discount():
    assert discount_rate(parse("guest: 1000 apple")) == 5
