"""The comments of a file: by the tokens of Python, by what leads a comment elsewhere."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import PurePosixPath

PYTHON = frozenset({".py", ".pyi"})
PROSE = frozenset({".md", ".markdown", ".rst", ".txt", ".html", ".htm", ".xml", ".svg"})
"""Where # begins a heading and * a list, and only <!-- a comment."""

_LEADERS = r"#+|//+|/\*+|\*|--+|;+|%+|<!--|\{#|\.\.|[rR][eE][mM]\b"
_COMMENT = re.compile(rf"(?:^|\s)(?:{_LEADERS})\s*(?P<text>\S.*)$")
_PROSE_COMMENT = re.compile(r"<!--\s*(?P<text>\S.*)$")


def comments_in(path: str, text: str) -> Iterator[tuple[int, str]]:
    """The line number and text of each comment, without what leads it."""
    suffix = PurePosixPath(path).suffix.lower()
    if suffix in PYTHON:
        yield from _python_comments(text)
    else:
        yield from _led_comments(text, _PROSE_COMMENT if suffix in PROSE else _COMMENT)


def _python_comments(text: str) -> Iterator[tuple[int, str]]:
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    except (tokenize.TokenError, SyntaxError):
        # a file that doesn't parse has comments all the same
        yield from _led_comments(text, _COMMENT)
        return
    for token in tokens:
        if token.type == tokenize.COMMENT:
            # a comment may follow another on the same line, for example one for a linter
            yield from ((token.start[0], part.strip()) for part in token.string.split("#") if part.strip())


def _led_comments(text: str, form: re.Pattern[str]) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.split("\n"), start=1):
        yield from ((number, found["text"].strip()) for found in form.finditer(line))
