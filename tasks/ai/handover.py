"""What the program that asks a model is handed by us: the session, and the key in a variable, which nothing keeps."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from prefect_acms.blocks.ai import AiSettings
from prefect_acms.blocks.tool_spec import ToolSpec
from prefect_acms.canonical.errors import ExtraMissing
from prefect_acms.canonical.outside_errors import ToolUnavailable
from prefect_acms.dao.redaction import KNOWN
from prefect_acms.tasks.ai.disclosure import never_sent
from prefect_acms.tasks.ai.session import ADDRESS, KEY, SESSION, Session, family_of
from prefect_acms.tasks.git import names_of, run_git

if TYPE_CHECKING:
    from prefect_acms.tasks.saved import SavedModel

PROGRAM = "prefect_acms.tasks.ai"
"""The module that is run; a profile whose command names it is handed a session."""

STRONG = "--strong"
"""The argument of a profile that asks the stronger model."""

PROVIDERS: Mapping[str, tuple[str, ...]] = {
    "azure": ("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT", "OPENAI_API_VERSION"),
    "bedrock": (
        *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_BEARER_TOKEN_BEDROCK"),
        *("AWS_DEFAULT_REGION", "AWS_REGION"),
    ),
    "cohere": ("CO_API_KEY", "CO_BASE_URL"),
    "gateway": ("PYDANTIC_AI_GATEWAY_API_KEY", "PYDANTIC_AI_GATEWAY_BASE_URL"),
    "google": ("GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_GEMINI_BASE_URL"),
    "heroku": ("HEROKU_INFERENCE_KEY", "HEROKU_INFERENCE_URL"),
    "huggingface": ("HF_TOKEN",),
    "openai": ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"),
    "snowflake": ("SNOWFLAKE_TOKEN", "SNOWFLAKE_ACCOUNT"),
    "vercel": ("VERCEL_AI_GATEWAY_API_KEY", "VERCEL_OIDC_TOKEN"),
}
"""The variables of providers that are not called NAME_API_KEY and NAME_BASE_URL."""

NETWORK = ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "no_proxy")

_WORD = re.compile(r"[A-Za-z]{0,15}")
"""A known value like this (`postgres`) is a word that stands anywhere."""


def argv_of(command: str, *arguments: str) -> tuple[str, ...]:
    """The argument list that asks a model; no module of the repository can stand in for one of ours."""
    return (sys.executable, "-I", "-m", PROGRAM, command, *arguments)


def variables_for(profile: ToolSpec, settings: AiSettings, root: Path) -> dict[str, str]:
    """What a tool is handed beside its own variables: a session if it is ours, else nothing."""
    if PROGRAM not in profile.command:
        return {}
    return session_variables(settings, root, strong=STRONG in profile.command)


def withheld_from(profile: ToolSpec, root: Path) -> tuple[str, ...]:
    """What a tool must not find in a work tree: what would configure it, and if it is an agent, what is never sent.

    An agent sends what it reads, and reads what it likes; the program of ours looks at each file before it sends any.
    """
    if not profile.ai or PROGRAM in profile.command:
        return profile.withheld
    return (*profile.withheld, *never_sent(root), *_files_with_known_secrets(root))


def require_models(settings: AiSettings) -> None:
    """Refuse models that could not be asked; raises ExtraMissing, and InvalidValue for a saved one that is none."""
    if settings.asks_models and find_spec("pydantic_ai") is None:
        raise ExtraMissing(what="asking a model", library="pydantic-ai", choice="ai")
    for block, field in ((settings.model_block, "ai.model"), (settings.strong_model_block, "ai.strong_model")):
        if block is not None:
            _saved(block, field)


def session_variables(settings: AiSettings, root: Path, *, strong: bool = False) -> dict[str, str]:
    """The variables of a session with the model of these settings in that work tree; raises ToolUnavailable.

    The key of a saved model goes along by the same way as one of the environment does: by a variable of the process.
    """
    name, block, field = _chosen(settings, strong=strong)
    handed: dict[str, str] = {}
    if block is not None:
        saved = _saved(block, field)
        name = saved.model
        handed = {variable: value for variable, value in ((KEY, saved.api_key), (ADDRESS, saved.base_url)) if value}
    if name is None:
        raise ToolUnavailable(tool="ai", problem=f"no model is named: set {field} or {field}_block")
    KNOWN.learn(*(value for variable, value in os.environ.items() if variable in key_variables(name)))
    session = Session.by(settings, name, withheld=_files_with_known_secrets(root), strong=strong)
    environment = (*provider_variables(name), *NETWORK)
    own = {variable: os.environ[variable] for variable in environment if variable in os.environ}
    return {**own, **handed, SESSION: session.model_dump_json()}


def model_of(settings: AiSettings, *, strong: bool = False) -> str | None:
    """The name of the model that is asked, also of a saved one; raises InvalidValue where that is none."""
    name, block, field = _chosen(settings, strong=strong)
    return name if block is None else _saved(block, field).model


def _chosen(settings: AiSettings, *, strong: bool) -> tuple[str | None, str | None, str]:
    """The name of one of the two models, or that of its block, and the field that says so."""
    if strong:
        return settings.strong_model, settings.strong_model_block, "ai.strong_model"
    return settings.model, settings.model_block, "ai.model"


def _saved(block: str, field: str) -> SavedModel:
    from prefect_acms.tasks.saved import saved_model  # noqa: PLC0415 - it needs Prefect, which a name does not

    return saved_model(block, f"{field}_block")


def provider_variables(model: str) -> tuple[str, ...]:
    """The variables by which the provider of a model is reached."""
    family = family_of(model)
    name = family.upper().replace("-", "_")
    return PROVIDERS.get(family, (f"{name}_API_KEY", f"{name}_BASE_URL"))


def key_variables(model: str) -> tuple[str, ...]:
    """Those of them that hold what nobody else may know."""
    return tuple(name for name in provider_variables(model) if re.search(r"KEY|TOKEN|SECRET", name))


def _files_with_known_secrets(root: Path) -> tuple[str, ...]:
    """The tracked files in which a value stands that this process knows to be secret, and its child does not."""
    forms = sorted(form for form in KNOWN.forms if "\n" not in form and not _WORD.fullmatch(form))
    if not forms:
        return ()
    patterns = "\n".join(forms).encode("utf-8", "surrogateescape")
    found = run_git(
        ["grep", "--files-with-matches", "-z", "-a", "-F", "-f", "-"], cwd=root, input=patterns, accept=(0, 1)
    )
    return tuple(sorted(names_of(found.stdout)))
