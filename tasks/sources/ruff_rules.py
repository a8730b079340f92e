"""What ruff's rules are about, and how bad a finding of each family is."""

from __future__ import annotations

from collections.abc import Mapping

from prefect_acms.canonical.gap import GapSeverity

_CRITICAL, _HIGH, _MEDIUM, _LOW, _INFO = GapSeverity

FAMILIES: Mapping[str, tuple[str, GapSeverity]] = {
    "invalid-syntax": ("syntax", _CRITICAL),
    "A": ("bug-risk", _LOW),
    "AIR": ("modernisation", _MEDIUM),
    "ANN": ("typing", _LOW),
    "ARG": ("dead-code", _LOW),
    "ASYNC": ("bug-risk", _MEDIUM),
    "B": ("bug-risk", _MEDIUM),
    "BLE": ("bug-risk", _MEDIUM),
    "C4": ("simplification", _LOW),
    "C90": ("complexity", _MEDIUM),
    "COM": ("style", _LOW),
    "CPY": ("documentation", _INFO),
    "D": ("documentation", _INFO),
    "DJ": ("bug-risk", _MEDIUM),
    "DOC": ("documentation", _INFO),
    "DTZ": ("bug-risk", _MEDIUM),
    "E": ("style", _LOW),
    "E4": ("imports", _LOW),
    "E9": ("syntax", _CRITICAL),
    "EM": ("style", _LOW),
    "ERA": ("dead-code", _LOW),
    "EXE": ("style", _LOW),
    "F": ("bug-risk", _MEDIUM),
    "F4": ("imports", _LOW),
    "F7": ("bug-risk", _HIGH),
    "F82": ("bug-risk", _HIGH),
    "F84": ("dead-code", _LOW),
    "FA": ("modernisation", _LOW),
    "FAST": ("modernisation", _LOW),
    "FBT": ("style", _LOW),
    "FIX": ("documentation", _INFO),
    "FLY": ("modernisation", _LOW),
    "FURB": ("modernisation", _LOW),
    "G": ("style", _LOW),
    "I": ("imports", _LOW),
    "ICN": ("imports", _LOW),
    "INP": ("imports", _LOW),
    "INT": ("bug-risk", _LOW),
    "ISC": ("style", _LOW),
    "LOG": ("bug-risk", _MEDIUM),
    "N": ("style", _LOW),
    "NPY": ("modernisation", _MEDIUM),
    "PD": ("style", _LOW),
    "PERF": ("performance", _LOW),
    "PGH": ("typing", _LOW),
    "PIE": ("simplification", _LOW),
    "PLC": ("style", _LOW),
    "PLE": ("bug-risk", _HIGH),
    "PLR": ("complexity", _LOW),
    "PLW": ("bug-risk", _MEDIUM),
    "PT": ("test-style", _LOW),
    "PTH": ("modernisation", _LOW),
    "PYI": ("typing", _LOW),
    "Q": ("style", _LOW),
    "RET": ("simplification", _LOW),
    "RSE": ("simplification", _LOW),
    "RUF": ("quality", _LOW),
    "S": ("security", _HIGH),
    "SIM": ("simplification", _LOW),
    "SLF": ("style", _LOW),
    "SLOT": ("performance", _LOW),
    "T10": ("bug-risk", _MEDIUM),
    "T20": ("style", _LOW),
    "TC": ("imports", _LOW),
    "TD": ("documentation", _INFO),
    "TID": ("imports", _LOW),
    "TRY": ("bug-risk", _LOW),
    "UP": ("modernisation", _LOW),
    "W": ("style", _LOW),
    "W6": ("bug-risk", _MEDIUM),
    "YTT": ("bug-risk", _MEDIUM),
}
"""Category and severity by the beginning of a rule's code; the longest beginning counts, and all its letters do."""

OTHER = ("lint", GapSeverity.LOW)


def family_of(rule: str) -> tuple[str, GapSeverity]:
    """Category and severity of a rule."""
    letters = len(rule.rstrip("0123456789"))
    beginnings = (rule[:length] for length in range(len(rule), letters - 1, -1))
    return next((FAMILIES[start] for start in beginnings if start in FAMILIES), OTHER)
