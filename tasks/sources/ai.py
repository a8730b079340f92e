"""The gap source `ai`: faults that a model finds, and its word on whether one that it has found is still there."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import ValidationError

from prefect_acms.canonical.errors import BudgetExceeded
from prefect_acms.canonical.outside_errors import SourceFailed
from prefect_acms.dao.redaction import ending
from prefect_acms.tasks.ai.context import tokens_of_part, whole_files
from prefect_acms.tasks.ai.disclosure import Disclosure
from prefect_acms.tasks.ai.handover import argv_of, model_of, session_variables
from prefect_acms.tasks.ai.scanning import SOURCE, ScanAnswer, ScanRequest, is_unchanged, renamed, worth_reading
from prefect_acms.tasks.budgets import Reservation
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.processes import ProcessResult
from prefect_acms.tasks.reports.text import count
from prefect_acms.tasks.scratch import scratch_folder
from prefect_acms.tasks.sources import Discovered, Scan
from prefect_acms.tasks.usage import Usage, was_killed

ANSWER, USAGE = "answer.json", "usage.json"

PROMPT_TOKENS = 1_500
"""What our own words and the form of the answer take, beside the text of the repository."""


class AiSource:
    """Asks the model of the section `ai` about the files of code, in a program of its own, within a budget."""

    name = SOURCE

    def discover(self, scan: Scan) -> Discovered:
        """Every fault that the model is sure of; of known gaps that a proof asks for, those that are still there."""
        if not scan.ai.asks_models:
            raise SourceFailed(source=self.name, problem="no model is named: set ai.model or ai.model_block")
        disclosure = Disclosure.of(scan.root)
        gaps, problem = _found(scan, disclosure) if scan.files is None else (_still_there(scan, disclosure), None)
        return Discovered(gaps, _version(scan), argv_of("scan"), problem=problem)


def _found(scan: Scan, disclosure: Disclosure) -> tuple[tuple[Gap, ...], str | None]:
    """What the model finds in the files, as many at a time as one prompt can hold, until the budget is used up.

    And why it had to stop before the end, which loses nothing of what was found before.
    """
    settings = scan.ai
    gaps: dict[str, Gap] = {}
    problem = None
    batches = whole_files(disclosure, worth_reading(disclosure, settings.scan_files), settings.context_tokens)
    for number, parts in enumerate(batches):
        left = settings.scan_gaps - len(gaps)
        if left <= 0:
            break
        files = tuple(part.path for part in parts)
        request = ScanRequest(files=files, focus=settings.scan_focus, most=left)
        try:
            found = _asked(scan, request, sum(map(tokens_of_part, parts)))
        except BudgetExceeded:
            if not number:
                raise
            break  # what was paid for is kept; that there is no more is in the trail
        except SourceFailed as error:
            if not number:
                raise
            asked = count(number, "request")
            problem = f"it stopped after {asked}, of which the gaps are kept: {error.facts['problem']}"
            break
        for gap in found:
            gaps.setdefault(gap.fingerprint, gap)
    return tuple(gaps.values()), problem


def _still_there(scan: Scan, disclosure: Disclosure) -> tuple[Gap, ...]:
    """Those of the known gaps in the asked files that are still there.

    The model is asked where their code has changed, and where a patch has changed their file, since it may have mended
    them elsewhere in it.
    """
    asked = set(scan.files or ())
    known = [gap for gap in scan.known if gap.source == SOURCE and asked.intersection(gap.file_paths)]
    same = tuple(gap for gap in known if is_unchanged(disclosure, gap) and not _is_open(scan, disclosure, gap))
    others = [gap for gap in known if gap not in same]
    moved = tuple(filter(None, (renamed(disclosure, gap) for gap in others)))
    changed = {_question(scan, gap): gap for gap in others if disclosure.shown(gap.file_paths[0])}
    unasked = {question: gap for question, gap in changed.items() if question not in scan.answers}
    if unasked:
        there = _asked(scan, ScanRequest(known=tuple(unasked.values())), scan.ai.context_tokens)
        names = {gap.fingerprint for gap in there}
        scan.answers.update({question: gap.fingerprint in names for question, gap in unasked.items()})
    return (*same, *moved, *(gap for question, gap in changed.items() if scan.answers[question]))


def _is_open(scan: Scan, disclosure: Disclosure, gap: Gap) -> bool:
    """Whether it is the model's word that counts, though the code of the gap is as it was."""
    path = gap.file_paths[0]
    return disclosure.shown(path) is not None and (path in scan.patched or _question(scan, gap) in scan.answers)


def _question(scan: Scan, gap: Gap) -> str:
    """The identity of the question whether a gap is still there: it is about the gap's files as they are now."""
    texts = [(scan.root / path).read_bytes() for path in gap.file_paths if (scan.root / path).is_file()]
    return " ".join([gap.fingerprint, *(sha256(text).hexdigest() for text in texts)])


def _asked(scan: Scan, request: ScanRequest, tokens: int) -> tuple[Gap, ...]:
    """The answer to one request, paid for out of the budget; raises SourceFailed, and BudgetExceeded."""
    with scratch_folder() as folder, _reserved(scan, tokens) as reservation:
        granted = reservation.granted.wall_sec if reservation else 0.0
        if reservation is not None:
            reservation.begin()
        result = _run(scan, request, folder, min(scan.timeout_sec, granted or scan.timeout_sec))
        if reservation is not None:
            reservation.settle(_usage(result, folder), result.duration_sec)
        return _answer(result, folder)


def _reserved(scan: Scan, tokens: int) -> AbstractContextManager[Reservation | None]:
    if scan.budget is None:
        return nullcontext()
    requests = 1 + scan.ai.edit_retries
    return scan.budget.reserved(
        tool_id=SOURCE,
        model=model_of(scan.ai),
        input_tokens=(tokens + PROMPT_TOKENS) * requests,
        output_tokens=scan.ai.max_output_tokens * requests,
        wall_sec=scan.timeout_sec,
    )


def _run(scan: Scan, request: ScanRequest, folder: Path, timeout_sec: float) -> ProcessResult:
    given = folder / "request.json"
    given.write_text(request.model_dump_json(), encoding="utf-8")
    places = ("--request", str(given), "--answer", str(folder / ANSWER), "--usage", str(folder / USAGE))
    return scan.environment.run(
        argv_of("scan", *places),
        cwd=scan.root,
        timeout_sec=timeout_sec,
        variables={**scan.environment.variables, **session_variables(scan.ai, scan.root)},
        writable=(folder,),
        network=True,
    )


def _usage(result: ProcessResult, folder: Path) -> Usage | None:
    """What the model has used up; None if nobody knows, as the program was killed while it was asked."""
    if was_killed(result):
        return None
    try:
        return Usage.model_validate_json((folder / USAGE).read_bytes())
    except (OSError, ValidationError):
        return Usage()  # it ended by itself before it asked anything


def _answer(result: ProcessResult, folder: Path) -> tuple[Gap, ...]:
    if result.timed_out:
        problem = f"the model took more than {result.duration_sec:.0f} s"
    elif result.exit_code:
        problem = ending(result.stderr.strip(), 2000) or f"it ended with exit code {result.exit_code}"
    else:
        try:
            return ScanAnswer.model_validate_json((folder / ANSWER).read_bytes()).gaps
        except (OSError, ValidationError) as error:
            problem = f"its answer can't be read: {type(error).__name__}"
    raise SourceFailed(source=SOURCE, problem=problem)


def _version(scan: Scan) -> str:
    model = scan.ai.model or f"saved model {scan.ai.model_block}"
    try:
        return f"{model}, pydantic-ai {version('pydantic-ai-slim')}"
    except PackageNotFoundError:
        return model
