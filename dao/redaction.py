"""The one redactor: whatever is written anywhere has its secrets taken out here, and what a database can't hold."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prefect_acms.dao.secret_forms import SHORTEST_SECRET, forms_of
from prefect_acms.dao.secret_shapes import Shape, shapes_in

__all__ = [
    "HIDDEN",
    "KNOWN",
    "KNOWN_SECRET",
    "SHORTEST_SECRET",
    "KnownSecrets",
    "Redact",
    "Scrubber",
    "ending",
    "redact",
]

Redact = Callable[[str], str]
"""Takes secrets out of a text."""

HIDDEN = "[redacted]"

KNOWN_SECRET = "known secret"  # noqa: S105  # the kind of it
"""The kind of what is hidden for its value, not for its shape."""

_LOOKS_LIKE_A_KEY = re.compile(
    r"TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL|(API|ACCESS|PRIVATE|SIGNING|ENCRYPTION|AUTH)_?KEY|_(KEY|PAT)$",
    re.IGNORECASE,
)


def keys_of(environment: Mapping[str, str]) -> set[str]:
    """The values of the variables whose names look like keys."""
    return {value for name, value in environment.items() if _LOOKS_LIKE_A_KEY.search(name)}


class KnownSecrets:
    """Values that are known to be secret, and the text without them and without what looks like one.

    A value is known from the moment it was learned, in every thread: whoever loads one (a block, a variable that a tool
    is given) tells it before anything can be written.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._lock = threading.Lock()
        self._values: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self.learn(*secrets)

    def learn(self, *secrets: str) -> None:
        """Hide these values from now on, in every form; values shorter than 8 characters are left alone."""
        with self._lock:
            if not self._values.issuperset(secrets):
                self._values |= set(secrets)
                # the longest first: no tail of it stays
                forms = sorted(set().union(*map(forms_of, self._values)), key=lambda form: (-len(form), form))
                self._pattern = re.compile("|".join(map(re.escape, forms))) if forms else None

    def redact(self, text: str) -> str:
        """The text with each secret replaced by `[redacted]`."""
        if len(text) < SHORTEST_SECRET:
            return text
        if self._pattern is not None:
            text = self._pattern.sub(HIDDEN, text)
        shapes = shapes_in(text)
        if shapes:
            starts = [0, *(shape.end for shape in shapes)]
            ends = [*(shape.start for shape in shapes), len(text)]
            text = HIDDEN.join(text[start:end] for start, end in zip(starts, ends, strict=True))
        return text

    @property
    def forms(self) -> frozenset[str]:
        """Every form in which a known value would be hidden."""
        with self._lock:
            return frozenset().union(*map(forms_of, self._values))

    def found(self, text: str) -> list[Shape]:
        """The secrets in a text, in order, known ones and those that only look like one; `redact` hides just these."""
        known = [] if self._pattern is None else [Shape(KNOWN_SECRET, *m.span()) for m in self._pattern.finditer(text)]
        return sorted([*known, *shapes_in(text)], key=lambda shape: shape.start)


KNOWN = KnownSecrets()
"""What this process knows: its own variables, those that it gives to tools, the blocks that it has loaded."""


def redact(text: str) -> str:
    """The text without the secrets that this process knows, for whoever writes where there is no store."""
    return KNOWN.redact(text)


def ending(text: str, length: int) -> str:
    """The end of a text without secrets, so long at most; it is cut after they are out, or half of one might stay."""
    return redact(text)[-length:]


def environment_redactor(environment: Mapping[str, str] | None = None) -> Redact:
    """Hides the values of the variables whose names look like keys; without a mapping, all that the process knows."""
    if environment is not None:
        return KnownSecrets(keys_of(environment)).redact
    KNOWN.learn(*keys_of(os.environ))
    return KNOWN.redact


def redactor_of(secrets: set[str]) -> Redact:
    """Hides these values, the longest first; values shorter than 8 characters are left alone."""
    return KnownSecrets(secrets).redact


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

    def content(self, content: bytes) -> bytes:
        """Bytes without secrets, otherwise the same byte for byte: what comes back changed had one."""
        # every byte is a character, so that what is no UTF-8 comes back as it was
        text = content.decode("utf-8", "surrogateescape")
        clean = self._redact(text)
        return content if clean == text else clean.encode("utf-8", "surrogateescape")

    def value(self, value: Any) -> Any:
        """A JSON value with every string in it cleaned, keys too."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.value(key): self.value(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(item) for item in value]
        return value
