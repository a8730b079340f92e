"""Edits of a work tree by a model: asked for, checked, sent back where they don't fit, and made."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic_ai import ToolOutput

from prefect_acms.tasks.ai.asking import Asker, NoAnswer
from prefect_acms.tasks.ai.context import chosen_parts
from prefect_acms.tasks.ai.disclosure import Disclosure
from prefect_acms.tasks.ai.edits import Declined, Edits, EditsUnfit, make_edits, planned_edits
from prefect_acms.tasks.ai.prompts import EDITOR, Material, data_of, findings, fitted, prompt_of
from prefect_acms.tasks.tool_requests import ToolRequest

_STRICTER = (
    "An earlier attempt said that it had mended this and changed nothing. Either call `edit_files` with edits that "
    "really change the files, or call `decline`."
)


def edit(asker: Asker, disclosure: Disclosure, request: ToolRequest) -> str:
    """Let the model mend what the request is about; a sentence about what was done. Raises what `Asker.ask` raises."""
    scope = request.scope or request.files
    planned: dict[str, bytes] = {}

    def fault(answer: Edits | Declined) -> str | None:
        if isinstance(answer, Declined):
            return None
        try:
            planned.update(planned_edits(answer.edits, disclosure, scope))
        except EditsUnfit as unfit:
            return f"nothing was changed, because some edits can't be made; send all of them again:\n{unfit}"
        return None

    answer = asker.ask(
        EDITOR,
        prompt_of("\n".join(_request(request)), _materials(asker, disclosure, request, scope)),
        [
            ToolOutput(Edits, name="edit_files", description="Make these edits of the files."),
            ToolOutput(Declined, name="decline", description="Change nothing, and say why."),
        ],
        fault,
    )
    if isinstance(answer, Declined):
        message = f"the model declined: {answer.reason}"
        raise NoAnswer(message)
    make_edits(disclosure.root, planned)
    return f"edited {', '.join(planned)}: {answer.summary}"


def _request(request: ToolRequest) -> Iterator[str]:
    yield f"Mend the {len(request.gaps)} findings that are given as data." if request.gaps else "Do what the task asks."
    yield "Only files that fit the patterns that are given as data can be changed."
    if request.stricter:
        yield _STRICTER
    if request.feedback:
        yield "Earlier attempts were refused; what was said about them is given as data. Do it so that this is mended."


def _materials(asker: Asker, disclosure: Disclosure, request: ToolRequest, scope: tuple[str, ...]) -> list[Material]:
    """All that is given as data, in as many tokens as are allowed: half of them at most for what is no code."""
    code = asker.session.context_tokens // 2
    told = [Material("patterns of the files that may be changed", "\n".join(scope))]
    told += [Material("task", f"{request.title}\n{request.instructions}".strip())]
    told += [findings(request.gaps)] if request.gaps else []
    # of several attempts, the last one has seen most
    told += [Material(f"{one.kind} said of attempt {one.attempt}", one.text) for one in reversed(request.feedback)]
    kept, left = fitted(told, asker.session.context_tokens - code)
    return kept + data_of(chosen_parts(disclosure, request.gaps, request.files, code + left))
