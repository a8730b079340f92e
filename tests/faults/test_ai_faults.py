"""A provider of models fails in every way: the program that asks tries again where that helps, and ends in words."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from driven import a_gap, repository_of
from providers import Call, Cut, Failure, Garbled, Provider, Reply, Scripted, Silence, provided
from warm_program import Ended, WarmProgram, warm_program

from prefect_acms.blocks.ai import AiSettings
from prefect_acms.tasks.ai.handover import PROGRAM, session_variables
from prefect_acms.tasks.tool_requests import ToolRequest

MODELS = {"chat": "openai-chat:gpt-test", "responses": "openai-responses:gpt-test", "messages": "anthropic:claude-test"}
EDIT = {"path": "app.py", "search": "import os", "replace": ""}
MENDED = Reply(calls=(Call("edit_files", {"summary": "Done.", "edits": [EDIT]}),), input_tokens=100, output_tokens=10)
UNFIT = Reply(calls=(Call("edit_files", {"summary": "Done.", "edits": [{**EDIT, "search": "import sys"}]}),))
DONE, NOTHING, AWAY = 0, 1, 3


class Fault(NamedTuple):
    """What goes wrong, and what comes of it."""

    script: tuple[Scripted, ...]
    code: int
    requests: int
    said: str = ""


FAULTS = {
    "busy-for-a-moment": Fault((Failure(429, retry_after="0"), MENDED), DONE, 2),
    "broken-for-a-moment": Fault((Failure(500), Failure(503), MENDED), DONE, 3),
    "overloaded-for-a-moment": Fault((Failure(529), MENDED), DONE, 2),
    "gone-for-a-moment": Fault((Silence(0), MENDED), DONE, 2),
    "silent-for-a-moment": Fault((Silence(30), MENDED), DONE, 2),
    "cut-for-a-moment": Fault((Cut(MENDED), MENDED), DONE, 2),
    "busy-for-good": Fault((Failure(429),) * 3, AWAY, 3, "did not answer"),
    "broken-for-good": Fault((Failure(500),) * 3, AWAY, 3, "did not answer"),
    "busy-for-longer-than-patience": Fault((Failure(429, retry_after="900"),), AWAY, 1, "did not answer"),
    "key-turned-away": Fault((Failure(401, "no such key"),), AWAY, 1, "no such key"),
    "no-such-model": Fault((Failure(404, "no such model"),), AWAY, 1, "no such model"),
    "request-turned-away": Fault((Failure(400, "too much context"),), AWAY, 1, "too much context"),
    "arguments-that-are-no-json": Fault((Reply(calls=(Call("edit_files", "{not json"),)), MENDED), DONE, 2),
    "edits-that-do-not-fit": Fault((UNFIT, MENDED), DONE, 2),
    "edits-that-never-fit": Fault((UNFIT, UNFIT), NOTHING, 2, "is not in the file"),
}
SHORT_FORM = ("busy-for-a-moment", "broken-for-good", "cut-for-a-moment", "key-turned-away", "edits-that-never-fit")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmProgram]:
    imported = (f"{PROGRAM}.editing", "pydantic_ai.providers.openai", "pydantic_ai.providers.anthropic")
    with warm_program(PROGRAM, *imported, folder=tmp_path_factory.mktemp("program")) as started:
        yield started


@pytest.fixture
def edit(program: WarmProgram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Provider], Ended]:
    repository = repository_of(tmp_path / "repository", {"app.py": "import os\n\nA = 1\n"})

    def edited(protocol: str, provider: Provider) -> Ended:
        for name, value in provider.variables().items():
            monkeypatch.setenv(name, value)
        settings = AiSettings(
            model=MODELS[protocol], request_retries=2, edit_retries=1, patience_sec=0.1, request_timeout_sec=1.5
        )
        gap = a_gap("f-1", "app.py", start_line=1)
        request = ToolRequest(task_id="TASK-1", title="Mend it", gaps=(gap,), files=("app.py",), scope=("app.py",))
        (tmp_path / "request.json").write_text(request.model_dump_json())
        places = ("--request", str(tmp_path / "request.json"), "--usage", str(tmp_path / "usage.json"))
        variables = {"PATH": os.environ["PATH"], **session_variables(settings, repository)}
        return program.run(("edit", *places), folder=repository, variables=variables)

    return edited


@pytest.mark.parametrize("protocol", MODELS)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in SHORT_FORM else pytest.mark.campaign) for name in FAULTS]
)
def test_a_fault_of_a_provider_is_repeated_or_told(
    name: str, protocol: str, edit: Callable[[str, Provider], Ended], tmp_path: Path
) -> None:
    """It ends as the table says: so many requests, that exit code, edits made whole or not at all, usage told."""
    fault = FAULTS[name]
    with provided() as provider:
        provider.script(*fault.script)
        began = time.monotonic()
        ended = edit(protocol, provider)
    assert time.monotonic() - began < 20
    assert (ended.code, len(provider.asked)) == (fault.code, fault.requests), ended
    assert fault.said in ended.err
    assert "Traceback" not in ended.err
    content = (tmp_path / "repository" / "app.py").read_text()
    assert ("import os" not in content) is (fault.code == DONE)
    usage = json.loads((tmp_path / "usage.json").read_text())
    paid = sum(isinstance(answer, Reply) for answer in fault.script)
    assert usage["requests"] == paid, "what was answered is paid for, and nothing else"


@pytest.mark.parametrize("protocol", MODELS)
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Garbled(), id="garbled", marks=pytest.mark.campaign),
        pytest.param(Reply(refusal="I won't"), id="refused"),
        pytest.param(Reply("cut", overlong=True), id="overlong", marks=pytest.mark.campaign),
        pytest.param(Reply(""), id="empty", marks=pytest.mark.campaign),
        pytest.param(Reply("text", filtered=True), id="filtered", marks=pytest.mark.campaign),
    ],
)
def test_an_answer_that_is_none_ends_the_program_in_words(
    answer: Scripted, protocol: str, edit: Callable[[str, Provider], Ended], tmp_path: Path
) -> None:
    """A refusal, an empty answer, one that was cut at its limit, one that can't be read: no edit, no traceback."""
    with provided(otherwise=answer) as provider:
        ended = edit(protocol, provider)
    assert ended.code in {NOTHING, AWAY}, ended
    assert ended.err.strip()
    assert "Traceback" not in ended.err
    assert 1 <= len(provider.asked) <= 6
    assert (tmp_path / "repository" / "app.py").read_text() == "import os\n\nA = 1\n"
