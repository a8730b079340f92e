"""The page of the Prefect events, from the machines and from an event as it is sent."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from prefect_acms.canonical.events import CREATED, Context, Event, Notice
from prefect_acms.canonical.machine import Machine, Severity
from prefect_acms.canonical.machines import MACHINES
from prefect_acms.dao.redaction import Scrubber
from prefect_acms.dao.runs import RunRow
from prefect_acms.tasks.prefect_events import HELD_BACK, MOST_TEXT, PUSHED, event_name, prefect_event

NOTICES = {
    Notice.RUN_RESUMED: "somebody goes on with a run that was cut off",
    Notice.RUN_DEGRADED: "something not critical failed, and the run goes on",
    Notice.MANUAL_OVERRIDE: "a person changed something by `acms override`; `action` in the metadata says what",
    Notice.ANTI_PATTERN_DETECTED: "a patch does what a rule of the pattern index knows to be bad",
    Notice.GUARDRAIL_VIOLATION: "a patch does what the guardrails forbid",
    Notice.BUDGET_EXCEEDED: "a limit of the run was reached",
    Notice.DRIFT_DETECTED: "the store, git, a file or Prefect said different things",
    Notice.POST_SUCCESS_ROLLBACK: "something is taken back of a run that had succeeded, or is proposed to be",
    Notice.CODEMOD_DECIDED: "a person accepts, rejects or revokes a codemod that was learned from a patch; `status` in "
    "the metadata says which",
}
"""What each notice tells; it is about the entity in its name, most often the run."""

_INTRO = """
# Prefect events

Every change of state becomes an event on the Prefect server after its commit, where a server is told: where
`PREFECT_API_URL` names one, or in a flow. They are in the UI on the page of a flow run and under Event Feed, and
[automations](automations.md) act on them. The database stays the truth: what Prefect missed is there, and
`acms audit export` gives it. How many are sent, what that costs, and what is missing when:
[limits](automations.md#limits-and-what-prefect-misses).

## What an event is made of
"""

_PARTS = (
    ("name", "`acms.<entity>.<state>` for a change of state, `acms.<entity>.<notice>` for a notice"),
    ("id", "the ULID of our event as a UUID: the same however often it is made"),
    ("occurred", "when it was committed"),
    ("follows", "the event before it of the same entity, if that was sent within 5 minutes before"),
    (
        "resource",
        "`acms.<entity>.<id>`, with the labels `acms.entity`, `acms.state`, `acms.trigger` and `acms.severity`",
    ),
    (
        "related",
        "`acms.run.<id>`, `acms.workstream.<id>`, the path of the repository, `prefect.flow-run.<id>`",
    ),
    ("their roles", "`acms-run`, `acms-workstream`, `acms-repository`, `flow-run`"),
    ("payload", f"the record of the event, without secrets; metadata of more than {MOST_TEXT} characters is left out"),
)

_OTHERS = (
    (
        HELD_BACK,
        "`acms.run.<id>`",
        "events were not sent; `count` and `reasons` (limit, server, room) say how many, why",
    ),
    (PUSHED, "the path of the repository", "others send it, to let `acms-run-pushed` improve the repository"),
)

_SAMPLE_FLOW_RUN = "97d3dce1-5652-46e6-887c-243c99cb5884"

_SAMPLE_RUN = RunRow(
    id="run_01M8HNBSRWA4C85ADVS5N7BXSH", repo_root="/srv/shop", config={}, prefect_flow_run_id=_SAMPLE_FLOW_RUN
)

_SAMPLE = Event(
    "evt_01M8HNCTFPBWWS6ARTS2BWVCV0",
    "2026-11-28T18:06:20.000000Z",
    "patch_ledger_state_transition",
    Severity.ERROR,
    "patch_ledger",
    "entry_01M8HNCQCF92S9C6GHBC7AKA0E",
    "applied",
    "quarantined",
    "gate_failed",
    "UNIT: 1 test that fails and did not",
    context=Context(_SAMPLE_RUN.id, "ws_01M8HNC9CR6003XZATR79ZW7VX", "execution"),
)


def events_page() -> str:
    """The whole page."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield _INTRO.strip()
    yield from ("", "| part | content |", "| --- | --- |", *(f"| {part} | {content} |" for part, content in _PARTS))
    yield from (
        "",
        "For example:",
        "",
        "```json",
        prefect_event(_SAMPLE, _SAMPLE_RUN, Scrubber(str)).model_dump_json(indent=2),
        "```",
    )
    yield from ("", "## Notices", "", "| event | when |", "| --- | --- |")
    yield from (f"| `acms.<entity>.{notice}` | {told} |" for notice, told in NOTICES.items())
    yield from ("", "## Others", "", "| event | resource | when |", "| --- | --- | --- |")
    yield from (f"| `{name}` | {resource} | {when} |" for name, resource, when in _OTHERS)
    for machine in MACHINES.values():
        yield from ("", f"## {machine.entity}", "", "| event | when | severity |", "| --- | --- | --- |")
        yield from _state_lines(machine)


def _state_lines(machine: Machine) -> Iterator[str]:
    triggers: dict[str, list[str]] = defaultdict(list)
    severities: dict[str, set[str]] = defaultdict(set)
    triggers[str(machine.initial)].append(CREATED)
    severities[str(machine.initial)].add(str(Severity.INFO))
    for edges in machine.table.values():
        for edge in edges:
            triggers[str(edge.target)] += map(str, edge.triggers)
            severities[str(edge.target)].add(str(edge.severity))
    for state in map(str, machine.states):
        told = ", ".join(f"`{trigger}`" for trigger in dict.fromkeys(triggers[state]))
        yield f"| `{event_name(machine.entity, state, CREATED)}` | {told} | {', '.join(sorted(severities[state]))} |"
