"""pytest in a worktree: which command works there, and what each test said."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from os import walk
from pathlib import Path, PurePosixPath
from secrets import token_hex

from prefect_acms.tasks.environment import Environment, own_python
from prefect_acms.tasks.junit import BAD, RAN, TestOutcome, pytest_arguments, read_junit
from prefect_acms.tasks.processes import OnOutput, ProcessResult
from prefect_acms.tasks.scratch import scratch_folder

PROBE_SEC = 120.0
"""Seconds that pytest may take to say whether it understands its options."""

WITHOUT_OPTIONS = ("-o", "addopts=", "-o", "required_plugins=")
"""Leaves out the options of the repository, for plugins that the interpreter does not have."""

_CONFIGURED = re.compile(r"^\s*\[(tool\.pytest(\.ini_options)?|tool:pytest|pytest)\]", re.MULTILINE)
_CONFIG_FILES = ("pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml", "pyproject.toml", "tox.ini", "setup.cfg")
_NOT_OURS = frozenset({"node_modules", "site-packages", "venv", "env", "build", "dist", "__pycache__"})
_START = Path(__file__).with_name("pytest_start.py")
_NO_TESTS = 5
_GOOD = (0, _NO_TESTS)

_FOUND: dict[tuple[Path, bool, Path, str], tuple[str, ...]] = {}
"""The commands found so far: who looks for gaps, plans and judges asks about the same tree."""

_ENDS = {
    2: "pytest was interrupted",
    3: "pytest had an internal error",
    4: "pytest can't start with these options and this configuration",
    _NO_TESTS: "there are no tests",
}


@dataclass(frozen=True, slots=True)
class PytestRun:
    """A run of pytest; `problem` says why no test was run at all, if none was."""

    process: ProcessResult
    tests: Mapping[str, TestOutcome] = field(default_factory=dict)
    problem: str | None = None


def is_test_file(path: str) -> bool:
    """Whether a file of a repository belongs to its tests: a test module, a conftest, or anything in a tests folder."""
    name, folders = PurePosixPath(path).name, PurePosixPath(path).parts[:-1]
    return bool(re.fullmatch(r"test_.*\.py|.*_test\.py|tests\.py|conftest\.py|\.?pytest\.(ini|toml)", name)) or not {
        "tests",
        "test",
    }.isdisjoint(folders)


def has_tests(root: Path) -> bool:
    """Whether a folder holds tests that pytest would look for, or says itself that it is tested by pytest."""
    return is_configured(root) or any(re.fullmatch(r"test_.*\.py|.*_test\.py", name) for name in python_files(root))


def is_configured(root: Path) -> bool:
    """Whether a folder has a pytest configuration of its own."""
    files = (root / name for name in _CONFIG_FILES)
    return any(
        "pytest" in file.stem or _CONFIGURED.search(file.read_text(encoding="utf-8", errors="replace"))
        for file in files
        if file.is_file()
    )


def python_files(root: Path) -> Iterator[str]:
    """The names of the Python files below a folder; hidden, installed and built ones are left out."""
    for _, folders, files in walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _NOT_OURS)
        yield from (name for name in sorted(files) if name.endswith((".py", ".pyi")))


def find_pytest(root: Path, environment: Environment) -> tuple[str, ...]:
    """The command that runs the tests of a folder.

    That is the environment's own pytest, or ours where it has none; with the repository's options, or without them
    where pytest can't make sense of them (a plugin that is not installed). If nothing works, the first, to fail.
    """
    key = (environment.interpreter, environment.isolation is None, root, _configuration(root))
    if key not in _FOUND:
        _FOUND[key] = _find_pytest(root, environment)
    return _FOUND[key]


def _configuration(root: Path) -> str:
    """Tells apart what pytest reads before it looks for tests, as far as that can be told without it."""
    files = [root / name for name in (*_CONFIG_FILES, "conftest.py")]
    return sha256(b"\0".join(file.read_bytes() if file.is_file() else b"-" for file in files)).hexdigest()


def _find_pytest(root: Path, environment: Environment) -> tuple[str, ...]:
    own = (str(own_python()),)
    tried = []
    for python in dict.fromkeys((environment.python(), own)):
        for options in ((), WITHOUT_OPTIONS):
            tried.append((*python, "-m", "pytest", *options))
            nothing = ("--collect-only", "--ignore-glob=*")
            probe = run_pytest(tried[-1], root, environment, timeout_sec=PROBE_SEC, arguments=nothing).process
            if probe.exit_code in _GOOD:
                return tried[-1]
            if "No module named 'pytest'" in probe.stderr:
                tried.clear()
                break
        if tried:
            break
    return tried[0]


def run_pytest(
    argv: Sequence[str],
    root: Path,
    environment: Environment,
    *,
    timeout_sec: float,
    arguments: Iterable[str] = (),
    under: Sequence[str] = (),
    writable: Sequence[Path] = (),
    on_output: OnOutput | None = None,
) -> PytestRun:
    """Run the tests of a folder with the command that `find_pytest` found; all, or those that `arguments` select.

    `under` are arguments of Python by which another program starts pytest, as coverage.py does.
    """
    with scratch_folder() as scratch:
        report = scratch / "report.xml"
        told = _Told(on_output)
        command, variables = _started(argv, environment, scratch, told.word, under)
        process = environment.run(
            [*command, *pytest_arguments(report, scratch), *_places(root, scratch), *arguments],
            cwd=root,
            timeout_sec=timeout_sec,
            variables=variables,
            writable=(scratch, *writable),
            on_output=told,
        )
        process = told.removed_from(process)
        try:
            tests = read_junit(report, root)
        except ValueError:
            tests = {}
    if contradicted := told.contradicted(tests):
        return PytestRun(process, tests, f"its report says that {contradicted[0]} did not fail, and it did")
    return PytestRun(process, tests, None if _any_ran(tests) else _problem(process, tests, timeout_sec))


class _Told:
    """Hears what `pytest_start` tells of failures while the tests run, before anything can rewrite the report."""

    def __init__(self, on_output: OnOutput | None) -> None:
        self.word = token_hex(8)
        self._failed: set[str] = set()
        self._on_output = on_output

    def __call__(self, stream: str, line: str) -> None:
        if stream == "stderr" and line.startswith(f"{self.word} "):
            self._failed.add(line.removeprefix(f"{self.word} "))
        elif self._on_output is not None:
            self._on_output(stream, line)

    def removed_from(self, process: ProcessResult) -> ProcessResult:
        """The result without what was told to us only."""
        return replace(process, stderr=re.sub(rf"\n?{self.word} [^\n]*\n?", "", process.stderr))

    def contradicted(self, tests: Mapping[str, TestOutcome]) -> list[str]:
        """The tests that failed, though the report says something else of them."""
        return sorted(name for name in self._failed if name in tests and tests[name].outcome not in BAD)


def _started(
    argv: Sequence[str], environment: Environment, scratch: Path, word: str, under: Sequence[str]
) -> tuple[tuple[str, ...], Mapping[str, str]]:
    """The command and its variables; `python -m pytest` is started so that no file of the worktree comes before it."""
    variables = {**environment.variables, "PYTHONHASHSEED": "0"}
    if tuple(argv[1:3]) != ("-m", "pytest"):
        return tuple(argv), variables
    start = scratch / _START.name
    start.write_bytes(_START.read_bytes())  # where isolation shows it
    return (argv[0], *under, str(start), word, variables.pop("PYTHONPATH", ""), *argv[3:]), variables


def _places(root: Path, scratch: Path) -> tuple[str, ...]:
    """Node ids start at the worktree, and nothing above it is read: neither a configuration nor a conftest."""
    places = (f"--rootdir={root}", f"--confcutdir={root}")
    if is_configured(root):
        return places
    empty = scratch / "pytest.ini"
    empty.write_text("[pytest]\n", encoding="utf-8")
    return (*places, "-c", str(empty))


def _any_ran(tests: Mapping[str, TestOutcome]) -> bool:
    return any(test.outcome in RAN and not test.is_collection for test in tests.values())


def _problem(process: ProcessResult, tests: Mapping[str, TestOutcome], timeout_sec: float) -> str:
    if process.timed_out:
        return f"the tests did not end within {timeout_sec:g} s"
    broken = [test for test in tests.values() if test.outcome == "error"]
    if broken:
        return f"no test could be collected: {broken[0].test_id}: {broken[0].message}"
    if tests:
        return "every test is skipped"
    said = _ENDS.get(process.exit_code, f"pytest ended with exit code {process.exit_code}")
    lines = (process.stderr + process.stdout).splitlines()
    errors = [line[1:] for line in lines if line.startswith("E ")][-1:] or [line for line in lines if "rror" in line]
    return f"{said}: {errors[0].strip()}" if errors else said
