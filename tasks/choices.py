"""Which tool works on a task: the router's decision, checked against the guardrails and stored before the tool runs."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from prefect_acms.blocks.tool_spec import Tier, ToolSpec
from prefect_acms.canonical.errors import GuardrailViolation
from prefect_acms.canonical.outside_errors import ToolUnavailable
from prefect_acms.dao.tasks import TaskRow
from prefect_acms.tasks.bench import Bench
from prefect_acms.tasks.codemods.files import PREFIX
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.guardrails import check_task
from prefect_acms.tasks.routing import ROUTINGS, Decision, Router, complexity_of, risk_of


def chosen_tool(bench: Bench, gaps: Collection[Gap] | None = None, *, tried: Collection[str] = ()) -> ToolSpec:
    """The tool for these gaps of a task (none given: for all), one that has not been tried; the task keeps each choice.

    Raises ToolUnavailable when there is none left, and GuardrailViolation when it may not do it.
    """
    drive, task = bench.drive, bench.task
    toolbox = drive.toolbox
    ceiling = Tier.HIGH if drive.config.discovery.unsafe_fixes else Tier.MEDIUM
    about = bench.gaps if gaps is None else gaps
    with drive.reading() as dao:
        current = dao.tasks.get(task.id)
    decision = Router(toolbox.rules, toolbox, drive.store).choose(
        task.kind,
        risk_of(about),
        complexity_of(about),
        _offered(bench, current, tried),
        required=set(task.required_capabilities) - {task.kind},
        ceiling=ceiling,
        tried=tried,
    )
    profile = toolbox.get(decision.tool_id)
    check_task(bench.pattern, profile, bench.files, scope=task.file_scope, guardrails=bench.guardrails, ceiling=ceiling)
    routings = [*current.info.get(ROUTINGS, ()), decision.model_dump(mode="json")]
    with drive.begin() as dao:
        dao.tasks.change(task.id, tool_id=profile.tool_id, metadata={ROUTINGS: routings})
    return profile


def next_tool(bench: Bench, gaps: Collection[Gap], tried: Collection[str]) -> ToolSpec | None:
    """The next tool of the cascade; none where no tool that asks a model is left, as there is no cascade then.

    Behind a codemod there is one all the same: the tools that its gaps had before.
    """
    toolbox = bench.drive.toolbox
    with bench.drive.reading() as dao:
        offered = decisions_of(dao.tasks.get(bench.task.id))[0].offered
    asks_model = any(toolbox.get(name).ai for name in offered if name in toolbox and name not in tried)
    if not asks_model and not any(name.startswith(PREFIX) for name in tried):
        return None
    try:
        return chosen_tool(bench, gaps, tried=tried)
    except (ToolUnavailable, GuardrailViolation):
        return None


def decisions_of(task: TaskRow) -> tuple[Decision, ...]:
    """Every decision about a task, in their order."""
    return tuple(Decision.model_validate(entry) for entry in task.info.get(ROUTINGS, ()))


def _offered(bench: Bench, task: TaskRow, tried: Collection[str]) -> Sequence[str]:
    """The tool that the plan names, or those of the pattern; one that is tried again keeps its tool."""
    known = decisions_of(task)
    if known and tried:
        return known[0].offered
    return [task.tool_id] if task.tool_id else bench.pattern.tools_under(bench.drive.guardrails)
