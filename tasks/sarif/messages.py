"""Messages of a SARIF log as plain text: looked up by their ids, arguments filled in, links unfolded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_PLACEHOLDER = re.compile(r"\{(\d{1,4})\}")
_LINK = re.compile(r"\[((?:[^\[\]\\]|\\.)+)\]\((?:\d+|[a-z]+:[^()\s]*)\)")
_ESCAPED = re.compile(r"\\([\[\]\\])")

_Object = Mapping[str, Any]


def text_of(message: _Object | None, *strings: _Object | None) -> str:
    """The text of a message, or "": its own, or the one of its id in these `messageStrings`, the first that has it."""
    if not message:
        return ""
    text = message.get("text") or message.get("markdown")
    if not text:
        name = str(message.get("id"))
        known = (named[name] for named in strings if named and name in named)
        text = (next(known, None) or {}).get("text") or message.get("id") or ""
    if arguments := message.get("arguments"):
        text = _PLACEHOLDER.sub(
            lambda found: arguments[int(found[1])] if int(found[1]) < len(arguments) else found[0], text
        )
        text = text.replace("{{", "{").replace("}}", "}")
    return str(text)


def plain(text: str) -> str:
    """The text in one line; of an embedded link, which leads to a related location or a page, its words remain."""
    return " ".join(_ESCAPED.sub(r"\1", _LINK.sub(r"\1", text)).split())
