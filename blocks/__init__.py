"""The settings a person saves in the Prefect UI; a block is imported, and Prefect with it, when its name is used.

Prefect finds the blocks through `prefect_acms.blocks.registration`; what only needs the models beside them stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefect_acms.blocks.ai_model import AiModel
    from prefect_acms.blocks.canonical_store import CanonicalStore
    from prefect_acms.blocks.email import Email
    from prefect_acms.blocks.forge_credentials import ForgeCredentials
    from prefect_acms.blocks.github_issues import GitHubIssues
    from prefect_acms.blocks.guardrail_policy import GuardrailPolicy
    from prefect_acms.blocks.notifier import Notifier
    from prefect_acms.blocks.resilience_policy import ResiliencePolicy
    from prefect_acms.blocks.tool_profile import ToolProfile
    from prefect_acms.blocks.workspace import Workspace

__all__ = [
    "AiModel",
    "CanonicalStore",
    "Email",
    "ForgeCredentials",
    "GitHubIssues",
    "GuardrailPolicy",
    "Notifier",
    "ResiliencePolicy",
    "ToolProfile",
    "Workspace",
]


def __getattr__(name: str) -> Any:
    """The block of that name, imported now."""
    if name not in __all__:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(f"{__name__}.registration"), name)
