"""Marks by which a pull request of ours is known again: our part of its body, and the gaps that it is about."""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import sha256

MOST_NAMED = 1500
"""Gaps that a mark names; two that share none of so many are about different things."""

_PART = re.compile(r"<!-- acms run=(?P<run>\S+) gaps=(?P<gaps>[0-9a-f,]*) -->.*?<!-- /acms -->", re.DOTALL)


def digest_of(fingerprint: str) -> str:
    """A gap's fingerprint, short enough for a mark of many."""
    return sha256(fingerprint.encode()).hexdigest()[:8]


def marked(text: str, run_id: str, digests: Iterable[str]) -> str:
    """Our part of a body, marked."""
    named = ",".join(sorted(digests)[:MOST_NAMED])
    return f"<!-- acms run={run_id} gaps={named} -->\n{text}\n<!-- /acms -->"


def unmarked(text: str) -> str:
    """Foreign text in which nothing can be taken for a mark."""
    return text.replace("<!--", "< !--")


def gaps_in(body: str) -> frozenset[str]:
    """The gaps that the mark in a body names; none without a mark."""
    found = _PART.search(body.replace("\r\n", "\n"))
    return frozenset(filter(None, found["gaps"].split(","))) if found else frozenset()


def with_part(body: str, part: str) -> str:
    """A body with our part in the place of the one before; what people have written around it stays."""
    text = body.replace("\r\n", "\n")
    if _PART.search(text):
        return _PART.sub(lambda _: part, text, count=1)
    return f"{text.rstrip()}\n\n{part}" if text.strip() else part


def without_part(body: str) -> str:
    """What people have written around our part."""
    return _PART.sub("", body.replace("\r\n", "\n"))


def run_in(body: str) -> str:
    """The run that the mark in a body names; ids of runs are in the order of time. Empty without a mark."""
    found = _PART.search(body.replace("\r\n", "\n"))
    return found["run"] if found else ""
