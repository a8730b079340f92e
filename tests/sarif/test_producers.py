"""SARIF files of many producers, as they document them: each is imported, each in its own manner."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from sarif_shop import PRODUCERS

from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.sources import Scan
from prefect_acms.tasks.sources.sarif import SarifSource

ScanOf = Callable[..., Scan]

FOUND = {
    "bandit": ["app.py:9 B307 medium security"],
    "checkov": ["infra/my bucket.tf:1 CKV_AWS_20 high security"],
    "clippy": ["core/src/lib.rs:2 clippy::needless_return medium uncategorized fixable"],
    "codeql": ["app.py:1 py/unused-import low maintainability", "app.py:7 py/sql-injection high security"],
    "eslint": ["web/cart.js:2 no-unused-vars high variables", "web/cart.js:3 eqeqeq medium best-practices"],
    "gcc": [
        "native/main.c:2 -Wunused-variable medium uncategorized",
        "native/main.c:3 error high uncategorized fixable",
    ],
    "gitleaks": ["settings.ini:2 generic-api-key medium security"],
    "multitool-baseline": ["app.py:2 python:S1481 medium uncategorized"],
    "roslyn": ["src/Shop/Cart.cs:3 CA1822 low performance"],
    "ruff": ["app.py:1 F401 high uncategorized fixable"],
    "semgrep": [
        "app.py:8 python.lang.correctness.useless-eqeq high correctness fixable",
        "app.py:9 python.lang.security.eval medium security",
    ],
    "snyk-code": ["app.py:7 python/Sqli high security"],
    "trivy": [
        "Dockerfile:1 DS002 low security",
        "library/python:1 CVE-2024-6345 high security",
        "requirements.txt:1 CVE-2024-6345 high security",
    ],
}
"""What is open in each file: where, which rule, how bad, of which category, and whether it brings a fix."""


def told(gap: Gap) -> str:
    """A gap in one line."""
    fix = " fixable" if gap.fixable else ""
    return f"{gap.file_paths[0]}:{gap.start_line} {gap.rule_id} {gap.severity.value} {gap.category}{fix}"


def test_there_is_a_file_of_every_producer() -> None:
    """And of ten at least."""
    assert sorted(FOUND) == sorted(path.stem for path in PRODUCERS.glob("*.sarif"))
    assert len(FOUND) >= 10


@pytest.mark.parametrize("producer", sorted(FOUND))
def test_the_file_of_a_producer_is_imported(producer: str, scan_of: ScanOf) -> None:
    """Suppressed, passed and absent results are no gaps; every gap is another, and the same when read again."""
    scan = scan_of(PRODUCERS / f"{producer}.sarif")
    found = SarifSource().discover(scan).gaps
    assert sorted(map(told, found)) == FOUND[producer]
    assert len({gap.fingerprint for gap in found}) == len(found)
    assert SarifSource().discover(scan).gaps == found
    assert {gap.source for gap in found} == {"sarif"}


def gaps_by_rule(scan: Scan) -> dict[str, Gap]:
    """What is found, by rule."""
    return {gap.rule_id: gap for gap in SarifSource().discover(scan).gaps}


def test_the_way_of_the_data_and_the_help_of_the_rule_are_told(scan_of: ScanOf) -> None:
    """Links into related locations become their words."""
    found = gaps_by_rule(scan_of(PRODUCERS / "codeql.sarif"))["py/sql-injection"]
    assert found.title == "This SQL query depends on a user-provided value."
    assert "  app.py:6: ControlFlowNode for name\n  app.py:7: ControlFlowNode for BinaryExpr" in found.description
    assert "Use query parameters." in found.description
    origin = found.details["sarif"]
    assert isinstance(origin, dict)
    assert (origin["tool"], origin["security_severity"]) == ("CodeQL", 8.8)
    assert origin["partial_fingerprints"] == {
        "primaryLocationLineHash": "8d3a1a1e8a0b5d2e:1",
        "primaryLocationStartColumnFingerprint": "15",
    }


def test_a_message_is_looked_up_and_its_arguments_filled_in(scan_of: ScanOf) -> None:
    """By its id, in the strings of its rule."""
    (found,) = gaps_by_rule(scan_of(PRODUCERS / "multitool-baseline.sarif")).values()
    assert found.title == 'Remove the unused local variable "unused".'


def test_a_file_of_a_tool_that_the_run_asks_itself_adds_to_that_source(scan_of: ScanOf) -> None:
    """So that its gaps are found again, fixed and proved by the tool; they have the fingerprints that it gives."""
    from prefect_acms.tasks.sources.ruff import RuffSource  # noqa: PLC0415 - only here

    scan = scan_of(PRODUCERS / "ruff.sarif", sources=("ruff", "sarif"))
    (found,) = SarifSource().discover(scan).gaps
    own = {gap.fingerprint: gap for gap in RuffSource().discover(scan).gaps}
    assert (found.source, found.category) == ("ruff", own[found.fingerprint].category)
    assert (own[found.fingerprint].title, own[found.fingerprint].start_line) == (found.title, found.start_line)


def test_what_the_source_itself_does_not_tell_stays_with_the_file(scan_of: ScanOf) -> None:
    """Or it would count as gone when the source is asked again; in whatever order the two are asked."""
    from prefect_acms.tasks.discovery import discover  # noqa: PLC0415 - only here

    scan = scan_of(PRODUCERS / "ruff.sarif", sources=("ruff", "sarif"))
    others = replace(scan, settings=scan.settings.model_copy(update={"ruff_select": ("W",)}))
    for names in (("ruff", "sarif"), ("sarif", "ruff")):
        assert {gap.source for gap in discover(scan, names).gaps if gap.rule_id == "F401"} == {"ruff"}
        assert {gap.source for gap in discover(others, names).gaps if gap.rule_id == "F401"} == {"sarif"}
