"""Every error: a sentence from facts, a place in the tree, and safe passage between processes."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator
from string import Formatter

import pytest

from prefect_acms.canonical import errors, outside_errors
from prefect_acms.canonical.errors import (
    AcmsError,
    BadInput,
    InvalidTransition,
    RunUnsafe,
    TransitionError,
    UnknownName,
)


def _tree(root: type[AcmsError]) -> Iterator[type[AcmsError]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)


EVERY = [kind for kind in _tree(AcmsError) if kind.__module__ in {errors.__name__, outside_errors.__name__}]
every_error = pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.__name__)


def _facts(kind: type[AcmsError]) -> dict[str, str]:
    return {name: f"<{name}>" for _text, name, _spec, _conversion in Formatter().parse(kind.sentence) if name}


@every_error
def test_an_error_writes_its_sentence_from_facts(kind: type[AcmsError]) -> None:
    """Each fact that the raise site passes is in the one line that a person reads."""
    error = kind(**_facts(kind))
    assert "\n" not in str(error)
    assert error.facts == _facts(kind)
    assert error.facts
    for value in error.facts.values():
        assert value in str(error)


@every_error
def test_an_error_needs_all_its_facts(kind: type[AcmsError]) -> None:
    """A sentence with a hole can't be raised."""
    with pytest.raises(KeyError):
        kind()


@every_error
def test_an_error_survives_pickling(kind: type[AcmsError]) -> None:
    """Class, facts and sentence cross a process border."""
    error = kind(**_facts(kind), extra=[1, 2])
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (type(copy), copy.facts, str(copy)) == (kind, error.facts, str(error))


@every_error
def test_bad_input_exits_2_and_everything_else_1(kind: type[AcmsError]) -> None:
    """The exit code says whether the caller can mend it; that of a run which can't be trusted is that of quarantine."""
    assert kind.exit_code == (2 if issubclass(kind, BadInput) else 3 if kind is RunUnsafe else 1)


@every_error
def test_the_tree_in_the_docstring_is_the_tree_of_the_classes(kind: type[AcmsError]) -> None:
    """Each class is drawn below its parent, one level deeper."""
    drawing = [line for line in (errors.__doc__ or "").splitlines() if re.search(r"[├└]──|    AcmsError$", line)]
    depth = {name: (n, line.index(name)) for n, line in enumerate(drawing) for name in re.findall(r"\w+", line)[:1]}
    assert set(depth) == {known.__name__ for known in EVERY}
    if kind is not AcmsError:
        line, indent = depth[kind.__name__]
        above = [name for name, (n, i) in depth.items() if n < line and i < indent]
        assert above[-1] == kind.__bases__[0].__name__
        assert indent - depth[kind.__bases__[0].__name__][1] == 4


def test_facts_may_hold_braces() -> None:
    """A value that looks like a placeholder is printed as it is."""
    assert "'{kind}'" in str(UnknownName(kind="mode", name="{kind}", known=["full"]))


def test_a_refused_transition_is_caught_by_its_family() -> None:
    """A caller that handles every refusal needs one name."""
    with pytest.raises(TransitionError, match="task t_1 is completed: it can't take run_ended, legal from here: "):
        raise InvalidTransition(entity="task", id="t_1", state="completed", wanted="take run_ended", legal=["nothing"])
