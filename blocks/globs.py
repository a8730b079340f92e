"""Path patterns as git reads them in .gitignore; one that git would not read is refused where it is written."""

from __future__ import annotations

import re
from typing import Annotated

from pathspec import GitIgnoreSpec
from pydantic import AfterValidator


def readable_glob(pattern: str) -> str:
    """The pattern, if it can match a path; raises ValueError: a pattern that matches nothing would protect nothing."""
    bare = pattern.removeprefix("!")
    if not bare.strip() or bare.startswith("#") or "\n" in bare or "\0" in bare:
        message = "expected a path pattern as in .gitignore"
        raise ValueError(message)
    # pathspec has neither: what git matches by them would go unseen
    if "//" in bare or "[:" in bare:
        message = "expected a path pattern without // and without character classes by name"
        raise ValueError(message)
    try:
        means_something = GitIgnoreSpec.from_lines([pattern]).patterns[0].include is not None
    except (ValueError, re.error) as error:
        message = f"expected a path pattern as in .gitignore: {error}"
        raise ValueError(message) from error
    if not means_something:
        message = "expected a path pattern that can match something"
        raise ValueError(message)
    return pattern


Glob = Annotated[str, AfterValidator(readable_glob)]
"""A path pattern as in .gitignore: `docs/` is a folder at any depth, `/docs/` the one at the top, `!` takes back."""
