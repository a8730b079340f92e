"""Secrets that a patch brings in: known ones wherever they stand in it, and what looks like one in its added lines.

The detectors are detect-secrets'. They are imported when a line gives cause, since that takes a fifth of a second.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import accumulate

from prefect_acms.dao.redaction import HIDDEN, KNOWN, KNOWN_SECRET
from prefect_acms.tasks.diffs import HunkLine

_WORD = re.compile(r"[A-Za-z]{0,15}")
"""A known value like this (`postgres`) is a word that stands anywhere."""

_NAMED = re.compile(r"(?:key|pass|pwd|secret|contrase)\w*[\"'\]]{0,2}\s*(?:[:=!]|\()", re.IGNORECASE)
"""What the detector asks for, roughly: without it, it need not be asked."""

_MORE_HINTS = re.compile(r"AccountKey=|sq0csp-|-us\d|AIza|\.[A-Za-z\d_-]{6}\.|(?:AC|SK)[a-z0-9]{32}")
_GOOGLE = re.compile(r"AIza[0-9A-Za-z_-]{35}")

_LONGEST_LINE = 1000
_SHORTEST_VALUE = 12
_LEAST_BITS = 3.2
"""Bits of entropy a character, below which a value is more likely to be a word or a pattern."""

_PLACEHOLDER = re.compile(
    r"example|sample|dummy|fake|mock|test|demo|placeholder|change|replace|your|insert|default|redacted|xxx|\*\*\*|\.\.\."
    r"|[\s{}<>$%()]|://|^\.{0,2}/|^[\w.-]+\.(?:\w{1,5})$|password|secret",
    re.IGNORECASE,
)


def known_secrets(content: bytes) -> Iterator[int]:
    """The lines of a patch in which a value stands that this process knows to be secret."""
    text = _text(content)
    starts = _starts(text.splitlines(keepends=True))
    for shape in KNOWN.found(text):
        if shape.kind == KNOWN_SECRET and not _WORD.fullmatch(text[shape.start : shape.end]):
            yield bisect_right(starts, shape.start)
    # a diff that was stored without its secret must never be taken for what a tool has made
    yield from (number for number, line in enumerate(text.split("\n"), 1) if line.startswith("+") and HIDDEN in line)


def likely_secrets(content: bytes) -> Iterator[int]:
    """The lines of what is no diff in which something stands that looks like a secret."""
    lines = content.split(b"\n")
    for number, _ in secrets_added([HunkLine(n, b"+", line) for n, line in enumerate(lines, 1)], ""):
        yield number


def secrets_added(lines: Sequence[HunkLine], before: str) -> Iterator[tuple[int, str]]:
    """The added lines that bring a secret which does not stand in the text `before`, and what it is."""
    added = [line for line in lines if line.sign == b"+"]
    texts = [_text(line.text) for line in added]
    text = "".join(texts)
    starts = _starts(texts)
    for kind, start, value in sorted((*_shaped(text), *_named(texts, starts)), key=lambda found: found[1]):
        if value not in before:
            yield added[bisect_right(starts, start) - 1].number, kind


def _text(content: bytes) -> str:
    return content.decode("utf-8", "surrogateescape")


def _starts(texts: Iterable[str]) -> list[int]:
    return [0, *accumulate(map(len, texts))][:-1]


def _shaped(text: str) -> Iterator[tuple[str, int, str]]:
    for shape in KNOWN.found(text):
        if shape.kind != KNOWN_SECRET:
            yield shape.kind, shape.start, text[shape.start : shape.end]
    if _MORE_HINTS.search(text):
        for kind, pattern in _more_patterns():
            for match in pattern.finditer(text):
                yield kind, match.start(), match.group()


@cache
def _more_patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    """Shapes that are right often enough to refuse a patch, if not to redact every text."""
    from detect_secrets.plugins import azure_storage_key, discord, mailchimp, square_oauth, twilio  # noqa: PLC0415

    detectors = (
        azure_storage_key.AzureStorageKeyDetector,
        discord.DiscordBotTokenDetector,
        mailchimp.MailchimpDetector,
        square_oauth.SquareOAuthDetector,
        twilio.TwilioKeyDetector,
    )
    known = [(str(kind.secret_type), pattern) for kind in detectors for pattern in kind.denylist]
    return (*known, ("Google API Key", _GOOGLE))


def _named(texts: Sequence[str], starts: Sequence[int]) -> Iterator[tuple[str, int, str]]:
    """Values given to what is called a password, a key or a secret, if they look made up by a machine."""
    asked = [
        (text, start)
        for text, start in zip(texts, starts, strict=True)
        if len(text) <= _LONGEST_LINE and _NAMED.search(text)
    ]
    if not asked:
        return
    from detect_secrets.plugins.keyword import KeywordDetector  # noqa: PLC0415

    detector = KeywordDetector()
    for text, start in asked:
        for value in detector.analyze_string(text.rstrip("\r\n")):
            if _looks_random(value):
                yield "Secret Keyword", start + max(text.find(value), 0), value


def _looks_random(value: str) -> bool:
    from detect_secrets.filters.heuristic import is_potential_uuid, is_sequential_string  # noqa: PLC0415

    return (
        len(value) >= _SHORTEST_VALUE
        and any(c.isdigit() for c in value)
        and any(c.isalpha() for c in value)
        and not _PLACEHOLDER.search(value)
        and not is_sequential_string(value)
        and not is_potential_uuid(value)
        and _entropy(value) >= _LEAST_BITS
    )


def _entropy(value: str) -> float:
    return -sum(n / len(value) * math.log2(n / len(value)) for n in Counter(value).values())
