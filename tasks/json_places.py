"""Where in a JSON text a byte stands, as a JSON pointer; what follows the byte need not be JSON."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{},:]|[^\s"\[\]{},:]+')


@dataclass(slots=True)
class _Level:
    """An array or an object that is open, and the member of it that is being read."""

    is_array: bool
    member: int | str = 0
    awaits_name: bool = False


def pointer_at(text: bytes, offset: int) -> str:
    """The JSON pointer of the value, or of the member whose name it is, in which the byte at this offset stands."""
    levels: list[_Level] = []
    for match in _TOKEN.finditer(text):
        token = match.group()
        if match.end() > offset and token not in b"{}[],:":
            # a name belongs to the member that it begins
            if levels and levels[-1].awaits_name and token.startswith(b'"'):
                levels[-1].member = _name(token)
            break
        if match.start() > offset:
            break
        _step(levels, token)
    return "".join(f"/{_escaped(level.member)}" for level in levels)


def _step(levels: list[_Level], token: bytes) -> None:
    """Take one token in."""
    match token:
        case b"[" | b"{":
            levels.append(_Level(token == b"[", 0 if token == b"[" else "", awaits_name=token == b"{"))
        case b"]" | b"}":
            del levels[-1:]
        case b"," if levels and levels[-1].is_array:
            levels[-1].member = int(levels[-1].member) + 1
        case b"," if levels:
            levels[-1].awaits_name = True
        case _ if token.startswith(b'"') and levels and levels[-1].awaits_name:
            levels[-1].member, levels[-1].awaits_name = _name(token), False


def _name(token: bytes) -> str:
    try:
        return str(json.loads(token))
    except ValueError:
        return token.decode("utf-8", "replace").strip('"')


def _escaped(member: int | str) -> str:
    return str(member).replace("~", "~0").replace("/", "~1")
