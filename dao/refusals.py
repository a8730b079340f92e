"""The guard at the door: SQL that would write a `state` column, or touch the audit trail, goes by the service only."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from sqlalchemy import Engine, event

from prefect_acms.canonical.errors import StateAssignmentRefused
from prefect_acms.dao.schema import Base, StateRow

_VERBS = frozenset({"insert", "update", "delete", "replace", "merge", "truncate", "drop", "alter"})
_APPEND_ONLY = frozenset({"state_transitions", "chain_heads"})
_LITERAL = re.compile(r"'(?:[^']|'')*'")
_LOCKING = re.compile(r"\bfor\s+(no\s+key\s+)?update\b")
_WORD = re.compile(r"\w+")


def refuse_writes(engine: Engine) -> None:
    """Make the engine refuse; the service itself goes by the driver's cursor, which no engine event sees."""
    event.listen(engine, "before_cursor_execute", _check)


def _check(_connection: Any, _cursor: Any, statement: str, _parameters: Any, _context: Any, _many: Any) -> None:
    table = forbidden_table(statement)
    if table:
        raise StateAssignmentRefused(entity=table, attempt=" ".join(statement.split())[:80])


@lru_cache(maxsize=1024)
def forbidden_table(sql: str) -> str | None:
    """The table whose state or history this SQL might write, or None; in doubt it is refused."""
    bare = _LOCKING.sub(" ", _LITERAL.sub("''", sql).lower())
    words = _WORD.findall(bare)
    if not words or (words[0] == "select" and ";" not in bare):
        return None
    verbs = _VERBS.intersection(words)
    if not verbs:
        return None
    tables = (_APPEND_ONLY | _tables_with_state()) & set(words)
    if verbs == {"update"} and "state" not in words:
        tables &= _APPEND_ONLY
    return min(tables, default=None)


def _tables_with_state() -> frozenset[str]:
    rows = (mapper.class_ for mapper in Base.registry.mappers)
    return frozenset(row.__tablename__ for row in rows if issubclass(row, StateRow))
