"""A diff that was stored without its secret is evidence, and never taken for what a tool has made."""

from __future__ import annotations

import pytest

from prefect_acms.blocks.guardrails import PatchLimits
from prefect_acms.dao.redaction import HIDDEN
from prefect_acms.tasks.patch_rules import Rule
from prefect_acms.tasks.patches import validate_patch

DIFF = """diff --git a/a.py b/a.py
--- a/a.py
+++ b/a.py
@@ -1,2 +1,2 @@
 KEPT = {kept!r}
-A = {old!r}
+A = {new!r}
"""


@pytest.mark.parametrize(
    ("lines", "refused"),
    [
        ({"kept": "x", "old": "y", "new": HIDDEN}, ["line 7"]),
        ({"kept": HIDDEN, "old": HIDDEN, "new": "z"}, []),
    ],
)
def test_a_diff_that_adds_what_stands_for_a_secret_is_refused(lines: dict[str, str], refused: list[str]) -> None:
    """A resumed run and a retry take the stored diff; what a repository has already may go on standing there."""
    validation = validate_patch(DIFF.format(**lines).encode(), limits=PatchLimits(), protected=(), scope=("a.py",))
    assert [found.where for found in validation.violations if found.rule is Rule.SECRET] == refused
    assert validation.has_secret == bool(refused)
