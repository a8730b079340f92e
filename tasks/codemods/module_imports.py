"""What a Python file imports at its top level."""

from __future__ import annotations

import ast

from prefect_acms.tasks.codemods.codemod import Import


def imports_of(text: str) -> frozenset[Import]:
    """The imports of a module that have no other name than their own; none of a file that Python can't read."""
    try:
        statements = ast.parse(text).body
    except (SyntaxError, ValueError):
        return frozenset()
    found: set[Import] = set()
    for statement in statements:
        if isinstance(statement, ast.Import):
            found |= {Import(module=alias.name) for alias in statement.names if alias.asname is None}
        elif isinstance(statement, ast.ImportFrom) and statement.level == 0 and statement.module:
            named = (alias.name for alias in statement.names if alias.asname is None and alias.name != "*")
            found |= {Import(module=statement.module, name=name) for name in named}
    return frozenset(found)
