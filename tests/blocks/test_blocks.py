"""The blocks as Prefect sees them."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from prefect.blocks.core import Block
from prefect.testing.standard_test_suites.blocks import BlockStandardTestSuite

from prefect_acms import blocks
from prefect_acms.blocks.ai_model import AiModel
from prefect_acms.blocks.canonical_store import CanonicalStore
from prefect_acms.blocks.config import ResilienceSettings
from prefect_acms.blocks.email import Email
from prefect_acms.blocks.forge_credentials import ForgeCredentials
from prefect_acms.blocks.github_issues import GitHubIssues
from prefect_acms.blocks.guardrail_policy import GuardrailPolicy
from prefect_acms.blocks.guardrails import GuardrailSettings, PatchLimits
from prefect_acms.blocks.notifications import NotificationSettings
from prefect_acms.blocks.notifier import Notifier
from prefect_acms.blocks.resilience_policy import ResiliencePolicy
from prefect_acms.blocks.tool_profile import ToolProfile
from prefect_acms.blocks.tool_spec import ToolSpec
from prefect_acms.blocks.workspace import Workspace

OURS: tuple[type[Block], ...] = (
    AiModel,
    CanonicalStore,
    Email,
    ForgeCredentials,
    GitHubIssues,
    GuardrailPolicy,
    Notifier,
    ResiliencePolicy,
    ToolProfile,
    Workspace,
)

SLUGS = [
    "acms-ai-model",
    "acms-canonical-store",
    "acms-email",
    "acms-forge-credentials",
    "acms-github-issues",
    "acms-guardrail-policy",
    "acms-notifier",
    "acms-resilience-policy",
    "acms-tool-profile",
    "acms-workspace",
]


@pytest.mark.parametrize("block", OURS, ids=lambda block: block.__name__)
class TestEveryBlock(BlockStandardTestSuite):
    """What Prefect asks of every block of a collection."""

    @pytest.fixture
    def block(self, request: pytest.FixtureRequest) -> type[Block]:
        """One of ours."""
        kind: type[Block] = request.param
        return kind


def test_a_slug_is_never_renamed() -> None:
    """Saved blocks are found by their slug, so it stays for ever."""
    assert [block.get_block_type_slug() for block in OURS] == SLUGS


def test_every_block_has_a_type_name_and_a_logo_that_prefect_can_register() -> None:
    """A type is registered only with an http(s) logo and page."""
    for block in OURS:
        kind = block._to_block_type()
        assert kind.name.startswith("ACMS ")
        assert str(kind.logo_url).startswith("https://")
        assert str(kind.documentation_url).startswith("https://")


def _run(code: str) -> list[str]:
    done = subprocess.run((sys.executable, "-c", code), capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_settings_are_read_without_prefect() -> None:
    """What needs only the models must not wait for Prefect's import."""
    code = "import sys, prefect_acms.blocks.config, prefect_acms.blocks.tool_spec; print('prefect' in sys.modules)"
    assert _run(code) == ["False"]


def test_the_entry_point_registers_every_block_even_after_the_settings_were_imported() -> None:
    """Prefect loads the collection and finds our slugs, whatever was imported before."""
    point = EntryPoint("prefect_acms", "prefect_acms.blocks.registration", "prefect.collections")
    code = f"""
import prefect_acms.blocks.config
from importlib.metadata import EntryPoint
from prefect.blocks.core import Block
from prefect.utilities.dispatch import get_registry_for_type
EntryPoint({point.name!r}, {point.value!r}, {point.group!r}).load()
print(*sorted(s for s in (b.get_block_type_slug() for b in get_registry_for_type(Block).values()) if 'acms' in s))
"""
    assert _run(code) == SLUGS


def test_the_entry_point_names_the_module_that_registers() -> None:
    """The packaging and the test above speak of the same module."""
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    assert '[project.entry-points."prefect.collections"]\nprefect_acms = "prefect_acms.blocks.registration"' in text


def test_a_block_is_imported_by_its_name_from_the_package() -> None:
    """`from prefect_acms.blocks import Workspace` works, an unknown name is an AttributeError."""
    assert [getattr(blocks, name) for name in blocks.__all__] == list(OURS)
    with pytest.raises(AttributeError, match="Workspaces"):
        _ = blocks.Workspaces


SAVED: list[tuple[Block, dict[str, Any]]] = [
    (CanonicalStore(url="postgresql://acms:hunter2@db/acms", synchronous="NORMAL"), {"synchronous": "NORMAL"}),
    (AiModel(model="openai:gpt-5-mini", api_key="hunter2"), {"model": "openai:gpt-5-mini"}),
    (ForgeCredentials(forge_url="https://git.example.org", token="hunter2"), {"username": "x-access-token"}),  # noqa: S106
    (
        GuardrailPolicy(settings=GuardrailSettings(limits=PatchLimits(max_files=3), protected_paths=("docs/",))),
        {"settings": GuardrailSettings(limits=PatchLimits(max_files=3), protected_paths=("docs/",))},
    ),
    (
        ResiliencePolicy(settings=ResilienceSettings(max_retries=7)),
        {"settings": ResilienceSettings(max_retries=7)},
    ),
    (
        ToolProfile(tool_id="black", command=("{acms_python}", "-m", "black", "{files}"), domains=("python",)),
        {"tool_id": "black", "command": ("{acms_python}", "-m", "black", "{files}"), "domains": ("python",)},
    ),
    (
        Email(server="mail", username="a", password="hunter2", sender="a@b.c", recipients=["d@e.f"]),  # noqa: S106 - of nobody
        {"port": 587, "recipients": ["d@e.f"]},
    ),
    (GitHubIssues(repository="example/shop", token="hunter2"), {"labels": ["acms"]}),  # noqa: S106 - of nobody
    (
        Notifier(settings=NotificationSettings(channels=("slack-webhook/on-call",))),
        {"settings": NotificationSettings(channels=("slack-webhook/on-call",))},
    ),
    (Workspace(repository="https://example.com/a.git", credentials="hunter2"), {"branch": None}),
]


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize(("block", "facts"), SAVED, ids=lambda value: type(value).__name__)
def test_a_saved_block_comes_back_as_it_was(block: Block, facts: dict[str, Any]) -> None:
    """Save, then load: the same values, the secrets among them."""
    block.save("mine", overwrite=True)
    loaded = type(block).load("mine")
    assert {name: getattr(loaded, name) for name in facts} == facts
    for name in ("url", "credentials", "password", "token", "api_key"):
        if hasattr(block, name):
            assert getattr(loaded, name).get_secret_value() == getattr(block, name).get_secret_value()


def test_a_secret_is_not_shown() -> None:
    """Neither the text of a block nor its JSON tells a secret."""
    for block, _ in SAVED:
        assert "hunter2" not in f"{block!r}{block}{block.model_dump_json()}"


def test_a_tool_profile_block_is_a_tool_profile() -> None:
    """A block that was loaded can be used wherever a profile is asked for, and is checked like one."""
    assert isinstance(ToolProfile(tool_id="x", command=("x",)), ToolSpec)
    with pytest.raises(ValueError, match="shell string"):
        ToolProfile(tool_id="x", command="ruff check {files}")


def test_the_store_block_opens_the_database_that_it_names(tmp_path: Path, acms_home: Path) -> None:
    """A URL, a folder, or what the environment says."""
    blocks_and_files = [
        (CanonicalStore(url=f"sqlite:///{tmp_path / 'a.db'}"), tmp_path / "a.db"),
        (CanonicalStore(home=tmp_path / "home", synchronous="NORMAL"), tmp_path / "home" / "canonical.db"),
        (CanonicalStore(), acms_home / "canonical.db"),
    ]
    for block, file in blocks_and_files:
        store = block.open()
        with store.begin(read_only=True) as dao:
            assert dao.runs.latest(1) == []
        store.close()
        assert file.is_file()


def test_a_store_block_names_one_place() -> None:
    """A URL and a folder at once is a contradiction, and the error doesn't tell the URL."""
    with pytest.raises(ValueError, match="not both") as caught:
        CanonicalStore(url="postgresql://acms:hunter2@db/acms", home=Path("/srv"))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("address", ["http://git.example.org", "https://me@git.example.org", "git.example.org"])
def test_a_forge_is_named_by_an_address_to_which_a_token_may_go(address: str) -> None:
    """Over https only, but on this machine; and without a user name."""
    with pytest.raises(ValueError, match=r"over https only|the https address"):
        ForgeCredentials.model_validate({"forge_url": address, "token": "hunter2"})
    here = ForgeCredentials.model_validate({"forge_url": "http://127.0.0.1:3000/", "token": "hunter2"})
    assert here.forge_url == "http://127.0.0.1:3000"
