"""What Prefect imports to know our blocks: the target of the `prefect.collections` entry point."""

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
