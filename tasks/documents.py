"""The JSON documents of a run: read with errors that name the place, written whole or not at all."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from datetime import datetime
from graphlib import CycleError
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_serializer

from prefect_acms.canonical.clock import utc_text
from prefect_acms.canonical.errors import InvalidDocument
from prefect_acms.canonical.gap import GapSeverity
from prefect_acms.dao.redaction import redact
from prefect_acms.tasks.fingerprints import Fingerprinter
from prefect_acms.tasks.gaps import LAST_LINE, Fingerprint, Gap, RepositoryPath
from prefect_acms.tasks.ordering import cycle_of, drawn, in_order

Document = TypeVar("Document", bound=BaseModel)

LONGEST_VALUE = 80
"""Characters of a wrong value that an error shows."""

NAMES_OF_ENTRIES = ("id", "key", "step_id", "fingerprint")
"""Keys by which an error names the entry of a list, the first that the entry has."""


class GapEntry(BaseModel):
    """One gap of a report; what a report does not know has a default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(min_length=1, description="name of the gap within this report")
    title: str = Field(min_length=1, description="one line")
    description: str = Field(default="", description="more than one line")
    source: str = Field(default="report", min_length=1, description="gap source that found it")
    rule_id: str = Field(default="reported", min_length=1, description="rule of the source")
    fingerprint: Fingerprint | None = Field(
        default=None, description="identity of the gap in any report; none: made of rule, first file and title"
    )
    category: str = Field(default="uncategorized", min_length=1, description="open vocabulary")
    severity: GapSeverity = Field(default=GapSeverity.MEDIUM)
    file_paths: tuple[RepositoryPath, ...] = Field(
        default=(), description="POSIX paths relative to the repository's top"
    )
    start_line: int | None = Field(default=None, ge=1, le=LAST_LINE)
    end_line: int | None = Field(default=None, ge=1, le=LAST_LINE)
    dependencies: tuple[str, ...] = Field(
        default=(), description="ids of gaps of this report that are to be fixed first"
    )
    fixable: bool = Field(default=False, description="whether a deterministic tool says that it can fix it")
    details: dict[str, JsonValue] = Field(default={}, description="what else its source knows of it")


class GapReport(BaseModel):
    """A gap report: what the source `report` and a baseline read, and what a run writes as gaps.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal["1"] = Field(description="version of this format")
    generated_at: AwareDatetime = Field(description="ISO 8601 with its offset")
    gaps: tuple[GapEntry, ...] = Field(description="one entry a gap")

    @field_serializer("generated_at")
    def _as_utc(self, moment: datetime) -> str:
        return utc_text(moment)


def read_report(path: Path) -> tuple[Gap, ...]:
    """The gaps of a report file, in its order; raises InvalidDocument that names the entry."""
    report = parse_document(GapReport, read_bytes(path), str(path))
    refuse_duplicates([entry.id for entry in report.gaps], path=str(path), items="gaps", field="id")
    numbered = Fingerprinter()
    fingerprints = {
        entry.id: entry.fingerprint or numbered.next(entry.rule_id, *_subject(entry)) for entry in report.gaps
    }
    refuse_duplicates(list(fingerprints.values()), path=str(path), items="gaps", field="fingerprint")
    _check_dependencies(report.gaps, str(path))
    return tuple(_gap(entry, position, fingerprints, str(path)) for position, entry in enumerate(report.gaps))


def report_of(gaps: Sequence[Gap], generated_at: datetime) -> GapReport:
    """The report that holds these gaps; the id of each is its fingerprint."""
    known = {gap.fingerprint for gap in gaps}
    entries = []
    for gap in gaps:
        facts = gap.model_dump() | {"id": gap.fingerprint}
        # a gap may depend on one that another source or an earlier run knows; a report speaks of its own only
        facts["dependencies"] = tuple(need for need in gap.dependencies if need in known)
        entries.append(GapEntry(**facts))
    return GapReport(version="1", generated_at=generated_at, gaps=tuple(entries))


def read_bytes(path: Path) -> bytes:
    """The content of a document; raises InvalidDocument when it can't be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidDocument(path=path, where="file", problem=error.strerror or str(error)) from error


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file; raises InvalidDocument when it can't be read."""
    return toml_of(read_bytes(path), path)


def toml_of(content: bytes, path: Path | str) -> dict[str, Any]:
    """What these bytes of a TOML file say; raises InvalidDocument when they can't be read."""
    try:
        return tomllib.loads(content.decode())
    except UnicodeDecodeError as error:
        raise InvalidDocument(path=path, where=f"byte {error.start}", problem="not UTF-8 text") from error
    except tomllib.TOMLDecodeError as error:
        raise InvalidDocument(path=path, where="file", problem=f"not TOML: {error}") from error
    except RecursionError as error:
        raise InvalidDocument(path=path, where="file", problem="nested too deeply") from error


def parse_document(model: type[Document], content: bytes, path: str) -> Document:
    """Validate JSON strictly against a model; raises InvalidDocument with the first thing that is wrong."""
    raw = parsed_json(content, path)
    try:
        # strict Python values would refuse a list for a tuple and a string for an enum; strict JSON does not
        return model.model_validate_json(json.dumps(raw), strict=True)
    except ValidationError as error:
        raise invalid(error, raw, path) from error


def parsed_json(content: bytes, path: str) -> Any:
    """The value that these bytes of JSON hold; raises InvalidDocument when they can't be read."""
    try:
        return json.loads(content)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise InvalidDocument(path=path, where=where, problem=f"not JSON: {error.msg}") from error
    except UnicodeDecodeError as error:
        raise InvalidDocument(path=path, where=f"byte {error.start}", problem="not UTF-8 text") from error
    except RecursionError as error:
        raise InvalidDocument(path=path, where="document", problem="nested too deeply") from error
    except ValueError as error:  # Python reads no number of more than 4300 digits
        raise InvalidDocument(path=path, where="document", problem=f"not readable: {error}") from error


def document_bytes(document: BaseModel) -> bytes:
    """The bytes of a document, without secrets: the same document, the same bytes."""
    return redact(json.dumps(document.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n").encode()


def write_document(document: BaseModel, path: Path) -> None:
    """Write a document as JSON, whole or not at all."""
    write_atomically(path, document_bytes(document))


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file by this content; a reader sees the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema (2020-12) of a document."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **model.model_json_schema()}


def refuse_duplicates(names: Sequence[str], *, path: str, items: str, field: str) -> None:
    """Raise InvalidDocument that names the first entry whose name another one has already."""
    first: dict[str, int] = {}
    for position, name in enumerate(names):
        earlier = first.setdefault(name, position)
        if earlier != position:
            where = f"{items}[{position}].{field}"
            raise InvalidDocument(path=path, where=where, problem=f"{name!r} is taken already by {items}[{earlier}]")


def invalid(error: ValidationError, raw: Any, path: str) -> InvalidDocument:
    """The first problem that pydantic found, as an error that names the entry and the value."""
    first = error.errors(include_url=False, include_context=False)[0]
    problem = first["msg"].removeprefix("Value error, ")
    if first["type"] not in {"missing", "extra_forbidden"} and ", found " not in problem:
        shown = repr(first["input"])
        problem += f", found {shown if len(shown) <= LONGEST_VALUE else shown[:LONGEST_VALUE] + '…'}"
    return InvalidDocument(path=path, where=_place(first["loc"], raw), problem=problem)


def _place(location: Sequence[int | str], raw: Any) -> str:
    text, value = "", raw
    for step in location:
        if isinstance(value, list) and isinstance(step, int) and step < len(value):
            value = value[step]
            text += f"[{step}]{_named(value)}"
        else:
            value = value.get(step) if isinstance(value, Mapping) else None
            text += f".{step}" if text else str(step)
    return text or "document"


def _named(entry: Any) -> str:
    if not isinstance(entry, Mapping):
        return ""
    name = next((entry[key] for key in NAMES_OF_ENTRIES if isinstance(entry.get(key), str)), None)
    return f" ({name[:LONGEST_VALUE]})" if name else ""


def _subject(entry: GapEntry) -> tuple[str, list[str]]:
    return (entry.file_paths or ("",))[0], [entry.title]


def _check_dependencies(entries: Sequence[GapEntry], path: str) -> None:
    needs = {entry.id: entry.dependencies for entry in entries}
    for position, entry in enumerate(entries):
        unknown = sorted(set(entry.dependencies) - needs.keys())
        if unknown:
            where = f"gaps[{position}] ({entry.id}).dependencies"
            raise InvalidDocument(path=path, where=where, problem=f"there is no gap {unknown[0]!r} in this report")
    try:
        in_order(needs, str)
    except CycleError as error:
        problem = f"they depend on each other in a circle: {drawn(cycle_of(error))}"
        raise InvalidDocument(path=path, where="gaps", problem=problem) from error


def _gap(entry: GapEntry, position: int, fingerprints: Mapping[str, str], path: str) -> Gap:
    facts = entry.model_dump(exclude={"id"})
    facts["fingerprint"] = fingerprints[entry.id]
    facts["dependencies"] = tuple(fingerprints[need] for need in entry.dependencies)
    try:
        return Gap(**facts)
    except ValidationError as error:
        problem = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise InvalidDocument(path=path, where=f"gaps[{position}] ({entry.id})", problem=problem) from error
