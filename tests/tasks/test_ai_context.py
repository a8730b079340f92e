"""What a model is shown for a task: the most needed first, within the budget, the same each time."""

from __future__ import annotations

from pathlib import Path

import pytest
from driven import a_gap, repository_of

from prefect_acms.tasks.ai.context import Part, chosen_parts, tokens_of, tokens_of_part, whole_files
from prefect_acms.tasks.ai.disclosure import Disclosure

FILLER = "".join(f"value_{number} = {number}\n" for number in range(400))
SHOP = f"""import decimal

{FILLER}
def net(price):
    return price


class Cart:
    def total(self, items):
        amount = 0
        for item in items:
            amount += net(item)
        return amonut

{FILLER}"""
LINE = SHOP.split("\n").index("        return amonut") + 1
FILES = {
    "shop.py": SHOP,
    "caller.py": f"{FILLER}\ndef checkout(cart):\n    return cart.total([1])\n{FILLER}",
    "tests/test_shop.py": f"{FILLER}\ndef test_total():\n    assert Cart().total([1]) == 1\n\n{FILLER}",
    "other.py": f"{FILLER}\nunrelated = 1\n",
    "AGENTS.md": "Write docstrings.\n",
    ".acmsignore": "secret_caller.py\n",
    "secret_caller.py": "Cart().total([3])\n",
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Disclosure:
    """A shop in which a method is wrong that others call."""
    return Disclosure.of(repository_of(tmp_path_factory.mktemp("shop"), FILES))


def _text(parts: tuple[Part, ...], path: str) -> str:
    return "\n".join(part.text for part in parts if part.path == path)


def test_the_gap_its_function_its_callers_its_tests_and_the_conventions_are_shown(shop: Disclosure) -> None:
    """What somebody would open who had to mend it, and nothing that has nothing to do with it."""
    gap = a_gap("g", "shop.py", start_line=LINE)
    parts = chosen_parts(shop, [gap], ["shop.py"], 2_000)
    assert "class Cart:" in _text(parts, "shop.py")
    assert "import decimal" in _text(parts, "shop.py")
    assert "return cart.total([1])" in _text(parts, "caller.py")
    assert "def test_total():" in _text(parts, "tests/test_shop.py")
    assert _text(parts, "AGENTS.md") == "Write docstrings."
    assert {part.path for part in parts} == {"shop.py", "caller.py", "tests/test_shop.py", "AGENTS.md"}
    assert parts == chosen_parts(shop, [gap], ["shop.py"], 2_000)


@pytest.mark.parametrize("budget", [100, 300, 1_000, 4_000])
def test_the_budget_is_kept_and_the_gap_comes_first(shop: Disclosure, budget: int) -> None:
    """However small the budget is, what is spent of it is spent on the gap; parts are told by their true lines."""
    parts = chosen_parts(shop, [a_gap("g", "shop.py", start_line=LINE)], ["shop.py"], budget)
    assert "return amonut" in _text(parts, "shop.py")
    assert sum(map(tokens_of_part, parts)) <= budget + len(parts)
    for part in parts:
        shown = shop.shown(part.path)
        assert shown is not None
        assert part.text == "\n".join(shown.lines[part.first - 1 : part.last])


def test_the_function_is_found_in_other_languages_too(tmp_path: Path) -> None:
    """By the form in which most of them define things."""
    lines = [*[f"// {number}" for number in range(90)], "export async function refund(order) {", *["  step();"] * 60]
    files = {"a.ts": "\n".join([*lines, "}"]), "b.ts": "\n".join(["//"] * 9 + ["refund(1)"])}
    seen = Disclosure.of(repository_of(tmp_path, files))
    parts = chosen_parts(seen, [a_gap("g", "a.ts", start_line=150)], ["a.ts"], 300)
    assert "export async function refund" in _text(parts, "a.ts")
    assert "refund(1)" in _text(parts, "b.ts")


def test_whole_files_come_in_batches_of_the_budget(shop: Disclosure) -> None:
    """Each file once and whole; of one that is larger than the budget, its beginning."""
    batches = list(whole_files(shop, ["AGENTS.md", "other.py", "secret_caller.py", "caller.py"], 2_600))
    assert [[part.path for part in batch] for batch in batches] == [["AGENTS.md", "other.py"], ["caller.py"]]
    cut = batches[1][0]
    assert cut.text.startswith("value_0 = 0")
    assert tokens_of(cut.text) <= 2_600
