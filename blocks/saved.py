"""Saved blocks as settings of a run: what is kept of one is its name, never what is in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from prefect_acms.blocks.section import Section

_NAME = r"^[^/\s%&<>][^/%&<>]*$"
"""What Prefect allows as the name of a block."""


@dataclass(frozen=True)
class Saved:
    """Makes a setting the name of a saved block of a type; the Prefect UI draws it as a selector of those.

    Whoever gives the block itself gives its name: it is loaded again, by whatever process needs it. The UI sends a
    reference, which Prefect has made the block when a flow sees it.
    """

    slug: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """A name, or a block that has one."""
        return core_schema.no_info_before_validator_function(self._name_of, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """What Prefect's form knows a block by, and what its server lets pass: a name or a reference."""
        return {
            "type": ["object", "string"],
            "block_type_slug": self.slug,
            "pattern": handler(schema)["pattern"],
            "properties": {"$ref": {"type": ["object", "string"]}},
            "required": ["$ref"],
        }

    def _name_of(self, given: Any) -> Any:
        slug = getattr(given, "get_block_type_slug", None)
        if slug is None:
            return given
        if slug() != self.slug:
            message = f"a saved block of type {self.slug} belongs here, and this one is of type {slug()}"
            raise ValueError(message)
        name = given._block_document_name  # noqa: SLF001 - there is no other way to learn it
        if name is None:
            message = "the block is not saved: call its `save(NAME)` first"
            raise ValueError(message)
        return name


STORE, WORKSPACE, TOOL = "acms-canonical-store", "acms-workspace", "acms-tool-profile"
AI_MODEL = "acms-ai-model"

BlockName = Annotated[str, Field(pattern=_NAME)]
"""The name of a saved block."""


class SavedBlocks(Section):
    """Settings that are saved as blocks, and so need not be given here."""

    workspace: Annotated[BlockName, Saved(WORKSPACE)] | None = Field(
        default=None, description="repository to improve, in place of a path; a URL is cloned and kept up to date"
    )
    store: Annotated[BlockName, Saved(STORE)] | None = Field(
        default=None, description="canonical store, in place of a database URL"
    )
    guardrails: Annotated[BlockName, Saved("acms-guardrail-policy")] | None = Field(
        default=None, description="policy, in place of the section `guardrails`"
    )
    resilience: Annotated[BlockName, Saved("acms-resilience-policy")] | None = Field(
        default=None, description="retries and circuit breakers, in place of the section `resilience`"
    )
    tools: tuple[Annotated[BlockName, Saved(TOOL)], ...] = Field(
        default=(), description="tool profiles that may be used too"
    )
