"""The names of a file in a diff, as git writes and quotes them in each of the places that say them."""

from __future__ import annotations

import re

_QUOTED = re.compile(rb'"(?:[^"\\]|\\.)*"')
_ESCAPE = re.compile(rb'\\([0-3][0-7]{2}|[abfnrtv"\\])')
_LETTERS = {b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}

Pair = tuple[bytes | None, bytes | None]
"""The name before and after; None where the file does not exist."""


def unquoted(name: bytes) -> bytes:
    """A name as git quotes it, without the quoting; raises ValueError when the quoting is wrong."""
    if not name.startswith(b'"'):
        return name
    if not _QUOTED.fullmatch(name):
        message = f"{name!r} is not quoted as git does it"
        raise ValueError(message)
    inner = name[1:-1]
    if b"\\" in _ESCAPE.sub(b"", inner):
        message = f"{name!r} has an unknown escape"
        raise ValueError(message)
    return _ESCAPE.sub(_unescaped, inner)


def _unescaped(found: re.Match[bytes]) -> bytes:
    code = found[1]
    return bytes([int(code, 8)]) if code.isdigit() else _LETTERS.get(code, code)


def names_in_moves(headers: dict[str, bytes]) -> Pair | None:
    """The names of a rename or a copy; None where there is none."""
    for kind in ("rename", "copy"):
        if f"{kind} from" in headers:
            return unquoted(headers[f"{kind} from"]), unquoted(headers[f"{kind} to"])
    return None


def header_of_move(headers: dict[str, bytes]) -> bytes | None:
    """What must follow `diff --git ` above a rename or a copy; None where there is none."""
    for kind in ("rename", "copy"):
        if f"{kind} from" in headers:
            return b"%s %s" % (_under(b"a/", headers[f"{kind} from"]), _under(b"b/", headers[f"{kind} to"]))
    return None


def _under(prefix: bytes, name: bytes) -> bytes:
    return b'"' + prefix + name[1:] if name.startswith(b'"') else prefix + name


def names_in_lines(names: tuple[bytes, ...]) -> Pair | None:
    """The names of the lines `---` and `+++`; None where there are no such lines."""
    if not names:
        return None
    old, new = (unquoted(name[4:-1].removesuffix(b"\t")) for name in names)
    return _without(b"a/", old), _without(b"b/", new)


def _without(prefix: bytes, name: bytes) -> bytes | None:
    if name == b"/dev/null":
        return None
    if not name.startswith(prefix):
        message = f"{name!r} does not begin with {prefix.decode()}"
        raise ValueError(message)
    return name[2:]


def names_in_header(rest: bytes) -> Pair | None:
    """The names of `diff --git a/X b/X`; None where they differ, which only the other headers can tell apart."""
    if rest.startswith(b'"') or rest.endswith(b'"'):
        quoted = re.fullmatch(rb'("(?:[^"\\]|\\.)*"|\S+) ("(?:[^"\\]|\\.)*"|\S+)', rest)
        if quoted is None:
            return None
        return _without(b"a/", unquoted(quoted[1])), _without(b"b/", unquoted(quoted[2]))
    half = len(rest) // 2
    old, new = rest[:half], rest[half + 1 :]
    if len(rest) % 2 == 0 or rest[half : half + 1] != b" " or old[2:] != new[2:]:
        return None
    return _without(b"a/", old), _without(b"b/", new)
