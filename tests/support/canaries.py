"""Canaries: secrets made up for a test, planted wherever one can enter, and looked for in everything that comes out."""

from __future__ import annotations

import secrets
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote_from_bytes, quote_plus

_SHORTEST = 10
"""Fewer characters of a form may stand anywhere by chance."""


def canaries() -> dict[str, str]:
    """One secret for each way in, none like another."""

    def made(length: int = 18) -> str:
        return secrets.token_hex(length)

    return {
        "variable": f"canary/{made()}+é?&=~\"'",
        "lines": "\n".join(["----- a key of several lines", *(made(24) for _ in range(3)), ""]),
        "tool variable": f"Canary_{made()}",
        "block": f"canary.{made()}",
        "argument": f"canary-{made()}",
        "github": "ghp" + "_" + made(18),
        "aws": "AKIA" + made(8).upper(),
        "stripe": "sk" + "_live_" + made(12),
        "password in a URL": f"canary{made()}",
    }


def forms_of(canary: str) -> set[bytes]:
    """Plain, base64 in each of its three alignments and both alphabets, URL-encoded; of a longer one its lines too."""
    return {form for part in {canary, *canary.splitlines()} for form in _forms(part.encode()) if len(form) >= _SHORTEST}


def _forms(content: bytes) -> Iterator[bytes]:
    yield content
    for encoded in (quote_from_bytes(content), quote_from_bytes(content, safe=""), quote_plus(content)):
        yield encoded.encode()
    for shift in range(3):
        # the whole groups of three bytes that lie within it are the same whatever stands around it
        inside = content[-shift % 3 :]
        whole = b64encode(inside[: len(inside) // 3 * 3])
        yield whole
        yield whole.replace(b"+", b"-").replace(b"/", b"_")


def leaks(planted: Mapping[str, str], outputs: Iterable[tuple[str, bytes]]) -> list[str]:
    """Which canary is in which output."""
    wanted = [(name, form) for name, canary in planted.items() for form in forms_of(canary)]
    return sorted({f"{name} in {place}" for place, content in outputs for name, form in wanted if form in content})


def files_in(*folders: Path) -> Iterator[tuple[str, bytes]]:
    """Every file below these folders, by its path."""
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink():
                yield str(path), path.read_bytes()


PARROT = '''
import base64, json, pathlib, sys, urllib.parse

def say(values):
    """Print each secret as text, in base64 at each alignment, and URL-encoded, on both streams."""
    for value in values:
        raw = value.encode()
        for out in (sys.stdout, sys.stderr):
            print("plain", value, "repr", repr(value), "json", json.dumps(value), file=out)
            for shift in range(3):
                print("base64", base64.b64encode(b"x" * shift + raw + b"tail").decode(), file=out)
                print("urlsafe", base64.urlsafe_b64encode(b"x" * shift + raw).decode(), file=out)
            print("url", urllib.parse.quote(value), urllib.parse.quote_plus(value), file=out)
            print("remote https://joe:" + URL_PASSWORD + "@example.org/x.git", file=out)
'''
"""A program's part that prints secrets in every form."""
