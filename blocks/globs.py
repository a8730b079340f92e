"""Path patterns as git reads them in .gitignore; one that can't be read like that is refused where it is written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Annotated, NamedTuple

from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern
from pydantic import AfterValidator

_SET = re.compile(r"\\.|\[([!^]?)(\]?)([^\]]*)")
"""A character that is escaped, or a set of characters without its end: its sign, a ] that comes first, the rest."""

_RANGE = re.compile(r"(.)-(.)")


@lru_cache(maxsize=4096)  # the same few are read again with each policy that is made of others
def readable_glob(pattern: str) -> str:
    """The pattern, if it can match a path; raises ValueError: a pattern that matches nothing would protect nothing."""
    bare = pattern.removeprefix("!")
    if not bare.strip(" /") or bare.startswith("#") or "\n" in bare or "\0" in bare:
        message = "expected a path pattern as in .gitignore"
        raise ValueError(message)
    stars = any("**" in part and part != "**" for part in bare.split("/"))
    if "//" in bare or stars or _has_odd_set(bare):
        message = "expected a path pattern without //, without ** beside other characters, and without [ \\ / in a set"
        raise ValueError(message)
    try:
        means_something = _compiled_one(pattern).include is not None
    except (ValueError, re.error) as error:
        message = f"expected a path pattern as in .gitignore: {error}"
        raise ValueError(message) from error
    if not means_something:
        message = "expected a path pattern that can match something"
        raise ValueError(message)
    return pattern


Glob = Annotated[str, AfterValidator(readable_glob)]
"""A path pattern as in .gitignore: `docs/` is a folder at any depth, `/docs/` the one at the top, `!` takes back."""


class _Compiled(NamedTuple):
    """A pattern as it is matched: whether it covers or takes back, None where it means nothing."""

    include: bool | None
    regex: re.Pattern[str] | None


def covered(paths: Iterable[str], patterns: Sequence[str]) -> tuple[str, ...]:
    """The paths that these patterns cover, sorted; they are read as git reads .gitignore.

    As in git, a `!` can't take back a file of a folder that is covered: git does not look into that folder.
    """
    compiled = _compiled(tuple(patterns))
    return tuple(sorted(path for path in set(paths) if _covers(compiled, path)))


def _covers(patterns: Sequence[_Compiled], path: str) -> bool:
    *folders, _ = accumulate(path.split("/"), lambda above, name: f"{above}/{name}")
    return any(_last_word(patterns, name) for name in (*(f"{folder}/" for folder in folders), path))


def _last_word(patterns: Sequence[_Compiled], name: str) -> bool:
    """Whether the last pattern that matches this very name, and not only a folder above it, covers it."""
    hits = (pattern.include for pattern in reversed(patterns) if pattern.regex and pattern.regex.fullmatch(name))
    return bool(next(hits, False))


@lru_cache(maxsize=256)
def _compiled(patterns: tuple[str, ...]) -> tuple[_Compiled, ...]:
    return tuple(_compiled_one(pattern) for pattern in patterns)


def _compiled_one(pattern: str) -> _Compiled:
    """The pattern for pathspec, without what it reads otherwise than git does.

    It shortens a `*` at the end so that it matches what lies in a folder by its start, and its sets can match a `/`.
    """
    bare = pattern.rstrip("/")
    above, slash, last = bare.rpartition("/")
    sign, last = ("!", last[1:]) if not slash and last.startswith("!") else ("", last)
    if last in {"*", "**"}:
        deeper = "**/" if slash and last == "**" else ""
        pattern = f"{sign}{above}{slash}{deeper}?*{pattern[len(bare) :]}"
    read = GitIgnoreSpecPattern(pattern)
    return _Compiled(
        read.include, re.compile(re.sub(r"\[\^(\]?)", r"[^\1/", read.regex.pattern)) if read.regex else None
    )


def _has_odd_set(pattern: str) -> bool:
    """Whether a set is none that pathspec and git read alike."""
    inner = [found[3] for found in _SET.finditer(pattern) if found[3]]
    return any(
        "[" in text or "\\" in text or any(low <= "/" <= high for low, high in _RANGE.findall(text)) for text in inner
    )
