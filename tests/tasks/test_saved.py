"""Saved blocks that a run names, with a real Prefect server, real clones and a real store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prefect.blocks.core import Block
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import PrefectHTTPStatusError
from prefect_side import asked
from pydantic import ValidationError

from prefect_acms.blocks.ai import AiSettings
from prefect_acms.blocks.ai_model import AiModel
from prefect_acms.blocks.budget import BudgetSettings, ModelPrice
from prefect_acms.blocks.canonical_store import CanonicalStore
from prefect_acms.blocks.config import PipelineConfig
from prefect_acms.blocks.guardrail_policy import GuardrailPolicy
from prefect_acms.blocks.guardrails import GuardrailSettings, PatchLimits
from prefect_acms.blocks.resilience_policy import ResiliencePolicy
from prefect_acms.blocks.tool_profile import ToolProfile
from prefect_acms.blocks.workspace import Workspace
from prefect_acms.canonical.errors import InvalidValue, NotARepository
from prefect_acms.dao.redaction import redact
from prefect_acms.flows.pipeline import acms_pipeline
from prefect_acms.tasks.ai.handover import session_variables
from prefect_acms.tasks.ai.session import ADDRESS, KEY, SESSION, Session
from prefect_acms.tasks.driving import shared_store
from prefect_acms.tasks.estimates import estimate_of
from prefect_acms.tasks.profiles import load_profiles
from prefect_acms.tasks.saved import chosen, database_of

pytestmark = pytest.mark.usefixtures("prefect_server")

PASSWORD = "s3cret-w0rd"  # noqa: S105 - opens nothing


def saved(block: Block) -> str:
    """Save a block under a new name, which is given back."""
    name = f"b-{uuid4().hex[:8]}"
    block.save(name, _sync=True)  # type: ignore[call-arg]
    return name


def reference(block: type[Block], name: str) -> dict[str, Any]:
    """What the form sends for the block of that name."""
    slug = block.get_block_type_slug()
    document = asked(lambda client: client.read_block_document_by_name(name, slug))
    return {"$ref": {"block_document_id": str(document.id)}}


def test_what_the_blocks_say_becomes_the_configuration(top: Path) -> None:
    """Sections are taken from policies, tools are added; a profile is data, and none of it is a block any more."""
    policy = GuardrailPolicy(settings=GuardrailSettings(limits=PatchLimits(max_files=3)))
    tool = ToolProfile(tool_id="mine", command=("true",))
    config = PipelineConfig.model_validate(
        {
            "repository": top,
            "blocks": {"guardrails": saved(policy), "resilience": saved(ResiliencePolicy()), "tools": [saved(tool)]},
        }
    )
    ready = chosen(config)
    assert ready.guardrails.limits.max_files == 3
    assert [profile.tool_id for profile in ready.execution.profiles] == ["mine"]
    assert PipelineConfig.model_validate(ready.model_dump(mode="json")) == ready
    assert chosen(ready) == ready


def test_a_saved_model_goes_to_the_program_that_asks_it_and_nowhere_else(top: Path) -> None:
    """Its key and address by variables, its name by the session; the configuration holds the block's name alone."""
    key = "sk-saved-0f9e8d7c6b5a"
    name = saved(AiModel(model="openai-chat:gpt-test", api_key=key, base_url="https://models.example.org/v1"))
    config = chosen(PipelineConfig.model_validate({"repository": top, "ai": {"model_block": name}}))
    handed = session_variables(config.ai, top)
    assert (handed[KEY], handed[ADDRESS]) == (key, "https://models.example.org/v1")
    assert Session.given(handed).model == "openai-chat:gpt-test"
    assert key not in config.model_dump_json() + handed[SESSION]
    assert redact(key) == "[redacted]"
    with pytest.raises(InvalidValue, match=r"ai\.strong_model_block is 'none'"):
        session_variables(config.ai.model_copy(update={"strong_model_block": "none"}), top, strong=True)


def test_a_call_of_a_saved_model_is_estimated_at_the_model_s_price() -> None:
    """And not at what is set aside for one whose price nobody knows; the configuration has its block's name alone."""
    ai = AiSettings(model_block=saved(AiModel(model="openai-chat:gpt-test")), edit_retries=0)
    budget = BudgetSettings(prices={"openai-chat:gpt-test": ModelPrice(input_usd=1, output_usd=2)}, call_usd=9)
    estimate = estimate_of(load_profiles().get("ai-edit"), 60, ai, budget)
    assert estimate.usd == Decimal(estimate.tokens + ai.max_output_tokens) / 1_000_000


def test_a_workspace_that_is_a_url_is_cloned_and_kept_up_to_date(
    top: Path, tmp_path: Path, run_in: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clone is below the home; a second run starts from what the URL has by then, results stay."""
    monkeypatch.setenv("ACMS_HOME", str(tmp_path / "home"))
    name = saved(Workspace(repository=f"file://{top}"))
    config = PipelineConfig.model_validate({"blocks": {"workspace": name}})
    assert config.title == f"{name} full"
    clone = chosen(config).path
    assert clone == tmp_path / "home" / "checkouts" / name
    run_in(clone, "branch", "acms/run_1")
    run_in(top, "commit", "--allow-empty", "--quiet", "--message=second")
    assert chosen(config).path == clone
    assert run_in(clone, "log", "-1", "--format=%s") == "second"
    assert run_in(clone, "branch", "--list", "acms/*").split() == ["acms/run_1"]
    assert run_in(clone, "symbolic-ref", "--short", "HEAD") == "main"


def test_a_saved_store_is_found_by_its_name_and_its_password_is_told_to_nobody(tmp_path: Path) -> None:
    """What a flow run keeps is the reference, what our row keeps the name; a hook finds the store by either."""
    url = f"sqlite:///{tmp_path}/saved.db"
    name = saved(CanonicalStore(url=url))
    sent = {"config": {"repository": "/r", "blocks": {"store": reference(CanonicalStore, name)}}}
    config = acms_pipeline.validate_parameters(sent)["config"]
    assert config.blocks.store == name
    assert config.database == f"acms-canonical-store/{name}"
    assert database_of(sent) == database_of({"config": config}) == config.database
    assert shared_store(config.database) is shared_store(url)
    secret = CanonicalStore(url=f"postgresql+psycopg://u:{PASSWORD}@127.0.0.1/x")
    kept = chosen(PipelineConfig.model_validate({"repository": "/r", "blocks": {"store": saved(secret)}}))
    assert PASSWORD not in kept.model_dump_json()


def test_a_block_that_is_none_of_ours_or_is_not_saved_is_refused() -> None:
    """With a sentence that says which."""
    with pytest.raises(InvalidValue) as missing:
        chosen(PipelineConfig.model_validate({"blocks": {"workspace": "nowhere"}}))
    assert str(missing.value) == (
        "blocks.workspace is 'nowhere': expected the name of a saved block of type acms-workspace"
    )
    for block, said in (
        (Workspace(repository="/r"), "the block is not saved: call its `save(NAME)` first"),
        (ResiliencePolicy(), "of type acms-workspace belongs here, and this one is of type acms-resilience-policy"),
    ):
        with pytest.raises(ValidationError, match=said.replace("(", r"\(").replace(")", r"\)")):
            PipelineConfig.model_validate({"blocks": {"workspace": block}})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "give the path of a repository, or choose a saved workspace"),
        ({"repository": "/r", "blocks": {"workspace": "w"}}, "give repository, or choose a saved block for it"),
        (
            {"repository": "/r", "database_url": "sqlite://", "blocks": {"store": "s"}},
            "give database_url, or choose a saved block for it in blocks.store, not both",
        ),
        (
            {"repository": "/r", "guardrails": {"forbidden": ["delete"]}, "blocks": {"guardrails": "g"}},
            "give guardrails, or choose",
        ),
    ],
)
def test_one_thing_is_said_once(settings: dict[str, Any], said: str) -> None:
    """A block and the setting that it stands for don't go together."""
    with pytest.raises(ValidationError, match=said):
        PipelineConfig.model_validate(settings)


def test_the_server_makes_no_run_of_wrong_parameters() -> None:
    """It answers 409 with the field and the reason; what is right, with a block by reference, becomes a run."""

    async def deploy() -> Any:
        return await (await acms_pipeline.ato_deployment(name=f"d-{uuid4().hex[:8]}")).aapply()

    deployment = asyncio.run(deploy())

    def ask(**config: Any) -> FlowRun:
        return asked(lambda client: client.create_flow_run_from_deployment(deployment, parameters={"config": config}))

    with pytest.raises(PrefectHTTPStatusError) as refused:
        ask(repository="/r", clustering={"max_files": 0})
    assert refused.value.response.status_code == 409
    assert refused.value.response.json()["detail"] == (
        "Error creating flow run: Validation failed for field 'config.clustering.max_files'. "
        "Failure reason: 0 is less than the minimum of 1"
    )
    name = saved(Workspace(repository="https://example.invalid/x.git", credentials=PASSWORD))
    made = ask(blocks={"workspace": reference(Workspace, name)})
    assert PASSWORD not in str(asked(lambda client: client.read_flow_run(made.id)).parameters)
    of_ours = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[deployment]))
    assert [run.id for run in asked(lambda client: client.read_flow_runs(flow_run_filter=of_ours))] == [made.id]


def test_what_a_schema_can_not_say_is_the_message_of_the_state(tmp_path: Path, canonical_url: str) -> None:
    """Our sentence and nothing around it, before anything is written; who calls the flow gets the error itself."""
    config = PipelineConfig(repository=tmp_path / "nowhere", database_url=canonical_url)
    state = asyncio.run(_ended(config))
    assert state.is_failed()
    assert state.message == f"{tmp_path}/nowhere is not a git repository: there is no such folder"
    with pytest.raises(NotARepository):
        asyncio.run(acms_pipeline(config))
    with shared_store(canonical_url).begin(read_only=True) as dao:
        assert dao.runs.unended() == []


async def _ended(config: PipelineConfig) -> State[Any]:
    called: Any = acms_pipeline
    state: State[Any] = await called(config, return_state=True)
    return state
