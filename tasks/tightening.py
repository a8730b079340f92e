"""Two policies put together: nothing that either refuses is let in, whatever the other says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

from prefect_acms.blocks.guardrails import GuardrailSettings, PathRules, Tightening
from prefect_acms.blocks.section import Section

S = TypeVar("S", bound=Section)

DEFAULT = "default"


def tightened(ours: GuardrailSettings, theirs: GuardrailSettings) -> GuardrailSettings:
    """Our guardrails, made stricter where theirs say so; what theirs do not set, or would loosen, has no effect."""
    merged = _merged(ours, theirs)
    said = theirs.path_rules[0]
    rules = tuple(rule for rule in (_stated_paths(said, theirs), *theirs.further_paths) if rule != PathRules())
    return merged.model_copy(update={"further_paths": (*ours.further_paths, *rules)})


def _stated_paths(rules: PathRules, theirs: GuardrailSettings) -> PathRules:
    # a default that is not set is not said: the run has it anyway, unless it has taken it back
    protected = rules.protected_paths if "protected_paths" in theirs.model_fields_set else ()
    return rules.model_copy(update={"protected_paths": protected})


def _merged(ours: S, theirs: Section) -> S:
    update: dict[str, Any] = {}
    for name, field in type(ours).model_fields.items():
        if name not in theirs.model_fields_set:
            continue
        mine, other = getattr(ours, name), getattr(theirs, name)
        if isinstance(mine, Section):
            update[name] = _merged(mine, other)
        else:
            update[name] = _TOGETHER[tightening_of(field)](mine, other)
    return ours.model_copy(update=update)


def tightening_of(field: FieldInfo) -> Tightening:
    """What becomes of a setting when a second policy has a word in it."""
    return next(mark for mark in field.metadata if isinstance(mark, Tightening))


def _smaller(mine: float | None, other: float | None) -> float | None:
    given = [value for value in (mine, other) if value is not None]
    return min(given, default=None)


def _both(mine: Any, other: Any) -> Any:
    if mine is None or other is None:
        return mine if other is None else other
    return tuple(name for name in mine if name in other) if isinstance(mine, tuple) else mine and other


def _either(mine: Any, other: Any) -> Any:
    return tuple(dict.fromkeys([*mine, *other])) if isinstance(mine, tuple) else mine or other


def _stricter(mine: StrEnum, other: StrEnum) -> StrEnum:
    return max(mine, other, key=list(type(mine)).index)


def _ours(mine: Any, _other: Any) -> Any:
    return mine


_TOGETHER: Mapping[Tightening, Callable[[Any, Any], Any]] = {
    Tightening.SMALLER: _smaller,
    Tightening.BOTH: _both,
    Tightening.EITHER: _either,
    Tightening.STRICTER: _stricter,
    # paths: the rules of both are kept side by side
    Tightening.EACH: _ours,
    Tightening.OURS: _ours,
}


class SettingInForce(BaseModel):
    """One setting of the guardrails that are in force: its value, who says so, and what else was said."""

    model_config = ConfigDict(frozen=True)

    setting: str = Field(description="name of the setting")
    value: Any = Field(description="its value, as in a policy file")
    source: str = Field(description="who says so: default, the run, or a file of the repository")
    note: str = Field(default="", description="what has no effect, as a sentence")


def explained(
    ours: GuardrailSettings, theirs: GuardrailSettings | None = None, *, us: str = "the run", them: str = ""
) -> tuple[SettingInForce, ...]:
    """Every setting that is in force when theirs tighten ours, in the order of the model; paths once for each side."""
    other = theirs if theirs is not None else GuardrailSettings()
    return tuple(_explained(ours, other, tightened(ours, other), (us, them), ""))


def _explained(
    ours: Section, theirs: Section, result: Section, names: tuple[str, str], prefix: str
) -> Iterator[SettingInForce]:
    us, them = names
    for name, field in type(ours).model_fields.items():
        mine, other, now = getattr(ours, name), getattr(theirs, name), getattr(result, name)
        dotted, said = prefix + name, name in theirs.model_fields_set
        if isinstance(mine, Section):
            yield from _explained(mine, other, now, names, f"{dotted}.")
            continue
        source = us if name in ours.model_fields_set else DEFAULT
        value = _plain(result, name)
        if tightening_of(field) is Tightening.EACH:
            yield SettingInForce(setting=dotted, value=_plain(ours, name), source=source)
            if said and other:
                yield SettingInForce(setting=dotted, value=_plain(theirs, name), source=them)
        elif not said or other == mine:
            both = f"{us}, {them}" if said and source == us else source
            yield SettingInForce(setting=dotted, value=value, source=both)
        elif now == mine:
            note = f"{them} says {_plain(theirs, name)}: no effect, it can only tighten"
            yield SettingInForce(setting=dotted, value=value, source=source, note=note)
        else:
            yield SettingInForce(setting=dotted, value=value, source=them if now == other else f"{source}, {them}")


def _plain(section: Section, name: str) -> Any:
    return section.model_dump(mode="json", include={name})[name]
