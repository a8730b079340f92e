"""The rules of a SARIF run: which one a result is about, by index, id or component, and how serious it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_Object = Mapping[str, Any]

UNNAMED = "unnamed"
"""The rule of a result that names none."""

WARNING = "warning"
"""The level of a result that neither says its own nor has a rule that does."""


class Rules:
    """The reporting descriptors of one run."""

    def __init__(self, run: _Object) -> None:
        tool = run["tool"]
        self._driver: _Object = tool["driver"]
        self._extensions = tool.get("extensions") or ()
        self._by_id: dict[str, _Object] = {}
        for component in (self._driver, *self._extensions):
            for rule in component.get("rules") or ():
                self._by_id.setdefault(rule["id"], rule)
        self._overrides = tuple(_overrides(run))

    def of(self, result: _Object) -> _Object:
        """The descriptor of the rule of a result, or an empty one; a wrong index does not count."""
        reference = result.get("rule") or {}
        rules = self._component(reference.get("toolComponent")).get("rules") or ()
        index = result.get("ruleIndex", reference.get("index", -1))
        name = result.get("ruleId") or reference.get("id")
        if 0 <= index < len(rules) and (not name or _is_below(name, rules[index]["id"])):
            found: _Object = rules[index]
            return found
        if guid := reference.get("guid"):
            return next((rule for rule in rules if rule.get("guid") == guid), {})
        return self._by_id.get(name or "") or self._by_id.get((name or "").rpartition("/")[0]) or {}

    @staticmethod
    def name_of(result: _Object, rule: _Object) -> str:
        """The id of the rule that a result is about, the more exact one where it says so."""
        return result.get("ruleId") or (result.get("rule") or {}).get("id") or rule.get("id") or UNNAMED

    def level_of(self, result: _Object, rule: _Object) -> str:
        """How serious the result is: error, warning, note or none."""
        said: str | None = result.get("level")
        if said is None and rule:
            changed = (level for name, level in self._overrides if name == rule["id"])
            said = next(changed, None) or (rule.get("defaultConfiguration") or {}).get("level")
        return said or WARNING

    def _component(self, reference: _Object | None) -> _Object:
        if not reference:
            return self._driver
        index = reference.get("index", -1)
        if 0 <= index < len(self._extensions):
            found: _Object = self._extensions[index]
            return found
        for key in ("guid", "name"):
            for component in (self._driver, *self._extensions):
                if reference.get(key) and component.get(key) == reference[key]:
                    named: _Object = component
                    return named
        return self._driver


def _overrides(run: _Object) -> Iterator[tuple[str, str]]:
    for invocation in run.get("invocations") or ():
        for override in invocation.get("ruleConfigurationOverrides") or ():
            level, name = override["configuration"].get("level"), override["descriptor"].get("id")
            if level and name:
                yield name, level


def _is_below(name: str, rule: str) -> bool:
    """Whether a result's rule id is the rule's, or one of its parts: CA1000/1 is one of CA1000."""
    return name == rule or name.startswith(f"{rule}/")
