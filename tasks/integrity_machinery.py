"""The machinery under the tests: what loads it, rewires it, takes its place, or asks whether it is at work."""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import PurePosixPath

from prefect_acms.tasks.integrity_assertions import last_name
from prefect_acms.tasks.integrity_rules import ChangedFile, IntegrityFinding, IntegrityRule
from prefect_acms.tasks.integrity_tests import imports_of, is_test_module
from prefect_acms.tasks.pytest_runs import is_test_file

_TOOLS = frozenset(
    {"pytest", "_pytest", "py", "pluggy", "iniconfig", "coverage", "ruff", "mypy", "bandit", "hypothesis"}
)
_ASKED = re.compile(
    r"_?pytest(\.\w+)*|py\.test|unittest(\.\w+)*|nose2?|PYTEST_\w+|COV_CORE_\w+|COVERAGE_\w+|TOX_\w+|NOX_\w+|HYPOTHESIS_\w+"
    r"|CI|GITHUB_ACTIONS|GITLAB_CI|ACMS_\w+|PREFECT_\w+"
)
_MACHINERY = frozenset({"pytest", "_pytest", "unittest", "coverage", "nose", "xdist"})
_ON_PATH = ("", "src", "lib")
_BUILTIN_FIXTURES = frozenset(
    {
        "cache",
        "capfd",
        "capsys",
        "caplog",
        "monkeypatch",
        "request",
        "recwarn",
        "tmp_path",
        "tmpdir",
        "tmp_path_factory",
    }
)
_LAST_WORDS = frozenset({"_exit", "settrace", "setprofile", "add_marker", "unregister"})


def machinery_changed(file: ChangedFile, files: Collection[str]) -> Iterator[IntegrityFinding]:
    """What a file does to the machinery of tests; `files` are all of the patched tree."""
    if PurePosixPath(file.path).suffix not in {".py", ".pyi"}:
        yield from _data(file)
        return
    yield from _shadowed(file, files)
    if is_test_module(file):
        yield from _hooks(file)
    else:
        yield from _asked(file)
    for name, line in _more(_last_words(file.old_nodes), _last_words(file.new_nodes)):
        yield file.finding(IntegrityRule.TEST_MACHINERY, line, f"it calls {name}, which decides how tests end")


def _data(file: ChangedFile) -> Iterator[IntegrityFinding]:
    """What tests compare with is theirs too; that something is added is no harm."""
    if is_test_file(file.path) and file.before is not None:
        done = "removes" if file.after is None else "changes"
        yield file.finding(IntegrityRule.TEST_DATA, 1, f"it {done} a file of the tests")


def _shadowed(file: ChangedFile, files: Collection[str]) -> Iterator[IntegrityFinding]:
    """A new module that is found before one of the standard library, or of the tools that judge."""
    if file.before is not None or file.after is None:
        return
    path = PurePosixPath(file.path)
    place = path.parent if path.name == "__init__.py" else path
    name, folder = place.name.partition(".")[0], place.parent
    on_path = str(folder).removeprefix(".") in _ON_PATH or (
        is_test_file(f"{folder}/x.py") and f"{folder}/__init__.py" not in files
    )
    if on_path and (name in sys.stdlib_module_names or name in _TOOLS):
        yield file.finding(IntegrityRule.SHADOWED_MODULE, 1, f"it takes the place of the module {name}")


def _hooks(file: ChangedFile) -> Iterator[IntegrityFinding]:
    """What is in force for more than one test: a conftest, a package of tests, hooks, fixtures that nobody asks for."""
    name = PurePosixPath(file.path).name
    if name == "conftest.py" and None in {file.before, file.after}:
        done = "removes" if file.after is None else "adds"
        yield file.finding(IntegrityRule.TEST_MACHINERY, 1, f"it {done} a conftest.py")
    for what, line in _more(_in_force(file.old_nodes), _in_force(file.new_nodes)):
        yield file.finding(IntegrityRule.TEST_MACHINERY, line, what)
    if name in {"conftest.py", "__init__.py"}:
        for text, line in _more(_statements(file.old_module), _statements(file.new_module)):
            yield file.finding(IntegrityRule.TEST_MACHINERY, line, f"it runs when the tests are loaded: {text}")


def _in_force(nodes: Iterable[ast.AST]) -> dict[str, tuple[int, int]]:
    """Hooks, fixtures of pytest's own names or for everybody, and what is put into other modules."""
    found: list[tuple[str, int]] = []
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if node.name.startswith("pytest_"):
                # a hook is judged by its whole code
                found.append((f"the hook {node.name} is new or does something else\0{ast.dump(node)}", node.lineno))
            for decorator in node.decorator_list:
                automatic = isinstance(decorator, ast.Call) and any(
                    each.arg == "autouse" and not _is_false(each.value) for each in decorator.keywords
                )
                if last_name(decorator) == "fixture" and (automatic or node.name in _BUILTIN_FIXTURES):
                    found.append((f"the fixture {node.name} is in force unasked", node.lineno))
        elif isinstance(node, ast.Name | ast.Attribute) and last_name(node) in {
            "collect_ignore",
            "collect_ignore_glob",
        }:
            found.append(("it leaves tests out of the collection", node.lineno))
        elif isinstance(node, ast.Assign):
            found += [(f"it rewires {ast.unparse(each)}", node.lineno) for each in node.targets if _is_foreign(each)]
    return _counted(found)


def _is_foreign(target: ast.expr) -> bool:
    """Whether something is put into a module of the machinery, or among the loaded modules."""
    names = ast.unparse(target).split("[")[0].split(".")
    return isinstance(target, ast.Attribute | ast.Subscript) and (
        names[0] in {*_MACHINERY, "builtins"} or names[:2] == ["sys", "modules"] or names[0] == "__builtins__"
    )


def _is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and not node.value


def _statements(module: ast.Module | None) -> dict[str, tuple[int, int]]:
    """What a module does beside defining things and importing."""
    quiet = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom, ast.AnnAssign)
    found = []
    for node in module.body if module else ():
        constant = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        named = isinstance(node, ast.Assign) and not any(isinstance(each, ast.Call) for each in ast.walk(node))
        plugins = isinstance(node, ast.Assign) and "pytest_plugins" in map(last_name, node.targets)
        checking = isinstance(node, ast.If) and last_name(node.test) == "TYPE_CHECKING"
        if plugins or not (isinstance(node, quiet) or constant or named or checking):
            found.append((ast.unparse(node).partition("\n")[0], node.lineno))
    return _counted(found)


def _asked(file: ChangedFile) -> Iterator[IntegrityFinding]:
    """Code of the product that asks whether it is tested, or reaches for what tests it."""
    for text, line in _more(_questions(file.old_nodes), _questions(file.new_nodes)):
        yield file.finding(IntegrityRule.TEST_DETECTED, line, f"the product's code asks for {text}")
    for name in imports_of(file.new_nodes) - imports_of(file.old_nodes):
        if name.partition(".")[0] in _MACHINERY:
            yield file.finding(IntegrityRule.TEST_DETECTED, 1, f"the product's code imports {name}")
    for what, line in _more(_in_force(file.old_nodes), _in_force(file.new_nodes)):
        yield file.finding(IntegrityRule.TEST_MACHINERY, line, what)


def _questions(nodes: Iterable[ast.AST]) -> dict[str, tuple[int, int]]:
    found = []
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _ASKED.fullmatch(node.value):
            found.append((repr(node.value), node.lineno))
        elif isinstance(node, ast.Attribute) and node.attr in {"gettrace", "getprofile"}:
            found.append((f"sys.{node.attr}", node.lineno))
        elif isinstance(node, ast.Constant) and node.value == "pytest11":
            found.append((repr(node.value), node.lineno))
    return _counted(found)


def _last_words(nodes: Iterable[ast.AST]) -> dict[str, tuple[int, int]]:
    calls = [(last_name(node), node.lineno) for node in nodes if isinstance(node, ast.Call)]
    return _counted([(name, line) for name, line in calls if name in _LAST_WORDS])


def _counted(found: list[tuple[str, int]]) -> dict[str, tuple[int, int]]:
    """How often each is there, and the line of the last."""
    numbers = Counter(what for what, _ in found)
    return {what: (numbers[what], line) for what, line in found}


def _more(old: dict[str, tuple[int, int]], new: dict[str, tuple[int, int]]) -> Iterator[tuple[str, int]]:
    """What is there more often than before, with its line."""
    for what, (number, line) in new.items():
        if number > old.get(what, (0, 0))[0]:
            yield what.partition("\0")[0], line
