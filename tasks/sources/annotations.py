"""Annotations that ruff can write by itself: a gap counts as fixable only where its tool has a fix for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prefect_acms.canonical.outside_errors import SourceFailed
from prefect_acms.tasks.environment import own_python
from prefect_acms.tasks.sources import Scan
from prefect_acms.tasks.sources.program import Program, relative_path
from prefect_acms.tasks.sources.ruff import FOUND_NOTHING, FOUND_SOMETHING, ruff_options

RULES = "ANN201,ANN202,ANN204,ANN205,ANN206"
"""The rules of the tool `ruff-annotate`."""

AT_ONCE = 1_000
"""Files that are named on one command line."""


def annotatable(scan: Scan, files: Sequence[str]) -> frozenset[tuple[str, int]]:
    """Path and row of each function of these files whose return type ruff would write, as the repository has ruff set.

    A file that the repository excludes from ruff has none; nor has any where ruff can't read the configuration, as its
    tool could not do so either.
    """
    ruff = Program("ruff", scan, (str(own_python()), "-I", "-m", "ruff"), "install prefect-acms")
    asked = ("check", "--output-format", "json", "--no-cache", "--force-exclude", *ruff_options(scan.root))
    found: list[dict[str, Any]] = []
    for start in range(0, len(files), AT_ONCE):
        places = ("--", *files[start : start + AT_ONCE])
        good = (FOUND_NOTHING, FOUND_SOMETHING)
        try:
            found += ruff.report(*asked, "--select", RULES, option="--output-file", further=places, good=good)
        except SourceFailed:
            return frozenset()
    return frozenset((relative_path(one["filename"], scan.root), one["location"]["row"]) for one in found if one["fix"])
