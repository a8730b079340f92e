"""The reports as files in the run's folder; each appears whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from prefect_acms.dao.redaction import redact
from prefect_acms.tasks.documents import write_atomically
from prefect_acms.tasks.reports.html import summary_html
from prefect_acms.tasks.reports.markdown import summary_markdown
from prefect_acms.tasks.sarif.writing import sarif_text
from prefect_acms.tasks.summary_model import Summary

REPORTS = ("summary.json", "summary.md", "report.html", "report.sarif")
"""The names of the reports in the folder of a run."""


class Written(NamedTuple):
    """Where the reports are."""

    json: Path
    markdown: Path
    html: Path
    sarif: Path


def write_reports(summary: Summary, folder: Path) -> Written:
    """Write summary.json, summary.md, report.html and report.sarif into the folder, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    written = Written(*(folder / name for name in REPORTS))
    write_atomically(written.json, redact(summary.model_dump_json(indent=2) + "\n").encode())
    write_atomically(written.markdown, redact(summary_markdown(summary)).encode())
    write_atomically(written.html, redact(summary_html(summary)).encode())
    write_atomically(written.sarif, sarif_text(summary).encode())
    return written


def read_summary(path: Path) -> Summary:
    """Read back a summary.json."""
    return Summary.model_validate_json(path.read_bytes())


def summary_schema() -> dict[str, Any]:
    """The JSON schema of summary.json."""
    return Summary.model_json_schema(mode="serialization")


def schema_text() -> str:
    """The JSON schema as it is printed and stored."""
    return json.dumps(summary_schema(), indent=2, sort_keys=True) + "\n"
