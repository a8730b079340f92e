"""What agents print of the tokens and the money that they have used up, each in its own way."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from functools import reduce
from typing import Any

from prefect_acms.blocks.tool_spec import UsageReader
from prefect_acms.tasks.processes import ProcessResult
from prefect_acms.tasks.usage import Usage

_AIDER_MODEL = re.compile(r"^(?:Main )?[Mm]odel: (?P<name>\S+) with ", re.MULTILINE)


def read_printed(reader: UsageReader, result: ProcessResult, written: bytes) -> Usage | None:
    """The usage that an agent has printed, or `written` to a file in its own form; None where it has told nothing.

    What it prints is not trusted: figures that can't be, or have another form, are none.
    """
    try:
        usage = _READERS[reader](result, written)
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError):
        return None  # another form than that of the version that we know
    return None if usage.is_nothing else usage


def _claude(result: ProcessResult, _written: bytes) -> Usage:
    told = _last_object(result.stdout)
    each = [
        Usage(
            model=model,
            provider="anthropic",
            requests=0,
            input_tokens=one["inputTokens"] + one["cacheReadInputTokens"] + one["cacheCreationInputTokens"],
            cached_tokens=one["cacheReadInputTokens"],
            output_tokens=one["outputTokens"],
        )
        for model, one in sorted(told["modelUsage"].items())
    ]
    cost = Decimal(str(told["total_cost_usd"]))
    return _with(_sum(each), requests=max(1, int(told["num_turns"])), cost_usd=cost)


def _codex(result: ProcessResult, _written: bytes) -> Usage:
    turns = [event["usage"] for event in _objects(result.stdout) if event.get("type") == "turn.completed"]
    return _sum(
        Usage(
            model=_model_asked(result),
            provider="openai",
            requests=1,
            input_tokens=turn["input_tokens"],
            cached_tokens=turn["cached_input_tokens"],
            output_tokens=turn["output_tokens"],
        )
        for turn in turns
    )


def _gemini(result: ProcessResult, _written: bytes) -> Usage:
    return _sum(
        Usage(
            model=model,
            provider="google",
            requests=one["api"]["totalRequests"],
            input_tokens=one["tokens"]["prompt"],
            cached_tokens=one["tokens"]["cached"],
            output_tokens=one["tokens"]["candidates"] + one["tokens"]["thoughts"],
        )
        for model, one in sorted(_last_object(result.stdout)["stats"]["models"].items())
    )


def _copilot(_result: ProcessResult, written: bytes) -> Usage:
    return _sum(
        Usage(
            model=model,
            requests=one["requests"]["count"],
            input_tokens=one["usage"]["inputTokens"],
            cached_tokens=one["usage"]["cacheReadTokens"],
            output_tokens=one["usage"]["outputTokens"],
        )
        for model, one in sorted(json.loads(written)["modelMetrics"].items())
    )


def _aider(result: ProcessResult, written: bytes) -> Usage:
    """By its log: what it prints stands between texts of the model and the repository, which may look the same."""
    sent = [one["properties"] for one in _objects(written.decode()) if one.get("event") == "message_send"]
    named = _AIDER_MODEL.search(result.stdout)  # the first, before anybody else has a word
    provider, _, model = (named["name"] if named else "").rpartition("/")
    costs = [round(Decimal(str(one["cost"])), 9) for one in sent]
    return Usage(
        model=model or None,
        provider=provider.partition("/")[0] or None,
        requests=len(sent),
        input_tokens=sum(one["prompt_tokens"] for one in sent),
        output_tokens=sum(one["completion_tokens"] for one in sent),
        cost_usd=sum(costs, Decimal(0)) if all(costs) else None,  # zero: it does not know the price
    )


_READERS: Mapping[UsageReader, Callable[[ProcessResult, bytes], Usage]] = {
    "aider": _aider,
    "claude": _claude,
    "codex": _codex,
    "copilot": _copilot,
    "gemini": _gemini,
}


def _sum(each: Iterator[Usage] | list[Usage]) -> Usage:
    return reduce(lambda one, other: one + other, each, Usage())


def _with(usage: Usage, **figures: Any) -> Usage:
    return Usage.model_validate({**usage.model_dump(), **figures})


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects of a text with one in each line; other lines are left out."""
    for line in text.splitlines():
        if line.startswith("{"):
            try:
                yield json.loads(line)
            except ValueError:
                continue  # one that was cut


def _last_object(text: str) -> Any:
    """The last JSON object of a text that begins a line; raises ValueError if there is none."""
    starts = [found.start() for found in re.finditer(r"^\{", text, re.MULTILINE)]
    for start in reversed(starts):
        try:
            return json.JSONDecoder().raw_decode(text, start)[0]
        except ValueError:
            continue
    message = "no JSON object"
    raise ValueError(message)


def _model_asked(result: ProcessResult) -> str | None:
    """The model that the command line names."""
    named = (argument.partition("=")[2] for argument in result.argv if argument.startswith("--model="))
    return next(named, None)
