"""The tool file of an accepted codemod: its profile, its pattern, and the rule by which it comes first."""

from __future__ import annotations

import json

from prefect_acms.tasks.codemods.codemod import Codemod
from prefect_acms.tasks.codemods.proposals import Proposal

_PROGRAM = ("{acms_python}", "-E", "-P", "-m", "prefect_acms.tasks.codemods")
"""Our own interpreter, as for ruff: the repository's may lack ast-grep, and a module of its own must not stand in."""

_TIMEOUT_SEC = 600


def tool_file(proposal: Proposal) -> str:
    """The TOML file that the toolbox and the pattern index read from then on."""
    name, decided = proposal.name, proposal.decisions[-1]
    title = f"Fixes {proposal.rule_id} of {proposal.source} as accepted patches of AI tools did."
    lines = [
        f"# {_one_line(f'Accepted by {decided.operator} at {decided.at}: {decided.reason}')}",
        f"# Learned from {', '.join(proposal.patches)}.",
        f"# `acms promote revoke {name}` takes it back, and keeps the record of it.",
        "",
        f"[tools.{name}]",
        f"description = {_quoted(title)}",
        "command = [",
        *(f"    {_quoted(argument)}," for argument in _command(proposal.codemod)),
        "]",
        f"timeout_sec = {_TIMEOUT_SEC}",
        'task_kinds = ["implementation"]',
        f"domains = [{_quoted(proposal.codemod.language)}]",
        'safety_tier = "medium"',
        "deterministic = true",
        "changes_files = true",
        "",
        f"[patterns.{name}]",
        f"title = {_quoted(f'Apply the codemod for {proposal.rule_id}')}",
        f"sources = [{_quoted(proposal.source)}]",
        f"rules = [{_quoted(_as_glob(proposal.rule_id))}]",
        f"categories = [{_quoted(proposal.category)}]",
        'kinds = ["implementation"]',
        f"allowed_tools = [{_quoted(name)}]",
        'forbidden = ["create", "delete", "rename"]',
        "",
        "[[rules]]",
        f"rule_id = {_quoted(name)}",
        'task_kind = "implementation"',
        'strategy = "fixed"',
        f"tools = [{_quoted(name)}]",
        "",
    ]
    return "\n".join(lines)


def _command(codemod: Codemod) -> list[str]:
    """The argument list; braces of code are no placeholders."""
    options = [word for one in codemod.adds for word in ("--add-import", str(one))]
    options += [word for one in codemod.drops for word in ("--drop-import", str(one))]
    options += ["--sort-imports"] if codemod.sorts_imports else []
    rules = codemod.rules.replace("{", "{{").replace("}", "}}")
    return [*_PROGRAM, *options, "--rules", rules, "--", "{files}"]


def _quoted(text: str) -> str:
    """A TOML string: as it stands where that can be read, else with escapes, which are those of JSON."""
    plain = all(one.isprintable() or one == "\n" for one in text)
    if plain and "\n" in text and "'''" not in text and not text.endswith("'"):
        return f"'''\n{text}'''"
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _as_glob(rule_id: str) -> str:
    """The rule as a pattern that fits it alone."""
    return "".join(f"[{one}]" if one in "*?[" else one for one in rule_id)


def _one_line(text: str) -> str:
    return "".join(one if one.isprintable() else " " for one in text)
