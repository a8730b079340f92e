"""The pattern index: what may be done about which gap, and by which tools. What no pattern allows is not done."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from prefect_acms.blocks.ai import AiSettings
from prefect_acms.blocks.config import PipelineConfig
from prefect_acms.blocks.globs import Glob
from prefect_acms.blocks.guardrails import GuardrailSettings, Operation, PatchLimits
from prefect_acms.blocks.tool_spec import TaskKind
from prefect_acms.canonical.errors import InvalidDocument, InvalidValue, UnknownName
from prefect_acms.canonical.test_gate import GateType
from prefect_acms.tasks.codemods.files import PREFIX, accepted_files
from prefect_acms.tasks.documents import invalid, read_toml
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.guardrails import path_problems
from prefect_acms.tasks.tightening import tightened

AI_EDIT, AI_EDIT_STRONG = "ai-edit", "ai-edit-strong"
"""The tools that ask the two models of a run."""

SHIPPED = Path(__file__).with_name("patterns.toml")

VERSION = 1
"""Version of the format of a pattern index; a file that names none has this one."""


PatternName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]


class PatternEntry(BaseModel):
    """What may be done about the gaps that it fits; a pattern without tools says why nothing can be done."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str = Field(min_length=1, description="what is done, in a few words")
    enabled: bool = Field(default=True, description="whether it may be used; its gaps go to no other pattern")
    sources: tuple[str, ...] = Field(default=(), description="gap sources whose gaps it fits")
    rules: tuple[str, ...] = Field(default=(), description="rules that it fits, as globs")
    categories: tuple[str, ...] = Field(default=(), description="categories that it fits")
    kinds: tuple[TaskKind, ...] = Field(description="kinds of task that may name it")
    allowed_tools: tuple[str, ...] = Field(description="tools that may carry it out")
    ai: bool = Field(
        default=False,
        description="whether models and agents carry it out: those that the run's `ai` settings name, of the allowed "
        "tools where there are any",
    )
    needs_fixable: bool = Field(default=False, description="whether the source must say that a tool can fix the gap")
    otherwise: PatternName | None = Field(
        default=None,
        description="pattern with `ai` to which gaps go that it can't fix, where a model or an agent is configured; "
        "its tools come behind those that are allowed here",
    )
    domains: tuple[str, ...] = Field(default=(), description="what the tool has to know about")
    scope: tuple[Glob, ...] = Field(
        default=(),
        description="patterns as in .gitignore of the only files that a patch may change; none: those of the run",
    )
    limits: PatchLimits | None = Field(
        default=None, description="limits of a patch, where they are tighter than those of the run"
    )
    forbidden: tuple[Operation, ...] = Field(default=(), description="what a patch may not do to a file")
    required_checks: tuple[GateType, ...] = Field(
        default=(), description="gates that must be able to judge: LINT, UNIT, INTEGRATION, SECURITY"
    )
    because: str = Field(default="", description="why a gap that it fits can't be fixed, for people")


class Pattern(PatternEntry):
    """An entry of the pattern index with its name."""

    id: PatternName = Field(description="name of the pattern")

    @property
    def policy(self) -> GuardrailSettings:
        """What it says of patches, as a policy that tightens that of the run."""
        said = {name: getattr(self, name) for name in ("scope", "limits", "forbidden", "required_checks")}
        return GuardrailSettings(**{name: value for name, value in said.items() if value})

    def fits(self, source: str, rule: str, category: str) -> bool:
        """Whether gaps like this belong to this pattern, fixable or not."""
        asked = (
            (self.sources, source in self.sources),
            (self.rules, any(fnmatchcase(rule, glob) for glob in self.rules)),
            (self.categories, category in self.categories),
        )
        return any(names for names, _ in asked) and all(fits for names, fits in asked if names)

    def tools_under(self, guardrails: GuardrailSettings) -> tuple[str, ...]:
        """The tools that may carry it out where these guardrails hold."""
        allowed = guardrails.allowed_tools
        if allowed is None or TaskKind.IMPLEMENTATION not in self.kinds:
            return self.allowed_tools
        return tuple(tool for tool in self.allowed_tools if tool in allowed)

    def can_fix(self, gap: Gap) -> bool:
        """Whether it has a tool for a gap that fits."""
        return bool(self.allowed_tools and self.kinds) and (gap.fixable or not self.needs_fixable)

    def refusal(self, gap: Gap, guardrails: GuardrailSettings) -> str | None:
        """Why nothing can be done about a gap that fits, or None when something can."""
        if not self.enabled:
            return f"pattern {self.id} is disabled"
        if not self.can_fix(gap):
            return self.because or f"pattern {self.id} allows no tool for it"
        if not gap.file_paths:
            return "it names no file that could be changed"
        if TaskKind.IMPLEMENTATION not in self.kinds:
            return None
        if not self.tools_under(guardrails):
            return f"the policy allows none of the tools that could fix it: {', '.join(self.allowed_tools)}"
        closed = path_problems(gap.file_paths, tightened(guardrails, self.policy).path_rules)
        return f"the policy closes it: {closed[0].path} {closed[0].problem}" if closed else None


class PatternFile(BaseModel):
    """What a file of the pattern index holds; its other tables are those of the toolbox."""

    version: int = Field(default=VERSION, description="version of this format", json_schema_extra={"const": VERSION})
    patterns: dict[PatternName, PatternEntry] = Field(default={}, description="the patterns by name")


class PatternIndex:
    """Every pattern by its name, in the order in which gaps are offered to them."""

    def __init__(self, patterns: Iterable[Pattern], ai_tools: Sequence[str] = ()) -> None:
        named: dict[str, Pattern] = {}
        for pattern in patterns:
            named.setdefault(pattern.id, pattern)
        armed = {name: _armed(pattern, ai_tools) for name, pattern in named.items()}
        backed = {name: _backed(pattern, armed) for name, pattern in armed.items()}
        self._patterns = {name: _before_next(pattern, backed.values()) for name, pattern in backed.items()}
        self._found: dict[tuple[str, str, str], Pattern | None] = {}

    @classmethod
    def load(cls, files: Sequence[Path] = (), ai_tools: Sequence[str] = ()) -> PatternIndex:
        """The patterns of accepted codemods, those of these files, and the shipped ones; raises InvalidDocument.

        `ai_tools` are the models and agents that the run may use, cheap ones first.
        """
        paths = (*accepted_files(), *files, SHIPPED)
        return cls((pattern for path in paths for pattern in _patterns_in(path)), ai_tools)

    def __iter__(self) -> Iterator[Pattern]:
        return iter(self._patterns.values())

    def for_gap(self, gap: Gap) -> Pattern | None:
        """The first pattern that the gap fits, if any, or the one with `ai` behind it, for what only a model can fix.

        A disabled one keeps its gaps, so that no other steps in.
        """
        first = self._first(gap.source, gap.rule_id, gap.category)
        if first is None or not first.enabled or first.otherwise is None or first.can_fix(gap):
            return first
        behind = self._patterns[first.otherwise]
        return behind if behind.enabled and behind.allowed_tools else first

    def _first(self, source: str, rule: str, category: str) -> Pattern | None:
        asked = source, rule, category
        if asked not in self._found:
            self._found[asked] = next((pattern for pattern in self if pattern.fits(*asked)), None)
        return self._found[asked]

    def find(self, pattern_id: str) -> Pattern | None:
        """The pattern of that name, if there is one."""
        return self._patterns.get(pattern_id)

    def get(self, pattern_id: str) -> Pattern:
        """The pattern of that name; raises UnknownName."""
        if pattern_id not in self._patterns:
            raise UnknownName(kind="pattern", name=pattern_id, known=list(self._patterns))
        return self._patterns[pattern_id]

    def position(self, pattern_id: str) -> int:
        """Where a pattern stands in the index."""
        return list(self._patterns).index(pattern_id)


def index_of(config: PipelineConfig) -> PatternIndex:
    """The pattern index of a run: with its own files, and with the models and agents that it names."""
    return PatternIndex.load(config.execution.tool_files, ai_tools_of(config.ai))


def ai_tools_of(settings: AiSettings) -> tuple[str, ...]:
    """The tools that ask a model or are agents, of those that a run has, cheap ones first."""
    own = [AI_EDIT] if settings.asks_models else []
    strong = [AI_EDIT_STRONG] if settings.has_strong_model else []
    return tuple(dict.fromkeys([*own, *strong, *settings.tools]))


def _armed(pattern: Pattern, ai_tools: Sequence[str]) -> Pattern:
    """A pattern for models with those that are configured."""
    if not pattern.ai:
        return pattern
    tools = tuple(tool for tool in ai_tools if not pattern.allowed_tools or tool in pattern.allowed_tools)
    return pattern.model_copy(update={"allowed_tools": tools})


def _backed(pattern: Pattern, armed: Mapping[str, Pattern]) -> Pattern:
    """A pattern with the tools of the one behind it; raises UnknownName or InvalidValue."""
    if pattern.otherwise is None:
        return pattern
    behind = armed.get(pattern.otherwise)
    if behind is None:
        raise UnknownName(kind="pattern", name=pattern.otherwise, known=[name for name, one in armed.items() if one.ai])
    if not behind.ai:
        raise InvalidValue(
            field=f"patterns.{pattern.id}.otherwise", value=behind.id, expected="a pattern with ai = true"
        )
    further = behind.allowed_tools if behind.enabled and pattern.allowed_tools else ()
    return pattern.model_copy(update={"allowed_tools": (*pattern.allowed_tools, *further)})


def _before_next(pattern: Pattern, patterns: Iterable[Pattern]) -> Pattern:
    """The pattern of a codemod, with tools and limits of the one that it steps before: they do what it leaves."""
    if not (pattern.id.startswith(PREFIX) and pattern.sources and pattern.rules and pattern.categories):
        return pattern
    asked = pattern.sources[0], pattern.rules[0], pattern.categories[0]
    other = next((one for one in patterns if not one.id.startswith(PREFIX) and one.fits(*asked)), None)
    if other is None or (other.enabled and not (other.allowed_tools and TaskKind.IMPLEMENTATION in other.kinds)):
        return pattern
    own = {name: getattr(pattern, name) for name in ("id", "title", "sources", "rules", "categories", "kinds")}
    tools = tuple(dict.fromkeys((*pattern.allowed_tools, *other.allowed_tools)))
    further = {"allowed_tools": tools, "domains": (), "needs_fixable": False, "ai": False, "otherwise": None}
    return other.model_copy(update={**own, **further})


def _patterns_in(path: Path) -> Iterator[Pattern]:
    document = read_toml(path)
    # true and 1.0 equal 1, and are no version
    if repr(document.get("version", VERSION)) != repr(VERSION):
        raise InvalidDocument(path=path, where="version", problem=f"expected {VERSION}, found {document['version']!r}")
    content = document.get("patterns", {})
    if not isinstance(content, Mapping):
        raise InvalidDocument(path=path, where="patterns", problem="expected tables [patterns.NAME]")
    for name, entry in content.items():
        yield _pattern(path, name, entry)


def _pattern(path: Path, name: str, entry: Any) -> Pattern:
    where = f"patterns.{name}"
    if not isinstance(entry, Mapping) or "id" in entry:
        raise InvalidDocument(path=path, where=where, problem="expected a table [patterns.NAME] without an id")
    try:
        return Pattern(id=name, **entry)
    except ValidationError as error:
        found = invalid(error, entry, str(path)).facts
        raise InvalidDocument(path=path, where=f"{where}.{found['where']}", problem=found["problem"]) from error
