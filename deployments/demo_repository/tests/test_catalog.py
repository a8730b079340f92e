from corner_shop.catalog import has, load, price_of
from corner_shop.money import Money


def test_a_known_article_has_a_price():
    assert price_of("milk") == Money(129)
    assert has("milk")


def test_an_unknown_article_has_none():
    assert price_of("caviar") is None
    assert not has("caviar")


def test_prices_are_read_from_json():
    assert load('{"tea": "250"}') == {"tea": 250}


def test_unreadable_prices_are_no_prices():
    assert load("{") == {}
