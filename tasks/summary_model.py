"""What a run amounted to, as one document: the content of summary.json and of the other reports."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

VERSION = "2"
"""Version of the document; a change of any key changes it."""


class Record(BaseModel):
    """A part of the summary; times are UTC text, durations seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RunRecord(Record):
    """The run itself."""

    id: str
    state: str
    degraded: bool = Field(default=False, description="succeeded although something not critical failed")
    mode: str
    repository: str = Field(description="path of the repository")
    base_commit: str | None = None
    branch: str | None = Field(default=None, description="result branch; none: nothing was kept")
    head: str | None = Field(default=None, description="commit that the result branch points at")
    created_at: str
    started_at: str | None = None
    completed_at: str | None = None
    duration_sec: float | None = None
    error: str | None = None
    quarantine_reason: str | None = None
    news: str | None = Field(default=None, description="that nothing new was found, and what was there instead")
    meanwhile: tuple[str, ...] = Field(
        default=(), description="gaps of the run before that are gone: who has fixed each, as far as git can tell"
    )


class ListedRun(RunRecord):
    """A run in a list of runs, with who drives it now."""

    driver: str | None = Field(
        default=None, description="process that drives the run; `nobody`: it can be resumed; none: it has ended"
    )


class Counts(Record):
    """How many gaps there were, and what became of them."""

    found: int = 0
    selected: int = Field(default=0, description="found, less those that filters and the baseline held back")
    resolved: int = Field(default=0, description="gone in a re-scan, by a commit that is on the result branch")
    deferred: int = 0
    open: int = Field(default=0, description="neither resolved nor deferred: the run stopped before them")
    unproven: int = Field(default=0, description="resolved by the store's word, without a commit on the branch")
    by_category: dict[str, int] = Field(default_factory=dict)
    by_severity: dict[str, int] = Field(default_factory=dict)
    by_source: dict[str, int] = Field(default_factory=dict)


class Reason(Record):
    """Why gaps were deferred: one reason and the gaps it held back."""

    reason: str
    gaps: int


class GapRecord(Record):
    """One gap and its fate."""

    id: str
    fingerprint: str
    source: str
    rule_id: str
    title: str
    description: str = ""
    category: str
    severity: str
    file_paths: tuple[str, ...] = ()
    start_line: int | None = None
    end_line: int | None = None
    state: str
    reason: str | None = Field(default=None, description="why it was deferred")
    workstream_id: str | None = None
    commit: str | None = Field(default=None, description="commit on the result branch that names it")


class WorkstreamRecord(Record):
    """One workstream."""

    id: str
    key: str = Field(description="short name, as in the plan")
    name: str
    category: str | None = None
    state: str
    effort: str | None = None
    priority_score: float | None = None
    is_critical: bool = False
    depends_on: tuple[str, ...] = ()
    gaps: int = 0
    resolved: int = 0
    started_at: str | None = None
    completed_at: str | None = None
    duration_sec: float | None = None
    error: str | None = None


class TaskRecord(Record):
    """One task of the DAG."""

    id: str
    key: str = Field(description="short name, as in the plan")
    workstream_id: str
    kind: str
    description: str = ""
    tool_id: str | None = Field(default=None, description="tool that ran or is to run; none: only gates judged")
    state: str
    partial: bool = Field(default=False, description="completed, but a guilty part was isolated")
    depends_on: tuple[str, ...] = ()
    comes_after: tuple[str, ...] = Field(default=(), description="tasks that must have ended before, well or badly")
    attempt: int = 0
    retry_count: int = 0
    started_at: str | None = None
    completed_at: str | None = None
    duration_sec: float | None = None
    error: str | None = None


class GateRecord(Record):
    """One run of a gate."""

    id: str
    type: str
    state: str
    workstream_id: str | None = None
    task_id: str | None = None
    patch_entry_id: str | None = Field(default=None, description="ledger entry that it judged; none: a whole tree")
    command: str
    exit_code: int | None = None
    timed_out: bool = False
    started_at: str | None = None
    completed_at: str | None = None
    duration_sec: float | None = None
    at_base: bool = Field(default=False, description="run at the base commit, for comparison only")
    judgement: str | None = Field(default=None, description="what was new against the base commit")
    output: str = Field(default="", description="end of what a gate that did not pass printed")


class ProofRecord(Record):
    """What the sources of the gaps found in the files of a patch, by fingerprints, without it and with it."""

    tree: str = Field(description="patched tree that they were asked about")
    files: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    gone: tuple[str, ...] = Field(default=(), description="found before, and not recognised any more")
    new: tuple[str, ...] = Field(default=(), description="found after, and nothing like it before")
    command: dict[str, tuple[str, ...]] = Field(default={}, description="how each source asked, by its name")
    versions: dict[str, str] = Field(default={}, description="what each source was, by its name")
    problem: str | None = Field(default=None, description="why it proves nothing good")


class PatchRecord(Record):
    """One patch, its fate and its evidence."""

    id: str
    entry_id: str
    task_id: str
    workstream_id: str | None = None
    state: str
    on_branch: bool = Field(
        default=False, description="its commit is reachable from the result branch, and was not rolled back"
    )
    commit: str | None = None
    files: tuple[str, ...] = ()
    lines_added: int = 0
    lines_removed: int = 0
    sha256: str
    reason: str | None = Field(default=None, description="why it was quarantined, dropped or rolled back")
    supersedes: str | None = Field(default=None, description="ledger entry whose place it takes, whole or in part")
    gates: tuple[str, ...] = ()
    resolves: tuple[str, ...] = Field(
        default=(), description="fingerprints that a re-scan no longer found after it, as its commit names them"
    )
    proof: ProofRecord | None = Field(default=None, description="none: it did not get so far")
    diff: str = Field(default="", exclude=True, description="kept out of summary.json: `acms diff` prints it")


class CostRecord(Record):
    """What calls of tools and models have used up, and what the patches have cost that came of it."""

    calls: int = Field(default=0, description="runs of tools and calls of models")
    wall_sec: float = Field(default=0, description="seconds at work, added up over those that worked at once")
    requests: int = Field(default=0, description="requests that models were sent")
    input_tokens: int = Field(default=0, description="tokens that models have read, as far as they tell")
    cached_tokens: int = Field(default=0, description="those of them that came from a cache")
    output_tokens: int = Field(default=0, description="tokens that models have written, as far as they tell")
    usd: float = Field(default=0, description="US dollars, of the calls whose price is known")
    unpriced: int = Field(default=0, description="calls of models whose price nobody knows")
    accepted: int = Field(default=0, description="patches on the result branch by tools that ask a model")
    usd_per_accepted: float | None = Field(default=None, description="US dollars for each of them; none: there is none")

    @property
    def asked_models(self) -> bool:
        """Whether there is anything to tell that not every tool uses up."""
        return bool(self.requests or self.usd or self.unpriced)


class ToolRecord(Record):
    """How a tool did in this run, and over all runs of the store."""

    id: str
    tasks: int = Field(description="tasks of this run that it worked on")
    completed: int = Field(description="those of them that completed")
    mean_sec: float | None = Field(default=None, description="mean duration of its tasks in this run")
    calls: int = Field(default=0, description="calls in all runs")
    success_rate: float | None = Field(default=None, description="of all calls in all runs, 0 to 1")
    mean_latency_ms: float | None = Field(default=None, description="of all calls in all runs")
    cost: CostRecord = Field(default=CostRecord(), description="what it has used up in this run")


class PhaseRecord(Record):
    """One phase."""

    name: str
    ordinal: int
    outcome: str | None = None
    started_at: str | None = None
    completed_at: str | None = None
    duration_sec: float | None = None


class Summary(Record):
    """Everything about one run that a reader of the reports may ask."""

    version: str = VERSION
    run: RunRecord
    counts: Counts
    reasons: tuple[Reason, ...] = Field(default=(), description="of deferred gaps, the most frequent first")
    phases: tuple[PhaseRecord, ...] = ()
    workstreams: tuple[WorkstreamRecord, ...] = ()
    tasks: tuple[TaskRecord, ...] = ()
    gaps: tuple[GapRecord, ...] = ()
    patches: tuple[PatchRecord, ...] = ()
    gates: tuple[GateRecord, ...] = ()
    tools: tuple[ToolRecord, ...] = ()
    cost: CostRecord = Field(default=CostRecord(), description="what the whole run has used up")
    over_budget: tuple[str, ...] = Field(default=(), description="budgets of the run and its tasks without room")
    sources: tuple[dict[str, Any], ...] = Field(
        default=(), exclude=True, description="how each source was asked, and how it did; report.sarif tells it"
    )
    imported: tuple[dict[str, Any], ...] = Field(
        default=(), exclude=True, description="the SARIF logs that were read; report.sarif has them whole"
    )

    def kept(self) -> tuple[PatchRecord, ...]:
        """The patches that are on the result branch."""
        return tuple(patch for patch in self.patches if patch.on_branch)

    def quarantined(self) -> tuple[PatchRecord, ...]:
        """The patches that were put aside with their evidence."""
        return tuple(patch for patch in self.patches if patch.state == "quarantined")

    def deferred(self) -> tuple[GapRecord, ...]:
        """The gaps that are still there, each with its reason."""
        return tuple(gap for gap in self.gaps if gap.state == "deferred")
