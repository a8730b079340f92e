"""A patch is blamed for what is new, for all of it, and for nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from prefect_acms.blocks.config import EnvironmentSettings, GateSettings
from prefect_acms.canonical.test_gate import GateType
from prefect_acms.tasks.environment import environment_for
from prefect_acms.tasks.gate_finding import find_gates
from prefect_acms.tasks.gates import GateCommand, GateResult, run_gate
from prefect_acms.tasks.judging import GateRun, judge, steps_for, take_step
from prefect_acms.tasks.junit import TestOutcome
from prefect_acms.tasks.repository import Repository
from prefect_acms.tasks.worktrees import Worktree, open_worktree

Make = Callable[..., Path]
Write = Callable[..., None]

UNIT = GateCommand(GateType.UNIT, ("pytest",), "pytest", 10)
OTHER = GateCommand(GateType.UNIT, ("make",), None, 10)


def result_of(
    exit_code: int, said: dict[str, str], unavailable: str | None = None, gate: GateCommand = UNIT
) -> GateResult:
    """A result in which `t_a` is the test `t.py::a`, and `t` the file `t.py`, that can't be collected."""
    names = {key: "t.py::" + key[2:] if key.startswith("t_") else key + ".py" for key in said}
    outcomes = {names[key]: value for key, value in said.items()}
    return GateResult(
        gate,
        exit_code,
        "",
        "",
        timed_out=False,
        duration_sec=0,
        outcomes=outcomes,
        unavailable=unavailable,
        tests={name: TestOutcome(name, value, message="why") for name, value in outcomes.items()},
    )


@pytest.mark.parametrize(
    ("base", "now", "new", "missing"),
    [
        ({"t_a": "passed"}, {"t_a": "passed"}, [], []),
        ({"t_a": "failed"}, {"t_a": "failed"}, [], []),
        ({"t_a": "failed"}, {"t_a": "error"}, [], []),
        ({"t_a": "failed"}, {"t_a": "passed"}, [], []),
        ({"t_a": "skipped"}, {"t_a": "skipped"}, [], []),
        ({"t_a": "skipped"}, {}, [], []),
        ({"t_a": "passed"}, {"t_a": "passed", "t_b": "passed"}, [], []),
        ({"t_a": "passed"}, {"t_a": "failed"}, ["t.py::a"], []),
        ({"t_a": "passed"}, {"t_a": "error"}, ["t.py::a"], []),
        ({"t_a": "skipped"}, {"t_a": "failed"}, ["t.py::a"], []),
        ({"t_a": "passed"}, {"t_a": "passed", "t_b": "failed"}, ["t.py::b"], []),
        ({"t_a": "passed", "t_b": "passed"}, {"t_a": "passed"}, [], ["t.py::b"]),
        ({"t_a": "passed", "t_b": "failed"}, {"t_a": "passed"}, [], ["t.py::b"]),
        ({"t_a": "passed", "t_b": "passed"}, {"t_a": "passed", "t_b": "skipped"}, [], ["t.py::b"]),
        ({"t_a": "passed", "u": "error"}, {"t_a": "passed"}, [], []),
        ({"t": "error"}, {"t_a": "failed", "t_b": "passed"}, [], []),
        ({"t_a": "passed"}, {"t": "error"}, ["t.py"], ["t.py::a"]),
    ],
)
def test_only_what_is_new_counts_and_nothing_may_vanish(
    base: dict[str, str], now: dict[str, str], new: list[str], missing: list[str]
) -> None:
    """Red stays allowed to be red; green must stay green; a test that ran must go on running."""
    judgement = judge(result_of(1, base), result_of(1, now))
    assert (list(judgement.new), list(judgement.missing)) == (new, missing)
    assert judgement.passed is not bool(new or missing)
    assert judgement.sentence


def test_a_session_that_fails_without_a_failing_test_is_new_too() -> None:
    """A coverage threshold or a crash at the end shows only in the exit code; red before, it is not held against it."""
    good = {"t_a": "passed"}
    assert not judge(result_of(0, good), result_of(1, good)).passed
    assert judge(result_of(1, good), result_of(1, good)).passed


def test_a_flaky_test_is_recorded_and_not_blamed() -> None:
    """It passed when it was run alone; others that fail are blamed as ever."""
    base, one = result_of(0, {"t_a": "passed", "t_b": "passed"}), result_of(1, {"t_a": "failed", "t_b": "passed"})
    judgement = judge(base, one, flaky=("t.py::a",))
    assert (judgement.passed, judgement.flaky) == (True, ("t.py::a",))
    assert not judge(base, result_of(1, {"t_a": "failed", "t_b": "failed"}), flaky=("t.py::a",)).passed


def test_a_gate_that_could_not_judge_lets_nothing_pass() -> None:
    """Neither one that was unavailable at the base, nor one that the patch broke."""
    good = result_of(0, {"t_a": "passed"})
    assert "could not at the base commit: why" in judge(result_of(5, {}, "why"), good).sentence
    broken = judge(good, result_of(4, {}, "no such option"))
    assert (broken.passed, broken.missing) == (False, ("t.py::a",))


def test_other_commands_are_judged_by_their_exit_code() -> None:
    """Green must stay green, red may stay red."""
    green, red = result_of(0, {}, gate=OTHER), result_of(2, {}, gate=OTHER)
    assert [judge(green, green).passed, judge(green, red).passed] == [True, False]
    assert [judge(red, red).passed, judge(red, green).passed] == [True, True]


# -- on real trees -----------------------------------------------------------------------------------------------------

CODE = """import os


def total(prices):
    return sum(prices)


def mean(prices):
    return sum(prices) / 2
"""
TESTS = """from shop.price import mean, total


def test_total():
    assert total([1, 2]) == 3


def test_mean():
    assert mean([1, 2, 3]) == 2
"""
FILES: dict[str, str] = {"shop/__init__.py": "", "shop/price.py": CODE, "tests/test_price.py": TESTS}


class Bench:
    """A worktree at the base commit with its gates and what they said there."""

    def __init__(self, top: Path, tmp_path: Path) -> None:
        self.repository = Repository.open(top)
        self.base = self.repository.head()
        self.worktree: Worktree = open_worktree(self.repository, tmp_path / "w", self.base)
        self.environment = environment_for(self.worktree.path, top, EnvironmentSettings())
        self.gates = find_gates(self.worktree.path, GateSettings(security_enabled=False), self.environment)
        self.results = {gate.gate_type: run_gate(gate, self.worktree.path, self.environment) for gate in self.gates}
        self.worktree.reset()

    def judge(self, write: Write, files: dict[str, str | None], *gates: GateType) -> list[GateRun]:
        """The word of some gates (none named: all) on a patch that writes these files, None deleting one."""
        write(self.worktree.path, {name: text for name, text in files.items() if text is not None})
        for name in (name for name, text in files.items() if text is None):
            (self.worktree.path / name).unlink()
        tree = self.worktree.apply(self.worktree.capture())
        touched = self.repository.changed_files(self.base, tree)
        runs: list[GateRun] = []
        asked = [gate for gate in self.gates if not gates or gate.gate_type in gates]
        for step in steps_for(asked, touched):
            base = self.results[step.gate.gate_type]
            runs.append(take_step(step, self.worktree, touched, base, self.environment, self.base))
            if not runs[-1].judgement.passed:
                break
        assert self.worktree.tree() == tree
        assert self.worktree.changed_files() == touched
        self.worktree.reset(self.base)
        return runs


@pytest.fixture(scope="module")
def bench(repository_at: Make, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    place = tmp_path_factory.mktemp("bench")
    return Bench(repository_at(place / "repository", FILES), place)


def test_a_good_patch_passes_every_gate_of_a_red_repository(bench: Bench, write: Write) -> None:
    """An old finding and an old failing test are nobody's fault."""
    assert not all(result.exit_code == 0 for result in bench.results.values())
    runs = bench.judge(write, {"shop/price.py": CODE.replace("import os\n\n\n", "")})
    assert [(run.gate.gate_type, run.judgement.passed) for run in runs] == [
        (GateType.LINT, True),
        (GateType.UNIT, True),
    ]


def test_a_new_finding_fails_before_any_test_is_run(bench: Bench, write: Write) -> None:
    """The cheapest gate comes first, and names the place; the finding next to it is not new."""
    runs = bench.judge(write, {"shop/price.py": "import sys\n" + CODE})
    assert [run.gate.gate_type for run in runs] == [GateType.LINT]
    assert runs[0].judgement.sentence == "LINT: 1 new finding: shop/price.py:1: F401 `sys` imported but unused"


def test_a_broken_function_fails_its_test(bench: Bench, write: Write) -> None:
    """The test is named with the reason."""
    broken = CODE.replace("return sum(prices)\n\n", "return max(prices)\n\n")
    runs = bench.judge(write, {"shop/price.py": broken}, GateType.UNIT)
    assert runs[-1].judgement.new == ("tests/test_price.py::test_total",)
    assert "assert 2 == 3" in runs[-1].judgement.sentence


def test_the_tests_of_the_base_commit_judge(bench: Bench, write: Write) -> None:
    """A patch that breaks a function and bends its test, or deletes it, does not pass."""
    broken = CODE.replace("return sum(prices)\n\n", "return max(prices)\n\n")
    bent = TESTS.replace("== 3", "== 2")
    runs = bench.judge(write, {"shop/price.py": broken, "tests/test_price.py": bent}, GateType.UNIT)
    assert runs[-1].step.with_base_tests
    assert runs[-1].judgement.new == ("tests/test_price.py::test_total",)
    runs = bench.judge(write, {"shop/price.py": broken, "tests/test_price.py": None}, GateType.UNIT)
    assert runs[-1].judgement.new == ("tests/test_price.py::test_total",)


def test_the_configuration_of_the_base_commit_judges(bench: Bench, write: Write) -> None:
    """Whether a patch makes the linter look away or narrows the collection: both judge as they did before."""
    finding = {"shop/price.py": CODE + "\n\nimport json\n"}
    for name, text in (("ruff.toml", "lint.ignore = ['F', 'E']\n"), ("shop/.ruff.toml", "lint.select = []\n")):
        runs = bench.judge(write, dict(finding | {name: text}), GateType.LINT)
        assert [run.step.with_base_tests for run in runs] == [True]
        assert not runs[-1].judgement.passed
        assert "F401" in runs[-1].judgement.sentence
    broken = CODE.replace("return sum(prices)\n\n", "return max(prices)\n\n")
    loose = {"pyproject.toml": "[tool.pytest.ini_options]\naddopts = '-k mean'\n", "shop/price.py": broken}
    runs = bench.judge(write, dict(loose), GateType.UNIT)
    assert runs[-1].step.with_base_tests
    assert runs[-1].judgement.new == ("tests/test_price.py::test_total",)


def test_a_patch_that_drops_a_test_does_not_pass(bench: Bench, write: Write) -> None:
    """By deleting it, by skipping it, or by giving the run other options."""
    without = TESTS.partition("def test_mean")[0].replace("mean, ", "")
    skipped = "import pytest\n" + TESTS.replace("def test_mean", "@pytest.mark.skip\ndef test_mean")
    for files in ({"tests/test_price.py": without}, {"tests/test_price.py": skipped}):
        runs = bench.judge(write, dict(files), GateType.UNIT)
        assert runs[-1].judgement.missing == ("tests/test_price.py::test_mean",)
    runs = bench.judge(
        write, {"pytest.ini": "[pytest]\naddopts = --deselect=tests/test_price.py::test_mean\n"}, GateType.UNIT
    )
    assert runs[-1].judgement.missing == ("tests/test_price.py::test_mean",)


def test_a_good_patch_of_code_and_tests_passes_both_ways(bench: Bench, write: Write) -> None:
    """A new function with a new test, and the fix of a failing one."""
    mended = CODE.replace("/ 2", "/ len(prices)")
    more = TESTS + "\n\ndef test_one():\n    assert mean([5]) == 5\n"
    runs = bench.judge(write, {"shop/price.py": mended, "tests/test_price.py": more})
    assert [(run.step.with_base_tests, run.judgement.passed) for run in runs] == [
        (False, True),
        (True, True),
        (False, True),
    ]


def test_tests_that_leave_dirt_leave_none(bench: Bench, write: Write) -> None:
    """After the gates the tree is the patched one again, whatever tests wrote into it."""
    dirty = TESTS + "\n\ndef test_dirt():\n    open('dirt.txt', 'w').close()\n"
    runs = bench.judge(write, {"tests/test_price.py": dirty}, GateType.UNIT)
    assert runs[-1].judgement.passed
    assert not (bench.worktree.path / "dirt.txt").exists()


def test_a_test_that_fails_only_with_the_others_is_flaky(bench: Bench, write: Write) -> None:
    """It is run again alone, passes, and is recorded."""
    state = "\n\nimport builtins\n\n\ndef test_first():\n    builtins.seen = True\n\n\n"
    flaky = state + "def test_second():\n    assert not hasattr(builtins, 'seen')\n"
    runs = bench.judge(write, {"tests/test_flaky.py": flaky.lstrip()}, GateType.UNIT)
    assert (runs[-1].judgement.passed, runs[-1].judgement.flaky) == (True, ("tests/test_flaky.py::test_second",))


# -- attacks -----------------------------------------------------------------------------------------------------------

PLAIN = {
    "app.py": "A = 1\n",
    "tests/test_a.py": "import pytest\nimport app\n\n\nclass TestA:\n    @pytest.mark.parametrize('n', [1, 2])\n"
    "    def test_n(self, n):\n        assert app.A == 1\n\n\ndef test_b():\n    pass\n",
}
PARAMETERS = PLAIN["tests/test_a.py"]


@pytest.fixture(scope="module")
def plain(repository_at: Make, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    place = tmp_path_factory.mktemp("plain")
    return Bench(repository_at(place / "repository", PLAIN), place)


@pytest.mark.parametrize(
    "files",
    [
        pytest.param({"tests/test_a.py": PARAMETERS.replace("[1, 2]", "[1, 3]")}, id="parameters renamed"),
        pytest.param({"tests/test_a.py": PARAMETERS.replace("class TestA", "class A")}, id="class no longer collected"),
        pytest.param(
            {"tests/test_a.py": "import pytest\npytest.skip(allow_module_level=True)\n"}, id="skipped at import"
        ),
        pytest.param(
            {"tests/test_a.py": PARAMETERS.replace("def test_b", "@pytest.mark.xfail(run=False)\ndef test_b")},
            id="xfail added",
        ),
        pytest.param({"pytest.ini": "[pytest]\naddopts = -k test_b\n"}, id="narrowed by options"),
        pytest.param({"pytest.ini": "[pytest]\npython_files = check_*.py\n"}, id="narrowed by file names"),
        pytest.param({"conftest.py": "collect_ignore_glob = ['tests/*']\n"}, id="narrowed by a conftest"),
        pytest.param(
            {"conftest.py": "def pytest_collection_modifyitems(items):\n    del items[1:]\n"}, id="items taken away"
        ),
        pytest.param({"conftest.py": "import os\nos._exit(0)\n"}, id="ended by a conftest"),
        pytest.param({"app.py": "import os\nos._exit(0)\n"}, id="ended by the code"),
        pytest.param({"app.py": "import pytest\nA = 2\npytest.exit('', 0)\n"}, id="stopped by the code"),
    ],
)
def test_no_test_can_be_made_to_vanish(plain: Bench, write: Write, files: dict[str, str]) -> None:
    """However it is done: what ran and no longer runs is held against the patch."""
    judgement = plain.judge(write, dict(files), GateType.UNIT)[-1].judgement
    assert not judgement.passed
    assert judgement.missing


FORGER = """
import atexit, re, sys
A = 2

def forge():
    path = next(word.partition("=")[2] for word in sys.argv if word.startswith("--junitxml="))
    text = open(path).read()
    open(path, "w").write(re.sub("<failure.*?</failure>", "", text, flags=re.S))

atexit.register(forge)
"""


@pytest.mark.parametrize("exits", ["", "    import os\n    os._exit(0)\n"])
def test_a_report_that_the_code_rewrites_is_not_believed(plain: Bench, write: Write, exits: str) -> None:
    """Code that strikes its failures from the report comes too late, even if it changes the exit code as well."""
    forger = FORGER.lstrip().replace("\n\natexit", f"\n{exits}\natexit")
    judgement = plain.judge(write, {"app.py": forger}, GateType.UNIT)[-1].judgement
    assert not judgement.passed
    assert "its report says that tests/test_a.py::TestA::test_n[1] did not fail, and it did" in judgement.sentence


IMPOSTOR = """
import sys
if __name__ == "__main__" or "pytest" in sys.argv[0]:
    path = next(word.partition("=")[2] for word in sys.argv if word.startswith("--junitxml="))
    cases = "".join(
        f'<testcase classname="tests.test_a{name}" file="tests/test_a.py"/>'
        for name in ('.TestA" name="test_n[1]', '.TestA" name="test_n[2]', '" name="test_b')
    )
    open(path, "w").write(f"<testsuite>{cases}</testsuite>")
    sys.exit(0)
"""


def test_no_file_of_the_worktree_stands_in_for_pytest(plain: Bench, write: Write) -> None:
    """Neither a module of its name nor one that every Python imports when it starts."""
    names = ("pytest.py", "_pytest/__init__.py", "pluggy.py", "sitecustomize.py", "xml/__init__.py")
    files: dict[str, str | None] = {"app.py": "A = 2\n", **dict.fromkeys(names, IMPOSTOR.lstrip())}
    judgement = plain.judge(write, files, GateType.UNIT)[-1].judgement
    assert judgement.new == ("tests/test_a.py::TestA::test_n[1]", "tests/test_a.py::TestA::test_n[2]")
