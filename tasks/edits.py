"""Edits: a tool works on the gaps of a task in its worktree, and on what its own fixes bring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from prefect_acms.blocks.tool_spec import ToolSpec
from prefect_acms.canonical.errors import BudgetExceeded
from prefect_acms.tasks.bench import Bench
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.processes import ProcessResult
from prefect_acms.tasks.sources.ruff import ruff_options
from prefect_acms.tasks.tool_requests import ToolRequest
from prefect_acms.tasks.tool_runs import ToolRun
from prefect_acms.tasks.tools import ToolValues

MOST_ROUNDS = 3
"""How often a tool is run again in one task for what its own fixes have brought."""


def edited(
    bench: Bench, profile: ToolSpec, gaps: Sequence[Gap], before: Sequence[Gap], request: ToolRequest
) -> ProcessResult:
    """Run the tool; what its fixes bring (an import that is no longer used, say) it is asked to fix too.

    Raises what a ToolRun raises; once a round has been paid for, that there is no room for another is no error.
    """
    run = ToolRun(bench.drive, bench.task, profile, bench.worktree, bench.environment)
    files = sorted({path for gap in gaps for path in gap.file_paths})
    rules = {gap.rule_id for gap in gaps}
    # the rules of some languages look like options or paths; a tool that takes none is handed none
    takes_rules = "rules" in profile.placeholders
    options = ruff_options(bench.worktree.path, bench.drive.config.discovery.trusted_fixes)
    asked = request.model_copy(update={"model": bench.drive.config.ai.agent_models.get(profile.tool_id)})
    values = ToolValues(files=tuple(files), task=bench.task.id, ruff_options=options, request=asked)
    results: list[ProcessResult] = []
    while len(results) < MOST_ROUNDS:
        try:
            results.append(run(replace(values, rules=tuple(sorted(rules)) if takes_rules else ())))
        except BudgetExceeded:
            if not results:
                raise
            break  # what the rounds before have made is paid for, and is judged as it is
        if not (profile.deterministic and takes_rules):
            break
        brought = {gap.rule_id for gap in bench.rescanner.compared(before, files).new if gap.fixable} - rules
        if not brought:
            break
        rules |= brought
    return results[-1]
