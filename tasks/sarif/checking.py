"""Whether a document is SARIF 2.1.0: asked of the official schema, which comes with us, and answered with a place."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft4Validator, ValidationError  # type: ignore[import-untyped]
from jsonschema.validators import extend  # type: ignore[import-untyped]

from prefect_acms.canonical.errors import InvalidDocument
from prefect_acms.tasks.documents import LONGEST_VALUE, parsed_json, read_bytes
from prefect_acms.tasks.gaps import LAST_LINE
from prefect_acms.tasks.sarif.values import pointer, unusable

SCHEMA = Path(__file__).with_name("schema") / "sarif-2.1.0-rtm.5.json"

Log = Mapping[str, Any]
"""A SARIF log that the schema has accepted."""

_HERE = "#/definitions/"

_log = logging.getLogger(__name__)


def read_log(path: Path) -> Log:
    """The log in a file; raises InvalidDocument with the JSON pointer of the first thing that is wrong."""
    return log_of(read_bytes(path), str(path))


def log_of(content: bytes, path: str) -> Log:
    """The log that these bytes hold; raises InvalidDocument with the JSON pointer of the first thing that is wrong."""
    document = parsed_json(content, path)
    if problem := refusal_of(document, path):
        raise InvalidDocument(path=path, where=problem[0], problem=problem[1])
    log: Log = document
    return log


def refusal_of(document: Any, path: str) -> tuple[str, str] | None:
    """Why a document can't be read as a log, also where the schema would let it pass; descriptions that are null go."""
    if problem := unusable(document):
        return problem
    _leave_out_empty_descriptions(document, path)
    return problem_of(document)


def _leave_out_empty_descriptions(document: Any, path: str) -> None:
    """Take the descriptions of fixes that are null out of a log: ruff 0.17 writes some, and means that it has none."""
    places = []
    for at, fix in _fixes(document):
        if fix.get("description") == {"text": None}:
            del fix["description"]
            places.append(pointer((*at, "description", "text")))
    if places:
        more = f", and {len(places) - 1} more" if places[1:] else ""
        _log.warning("%s: %s is null%s; read as if the fix had no description", path, places[0], more)


def _fixes(document: Any) -> Iterator[tuple[tuple[str | int, ...], dict[str, Any]]]:
    """Each fix of a document, which need not be SARIF, with the way to it."""
    for run, one in _entries(document, "runs"):
        for result, found in _entries(one, "results"):
            for number, fix in _entries(found, "fixes"):
                yield ("runs", run, "results", result, "fixes", number), fix


def _entries(bearer: dict[str, Any], name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    entries = bearer.get(name) if isinstance(bearer, dict) else None
    for number, entry in enumerate(entries if isinstance(entries, list) else ()):
        if isinstance(entry, dict):
            yield number, entry


def problem_of(document: Any) -> tuple[str, str] | None:
    """What the schema has against a document: the JSON pointer of the place, and the problem; None: it is SARIF."""
    try:
        error = next(iter(_validator().iter_errors(document)), None)
    except RecursionError:
        return "document", "nested too deeply"
    return None if error is None else (pointer(error.absolute_path), _told(error))


def _told(error: ValidationError) -> str:
    """The problem in a line; a whole value may be megabytes, so its message is made where it would show one."""
    message = str(error.message)
    if len(message) <= 2 * LONGEST_VALUE:
        return message
    rule = error.validator_value
    shown = f"expected {error.validator} {rule if isinstance(rule, (str, int, list)) else ''}".strip()
    return f"{shown}, found {message[:LONGEST_VALUE]}…"


@cache
def _validator() -> Any:
    schema = json.loads(SCHEMA.read_bytes())
    # errata 01 of the standard: a tool that failed before it could tell anything writes null
    schema["properties"]["runs"]["type"] = ["array", "null"]
    definitions = schema["definitions"]
    for name in ("startLine", "startColumn", "endLine", "endColumn"):
        definitions["region"]["properties"][name]["maximum"] = LAST_LINE

    def reference(validator: Any, target: str, instance: Any, _schema: Any) -> Iterator[ValidationError]:
        # every reference of this schema is to one of its own definitions, and to look it up is most of the time
        yield from validator.evolve(schema=definitions[target.removeprefix(_HERE)]).iter_errors(instance)

    return extend(Draft4Validator, {"$ref": reference, "uniqueItems": _unique})(schema)


def _unique(_validator: Any, wanted: bool, instance: Any, _schema: Any) -> Iterator[ValidationError]:  # noqa: FBT001  jsonschema's signature
    """As the schema's own rule, without comparing each of thousands of artifacts with all the others."""
    seen: dict[str, int] = {}
    for position, entry in enumerate(instance if wanted and isinstance(instance, list) else ()):
        first = seen.setdefault(json.dumps(entry, sort_keys=True), position)
        if first != position:
            yield ValidationError(f"entries {first} and {position} are equal, and each has to be another")
            return
