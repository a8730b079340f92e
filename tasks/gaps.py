"""A gap: one thing in a repository that could be better."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from prefect_acms.canonical.gap import GapSeverity


class Gap(BaseModel):
    """One gap as a source found it; equal fingerprints mean the same gap, wherever its lines moved."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = Field(description="name of the gap source that found it")
    rule_id: str = Field(description="rule of the source, for example F401")
    fingerprint: str = Field(description="stable identity: rule, path and normalised code, no line number")
    title: str = Field(description="one line")
    description: str = Field(default="", description="more than one line, where the source has it")
    category: str = Field(default="uncategorized", description="open vocabulary; each source names its own")
    severity: GapSeverity = Field(default=GapSeverity.MEDIUM)
    file_paths: tuple[str, ...] = Field(default=(), description="POSIX paths relative to the repository's top")
    start_line: int | None = Field(default=None, ge=1)
    end_line: int | None = Field(default=None, ge=1)
    dependencies: tuple[str, ...] = Field(default=(), description="fingerprints of gaps to be fixed first")
    fixable: bool = Field(default=False, description="whether a deterministic tool says that it can fix it")
