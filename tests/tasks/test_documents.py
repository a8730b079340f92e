"""Gap reports are read strictly, refused with the place that is wrong, and written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from prefect_acms.canonical.errors import InvalidDocument
from prefect_acms.tasks.documents import (
    GapReport,
    document_bytes,
    read_report,
    read_toml,
    report_of,
    schema_of,
    write_atomically,
    write_document,
)
from prefect_acms.tasks.fingerprints import content_of
from prefect_acms.tasks.gaps import Gap

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def report(*gaps: dict[str, Any], **other: Any) -> dict[str, Any]:
    """A gap report as a dict."""
    return {"version": "1", "generated_at": "2026-01-31T12:00:00+00:00", "gaps": list(gaps), **other}


def entry(name: str = "one", **facts: Any) -> dict[str, Any]:
    """One entry of a report, as short as may be."""
    return {"id": name, "title": f"gap {name}", **facts}


@pytest.fixture
def read(tmp_path: Path) -> Callable[[Any], tuple[Gap, ...]]:
    """Reads a report from its content."""

    def read_content(content: Any) -> tuple[Gap, ...]:
        path = tmp_path / "report.json"
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return read_report(path)

    return read_content


Read = Callable[[Any], tuple[Gap, ...]]


def test_a_short_entry_has_defaults(read: Read) -> None:
    """Severity medium, category uncategorized, source report, and a fingerprint of its own."""
    (gap,) = read(report(entry()))
    assert (gap.severity, gap.category, gap.source, gap.rule_id) == ("medium", "uncategorized", "report", "reported")
    assert content_of(gap.fingerprint)


def test_dependencies_become_fingerprints(read: Read) -> None:
    """A report speaks of ids, gaps of fingerprints."""
    first, second = read(report(entry("a", dependencies=["b"]), entry("b")))
    assert first.dependencies == (second.fingerprint,)


def test_equal_entries_are_told_apart_by_their_number(read: Read) -> None:
    """Two gaps with the same rule, file and title are two gaps."""
    first, second = read(report(entry("a", title="same"), entry("b", title="same")))
    assert first.fingerprint != second.fingerprint


def test_a_fingerprint_does_not_depend_on_the_id(read: Read) -> None:
    """Tools number their findings anew each time; the gap stays the same."""
    assert (
        read(report(entry("a", title="same")))[0].fingerprint == read(report(entry("b", title="same")))[0].fingerprint
    )


WRONG: dict[str, tuple[Any, str, str]] = {
    "no JSON": (b'{"version": 1,}', "line 1 column 15", "not JSON"),
    "no UTF-8": (b'{"a": "\xff"}', "byte", "UTF-8"),
    "no object": ([], "document", "found []"),
    "deep": (b"[" * 100_000, "document", "nested too deeply"),
    "version": (report(version="7"), "version", "'1', found '7'"),
    "time": (report(generated_at="yesterday"), "generated_at", "found 'yesterday'"),
    "time without offset": (report(generated_at="2026-01-31T12:00:00"), "generated_at", "timezone"),
    "no gaps": ({"version": "1", "generated_at": "2026-01-31T12:00:00Z"}, "gaps", "Field required"),
    "severity": (report(entry(), entry("two", severity="bad")), "gaps[1] (two).severity", "'critical', 'high'"),
    "type": (report(entry(start_line="12")), "gaps[0] (one).start_line", "valid integer, found '12'"),
    "list": (report(entry(file_paths="a.py")), "gaps[0] (one).file_paths", "found 'a.py'"),
    "unknown key": (report(entry(colour="red")), "gaps[0] (one).colour", "not permitted"),
    "no title": (report({"id": "one"}), "gaps[0] (one).title", "Field required"),
    "line": (report(entry(start_line=2**31)), "gaps[0] (one).start_line", "less than or equal to 2147483647"),
    "lines": (report(entry(start_line=9, end_line=8)), "gaps[0] (one)", "end_line 8 is before start_line 9"),
    "absolute": (report(entry(file_paths=["/etc/passwd"])), "gaps[0] (one).file_paths[0]", "inside the repository"),
    "outside": (report(entry(file_paths=["a/../../b"])), "gaps[0] (one).file_paths[0]", "inside the repository"),
    "git": (report(entry(file_paths=[".git/config"])), "gaps[0] (one).file_paths[0]", "inside the repository"),
    "duplicate id": (report(entry(), entry()), "gaps[1].id", "'one' is taken already by gaps[0]"),
    "duplicate gap": (
        report(entry(fingerprint="f"), entry("two", fingerprint="f")),
        "gaps[1].fingerprint",
        "'f' is taken already",
    ),
    "two words": (report(entry(fingerprint="a b")), "gaps[0] (one).fingerprint", "found 'a b'"),
    "unknown need": (report(entry(dependencies=["x"])), "gaps[0] (one).dependencies", "no gap 'x'"),
    "circle": (
        report(entry("a", dependencies=["b"]), entry("b", dependencies=["a"])),
        "gaps",
        "in a circle: a -> b -> a",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_broken_report_is_refused_with_the_place(read: Read, name: str) -> None:
    """Every kind of wrong report gives one sentence with file, place and problem."""
    content, where, problem = WRONG[name]
    with pytest.raises(InvalidDocument) as caught:
        read(content)
    assert str(caught.value.facts["where"]).startswith(where)
    assert problem in caught.value.facts["problem"]
    assert "report.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_report_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidDocument, match="No such file"):
        read_report(tmp_path / "none.json")


def test_a_report_that_was_written_is_read_back(tmp_path: Path, make_gap: Callable[..., Gap]) -> None:
    """Export and import keep every fact of every gap."""
    gaps = (make_gap("a", "x.py", start_line=3), make_gap("b", "y.py", "z.py", dependencies=("a",), fixable=True))
    write_document(report_of(gaps, NOON), tmp_path / "deep" / "gaps.json")
    assert read_report(tmp_path / "deep" / "gaps.json") == gaps


def test_a_dependency_that_the_report_does_not_hold_is_left_out(make_gap: Callable[..., Gap]) -> None:
    """What was written can always be read: a report speaks of its own gaps only."""
    assert report_of([make_gap("a", dependencies=("elsewhere",))], NOON).gaps[0].dependencies == ()


def test_reports_fulfil_their_schema(make_gap: Callable[..., Gap]) -> None:
    """The JSON schema is made from the model, is a valid schema, and holds for what is written."""
    schema = schema_of(GapReport)
    jsonschema.Draft202012Validator.check_schema(schema)
    document = json.loads(document_bytes(report_of([make_gap("a", "x.py")], NOON)))
    jsonschema.validate(document, schema)
    assert document["generated_at"] == "2026-01-31T12:00:00.000000Z"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**document, "gaps": [{"id": "x"}]}, schema)


def test_a_write_that_fails_leaves_the_old_content(tmp_path: Path) -> None:
    """A reader sees the old file or the new one; nothing is left beside it."""
    path = tmp_path / "plan.json"
    write_atomically(path, b"old")
    with pytest.raises(TypeError):
        write_atomically(path, "text")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["plan.json"]


def test_broken_toml_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text("a = [")
    with pytest.raises(InvalidDocument, match=r"broken\.toml: file: not TOML"):
        read_toml(path)
    path.write_bytes(b"a = '\xff'")
    with pytest.raises(InvalidDocument, match="not UTF-8"):
        read_toml(path)
