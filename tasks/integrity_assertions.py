"""Assertions of a test as comparable facts: how much each demands, of which literals, and under how many conditions."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from prefect_acms.tasks.integrity_rules import IntegrityRule

Constants = Counter[tuple[str, str]]

_UNREACHED = 100
"""Conditions that an assertion behind a return counts as standing under."""

_STRENGTH = {
    **dict.fromkeys(("==", "is", "raises", "fail"), 3),
    **dict.fromkeys(("<", "<=", ">", ">=", "in", "isinstance", "approx"), 2),
    **dict.fromkeys(("true", "false", "!=", "is not", "not in", "not isinstance", "or", "raises anything"), 1),
    "nothing": 0,
}
"""How much an assertion demands, by its operator: one value, a set of values, all but a few, nothing at all."""

_OTHER = 2

_OPERATORS: dict[type[ast.cmpop], tuple[str, str]] = {
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
    ast.Lt: ("<", ">="),
    ast.GtE: (">=", "<"),
    ast.Gt: (">", "<="),
    ast.LtE: ("<=", ">"),
}

_METHODS = {
    **dict.fromkeys(("assertis", "assertisnone"), "is"),
    **dict.fromkeys(("assertisnot", "assertisnotnone"), "is not"),
    "assertin": "in",
    "assertnotin": "not in",
    "assertisinstance": "isinstance",
    "assertnotisinstance": "not isinstance",
    "assertgreater": ">",
    "assertgreaterequal": ">=",
    "assertless": "<",
    "assertlessequal": "<=",
}

_TRUE, _FALSE = {"asserttrue", "assert_", "failunless"}, {"assertfalse", "failif"}
_RAISES = {"raises", "assertraises", "assertraisesregex", "assertraisesregexp", "failunlessraises"}
_BROAD = {"Exception", "BaseException"}
_EQUAL = re.compile(r"assert(?!\w*almost)\w*equals?")


@dataclass(frozen=True, slots=True)
class Assertion:
    """One demand of a test: its operator, the literals it names, and the conditions that it stands under."""

    operator: str
    constants: frozenset[tuple[tuple[str, str], int]]
    guards: int
    line: int
    text: str

    @property
    def strength(self) -> int:
        """How much it demands."""
        return _STRENGTH.get(self.operator, _OTHER)


def assertions_of(node: ast.AST) -> tuple[Assertion, ...]:
    """What a function demands, in order; what is true of everything is no demand."""
    body = getattr(node, "body", [])
    return tuple(found for found in _statements(body, 0) if found.strength > 0)


def compare_assertions(
    old: Sequence[Assertion], new: Sequence[Assertion], line: int
) -> Iterator[tuple[IntegrityRule, int, str]]:
    """What has become less or other in a function's assertions: rule, line, problem."""
    if len(new) < len(old):
        problem = f"of {len(old)} assertions {len(new)} are left"
        yield IntegrityRule.ASSERTION_REMOVED, line, problem
        return
    left = list(new)
    lost = [each for each in old if not _take(left, each)]
    for was in lost:
        now = _nearest(was, left)
        left.remove(now)
        if now.strength < was.strength:
            yield IntegrityRule.ASSERTION_WEAKENED, now.line, f"`{was.text}` became `{now.text}`"
        elif now.guards > was.guards:
            where = "behind a return" if now.guards >= _UNREACHED else "under one more condition"
            yield IntegrityRule.ASSERTION_WEAKENED, now.line, f"`{now.text}` stands {where}"
        elif now.operator != was.operator or literals_changed(
            Counter(dict(was.constants)), Counter(dict(now.constants))
        ):
            yield IntegrityRule.ASSERTION_CHANGED, now.line, f"`{was.text}` became `{now.text}`"


def constants_of(node: ast.AST) -> Constants:
    """The literals in a piece of code, without docstrings and annotations.

    Texts count without blanks and placeholders, so that a text is the same in whichever way it is formatted.
    """
    found: Constants = Counter()
    for each in _expressions(node):
        if isinstance(each, ast.BinOp) and (joined := _joined(each)) is not None:
            found["text", joined] += 1
        elif isinstance(each, ast.JoinedStr):
            parts = [str(part.value) for part in each.values if isinstance(part, ast.Constant)]
            found[_text("".join(parts))] += 1
        elif isinstance(each, ast.Constant) and isinstance(each.value, str | bytes):
            value = each.value if isinstance(each.value, str) else each.value.decode("latin-1")
            found[_text(value)] += 1
        elif isinstance(each, ast.Constant) and type(each.value) in {int, float, complex}:
            found["number", repr(each.value)] += 1
        elif isinstance(each, ast.keyword) and each.arg is not None:
            found["key", each.arg] += 0  # a literal only as dict(key=…), see literals_changed
    found.pop(("text", ""), None)
    return found


def literals_changed(old: Constants, new: Constants) -> bool:
    """Whether literals gave way to others; that some only went or only came is no change of what is expected."""
    names = {name for kind, name in (*old, *new) if kind == "key"}
    gone = [each for each in (old - new) if each[1] not in names]
    come = [each for each in (new - old) if each[1] not in names]
    return bool(gone and come)


def last_name(node: ast.AST) -> str:
    """The last part of a dotted name, also of one that is called; empty for anything else."""
    while isinstance(node, ast.Call | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


# -- reading -----------------------------------------------------------------------------------------------------------


def _statements(body: Sequence[ast.stmt], guards: int) -> Iterator[Assertion]:
    for statement in body:
        yield from _statement(statement, guards)
        if isinstance(statement, ast.Return | ast.Raise | ast.Continue | ast.Break):
            guards += _UNREACHED


def _statement(statement: ast.stmt, guards: int) -> Iterator[Assertion]:
    match statement:
        case ast.Assert(test=test):
            yield from (_made(statement, test, form, guards) for form in _forms(test))
        case ast.Raise(exc=raised) if raised is not None and last_name(raised) == "AssertionError":
            yield _made(statement, raised, "fail", guards)
        case ast.Expr(value=value) | ast.Assign(value=value) | ast.Return(value=ast.expr() as value):
            yield from _called(value.value if isinstance(value, ast.Await) else value, guards)
        case ast.With() | ast.AsyncWith():
            for item in statement.items:
                yield from _called(item.context_expr, guards)
            yield from _blocks(statement, guards)
        case _:
            yield from _blocks(statement, guards)


def _blocks(statement: ast.stmt, guards: int) -> Iterator[Assertion]:
    """What stands in the blocks of a statement; each that may be left out, or whose failure is caught, is a guard."""
    match statement:
        case ast.Try() | ast.TryStar():
            more, blocks = bool(statement.handlers), [statement.body, statement.orelse]
            blocks += [handler.body for handler in statement.handlers]
            yield from _statements(statement.finalbody, guards)
        case ast.With() | ast.AsyncWith():
            more, blocks = any(last_name(item.context_expr) == "suppress" for item in statement.items), [statement.body]
        case ast.Match():
            more, blocks = True, [case.body for case in statement.cases]
        case ast.If() | ast.For() | ast.AsyncFor() | ast.While():
            more, blocks = True, [statement.body, statement.orelse]
        case _:
            more, blocks = False, [getattr(statement, "body", [])]
    for block in blocks:
        yield from _statements(block, guards + more)


def _called(value: ast.expr, guards: int) -> Iterator[Assertion]:
    """The assertions that a call makes: `self.assertEqual(…)`, `pytest.raises(…)`, `mock.assert_called()`, `fail()`."""
    if not isinstance(value, ast.Call):
        return
    name = last_name(value.func).lower()
    arguments = [each for each in value.args if not isinstance(each, ast.Starred)]
    if name in _RAISES:
        anything = bool(arguments) and last_name(arguments[0]) in _BROAD
        matched = any(keyword.arg == "match" for keyword in value.keywords) or "regex" in name
        yield _made(value, value, "raises anything" if anything and not matched else "raises", guards)
    elif name == "fail":
        yield _made(value, value, "fail", guards)
    elif arguments and name in _TRUE | _FALSE:
        forms = _forms(arguments[0], negated=name in _FALSE)
        yield from (_made(value, arguments[0], form, guards) for form in forms)
    elif _EQUAL.fullmatch(name) and len(arguments) > 1:
        operator = ast.NotEq() if "not" in name else ast.Eq()
        compared = ast.Compare(arguments[0], [operator], arguments[1:2])
        yield from (_made(value, compared, form, guards) for form in _forms(compared))
    elif name.startswith("assert"):
        yield _made(value, value, _method(name), guards)


def _method(name: str) -> str:
    if "almost" in name or "approx" in name or "allclose" in name:
        return "approx"
    return _METHODS.get(name, name)


def _forms(test: ast.expr, *, negated: bool = False) -> Iterator[str]:
    """The operators of a condition, one for each part of it that must hold by itself."""
    match test:
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield from _forms(operand, negated=not negated)
        case ast.BoolOp(op=junction, values=values):
            if isinstance(junction, ast.And) is not negated:
                for value in values:
                    yield from _forms(value, negated=negated)
            else:
                free = any("nothing" in _forms(value, negated=negated) for value in values)
                yield "nothing" if free else "or"
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            pairs = zip([left, *comparators[:-1]], ops, comparators, strict=True)
            for one, op, other in pairs:
                yield from _compared(one, op, other, negated=negated)
        case ast.Constant(value=value):
            yield "fail" if bool(value) is negated else "nothing"
        case ast.Tuple(elts=elements) | ast.List(elts=elements) if elements and not negated:
            yield "nothing"
        case ast.Call(func=ast.Name(id="isinstance")):
            yield "not isinstance" if negated else "isinstance"
        case _:
            yield "false" if negated else "true"


def _compared(one: ast.expr, op: ast.cmpop, other: ast.expr, *, negated: bool) -> Iterator[str]:
    operator = _OPERATORS[type(op)][negated]
    value = other.value if isinstance(other, ast.Constant) else ...
    if ast.dump(one) == ast.dump(other) and operator in {"==", "is", "<=", ">="}:
        yield "nothing"
    elif isinstance(value, bool) and operator in {"==", "is", "!=", "is not"}:
        yield from _forms(one, negated=value is not (operator in {"==", "is"}))
    elif value is None and operator in {"==", "!="}:
        yield {"==": "is", "!=": "is not"}[operator]
    elif operator == "==" and any(last_name(side) in {"approx", "isclose"} for side in (one, other)):
        yield "approx"
    else:
        yield operator


def _made(place: ast.stmt | ast.expr, expression: ast.expr, operator: str, guards: int) -> Assertion:
    text = ast.unparse(place).partition("\n")[0]
    shown = text if len(text) <= 80 else f"{text[:77]}..."  # noqa: PLR2004  # one line of a report
    return Assertion(operator, frozenset(constants_of(expression).items()), guards, place.lineno, shown)


def _take(left: list[Assertion], wanted: Assertion) -> bool:
    """Remove an equal one from those that are left, if there is one."""
    facts = replace(wanted, line=0, text="")
    same = next((each for each in left if replace(each, line=0, text="") == facts), None)
    if same is not None:
        left.remove(same)
    return same is not None


def _nearest(was: Assertion, left: Sequence[Assertion]) -> Assertion:
    def distance(each: Assertion) -> tuple[bool, bool, int]:
        return each.operator != was.operator, each.constants != was.constants, abs(each.line - was.line)

    return min(left, key=distance)


def _text(value: str) -> tuple[str, str]:
    return "text", re.sub(r"\s+|%[-#0 +]*[\d*]*(?:\.[\d*]+)?[a-zA-Z%]|\{[^{}]*\}", "", value)


def _joined(node: ast.expr) -> str | None:
    """The text that literals put together with `+` make; none for anything else."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        parts = [_joined(node.left), _joined(node.right)]
        return None if None in parts else _text("".join(part or "" for part in parts))[1]
    return _text(node.value)[1] if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _expressions(node: ast.AST) -> Iterator[ast.AST]:
    """Every node below, without docstrings, annotations, and the pieces of an f-string's text."""
    skipped = tuple(getattr(node, name, None) for name in ("annotation", "returns", "format_spec"))
    for child in ast.iter_child_nodes(node):
        docstring = isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)
        piece = isinstance(node, ast.JoinedStr) and isinstance(child, ast.Constant)
        if child in skipped or docstring or piece or (isinstance(node, ast.BinOp) and _joined(node) is not None):
            continue
        yield from _expressions(child)
    yield node
