"""What every group of settings has in common: unknown keys are refused, and it makes a good form in the Prefect UI."""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic.fields import ComputedFieldInfo, FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

LONGEST_LIST = 20
"""A default that has more entries is left to its description: a form would draw a line of input for each."""

_UNITS = {"sec": "seconds"}


def title_of(name: str, _field: FieldInfo | ComputedFieldInfo | None = None) -> str:
    """How a field is called in a form: `retry_base_sec` is `Retry base (seconds)`."""
    words, _, last = name.rpartition("_")
    told = f"{words} ({_UNITS[last]})" if words and last in _UNITS else name
    told = re.sub(r"\b(ai|url)\b", lambda found: found[0].upper(), told.replace("_", " "))
    return told[:1].upper() + told[1:]


class Section(BaseModel):
    """A group of settings; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", field_title_generator=title_of)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The schema as Prefect draws and enforces it; pydantic's own validation is what it was.

        Fields keep their order, which a database of JSON forgets. One that may be left out is a plain field: of an
        `anyOf` with null Prefect would draw tabs, and call a wrong value `not valid under any of the given schemas`.
        Null is still accepted: Prefect's server adds it to what is neither required nor has a default.
        """
        schema = handler(core_schema)
        for position, field in enumerate(handler.resolve_ref_schema(schema).get("properties", {}).values()):
            _make_plain(field)
            field["position"] = position
        return schema


def _make_plain(field: dict[str, Any]) -> None:
    """Let a field be drawn as what it is if it is given; the default of a group is that of each of its fields."""
    default = field.get("default", ...)
    if default is None or (isinstance(default, dict) and "$ref" in field):
        del field["default"]
    elif isinstance(default, list) and len(default) > LONGEST_LIST:
        # What was opened and left empty in a form must not count as the wish for an empty list.
        del field["default"]
        field["minItems"] = 1
    variants = [variant for variant in field.get("anyOf", ()) if variant.get("type") != "null"]
    if len(variants) == 1 and "anyOf" in field:
        del field["anyOf"]
        field |= {key: value for key, value in variants[0].items() if key not in field}
