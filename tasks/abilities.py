"""What decides whether a gap can be fixed: tools, patterns, policy and gates, each as a hash to compare runs by."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from prefect_acms.dao.runs import RunRow
from prefect_acms.tasks.driving import Drive

ABILITIES = "abilities"
"""Where a run keeps them in its metadata."""

_PROGRAMS = ("ruff", "pytest")
_ONLY_ABOUT_TIME = {"review": {"wait", "suspend_after_sec", "expires_after_sec"}}


def abilities_of(drive: Drive) -> dict[str, str]:
    """What decides whether a gap can be fixed in this run, by name: two that are equal decide alike."""
    tools = {
        "profiles": [profile.model_dump() for profile in drive.toolbox],
        "rules": [rule.model_dump() for rule in drive.toolbox.rules],
        "installed": [profile.tool_id for profile in drive.toolbox if shutil.which(profile.command[0])],
        "versions": {name: version(name) for name in _PROGRAMS},
        "ai": drive.config.ai.model_dump(mode="json"),
        "unsafe_fixes": drive.config.discovery.unsafe_fixes,
        "trusted_fixes": drive.config.discovery.trusted_fixes,
    }
    return {
        "tools": _digest(tools),
        "patterns": _digest([pattern.model_dump() for pattern in drive.patterns]),
        "policy": _digest(drive.guardrails.model_dump(exclude=_ONLY_ABOUT_TIME)),
        "gates": _digest(drive.config.gates.model_dump()),
    }


def changed_abilities(run: RunRow, now: Mapping[str, str]) -> tuple[str, ...]:
    """The names of what has changed since that run; everything for a run that has kept none."""
    before = run.info.get(ABILITIES, {})
    return tuple(name for name, digest in now.items() if before.get(name) != digest)


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).hexdigest()[:16]


def _plain(value: Any) -> Any:
    """Sets have no order of their own."""
    return sorted(map(str, value)) if isinstance(value, set | frozenset) else str(value)
