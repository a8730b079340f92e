"""A gap: one thing in a repository that could be better."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, model_validator

from prefect_acms.canonical.gap import GapSeverity


def _inside(path: str) -> str:
    """The path in its shortest form; raises ValueError unless it stays inside a work tree."""
    parts = [part for part in path.split("/") if part not in {"", "."}]
    if not parts or path[0] == "/" or {"..", ".git"}.intersection(map(str.lower, parts)) or _BREAKS.search(path):
        message = f"expected a path inside the repository, relative to its top, found {path!r}"
        raise ValueError(message)
    return "/".join(parts)


_BREAKS = re.compile(r"[\0\r\n]")

RepositoryPath = Annotated[str, AfterValidator(_inside)]
"""A POSIX path relative to the repository's top, which does not leave it and does not enter `.git`."""

LAST_LINE = 2**31 - 1
"""The highest number of a line or column; no editor has more, and no database column of ours."""

Fingerprint = Annotated[str, Field(pattern=r"^\S+$", max_length=200)]
"""Identity of a gap; one word, because it becomes a commit trailer."""


class Gap(BaseModel):
    """One gap as a source found it; equal fingerprints mean the same gap, wherever its lines moved."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = Field(min_length=1, description="name of the gap source that found it")
    rule_id: str = Field(min_length=1, description="rule of the source, for example F401")
    fingerprint: Fingerprint = Field(description="stable identity: rule, path and normalised code, no line number")
    title: str = Field(min_length=1, description="one line")
    description: str = Field(default="", description="more than one line, where the source has it")
    category: str = Field(
        default="uncategorized", min_length=1, description="open vocabulary; each source names its own"
    )
    severity: GapSeverity = Field(default=GapSeverity.MEDIUM)
    file_paths: tuple[RepositoryPath, ...] = Field(
        default=(), description="POSIX paths relative to the repository's top"
    )
    start_line: int | None = Field(default=None, ge=1, le=LAST_LINE)
    end_line: int | None = Field(default=None, ge=1, le=LAST_LINE)
    dependencies: tuple[Fingerprint, ...] = Field(default=(), description="fingerprints of gaps to be fixed first")
    fixable: bool = Field(default=False, description="whether a deterministic tool says that it can fix it")
    details: dict[str, JsonValue] = Field(
        default={}, description="what else its source knows of it: the code that it is about, a fix that it proposes"
    )

    def __hash__(self) -> int:
        """By what it is, since details are no part of that and can't be hashed."""
        return hash((self.source, self.fingerprint))

    @model_validator(mode="after")
    def _end_after_start(self) -> Self:
        if self.start_line and self.end_line and self.end_line < self.start_line:
            message = f"end_line {self.end_line} is before start_line {self.start_line}"
            raise ValueError(message)
        return self


GapPlace = tuple[tuple[str, ...], int, str, str, str]


def gap_order(gap: Gap) -> GapPlace:
    """The place of a gap in every list: by files, line, source, rule, fingerprint."""
    return gap.file_paths, gap.start_line or 0, gap.source, gap.rule_id, gap.fingerprint


def severity_order(severity: GapSeverity) -> int:
    """The rank of a severity, worst first."""
    return _RANK[severity]


_RANK = {severity: rank for rank, severity in enumerate(GapSeverity)}
