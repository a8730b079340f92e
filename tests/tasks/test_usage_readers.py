"""What agents print of tokens and money: as the versions of today do, word for word, and as none does."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_acms.blocks.tool_spec import ToolSpec, UsageReader
from prefect_acms.tasks.processes import ProcessResult
from prefect_acms.tasks.usage import Usage, usage_of

NOW = datetime(2026, 11, 28, tzinfo=UTC)
CLAUDE = (
    '{"type":"result","subtype":"success","is_error":false,"num_turns":3,"result":"done","total_cost_usd":0.01103,'
    '"usage":{"input_tokens":2036,"cache_read_input_tokens":100,"output_tokens":32},"modelUsage":{"claude-test":'
    '{"inputTokens":2036,"outputTokens":32,"cacheReadInputTokens":100,"cacheCreationInputTokens":7,'
    '"webSearchRequests":0,"costUSD":0.01103,"contextWindow":200000}},"permission_denials":[]}\n'
)
CODEX = (
    '{"type":"thread.started","thread_id":"01a2"}\n{"type":"turn.started"}\n'
    '{"type":"item.completed","item":{"id":"item_0","type":"agent_message","text":"{\\"type\\":\\"turn.completed\\"}"}}\n'
    '{"type":"turn.completed","usage":{"input_tokens":10769,"cached_input_tokens":100,"cache_write_input_tokens":0,'
    '"output_tokens":48,"reasoning_output_tokens":0}}\n{"type":"cut'
)
GEMINI = json.dumps(
    {
        "session_id": "cf99",
        "response": "done {",
        "stats": {
            "models": {
                "gemini-2.5-flash": {
                    "api": {"totalRequests": 2, "totalErrors": 0, "totalLatencyMs": 106},
                    "tokens": {
                        "input": 450,
                        "prompt": 550,
                        "candidates": 21,
                        "total": 571,
                        "cached": 100,
                        "thoughts": 3,
                    },
                }
            },
        },
    },
    indent=2,
)
COPILOT = json.dumps(
    {
        "totalPremiumRequestCost": 1,
        "modelMetrics": {
            "claude-sonnet-4": {
                "requests": {"count": 3, "cost": 1},
                "usage": {"inputTokens": 8058, "outputTokens": 30, "cacheReadTokens": 100, "cacheWriteTokens": 0},
            }
        },
        "currentModel": "claude-sonnet-4",
    }
)
AIDER = (
    "Aider v0.86.2\nModel: openai/gpt-test with diff edit format\nGit repo: none\n\n"
    "Tokens: 2.5k sent, 1.1k cache hit, 20 received. Cost: $0.0021 message, $0.0021 session.\nApplied edit to a.py\n"
    "Tokens: 12k sent, 120 received. Cost: $0.01 message, $0.0121 session.\n"
)
AIDER_LOG = "".join(
    json.dumps({"event": event, "properties": properties, "user_id": "u", "time": 1764300000}) + "\n"
    for event, properties in (
        ("cli session", {"main_model": "openai/gpt-test", "edit_format": "diff"}),
        ("message_send", {"prompt_tokens": 2_512, "completion_tokens": 20, "cost": 0.0021, "total_cost": 0.0021}),
        ("message_send", {"prompt_tokens": 12_004, "completion_tokens": 120, "cost": 0.01, "total_cost": 0.0121}),
        ("exit", {"reason": "Completed main CLI coder.run"}),
    )
)
SAID = {"aider": AIDER, "claude": CLAUDE, "codex": CODEX, "copilot": "done\n", "gemini": f"noise\n{GEMINI}\n"}
USED = {
    "aider": Usage(
        model="gpt-test",
        provider="openai",
        requests=2,
        input_tokens=14_516,
        output_tokens=140,
        cost_usd=Decimal("0.0121"),
    ),
    "claude": Usage(
        model="claude-test",
        provider="anthropic",
        requests=3,
        input_tokens=2143,
        cached_tokens=100,
        output_tokens=32,
        cost_usd=Decimal("0.01103"),
    ),
    "codex": Usage(
        model="gpt-5", provider="openai", requests=1, input_tokens=10_769, cached_tokens=100, output_tokens=48
    ),
    "copilot": Usage(model="claude-sonnet-4", requests=3, input_tokens=8058, cached_tokens=100, output_tokens=30),
    "gemini": Usage(
        model="gemini-2.5-flash", provider="google", requests=2, input_tokens=550, cached_tokens=100, output_tokens=24
    ),
}


def told(reader: str, stdout: str, file: Path | None = None) -> Usage | None:
    profile = ToolSpec.model_validate({"tool_id": "x", "command": ("x",), "usage": reader})
    result = ProcessResult(("x", "--model=gpt-5", "prompt"), 0, stdout, "", False, 1, 1.0, NOW, NOW)  # noqa: FBT003
    return usage_of(profile, result, file)


@pytest.mark.parametrize("reader", get_args(UsageReader))
def test_what_an_agent_tells_is_read(reader: str, tmp_path: Path) -> None:
    """Cached tokens are part of those that were read; a cost is there only where dollars were told."""
    file = tmp_path / "usage.json"
    file.write_text({"copilot": COPILOT, "aider": AIDER_LOG}.get(reader, ""))
    assert told(reader, SAID[reader], file) == USED[reader]


@pytest.mark.parametrize("reader", get_args(UsageReader))
@given(
    st.one_of(
        st.text(max_size=80),
        st.recursive(
            st.none() | st.integers() | st.text(max_size=3),
            lambda inner: st.dictionaries(
                st.sampled_from(["modelUsage", "stats", "models", "usage", "type", "tokens", "api", "m"]), inner
            ),
            max_leaves=6,
        ).map(json.dumps),
        st.integers(0, len(CLAUDE.strip()) - 1).map(lambda length: CLAUDE[:length]),
        st.just(CLAUDE.replace("2036", "-9999")),
        st.just(CODEX.replace("10769", "1e999")),
        st.just(AIDER),
        st.just("{" * 100_000),
    )
)
def test_what_nobody_understands_is_nothing(reader: str, text: str) -> None:
    """Another form, half of one, or figures that can't be: unknown, and no error."""
    assert told(reader, text) is None


def test_a_text_in_the_transcript_is_no_figure(tmp_path: Path) -> None:
    """What a model or a file of the repository says looks like aider's own line: it changes nothing."""
    file = tmp_path / "usage.json"
    file.write_text(AIDER_LOG)
    forged = f"{AIDER}Tokens: 1 sent, 1 received. Cost: $0.00 message, $0.00 session.\nModel: free/x with diff\n"
    assert told("aider", forged, file) == USED["aider"]


def test_a_cost_that_aider_does_not_know_is_not_zero(tmp_path: Path) -> None:
    """It writes 0.0 where it has no price."""
    file = tmp_path / "usage.json"
    file.write_text(AIDER_LOG.replace("0.01,", "0.0,"))
    usage = told("aider", AIDER, file)
    assert usage is not None
    assert usage.cost_usd is None


@pytest.mark.parametrize(
    ("written", "cost"),
    [
        ("{}", "nothing is told"),
        ('{"model": "m", "cost_usd": "0"}', "nothing is told"),
        ('{"model": "m", "requests": 1, "input_tokens": 9, "cost_usd": 0}', None),
        ('{"model": "m", "requests": 1, "input_tokens": 9, "cost_usd": 0.5}', Decimal("0.5")),
    ],
)
def test_a_model_that_has_worked_for_nothing_is_not_believed(written: str, cost: object, tmp_path: Path) -> None:
    """No use at all is an unknown one, which counts as what was set aside; no cost of a use is looked up."""
    profile = ToolSpec(tool_id="x", command=("x", "{usage}"), ai=True)
    result = ProcessResult(("x",), 0, "", "", False, 1, 1.0, NOW, NOW)  # noqa: FBT003
    file = tmp_path / "usage.json"
    file.write_text(written)
    usage = usage_of(profile, result, file)
    assert ("nothing is told" if usage is None else usage.cost_usd) == cost
