"""Tests before and after a patch: removed, skipped, hollowed out, or demanding less; and the fixtures under them."""

from __future__ import annotations

import ast
import builtins
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from prefect_acms.tasks.integrity_assertions import (
    assertions_of,
    compare_assertions,
    constants_of,
    last_name,
    literals_changed,
)
from prefect_acms.tasks.integrity_rules import ChangedFile, IntegrityFinding, IntegrityRule
from prefect_acms.tasks.pytest_runs import is_test_file

Function = ast.FunctionDef | ast.AsyncFunctionDef

_SKIPS = frozenset(
    {"skip", "skipif", "xfail", "skipIf", "skipUnless", "skipTest", "SkipTest", "expectedFailure", "importorskip"}
)
_SETUPS = frozenset(
    {"setUp", "tearDown", "setUpClass", "tearDownClass", "setUpModule", "tearDownModule", "asyncSetUp", "asyncTearDown"}
    | {f"{what}_{where}" for what in ("setup", "teardown") for where in ("method", "class", "module", "function")}
)
_STAND_INS = frozenset(
    {"patch", "Mock", "MagicMock", "AsyncMock", "create_autospec", "setattr", "setitem", "mock_open"}
)
_LANGUAGE = frozenset(
    {*dir(builtins), *dir(str), *dir(dict), *dir(list), *dir(set), "fixture", "parametrize", "param", "raises", "warns"}
    | {"OrderedDict", "deque", "defaultdict", "Path", "suppress", "fail", "approx", "NamedTuple", "TypeVar"}
)
"""Calls that come and go as code is modernised, and those that are assertions."""


@dataclass(frozen=True, slots=True)
class _Case:
    """A function of a test file, where it is, and how many conditions its definition stands under."""

    file: ChangedFile
    name: str
    node: Function
    bases: frozenset[str]

    @property
    def is_test(self) -> bool:
        return self.node.name.startswith("test")

    @property
    def is_setup(self) -> bool:
        return self.node.name in _SETUPS or any(last_name(each) == "fixture" for each in self.node.decorator_list)


def weakened_tests(files: Sequence[ChangedFile]) -> Iterator[IntegrityFinding]:
    """What becomes of the functions of test files; one that moved to another file is compared with itself there."""
    judged = [file for file in files if is_test_module(file)]
    unreadable = [file for file in judged if file.new_module is None and file.old_module is not None]
    for file in unreadable:
        yield file.finding(IntegrityRule.TEST_UNREADABLE, 1, "it can't be read as Python any more")
    old = {(file.path, case.name): case for file in judged for case in _cases(file, file.old_module)}
    new = {(file.path, case.name): case for file in judged for case in _cases(file, file.new_module)}
    come = [case for place, case in new.items() if place not in old and is_test_file(case.file.path)]
    for place, was in old.items():
        if was.file in unreadable:
            continue
        now = new.get(place) or next((case for case in come if case.name == was.name), None)
        yield from _compared(was, now) if now is not None else _gone(was)
    for file in judged:
        if file not in unreadable:
            yield from _around(file)


def is_test_module(file: ChangedFile) -> bool:
    """Whether a file is Python that tests: by its name, or because it defines tests and imports what runs them."""
    if not file.path.endswith((".py", ".pyi")):
        return False
    return is_test_file(file.path) or any(map(_tests_itself, (file.old_nodes, file.new_nodes)))


def _tests_itself(nodes: Sequence[ast.AST]) -> bool:
    imported = {name.partition(".")[0] for name in imports_of(nodes)}
    return not imported.isdisjoint({"pytest", "unittest"}) and any(
        isinstance(node, Function) and node.name.startswith("test") for node in nodes
    )


def imports_of(nodes: Iterable[ast.AST]) -> Counter[str]:
    """The modules that a module imports, anywhere in it."""
    found: Counter[str] = Counter()
    for node in nodes:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found[node.module] += 1
    return found


def _cases(file: ChangedFile, module: ast.Module | None) -> Iterator[_Case]:
    """The functions that a module ends up with: what is bound anew or deleted later is not there."""
    found: dict[str, _Case] = {}
    _collect(file, module.body if module else [], "", frozenset(), found)
    yield from found.values()


def _collect(
    file: ChangedFile, body: Sequence[ast.stmt], prefix: str, bases: frozenset[str], found: dict[str, _Case]
) -> None:
    for node in body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                found[f"{prefix}{node.name}"] = _Case(file, f"{prefix}{node.name}", node, bases)
            case ast.ClassDef():
                own = frozenset(last_name(base) for base in node.bases) - {"object", ""}
                _collect(file, node.body, f"{prefix}{node.name}.", own, found)
            case ast.If() | ast.Try() | ast.With() | ast.For() | ast.While():
                for part in ("body", "orelse", "finalbody"):
                    _collect(file, getattr(node, part, []), prefix, bases, found)
            case ast.Assign(targets=targets) | ast.Delete(targets=targets):
                for target in targets:
                    _unbind(found, f"{prefix}{last_name(target)}")
            case ast.ImportFrom(names=names) | ast.Import(names=names):
                for alias in names:
                    _unbind(found, f"{prefix}{alias.asname or alias.name}")


def _unbind(found: dict[str, _Case], name: str) -> None:
    for known in [each for each in found if each == name or each.startswith(f"{name}.")]:
        del found[known]


def _gone(was: _Case) -> Iterator[IntegrityFinding]:
    name = was.name
    if was.is_test:
        yield was.file.finding(IntegrityRule.TEST_REMOVED, 1, f"the test {name} is gone")
    elif was.is_setup:
        yield was.file.finding(IntegrityRule.FIXTURE_CHANGED, 1, f"the fixture {name} is gone")
    elif assertions_of(was.node):
        yield was.file.finding(IntegrityRule.ASSERTION_REMOVED, 1, f"{name}, which asserts, is gone")


def _compared(was: _Case, now: _Case) -> Iterator[IntegrityFinding]:
    place, old, new = now.file, was.node, now.node
    if was.is_test and was.bases - now.bases:
        problem = f"its class no longer derives from {', '.join(sorted(was.bases - now.bases))}"
        yield place.finding(IntegrityRule.TEST_SKIPPED, new.lineno, f"{now.name}: {problem}")
    if ast.dump(old) == ast.dump(new):
        return
    asserted = list(compare_assertions(assertions_of(old), assertions_of(new), new.lineno))
    for rule, line, problem in asserted:
        yield place.finding(rule, line, f"{now.name}: {problem}")
    if now.is_setup or was.is_setup:
        yield from _fixture(was, now)
        return
    if not was.is_test:
        return
    yield from _marks(was, now)
    yield from _parameters(was, now)
    if lost := _calls(old) - _calls(new) - _names(new):
        problem = f"{now.name} no longer calls {', '.join(sorted(lost))}"
        yield place.finding(IntegrityRule.TEST_HOLLOWED, new.lineno, problem)
    if _stand_ins(new) > _stand_ins(old):
        yield place.finding(IntegrityRule.TEST_HOLLOWED, new.lineno, f"{now.name} puts a stand-in in place")
    if not asserted and literals_changed(_literals(old), _literals(new)):
        problem = f"{now.name} works with other literals"
        yield place.finding(IntegrityRule.TEST_DATA, new.lineno, problem)


def _fixture(was: _Case, now: _Case) -> Iterator[IntegrityFinding]:
    old, new = was.node, now.node
    same = (
        _decorators(old) == _decorators(new)
        and _calls(old) == _calls(new)
        and not literals_changed(_literals(old), _literals(new))
    )
    if not same:
        yield now.file.finding(IntegrityRule.FIXTURE_CHANGED, new.lineno, f"the fixture {now.name} does something else")


def _marks(was: _Case, now: _Case) -> Iterator[IntegrityFinding]:
    """Decorators that are new, or that say something else; and skips in the body."""
    for added in _decorators(now.node) - _decorators(was.node):
        problem = f"{now.name}: the decorator {added} is new"
        yield now.file.finding(IntegrityRule.TEST_SKIPPED, now.node.lineno, problem)
    for name in sorted(skips_in(now.node.body) - skips_in(was.node.body)):
        problem = f"{now.name}: the call of {name} is new"
        yield now.file.finding(IntegrityRule.TEST_SKIPPED, now.node.lineno, problem)


def _parameters(was: _Case, now: _Case) -> Iterator[IntegrityFinding]:
    (old, old_literals), (new, new_literals) = _parametrized(was.node), _parametrized(now.node)
    if new is not None and old is not None and new < old:
        problem = f"{now.name}: of {old} cases {new} are left"
        yield now.file.finding(IntegrityRule.CASES_REMOVED, now.node.lineno, problem)
    elif literals_changed(old_literals, new_literals):
        yield now.file.finding(IntegrityRule.ASSERTION_CHANGED, now.node.lineno, f"{now.name}: it has other cases")


def _parametrized(node: Function) -> tuple[int | None, Counter[tuple[str, str]]]:
    """How many cases the decorators of a test list, if that can be read off, and the literals in them."""
    number: int | None = 0
    literals: Counter[tuple[str, str]] = Counter()
    for decorator in node.decorator_list:
        if last_name(decorator) != "parametrize" or not isinstance(decorator, ast.Call):
            continue
        values = next(
            (each.value for each in decorator.keywords if each.arg == "argvalues"), (*decorator.args, None, None)[1]
        )
        if values is None:
            continue
        literals.update(constants_of(values))
        if number is not None and isinstance(values, ast.List | ast.Tuple | ast.Set):
            number += len({ast.dump(each) for each in values.elts})
        else:
            number = None
    return number, literals


def skips_in(body: Sequence[ast.AST]) -> Counter[str]:
    """The skips and expected failures in some code, by name with what they depend on."""
    return Counter(
        last_name(node) + (f"({_arguments(node)})" if node.args else "")
        for each in body
        for node in ast.walk(each)
        if isinstance(node, ast.Call) and last_name(node) in _SKIPS
    )


def _around(file: ChangedFile) -> Iterator[IntegrityFinding]:
    """What stands outside of the functions: marks of modules and classes, values that tests share."""
    old, new = _outside(file.old_module), _outside(file.new_module)
    for name, node in new.items():
        was = old.get(name)
        if was is not None and ast.dump(was) == ast.dump(node):
            continue
        if name.rpartition(".")[2] in {"pytestmark", "__test__", "__unittest_skip__"} or skips_in([node]):
            skipped = skips_in([was]) if was is not None else None
            if skipped != skips_in([node]) or skipped is None or not skipped:
                problem = f"{name} marks tests"
                yield file.finding(IntegrityRule.TEST_SKIPPED, node.lineno, problem)
        elif was is not None and literals_changed(constants_of(was), constants_of(node)):
            yield file.finding(IntegrityRule.TEST_DATA, node.lineno, f"{name} has another value")


def _outside(module: ast.Module | None) -> Mapping[str, ast.stmt]:
    """The assignments, bare calls and class decorators of a module, by the name that they are about."""
    found: dict[str, ast.stmt] = {}
    for prefix, node in _top_level(module.body if module else [], ""):
        if isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            found[f"{prefix}{ast.unparse(target)}"] = node
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            found[f"{prefix}{ast.unparse(node.value)}"] = node
        elif isinstance(node, ast.ClassDef):
            for decorator in node.decorator_list:
                statement = ast.copy_location(ast.Expr(decorator), decorator)
                found[f"{prefix}{node.name}: {last_name(decorator)}"] = statement
    return found


def _top_level(body: Sequence[ast.stmt], prefix: str) -> Iterator[tuple[str, ast.stmt]]:
    for node in body:
        yield prefix, node
        if isinstance(node, ast.ClassDef):
            yield from _top_level(node.body, f"{prefix}{node.name}.")
        elif isinstance(node, ast.If | ast.Try | ast.With):
            for part in ("body", "orelse", "finalbody"):
                yield from _top_level(getattr(node, part, []), prefix)


# -- sketches ----------------------------------------------------------------------------------------------------------


def _decorators(node: Function) -> Counter[str]:
    """The decorators that decide whether or how a function runs, without reasons and what is so by itself."""
    return Counter(
        ast.unparse(each.func if isinstance(each, ast.Call) else each)
        + (f"({_arguments(each)})" if isinstance(each, ast.Call) and _arguments(each) else "")
        for each in node.decorator_list
        if last_name(each) != "parametrize"
    )


def _arguments(call: ast.Call) -> str:
    named = (f"{each.arg}={ast.unparse(each.value)}" for each in call.keywords if each.arg != "reason")
    return ", ".join([*map(ast.unparse, call.args), *(each for each in named if each != "scope='function'")])


def _calls(node: Function) -> set[str]:
    """What a function calls, by the last part of the name; not the language's own, nor assertions and skips."""
    names = {last_name(each) for each in ast.walk(node) if isinstance(each, ast.Call)} - _LANGUAGE - _SKIPS - {""}
    return {name for name in names if not name.lower().startswith(("assert", "fail"))}


def _names(node: Function) -> set[str]:
    return {last_name(each) for each in ast.walk(node) if isinstance(each, ast.Name | ast.Attribute)}


def _stand_ins(node: Function) -> int:
    return sum(isinstance(each, ast.Call) and not _STAND_INS.isdisjoint(_dotted(each.func)) for each in ast.walk(node))


def _dotted(node: ast.AST) -> set[str]:
    names = {last_name(node)}
    while isinstance(node, ast.Attribute):
        node = node.value
        names.add(last_name(node))
    return names


def _literals(node: Function) -> Counter[tuple[str, str]]:
    return constants_of(ast.Module(node.body, []))
