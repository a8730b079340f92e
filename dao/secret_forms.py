"""The forms in which a secret may stand in a text: plain, base64, URL-encoded, escaped for JSON, Python or HTML."""

from __future__ import annotations

import html
import json
import re
from base64 import b64encode
from collections.abc import Iterator
from urllib.parse import quote_from_bytes, quote_plus

SHORTEST_SECRET = 8
"""Shorter values are left alone: they would blank out ordinary words."""

_SHORTEST_LINE = 16
"""A line of a secret of several lines is a secret of its own from this length on."""

_FIRST_WHOLE = (0, 2, 3)
"""The first character of base64 that only the secret decides, by how many bytes before it share its group of three."""

_NOT_WHOLE = (0, 3, 2)
"""How many characters at the end of base64 others decide, by how many bytes are over after the last group of three."""

_PERCENT = re.compile(r"%[0-9A-F]{2}")


def forms_of(secret: str) -> set[str]:
    """All forms of a secret that are long enough to be known again; none of one that is too short."""
    forms = {form for part in _parts(secret) for form in _forms(part)}
    return {form for form in forms if len(form) >= SHORTEST_SECRET}


def _parts(secret: str) -> Iterator[str]:
    """A secret as a whole, without the blanks around it, and each of its longer lines."""
    whole = secret.strip()
    if len(whole) >= SHORTEST_SECRET:
        yield secret
        yield whole
        lines = whole.splitlines()
        if len(lines) > 1:
            yield from (line.strip() for line in lines if len(line.strip()) >= _SHORTEST_LINE)


def _forms(part: str) -> Iterator[str]:
    yield part
    yield html.escape(part)
    for text in (json.dumps(part), json.dumps(part, ensure_ascii=False), repr(part)):
        yield text[1:-1]
    # what is no text (a lone surrogate) has come from bytes
    content = part.encode("utf-8", "surrogateescape")
    for encoded in (quote_from_bytes(content), quote_from_bytes(content, safe=""), quote_plus(content)):
        yield encoded
        yield _PERCENT.sub(lambda match: match.group().lower(), encoded)
    for before in range(3):
        encoded = b64encode(b"\0" * before + content).decode()
        over = (before + len(content)) % 3
        core = encoded[_FIRST_WHOLE[before] : len(encoded) - _NOT_WHOLE[over]]
        yield core
        yield core.replace("+", "-").replace("/", "_")
