"""The generated pages: what is in docs/ is what the code says."""

from __future__ import annotations

from pathlib import Path

import pytest

from prefect_acms.canonical.events import NOTICES as CANONICAL_NOTICES
from prefect_acms.canonical.machines import MACHINES
from prefect_acms.deployments.events_page import NOTICES
from prefect_acms.deployments.reference import pages, write_pages

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", pages())
def test_the_page_is_up_to_date(name: str) -> None:
    """Otherwise run `python -m prefect_acms.deployments.reference docs`."""
    assert (DOCS / name).read_text(encoding="utf-8") == pages()[name]


def test_every_lifecycle_has_its_diagram() -> None:
    """Nine machines, each as mermaid, with every edge in the table below it."""
    page = pages()["machines.md"]
    for machine in MACHINES.values():
        assert f"```mermaid\n{machine.mermaid()}```" in page
    edges = sum(len(edges) for machine in MACHINES.values() for edges in machine.table.values())
    assert page.count(" --> ") - page.count("[*]") == edges


def test_writing_twice_changes_nothing(tmp_path: Path) -> None:
    """The generator tells which pages it changed."""
    assert len(write_pages(tmp_path)) == len(pages())
    assert write_pages(tmp_path) == []


def test_every_event_is_in_the_table_of_its_entity() -> None:
    """By the name that Prefect is told, each with what brings it about; every notice has its line."""
    page = pages()["events.md"]
    for machine in MACHINES.values():
        for state in machine.states:
            assert f"| `acms.{machine.entity}.{state}` | `" in page
    assert {notice.value for notice in NOTICES} == CANONICAL_NOTICES


def test_every_setting_is_on_its_page_with_its_values() -> None:
    """Sections within sections too; limits and choices in words."""
    page = pages()["settings.md"]
    assert "| `guardrails.limits.max_files` | integer, at least 1 | `50` |" in page
    assert '| `clustering.by` | `category`, `proximity` | `"category"` |' in page
    assert "| `blocks.workspace` | name of a saved `acms-workspace` | none |" in page
    assert "| `gates.timeouts_sec` | for each of lint, unit, integration, security: number, above 0 |" in page
