"""The source `mypy`: errors of a real mypy, whichever files are asked about, and a tree left alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from prefect_acms.canonical.gap import GapSeverity
from prefect_acms.canonical.outside_errors import SourceFailed
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.sources import Scan
from prefect_acms.tasks.sources.mypy import MypySource

MakeRepository = Callable[..., Path]
ScanOf = Callable[..., Scan]
RunIn = Callable[..., str]

SHOP = """\
def price(name: str) -> int:
    return "free"


def clear():
    price(3)
"""


def found(scan: Scan) -> list[Gap]:
    """What mypy finds."""
    return list(MypySource().discover(scan).gaps)


def test_errors_become_gaps_and_the_tree_stays_as_it_is(
    make_repository: MakeRepository, scan_of: ScanOf, run_in: RunIn
) -> None:
    """Rule, place, severity; two files of one name and a library that is missing don't stop it; version and command."""
    files = {"shop.py": SHOP, "a/conf.py": "import nowhere\n", "b/conf.py": "x: int = ''\n"}
    top = make_repository(files)
    answer = MypySource().discover(scan_of(top))
    assert [
        (gap.rule_id, gap.file_paths, gap.start_line) for gap in sorted(answer.gaps, key=lambda g: g.file_paths)
    ] == [
        ("assignment", ("b/conf.py",), 1),
        ("return-value", ("shop.py",), 2),
    ]
    assert {(gap.severity, gap.category, gap.fixable) for gap in answer.gaps} == {(GapSeverity.MEDIUM, "typing", False)}
    assert answer.version.startswith("mypy ")
    assert answer.command[1:4] == ("-I", "-m", "mypy")
    assert run_in(top, "status", "--porcelain", "--ignored") == ""


def test_a_strict_check_finds_more_and_says_what_ruff_can_annotate(
    make_repository: MakeRepository, scan_of: ScanOf
) -> None:
    """A function without arguments that returns nothing; and asked about one file it says what it would say anyway."""
    top = make_repository({"shop.py": SHOP, "other.py": "from shop import clear\n\n\ndef go(x):\n    return clear()\n"})
    gaps = {gap.rule_id: gap for gap in found(scan_of(top, ("shop.py", "gone.py"), mypy_strict=True))}
    assert (sorted(gaps), gaps["no-untyped-def"].fixable) == (["arg-type", "no-untyped-def", "return-value"], True)
    everything = found(scan_of(top, mypy_strict=True))
    assert {gap.fingerprint for gap in gaps.values()} == {
        gap.fingerprint for gap in everything if gap.file_paths == ("shop.py",)
    }
    assert not any(gap.fixable for gap in everything if gap.file_paths == ("other.py",))
    assert found(scan_of(top, ("readme.md",))) == []


def test_the_repositorys_own_configuration_rules(make_repository: MakeRepository, scan_of: ScanOf) -> None:
    """What it checks, and how."""
    settings = '[tool.mypy]\nfiles = ["b.py"]\ndisable_error_code = ["assignment"]\ncheck_untyped_defs = true\n'
    top = make_repository({"pyproject.toml": settings, "a.py": SHOP, "b.py": "x: int = ''\n\n\ndef f():\n    1 + ''\n"})
    assert [gap.rule_id for gap in found(scan_of(top))] == ["operator"]


def test_a_syntax_error_is_a_gap(make_repository: MakeRepository, scan_of: ScanOf) -> None:
    """The only ones that mypy tells of then."""
    gaps = found(scan_of(make_repository({"a.py": "def (:\n", "b.py": SHOP})))
    assert {(gap.rule_id, gap.severity, gap.category) for gap in gaps} == {("syntax", GapSeverity.CRITICAL, "syntax")}


@pytest.mark.parametrize("setting", ['plugins = ["nowhere.plugin"]', 'files = ["nowhere.py"]'])
def test_a_configuration_that_cannot_be_followed_fails_the_source(
    make_repository: MakeRepository, scan_of: ScanOf, setting: str
) -> None:
    with pytest.raises(SourceFailed, match="nowhere"):
        found(scan_of(make_repository({"pyproject.toml": f"[tool.mypy]\n{setting}\n", "a.py": "x = 1\n"})))


def test_a_proof_begins_with_what_was_learnt_of_the_base_and_adds_nothing_to_it(
    make_repository: MakeRepository, scan_of: ScanOf, tmp_path: Path
) -> None:
    """It finds what a mypy finds that knows nothing, in the file that was changed and in those that use it."""
    top = make_repository({"shop.py": SHOP, "till.py": "from shop import price\n\ntotal: int = price('')\n"})
    learnt = tmp_path / "learnt"
    found(replace(scan_of(top), learnt=learnt))
    before = {path: hashlib.sha256(path.read_bytes()).digest() for path in learnt.rglob("*") if path.is_file()}
    (top / "shop.py").write_text(SHOP.replace('"free"', "3").replace("-> int", "-> str"))
    proof = scan_of(top, ("shop.py", "till.py"))
    warm = found(replace(proof, learnt=learnt))
    assert {(gap.file_paths, gap.rule_id) for gap in warm} == {
        (("shop.py",), "return-value"),
        (("till.py",), "assignment"),
    }
    assert warm == found(proof)
    assert {path: hashlib.sha256(path.read_bytes()).digest() for path in learnt.rglob("*") if path.is_file()} == before
    assert before


def test_a_link_in_what_was_learnt_is_not_followed(
    make_repository: MakeRepository, scan_of: ScanOf, tmp_path: Path
) -> None:
    """A plugin of the repository's may have made it, to be shown what it leads to."""
    secret, learnt = tmp_path / "secret", tmp_path / "learnt"
    secret.write_text("key")
    plugin = "import os, sys\n"
    plugin += f"os.symlink({str(secret)!r}, sys.argv[sys.argv.index('--cache-dir') + 1] + '/link')\n"
    plugin += "from mypy.plugin import Plugin\n\n\ndef plugin(version: str) -> type[Plugin]:\n    return Plugin\n"
    files = {"mypy.ini": "[mypy]\nplugins = ./links.py\n", "links.py": plugin, "shop.py": SHOP}
    found(replace(scan_of(make_repository(files)), learnt=learnt))
    assert [path.is_symlink() for path in learnt.rglob("link")] == [True]


def test_what_a_plugin_prints_is_not_mypys_word(make_repository: MakeRepository, scan_of: ScanOf) -> None:
    """Lines before, between and in front of findings, JSON or not, hide none of these."""
    printed = ["loaded", "[1]", "7", '{"a": 1}', '{"file": "shop.py"}']
    plugin = "".join(f"print({line!r})\n" for line in printed) + "print('no end of line: ', end='', flush=True)\n"
    plugin += "from mypy.plugin import Plugin\n\n\ndef plugin(version: str) -> type[Plugin]:\n    return Plugin\n"
    files = {"mypy.ini": "[mypy]\nplugins = ./talks.py\nfiles = shop.py\n", "talks.py": plugin, "shop.py": SHOP}
    assert [gap.rule_id for gap in found(scan_of(make_repository(files)))] == ["return-value"]
