"""The toolbox: the tools and routing rules that come with acms, and those of the user's TOML files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from prefect_acms.blocks.config import ExecutionSettings
from prefect_acms.blocks.routing_rule import RoutingRule
from prefect_acms.blocks.tool_spec import TaskKind, Tier, ToolSpec
from prefect_acms.canonical.errors import InvalidDocument, InvalidValue, UnknownName
from prefect_acms.dao.redaction import KNOWN
from prefect_acms.tasks.codemods.files import accepted_files
from prefect_acms.tasks.documents import invalid, read_toml

SHIPPED = Path(__file__).with_name("profiles.toml")

_KNOWN_TABLES = ("tools", "rules", "patterns", "version")
"""What a file may hold; the patterns, and the version of their format, are the pattern index's to read."""

_ADDRESS = re.compile(r"(https?|socks5h?)://[\w.-]+(:\d+)?(/(v\d+\w*/?|api/?)?)?", re.ASCII)

_CHOICE = re.compile(r"_(MODEL|TYPE|API|OFFLINE)$|^NO_PROXY$")

_Model = TypeVar("_Model", bound=BaseModel)


class _Table(NamedTuple, Generic[_Model]):
    name: str
    key: str
    model: type[_Model]


_TOOLS = _Table("tools", "tool_id", ToolSpec)
_RULES = _Table("rules", "rule_id", RoutingRule)


class Toolbox:
    """Every known tool, by name, and the rules that choose among them, in order."""

    def __init__(self, profiles: Iterable[ToolSpec], rules: Iterable[RoutingRule] = ()) -> None:
        self._profiles: dict[str, ToolSpec] = {}
        for profile in sorted(profiles, key=lambda one: one.tool_id):
            if profile.tool_id in self._profiles:
                raise InvalidValue(field="tool_id", value=profile.tool_id, expected="a name that no other tool has")
            self._profiles[profile.tool_id] = profile
            variables_of(profile)  # so that their values are known from now on
        self.rules = tuple(rules)

    def __iter__(self) -> Iterator[ToolSpec]:
        return iter(self._profiles.values())

    def __contains__(self, tool_id: object) -> bool:
        return tool_id in self._profiles

    def get(self, tool_id: str) -> ToolSpec:
        """The profile of that name; raises UnknownName."""
        if tool_id not in self._profiles:
            raise UnknownName(kind="tool", name=tool_id, known=list(self._profiles))
        return self._profiles[tool_id]

    def capable(self, required: Iterable[str] = (), *, ceiling: Tier = Tier.MEDIUM) -> tuple[ToolSpec, ...]:
        """The tools that have all these capabilities and a safety tier up to the ceiling, by name."""
        wanted = set(required)
        return tuple(one for one in self if not self.shortcomings(one, wanted, ceiling))

    @staticmethod
    def shortcomings(profile: ToolSpec, required: Iterable[str], ceiling: Tier) -> tuple[str, ...]:
        """Why a tool can't do what is required, as sentences; a model is taken to know of every domain."""
        lacking = set(required) - set(profile.capabilities)
        if profile.ai:
            lacking &= set(TaskKind)
        found = [f"it is not made for {', '.join(sorted(lacking))}"] if lacking else []
        if profile.safety_tier.rank > ceiling.rank:
            found.append(f"its safety tier {profile.safety_tier} is above {ceiling}, which the run allows")
        return tuple(found)

    def with_profiles(self, profiles: Iterable[ToolSpec]) -> Toolbox:
        """This toolbox and these tools, for example from blocks; raises InvalidValue for a name that is taken."""
        return Toolbox([*self._profiles.values(), *profiles], self.rules)


def variables_of(profile: ToolSpec) -> dict[str, str]:
    """The variables that a tool is handed by name; from now on the redactor knows their values.

    What has to be handed to a tool by name is a credential more often than not; a path is none, nor a plain address,
    nor what is by its name a choice: of a model, say, which would then be hidden wherever it is told.
    """
    further = {name: os.environ[name] for name in profile.environment if name in os.environ}
    kept = {name: value for name, value in further.items() if not _CHOICE.search(name)}
    KNOWN.learn(*(value for value in kept.values() if not (_is_path(value) or _is_address(value))))
    return {**profile.settings, **further}


def _is_path(value: str) -> bool:
    try:
        return Path(value).exists()
    except (OSError, ValueError):  # too long for one, or with a NUL in it
        return False


def _is_address(value: str) -> bool:
    """Whether it is where a server is, and nothing of it can be a credential."""
    return _ADDRESS.fullmatch(value) is not None


def load_profiles(files: Sequence[Path] = ()) -> Toolbox:
    """The shipped tools, accepted codemods and those of the files; raises InvalidDocument with file and place.

    Rules of the files come before the shipped ones, so the user's word counts first, and those of codemods before all:
    each speaks only where its codemod may be used.
    """
    profiles: dict[str, ToolSpec] = {}
    rules: dict[str, RoutingRule] = {}
    shipped = 0
    for path in (SHIPPED, *accepted_files(), *files):
        document = _read(path)
        profiles |= _taken(path, document, _TOOLS, profiles)
        added = _taken(path, document, _RULES, rules)
        _check_rules(path, added.values(), profiles)
        rules |= added
        shipped = shipped or len(rules)
    in_order = list(rules.values())
    return Toolbox(profiles.values(), [*in_order[shipped:], *in_order[:shipped]])


def toolbox_of(execution: ExecutionSettings) -> Toolbox:
    """The toolbox of a run: what `load_profiles` gives, and the profiles that its configuration holds itself."""
    return load_profiles(execution.tool_files).with_profiles(execution.profiles)


def _read(path: Path) -> Mapping[str, Any]:
    document = read_toml(path)
    for key in document:
        if key not in _KNOWN_TABLES:
            raise InvalidDocument(path=path, where=key, problem=f"unknown key: expected some of {list(_KNOWN_TABLES)}")
    return document


def _taken(
    path: Path, document: Mapping[str, Any], table: _Table[_Model], known: Mapping[str, _Model]
) -> dict[str, _Model]:
    """The models of one table of a document, by name; a name that is taken is refused."""
    taken: dict[str, _Model] = {}
    for where, content in _entries(path, document.get(table.name, {}), table):
        entry = _validated(path, where, content, table.model)
        name = str(getattr(entry, table.key))
        if name in taken or name in known:
            raise InvalidDocument(path=path, where=where, problem=f"there is another {name!r} already")
        taken[name] = entry
    return taken


def _check_rules(path: Path, rules: Iterable[RoutingRule], profiles: Mapping[str, ToolSpec]) -> None:
    for rule in rules:
        for tool_id in rule.tools:
            if tool_id not in profiles:
                problem = f"unknown tool {tool_id!r}: expected some of {sorted(profiles)}"
                raise InvalidDocument(path=path, where=f"rules.{rule.rule_id}", problem=problem)


def _entries(path: Path, content: Any, table: _Table[_Model]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The entries of `[[tools]]` or of `[tools.NAME]`, each with its place."""
    if isinstance(content, list):
        yield from ((f"{table.name}[{position}]", entry) for position, entry in enumerate(content))
        return
    problem = f"expected [[{table.name}]] with {table.key}, or [{table.name}.NAME] without"
    if not isinstance(content, dict):
        raise InvalidDocument(path=path, where=table.name, problem=problem)
    for name, entry in content.items():
        if not isinstance(entry, dict) or table.key in entry:
            raise InvalidDocument(path=path, where=f"{table.name}.{name}", problem=problem)
        yield f"{table.name}.{name}", {table.key: name, **entry}


def _validated(path: Path, where: str, content: Any, model: type[_Model]) -> _Model:
    try:
        return model.model_validate(content)
    except ValidationError as error:
        found = invalid(error, content, str(path)).facts
        place = f"{where}.{found['where']}" if error.errors()[0]["loc"] else where
        raise InvalidDocument(path=path, where=place, problem=found["problem"]) from error
