"""Tools as real processes in a worktree."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_acms.blocks.config import EnvironmentSettings
from prefect_acms.blocks.tool_spec import ToolSpec
from prefect_acms.canonical.errors import GuardrailViolation, InvalidValue
from prefect_acms.canonical.outside_errors import ToolFailed, ToolUnavailable
from prefect_acms.tasks.environment import Environment, environment_for
from prefect_acms.tasks.guardrails import escape
from prefect_acms.tasks.processes import ProcessResult
from prefect_acms.tasks.profiles import load_profiles
from prefect_acms.tasks.tools import (
    ToolSlots,
    ToolValues,
    fault_of,
    is_infrastructure_fault,
    require_work,
    run_tool,
    tool_argv,
)

SHOW_ARGUMENTS = "import sys; print('\\n'.join(sys.argv[1:]))"
HERE = Environment(Path(sys.executable), {"PATH": "/usr/bin:/bin"})


def python(code: str, *arguments: str, **fields: object) -> ToolSpec:
    """A tool that is a line of Python."""
    content = {"tool_id": "line", "command": ("{python}", "-c", code.replace("{", "{{").replace("}", "}}"), *arguments)}
    return ToolSpec.model_validate({**content, **fields})


def run(
    profile: ToolSpec, worktree: Path, values: ToolValues | None = None, timeout_sec: float | None = None
) -> ProcessResult:
    environment = environment_for(worktree, worktree, EnvironmentSettings())
    given = values or ToolValues()
    return run_tool(profile, worktree=worktree, environment=environment, values=given, timeout_sec=timeout_sec)


def lines(result: ProcessResult) -> list[str]:
    return result.stdout.splitlines()


def test_a_list_becomes_several_arguments_and_the_rest_one(tmp_path: Path) -> None:
    """Blanks, quotes and dollars arrive as they are: there is no shell."""
    profile = python(SHOW_ARGUMENTS, "{rules}", "{files}", "--in={worktree}", "{task}", "{{x}}")
    values = ToolValues(files=("a b.py", "$(c).py", "d'.py"), rules=("F401", "UP006"), task="task_1")
    shown = lines(run(profile, tmp_path, values))
    assert shown == ["F401,UP006", "a b.py", "./$(c).py", "d'.py", f"--in={tmp_path}", "task_1", "{x}"]


def test_no_file_can_become_an_option_or_a_file_of_arguments(tmp_path: Path) -> None:
    """A leading dash or at-sign is made a path."""
    values = ToolValues(files=("--config=evil.py", "-x.py", "@args.py"), tests=("-k/test_a.py::test_b[-c @x]",))
    shown = lines(run(python(SHOW_ARGUMENTS, "{files}", "{tests}"), tmp_path, values))
    assert shown == ["./--config=evil.py", "./-x.py", "./@args.py", "./-k/test_a.py::test_b[-c @x]"]


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda path: escape(path) is None))
def test_whatever_a_file_is_called_its_argument_is_that_file_and_no_option(name: str) -> None:
    """The argument names the same file, and starts like one."""
    argv = tool_argv(python("", "{files}"), worktree=Path("/w"), environment=HERE, values=ToolValues(files=(name,)))
    assert argv[3:] in {(name,), (f"./{name}",)}
    assert not argv[3].startswith(("-", "@"))


def test_the_two_interpreters_are_told_apart(tmp_path: Path) -> None:
    """{python} is the repository's, {acms_python} is ours."""
    environment = Environment(tmp_path / "python", {})
    profile = ToolSpec(tool_id="x", command=("{python}", "{acms_python}"))
    argv = tool_argv(profile, worktree=tmp_path, environment=environment, values=ToolValues())
    assert argv == (str(tmp_path / "python"), sys.executable)


def test_a_tool_that_edits_files_is_told_which() -> None:
    """Without files, ruff would take the whole tree: an empty list is refused, for files and for rules."""
    fixer = load_profiles().get("ruff-fix")
    for values in (ToolValues(rules=("F401",)), ToolValues(files=("a.py",))):
        with pytest.raises(InvalidValue, match="at least one for ruff-fix"):
            tool_argv(fixer, worktree=Path("/w"), environment=HERE, values=values)


@pytest.mark.parametrize(
    "values",
    [
        ToolValues(files=("/etc/passwd",)),
        ToolValues(files=("../a.py",)),
        ToolValues(files=("a.py",), tests=("../test_a.py::test_b",)),
        ToolValues(files=("a.py",), rules=("--fix",)),
        ToolValues(files=("a.py",), rules=("F401,ALL",)),
        ToolValues(files=("a.py",), task="--task"),
    ],
)
def test_values_that_would_be_something_else_are_refused(values: ToolValues) -> None:
    """Paths outside, options, and lists in the guise of one rule."""
    with pytest.raises(GuardrailViolation):
        tool_argv(python("", "{files}"), worktree=Path("/w"), environment=HERE, values=values)


def test_a_link_that_leads_out_of_the_worktree_is_not_followed(tmp_path: Path) -> None:
    """A tool would edit the file behind it, which is not the repository's."""
    outside = tmp_path / "outside"
    worktree = tmp_path / "worktree"
    outside.mkdir()
    worktree.mkdir()
    (outside / "a.py").write_text("import os\n")
    (worktree / "a.py").symlink_to(outside / "a.py")
    (worktree / "folder").symlink_to(outside)
    fixer = load_profiles().get("ruff-fix")
    for files in (("a.py",), ("folder/a.py",)):
        with pytest.raises(GuardrailViolation, match="leads out of the worktree"):
            run(fixer, worktree, ToolValues(files=files, rules=("F401",)))
    with pytest.raises(GuardrailViolation, match="leads out of the worktree"):
        run(python("", working_directory="folder"), worktree)
    assert (outside / "a.py").read_text() == "import os\n"


def test_a_tool_runs_in_its_folder_and_sees_paths_from_there(tmp_path: Path) -> None:
    """The files of a task are told relative to the worktree's top."""
    (tmp_path / "web").mkdir()
    code = "import os, sys; print(os.getcwd(), *sys.argv[1:], sep='\\n')"
    shown = run(python(code, "{files}", working_directory="web"), tmp_path, ToolValues(files=("web/a.js", "b.js")))
    assert lines(shown) == [str(tmp_path / "web"), "a.js", "../b.js"]


def test_a_tool_sees_only_the_variables_that_it_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the environment, and those that its profile names; what makes it this worktree's can't be replaced."""
    for name in ("ALLOWED", "SECRET_TOKEN", "PYTHONPATH"):
        monkeypatch.setenv(name, "ours")
    code = "import os; print(*(os.environ.get(n) for n in ('ALLOWED', 'SECRET_TOKEN', 'PYTHONPATH')), sep='\\n')"
    shown = lines(run(python(code, environment=("ALLOWED", "PYTHONPATH", "NOT_SET")), tmp_path))
    assert shown[:2] == ["ours", "None"]
    assert str(tmp_path) in shown[2]


def test_the_shorter_timeout_counts_and_the_tool_is_killed(tmp_path: Path) -> None:
    """A profile can't take more time than its task has, nor a task more than the profile."""
    sleeper = python("import time; time.sleep(60)", timeout_sec=0.3)
    for result in (
        run(sleeper, tmp_path),
        run(sleeper, tmp_path, timeout_sec=30),
        run(python("import time; time.sleep(60)"), tmp_path, timeout_sec=0.3),
    ):
        assert result.timed_out
        assert result.duration_sec < 10
        assert is_infrastructure_fault(result)
        assert str(fault_of(sleeper, result)).startswith("it was killed after")


def test_a_missing_program_or_module_is_said_to_be_unavailable(tmp_path: Path) -> None:
    """`python -m` ends with 1, as a linter that has found something does; the two are told apart."""
    with pytest.raises(ToolUnavailable, match="no-such-program"):
        run(ToolSpec(tool_id="x", command=("no-such-program",)), tmp_path)
    absent = ToolSpec(tool_id="x", command=("{python}", "-m", "no_such_module"), expected_exit_codes=(0, 1))
    with pytest.raises(ToolUnavailable, match=r"tool x is not available: .* has no module no_such_module"):
        run(absent, tmp_path)
    findings = python("import sys; print('No module named this', file=sys.stderr); sys.exit(1)")
    assert run(findings, tmp_path).exit_code == 1


@pytest.mark.parametrize(
    ("code", "fault", "infrastructure"),
    [
        ("", None, False),
        ("raise SystemExit(1)", None, False),
        ("raise SystemExit(3)", "it ended with exit code 3, expected one of [0, 1]", False),
        ("import os; os.abort()", "it died of SIGABRT", True),
        ("import os; os.kill(os.getpid(), 9)", "it died of SIGKILL", True),
        ("import os; os.kill(os.getpid(), 15)", "it died of SIGTERM", False),
    ],
)
def test_how_a_tool_ended_is_judged(tmp_path: Path, code: str, fault: str | None, infrastructure: bool) -> None:  # noqa: FBT001
    """An expected exit code is work done, another one a failure; only hanging and crashing speak against the tool."""
    profile = python(code, expected_exit_codes=(0, 1))
    result = run(profile, tmp_path)
    assert fault_of(profile, result) == fault
    assert is_infrastructure_fault(result) is infrastructure
    if fault is None:
        assert require_work(profile, result) is result
    else:
        with pytest.raises(ToolFailed, match="tool line failed: it "):
            require_work(profile, result)


def test_a_failure_tells_the_end_of_what_the_tool_said(tmp_path: Path) -> None:
    """So that the reason is in the record."""
    profile = python("import sys; sys.exit('no space left')", expected_exit_codes=(0,))
    with pytest.raises(ToolFailed, match=r"expected one of \[0\]: no space left"):
        require_work(profile, run(profile, tmp_path))


def test_ruff_fixes_only_the_rules_and_the_files_of_the_task(tmp_path: Path) -> None:
    """Another finding in the file, and the same one in another file, stay; so do line ends and `# noqa`."""
    (tmp_path / "a.py").write_bytes(b"import os\r\nimport sys  # noqa: F401\r\nx = not 1 in [2]\r\n")
    (tmp_path / "b.py").write_bytes(b"import os\n")
    result = run(load_profiles().get("ruff-fix"), tmp_path, ToolValues(files=("a.py",), rules=("F401",)))
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "a.py").read_bytes() == b"import sys  # noqa: F401\r\nx = not 1 in [2]\r\n"
    assert (tmp_path / "b.py").read_bytes() == b"import os\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.py", "b.py"]


def test_ruff_applies_unsafe_fixes_only_as_the_tool_that_is_made_for_it(tmp_path: Path) -> None:
    """Even where the repository's own configuration asks for unsafe ones."""
    (tmp_path / "ruff.toml").write_text("unsafe-fixes = true\n")
    unsafe = "def f(x=[]):\n    return x == None\n"
    (tmp_path / "a.py").write_text(unsafe)
    values = ToolValues(files=("a.py",), rules=("E711",))
    toolbox = load_profiles()
    assert run(toolbox.get("ruff-fix"), tmp_path, values).exit_code == 1
    assert (tmp_path / "a.py").read_text() == unsafe
    assert run(toolbox.get("ruff-fix-unsafe"), tmp_path, values).exit_code == 0
    assert "x is None" in (tmp_path / "a.py").read_text()


def test_a_module_of_the_repository_is_not_run_in_place_of_ruff(tmp_path: Path) -> None:
    """A `ruff.py` at the top of the worktree would else run as us."""
    (tmp_path / "ruff.py").write_text("raise SystemExit(77)\n")
    (tmp_path / "a.py").write_text("x=1\n")
    assert run(load_profiles().get("ruff-format"), tmp_path, ToolValues(files=("a.py",))).exit_code == 0
    assert (tmp_path / "a.py").read_text() == "x = 1\n"


def test_pytest_runs_the_tests_that_are_named_or_all(tmp_path: Path) -> None:
    """A failing test is a finding, not a fault of pytest."""
    (tmp_path / "test_a.py").write_text("def test_good(): pass\ndef test_bad(): assert False\n")
    profile = load_profiles().get("pytest")
    named = run(profile, tmp_path, ToolValues(tests=("test_a.py::test_good",)))
    everything = run(profile, tmp_path)
    assert (named.exit_code, everything.exit_code) == (0, 1)
    assert fault_of(profile, everything) is None


def test_no_more_than_max_parallel_of_a_tool_run_at_a_time() -> None:
    """The others wait for a slot; another tool has slots of its own."""
    slots = ToolSlots()
    profile = python("", max_parallel=2)
    running, most, lock = 0, 0, threading.Lock()

    def work() -> None:
        nonlocal running, most
        with slots.taken(profile):
            with lock:
                running += 1
                most = max(most, running)
            time.sleep(0.05)
            with lock:
                running -= 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    with slots.taken(python("", tool_id="other", max_parallel=1)):
        pass
    for thread in threads:
        thread.join()
    assert most == 2
