"""The saved blocks that a run names: loaded where they are needed, each time, so that no run's row holds a secret."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, NamedTuple, TypeVar

from prefect.blocks.core import Block
from pydantic import ValidationError

from prefect_acms.blocks.ai_model import AiModel
from prefect_acms.blocks.canonical_store import CanonicalStore
from prefect_acms.blocks.config import PipelineConfig
from prefect_acms.blocks.guardrail_policy import GuardrailPolicy
from prefect_acms.blocks.resilience_policy import ResiliencePolicy
from prefect_acms.blocks.saved import STORE, SavedBlocks
from prefect_acms.blocks.tool_profile import ToolProfile
from prefect_acms.blocks.tool_spec import ToolSpec
from prefect_acms.blocks.workspace import Workspace
from prefect_acms.canonical.errors import InvalidValue
from prefect_acms.tasks.checkouts import checked_out

_Block = TypeVar("_Block", bound=Block)


class SavedStore(NamedTuple):
    """What a saved store says: its URL, which may hold a password, and how it writes."""

    url: str | None
    synchronous: Literal["FULL", "NORMAL"]


def chosen(config: PipelineConfig) -> PipelineConfig:
    """The configuration with what its saved blocks say in its sections; of the store, only the name stays.

    A workspace that is a URL is cloned, or brought up to date. Raises InvalidValue for a block that there is not, and
    what Workspace.checkout raises.
    """
    named = config.blocks
    taken: dict[str, Any] = {"blocks": SavedBlocks(store=named.store)}
    if named.workspace:
        taken["repository"] = checked_out(_loaded(Workspace, named.workspace, "blocks.workspace"), named.workspace)
    if named.guardrails:
        taken["guardrails"] = _loaded(GuardrailPolicy, named.guardrails, "blocks.guardrails").settings
    if named.resilience:
        taken["resilience"] = _loaded(ResiliencePolicy, named.resilience, "blocks.resilience").settings
    if named.tools:
        profiles = [_loaded(ToolProfile, name, "blocks.tools") for name in named.tools]
        specs = [
            ToolSpec.model_validate(profile.model_dump(include=set(ToolSpec.model_fields))) for profile in profiles
        ]
        execution = config.execution
        taken["execution"] = execution.model_copy(update={"profiles": (*execution.profiles, *specs)})
    return config.model_copy(update=taken)


class SavedModel(NamedTuple):
    """What a saved AI model says; the key goes to the program that asks the model, and nowhere else."""

    model: str
    api_key: str | None
    base_url: str | None


def saved_model(name: str, field: str) -> SavedModel:
    """What the AI model of that name says; raises InvalidValue, for that field, where there is none."""
    block = _loaded(AiModel, name, field)
    key = block.api_key.get_secret_value() if block.api_key else None
    return SavedModel(block.model, key, block.base_url)


def names_of(blocks: SavedBlocks) -> dict[str, Any]:
    """The names of the blocks that were chosen, by what they are for."""
    return blocks.model_dump(mode="json", exclude_defaults=True)


@cache
def saved_store(name: str) -> SavedStore:
    """What the store block of that name says; raises InvalidValue where there is none."""
    block = _loaded(CanonicalStore, name, "blocks.store")
    return SavedStore(block.database_url(), block.synchronous)


def at_saved_store(config: PipelineConfig) -> PipelineConfig:
    """The configuration with the URL of its saved store, which may hold a password: for this process alone."""
    blocks = config.blocks
    if blocks.store is None:
        return config
    url = saved_store(blocks.store).url
    return config.model_copy(update={"database_url": url, "blocks": blocks.model_copy(update={"store": None})})


def database_of(parameters: Mapping[str, Any]) -> str | None:
    """The store that a flow run with these parameters works with, as `shared_store` takes it."""
    config = parameters.get("config")
    if isinstance(config, PipelineConfig):
        return config.database
    if not isinstance(config, Mapping):
        given = parameters.get("database_url")
        return given if given is None else str(given)
    store = (config.get("blocks") or {}).get("store")
    if isinstance(store, Mapping):
        # The server keeps what the form sent: a reference.
        load: Any = Block.load_from_ref
        store = load(store["$ref"], _sync=True)._block_document_name  # noqa: SLF001 - see blocks.saved
    return f"{STORE}/{store}" if store else config.get("database_url")


def _loaded(kind: type[_Block], name: str, field: str) -> _Block:
    load: Any = kind.load
    try:
        found: _Block = load(name, _sync=True)
    except ValidationError:
        expected = f"a saved block of type {kind.get_block_type_slug()} that can be read: save it again"
        raise InvalidValue(field=field, value=name, expected=expected) from None
    except ValueError as missing:
        expected = f"the name of a saved block of type {kind.get_block_type_slug()}"
        raise InvalidValue(field=field, value=name, expected=expected) from missing
    return found
