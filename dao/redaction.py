"""The one place where text is made fit to be stored: no secrets in it, nothing that a database can't hold."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any

Redact = Callable[[str], str]
"""Takes secrets out of a text."""

HIDDEN = "[redacted]"
SHORTEST_SECRET = 8
"""Shorter values are left alone: they would blank out ordinary words."""

_LOOKS_LIKE_A_KEY = re.compile(
    r"TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL|(API|ACCESS|PRIVATE|SIGNING|ENCRYPTION|AUTH)_?KEY|_(KEY|PAT)$",
    re.IGNORECASE,
)


def environment_redactor(environment: Mapping[str, str] | None = None) -> Redact:
    """Hides the values of the variables whose names look like keys; reads the environment once, now."""
    variables = os.environ if environment is None else environment
    secrets = {value for name, value in variables.items() if _LOOKS_LIKE_A_KEY.search(name)}
    return redactor_of(secrets)


def redactor_of(secrets: set[str]) -> Redact:
    """Hides these values, the longest first; values shorter than 8 characters are left alone."""
    known = sorted((s for s in secrets if len(s) >= SHORTEST_SECRET), key=lambda s: (-len(s), s))
    if not known:
        return str
    pattern = re.compile("|".join(map(re.escape, known)))
    return lambda text: pattern.sub(HIDDEN, text)


class Scrubber:
    """Cleans texts and JSON values before they are stored."""

    def __init__(self, redact: Redact | None = None) -> None:
        self._redact = environment_redactor() if redact is None else redact

    def text(self, text: str) -> str:
        """The text without secrets, NUL characters and lone surrogates (PostgreSQL and UTF-8 know neither)."""
        text = self._redact(text)
        if "\0" in text:
            text = text.replace("\0", "\N{REPLACEMENT CHARACTER}")
        return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")

    def value(self, value: Any) -> Any:
        """A JSON value with every string in it cleaned, keys too."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.value(key): self.value(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(item) for item in value]
        return value
