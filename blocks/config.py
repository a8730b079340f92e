"""The configuration of a run: one model, the parameter of the pipeline and the content of a configuration file."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from prefect_acms.blocks.ai import AiSettings
from prefect_acms.blocks.budget import BudgetSettings
from prefect_acms.blocks.events import EventSettings
from prefect_acms.blocks.fix_loop import FixLoopSettings
from prefect_acms.blocks.form_marks import without_marks
from prefect_acms.blocks.guardrails import GuardrailSettings
from prefect_acms.blocks.notifications import NotificationSettings
from prefect_acms.blocks.publishing import PublishSettings
from prefect_acms.blocks.saved import STORE, SavedBlocks
from prefect_acms.blocks.section import Section
from prefect_acms.blocks.tool_spec import ToolSpec
from prefect_acms.blocks.watch import WatchSettings
from prefect_acms.canonical.errors import InvalidValue


class Mode(StrEnum):
    """How far a run goes."""

    FULL = "full"
    ANALYZE_ONLY = "analyze_only"
    PLAN_ONLY = "plan_only"
    EXECUTE_ONLY = "execute_only"


class ClusterBy(StrEnum):
    """What makes gaps belong together."""

    CATEGORY = "category"
    PROXIMITY = "proximity"


class IsolationMode(StrEnum):
    """Whether tools and gates are shut off from everything but their worktree."""

    AUTO = "auto"
    REQUIRED = "required"
    OFF = "off"


RuleSelector = Annotated[str, Field(pattern=r"^[A-Z]+[0-9]*$")]
"""A rule of ruff, or the beginning of the codes of several."""


class DiscoverySettings(Section):
    """Which gaps are looked for, and which are taken up."""

    sources: tuple[str, ...] = Field(default=("ruff", "pytest", "markers"), description="gap sources to ask")
    reports: tuple[Path, ...] = Field(default=(), description="gap reports (JSON) for the source `report`")
    sarif: tuple[Path, ...] = Field(
        default=(), description="SARIF 2.1.0 files of any tool, for the source `sarif`; made of the commit that is read"
    )
    ruff_select: tuple[str, ...] = Field(
        default=(),
        description="ruff rules to look for; empty: the repository's own ruff configuration, "
        "or a broad default where it has none",
    )
    unsafe_fixes: bool = Field(default=False, description="whether fixes that ruff calls unsafe count as fixable")
    trusted_fixes: tuple[RuleSelector, ...] = Field(
        default=(),
        description="ruff rules, or beginnings of their codes, whose unsafe fixes count as safe: UP, ANN204 …",
    )
    mypy_strict: bool = Field(
        default=False, description="whether mypy checks strictly, whatever the repository's own configuration says"
    )
    coverage_threshold: float = Field(
        default=80, ge=0, le=100, description="percent of a file that tests must run, else it is a gap of `coverage`"
    )
    only: tuple[str, ...] = Field(
        default=(), description="take up only gaps whose source, rule, category or path glob is named here"
    )
    max_gaps: int | None = Field(default=None, ge=1, description="take up at most so many gaps, most severe first")
    baseline: Path | None = Field(default=None, description="gap report whose gaps are known and held back")
    remember: bool = Field(
        default=False,
        description="hold back what earlier runs of the repository know: gaps that are baselined, wait for a review, "
        "are fixed on a branch that is not merged yet, or can't be fixed as long as nothing has changed",
    )


class ClusteringSettings(Section):
    """How gaps become workstreams."""

    by: ClusterBy = Field(default=ClusterBy.CATEGORY, description="category, or proximity of files")
    max_files: int = Field(default=10, ge=1, description="files a workstream at most")


class ReportFormat(StrEnum):
    """What a gate's command writes its findings as."""

    JUNIT = "junit"
    SARIF = "sarif"
    RUFF = "ruff"
    BANDIT = "bandit"


class GateReport(Section):
    """Where the command of a gate leaves what it found, test by test or finding by finding."""

    format: ReportFormat = Field(description="junit, sarif, ruff (its JSON) or bandit (its JSON)")
    path: str = Field(pattern=r"^[^/]", description="file that the command writes, in the worktree")


GateName = Literal["lint", "unit", "integration", "security"]


class GateSettings(Section):
    """How a patch is judged."""

    lint: tuple[str, ...] | None = Field(
        default=None, description="lint command as arguments; none: ruff, where the repository has Python files"
    )
    unit: tuple[str, ...] | None = Field(
        default=None, description="test command as arguments; none: pytest, where the repository has tests"
    )
    integration: tuple[str, ...] | None = Field(
        default=None,
        description="integration test command as arguments; none: pytest on tests/integration, or on what the "
        "repository marks `integration`",
    )
    security: tuple[str, ...] | None = Field(
        default=None,
        description="security scanner as arguments; none: bandit, where it is installed and there are Python files",
    )
    lint_enabled: bool = Field(default=True, description="whether the LINT gate judges")
    unit_enabled: bool = Field(default=True, description="whether the UNIT gate judges")
    integration_enabled: bool = Field(default=True, description="whether the INTEGRATION gate judges")
    security_enabled: bool = Field(default=True, description="whether the SECURITY gate judges")
    timeout_sec: float = Field(default=900, gt=0, description="seconds one gate may take")
    timeouts_sec: dict[GateName, Annotated[float, Field(gt=0)]] = Field(
        default={}, description="seconds that gates named here may take instead"
    )
    reports: dict[GateName, GateReport] = Field(
        default={}, description="format and path of the report that the configured command of a gate named here writes"
    )

    @property
    def may_judge(self) -> bool:
        """Whether there may be a gate; the two that few repositories have must be configured to count."""
        further = (self.integration_enabled and self.integration) or (self.security_enabled and self.security)
        return self.lint_enabled or self.unit_enabled or bool(further)

    @model_validator(mode="after")
    def _reports_of_commands(self) -> Self:
        for name in self.reports:
            if getattr(self, name) is None:
                message = f"reports.{name} is the report of a command, and {name} names none"
                raise ValueError(message)
        return self


class EnvironmentSettings(Section):
    """Where tools and gates run."""

    interpreter: Path | None = Field(
        default=None, description="Python of tools and gates where the repository has no .venv of its own; none: ours"
    )
    setup: tuple[tuple[str, ...], ...] = Field(
        default=(), description="commands, as argument lists, that run once in each new worktree"
    )
    setup_timeout_sec: float = Field(default=600, gt=0, description="seconds one setup command may take")
    isolation: IsolationMode = Field(
        default=IsolationMode.AUTO,
        description="auto: tools and gates are isolated by bubblewrap where it works; required: no run without; off",
    )
    readable: tuple[Path, ...] = Field(
        default=(), description="files and folders below a hidden one, like the home, that isolated programs may read"
    )


class ResilienceSettings(Section):
    """Retries and circuit breakers."""

    max_retries: int = Field(default=3, ge=0, le=20, description="retries a task")
    retry_base_sec: float = Field(default=1.0, ge=0, description="first retry delay in seconds")
    retry_cap_sec: float = Field(default=60.0, ge=0, description="longest retry delay in seconds")
    failure_threshold: int = Field(default=5, ge=1, description="failures of a tool that open its breaker")
    cooldown_sec: float = Field(default=60.0, ge=0, description="seconds an open breaker waits before a probe")
    success_threshold: int = Field(default=1, ge=1, description="good probes that close a breaker")
    lease_sec: float = Field(
        default=60.0, gt=0, description="seconds after which a run counts as left by a driver that has not renewed it"
    )


class HealthSettings(Section):
    """When silence means that something is stuck or lost."""

    heartbeat_sec: float = Field(default=60.0, gt=0, description="seconds between two heartbeats of a worker")
    unresponsive_after_sec: float = Field(
        default=120.0, gt=0, description="seconds without a heartbeat after which a worker is unresponsive"
    )
    lost_after_sec: float = Field(
        default=300.0, gt=0, description="seconds without a heartbeat after which a worker is given up"
    )
    workstream_idle_sec: float = Field(
        default=3600.0, gt=0, description="seconds after which a workstream is stuck of which nothing moves"
    )
    task_overdue_sec: float = Field(
        default=1800.0, gt=0, description="seconds beyond its timeout after which a running task is stuck"
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.heartbeat_sec < self.unresponsive_after_sec <= self.lost_after_sec:
            message = "heartbeat_sec below unresponsive_after_sec, and that not above lost_after_sec"
            raise ValueError(message)
        return self


class ExecutionSettings(Section):
    """How the plan is carried out."""

    concurrency: int = Field(default=4, ge=1, le=64, description="tasks at a time")
    task_timeout_sec: float = Field(default=1800, gt=0, description="seconds one tool run may take")
    tool_files: tuple[Path, ...] = Field(default=(), description="TOML files with further tool profiles")
    profiles: tuple[ToolSpec, ...] = Field(default=(), description="further tool profiles themselves")
    allow_noncritical_failures: bool = Field(
        default=True, description="whether a run in which something not critical failed still succeeds, degraded"
    )


_CHOSEN = {
    "required": ["blocks"],
    "properties": {"blocks": {"required": ["workspace"], "properties": {"workspace": {"type": ["object", "string"]}}}},
}
_NEEDED: dict[str, Any] = {
    "if": {"not": _CHOSEN},
    "then": {"required": ["repository"]},
    "dependentSchemas": {
        "mode": {"if": {"properties": {"mode": {"const": "execute_only"}}}, "then": {"required": ["plan"]}}
    },
}
"""What is needed only under a condition, so that Prefect's server can say so before there is a run."""


class PipelineConfig(Section):
    """Everything a run needs to know; a repository path is all that must be given."""

    model_config = ConfigDict(json_schema_extra=_NEEDED)

    repository: Path | None = Field(
        default=None,
        description="path of the git repository to improve, where the run works; needed unless a saved workspace is "
        "chosen",
        json_schema_extra={"minLength": 1},
    )
    mode: Mode = Field(default=Mode.FULL, description="how far the run goes")
    plan: str | None = Field(
        default=None, description="execute_only: a plan file, or the id of the run whose stored plan is executed"
    )
    allow_dirty: bool = Field(default=False, description="start from HEAD though the working tree has changes")
    wait_sec: float = Field(default=0, ge=0, description="seconds to wait for another run in this repository to end")
    skip_if_busy: bool = Field(
        default=False, description="end as Skipped, instead of failing, when another run still works in this repository"
    )
    database_url: str | None = Field(
        default=None, description="SQLAlchemy URL of the canonical store; none: $ACMS_DATABASE_URL or $ACMS_HOME"
    )
    blocks: SavedBlocks = Field(
        default=SavedBlocks(), title="Saved blocks", description="settings that are saved as Prefect blocks"
    )
    discovery: DiscoverySettings = Field(default=DiscoverySettings(), description="which gaps are looked for")
    clustering: ClusteringSettings = Field(default=ClusteringSettings(), description="how gaps become workstreams")
    guardrails: GuardrailSettings = Field(default=GuardrailSettings(), description="what no patch may do")
    gates: GateSettings = Field(default=GateSettings(), description="how a patch is judged")
    environment: EnvironmentSettings = Field(default=EnvironmentSettings(), description="where tools and gates run")
    resilience: ResilienceSettings = Field(default=ResilienceSettings(), description="retries and breakers")
    health: HealthSettings = Field(default=HealthSettings(), description="when silence means stuck or lost")
    execution: ExecutionSettings = Field(default=ExecutionSettings(), description="how the plan is carried out")
    budget: BudgetSettings = Field(default=BudgetSettings(), description="what the run and its tasks may use up")
    ai: AiSettings = Field(default=AiSettings(), title="AI", description="which models and agents may be used")
    fix_loop: FixLoopSettings = Field(default=FixLoopSettings(), description="what goes back to tools that ask a model")
    notifications: NotificationSettings = Field(
        default=NotificationSettings(), description="who is told what about the run"
    )
    events: EventSettings = Field(default=EventSettings(), description="what Prefect is told by events")
    watch: WatchSettings = Field(default=WatchSettings(), description="how a branch is watched after a merge")
    publish: PublishSettings = Field(default=PublishSettings(), description="whether pull requests are opened")

    @model_validator(mode="before")
    @classmethod
    def _as_meant(cls, values: Any) -> Any:
        return without_marks(values)

    @property
    def title(self) -> str:
        """The repository's name and the mode, as runs are called in the Prefect UI."""
        name = self.blocks.workspace if self.repository is None else self.repository.resolve().name
        return f"{name} {self.mode.value}"

    @property
    def path(self) -> Path:
        """Where the repository is; raises InvalidValue where that is in a saved workspace, to be loaded first."""
        if self.repository is None:
            raise InvalidValue(field="repository", value=None, expected="the path of a repository")
        return self.repository

    @property
    def database(self) -> str | None:
        """Where the canonical store is: a URL, or `acms-canonical-store/NAME` for a saved block; none: the default."""
        return f"{STORE}/{self.blocks.store}" if self.blocks.store else self.database_url

    @model_validator(mode="after")
    def _one_word_for_each(self) -> Self:
        if self.repository is None and self.blocks.workspace is None:
            message = "give the path of a repository, or choose a saved workspace"
            raise ValueError(message)
        given = {
            "workspace": ("repository", self.repository is not None),
            "store": ("database_url", self.database_url is not None),
            "guardrails": ("guardrails", self.guardrails != GuardrailSettings()),
            "resilience": ("resilience", self.resilience != ResilienceSettings()),
        }
        for block, (setting, is_given) in given.items():
            if is_given and getattr(self.blocks, block) is not None:
                message = f"give {setting}, or choose a saved block for it in blocks.{block}, not both"
                raise ValueError(message)
        return self
