"""What a test run said, test by test: pytest's JUnit XML, asked for and read the same way everywhere."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import ParseError

from junitparser import Error, Failure, JUnitXml, JUnitXmlError, Skipped, TestCase, TestSuite

RAN = frozenset({"passed", "failed", "error"})
"""Outcomes of a test that was run."""

BAD = frozenset({"failed", "error"})

_WORST_LAST = ("passed", "skipped", "failed", "error")


@dataclass(frozen=True, slots=True)
class TestOutcome:
    """How one test ended; `test_id` is pytest's node id, and a file's name alone when it could not be collected."""

    __test__ = False

    test_id: str
    outcome: str
    message: str = ""
    detail: str = ""
    file: str | None = None
    line: int | None = None
    duration_sec: float = 0.0

    @property
    def is_collection(self) -> bool:
        """Whether this is a file that could not be collected, and not a test."""
        return "::" not in self.test_id


def pytest_arguments(report: Path, scratch: Path) -> tuple[str, ...]:
    """The arguments that make any pytest run complete, quiet and readable by `read_junit`.

    Options of the repository's own configuration still hold, except that no failure and no broken file stops the run,
    and the cache goes to `scratch` instead of the worktree.
    """
    return (
        *("-q", "--maxfail=0", "--continue-on-collection-errors", "--color=no"),
        *("-o", "junit_family=xunit1", "-o", f"cache_dir={scratch / 'cache'}", f"--junitxml={report}"),
    )


def read_junit(path: Path, root: Path | None = None) -> dict[str, TestOutcome]:
    """The outcome of each test by its id, sorted; the worst one counts where a test has two (its call and teardown).

    `root` is the folder in which pytest ran, for exact node ids of tests that are inherited from another file.
    Raises ValueError when the file is missing or is not JUnit XML.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        message = f"{path.name} is not a JUnit report: {error}"
        raise ValueError(message) from error
    return read_junit_text(content, root, name=path.name)


def read_junit_text(content: bytes, root: Path | None = None, *, name: str = "it") -> dict[str, TestOutcome]:
    """The same of the bytes of a report, which errors call by that name."""
    try:
        report = JUnitXml.fromstring(content)
    except (ParseError, JUnitXmlError) as error:
        message = f"{name} is not a JUnit report: {error}"
        raise ValueError(message) from error
    found: dict[str, TestOutcome] = {}
    for case in _cases(report):
        outcome = _outcome(case, root)
        known = found.get(outcome.test_id)
        if known is None or _badness(outcome) > _badness(known):
            found[outcome.test_id] = outcome
    return dict(sorted(found.items()))


def outcomes_of(tests: Mapping[str, TestOutcome]) -> dict[str, str]:
    """The bare outcomes, by test id."""
    return {test_id: test.outcome for test_id, test in tests.items()}


def _cases(report: JUnitXml | TestSuite) -> Iterator[TestCase]:
    for part in report:
        if isinstance(part, TestSuite):
            yield from _cases(part)
        else:
            yield part


def _badness(outcome: TestOutcome) -> int:
    return _WORST_LAST.index(outcome.outcome)


def _outcome(case: TestCase, root: Path | None) -> TestOutcome:
    attributes = case._elem.attrib  # noqa: SLF001  # junitparser does not name the legacy attributes
    classname, name = case.classname or "", case.name or ""
    file = attributes.get("file")
    outcome, message, detail = (_without(root, said) for said in _verdict(case))
    line = attributes.get("line", "")
    return TestOutcome(
        test_id=_node_id(classname, name, file, root),
        outcome=outcome,
        message=message,
        detail=detail,
        file=Path(file).as_posix() if file else None,
        line=int(line) + 1 if line.isdigit() else None,
        duration_sec=case.time or 0.0,
    )


def _without(root: Path | None, said: str) -> str:
    """What was said, without the place of the tree: it is another one each time, and nobody's business."""
    return said.replace(f"{root}/", "") if root is not None else said


def _verdict(case: TestCase) -> tuple[str, str, str]:
    """Outcome, one line, everything."""
    said = [("passed", "", "")]
    for result in case.result:
        text = (result.text or "").strip()
        line = _one_line((result.message or "").strip(), text)
        if isinstance(result, Error):
            said.append(("error", line, text))
        elif isinstance(result, Failure):
            said.append(("failed", line, text))
        elif isinstance(result, Skipped):
            said.append(("skipped", line, text))
    return max(said, key=lambda verdict: _WORST_LAST.index(verdict[0]))


def _one_line(message: str, text: str) -> str:
    """The message, or for a file that could not be collected the error itself, which pytest puts last."""
    errors = [line[1:].strip() for line in text.splitlines() if line.startswith("E ")]
    if message in {"", "collection failure"} and errors:
        return errors[-1]
    return (message or text).partition("\n")[0]


def _node_id(classname: str, name: str, file: str | None, root: Path | None) -> str:
    """`tests.test_a.TestB` and `test_c[1]` as `tests/test_a.py::TestB::test_c[1]`, as far as that can be told."""
    is_file = not classname
    module = _module(name if is_file else classname, file, root)
    if module is None:
        return name if is_file else f"{classname}::{name}"
    path, classes = module
    return "::".join([path, *classes, *([] if is_file else [name])])


def _module(dotted: str, file: str | None, root: Path | None) -> tuple[str, list[str]] | None:
    """The file that a dotted name begins with, and the classes that it goes on with."""
    if file is not None:
        prefix = re.sub(r"\.py$", "", file).replace("/", ".").replace("\\", ".")
        if dotted == prefix or dotted.startswith(prefix + "."):
            return Path(file).as_posix(), dotted[len(prefix) + 1 :].split(".") if dotted != prefix else []
    if root is None:
        return None
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        candidate = "/".join(parts[:length]) + ".py"
        if (root / candidate).is_file():
            return candidate, parts[length:]
    return None
