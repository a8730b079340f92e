"""Two policies put together are at least as strict as each of them, whatever they say."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_acms.blocks.guardrails import GuardrailSettings, PatchLimits, PathRules, ReviewSettings, Tightening
from prefect_acms.blocks.section import Section
from prefect_acms.blocks.tool_spec import Tier
from prefect_acms.canonical.test_gate import GateType
from prefect_acms.tasks.patches import Rule, validate_patch
from prefect_acms.tasks.policies import Policy
from prefect_acms.tasks.review_policy import PatchFacts, refusals, review_reasons
from prefect_acms.tasks.tightening import explained, tightened, tightening_of

PATHS = ("a.py", "src/b.py", "src/deep/c.txt", "docs/d.md", "Makefile", ".github/x.yml")
TOOLS = ("ruff-fix", "aider")


def rails(**said: Any) -> GuardrailSettings:
    """Guardrails in which only this is said."""
    return GuardrailSettings.model_validate(said)


def test_what_is_not_said_is_left_as_it_is() -> None:
    """A policy that says nothing changes nothing, its defaults included: the run has taken some of them back."""
    ours = rails(protected_paths=[], review={"ai_made": False}, limits={"allow_binary": True, "max_files": 99})
    assert tightened(ours, GuardrailSettings()) == ours


def test_each_setting_is_tightened_in_its_way() -> None:
    """Smaller numbers, fewer tools, more operations, checks and reasons, the stricter of two words."""
    ours = rails(
        limits={"max_files": 5, "max_bytes": 100, "allow_binary": True},
        allowed_tools=["a", "b"],
        forbidden=["delete"],
        required_checks=["UNIT"],
        unavailable_gates="review",
        review={"tools": ["a"], "max_lines": 50, "ai_made": False},
    )
    theirs = rails(
        limits={"max_files": 9, "max_bytes": 50, "allow_binary": False},
        allowed_tools=["b", "c"],
        forbidden=["create"],
        required_checks=["LINT", "UNIT"],
        unavailable_gates="allow",
        integrity="refuse",
        review={"tools": ["b"], "max_lines": 20, "max_files": 3, "ai_made": True, "wait": False},
    )
    result = tightened(ours, theirs)
    assert result == rails(
        limits={"max_files": 5, "max_bytes": 50, "allow_binary": False},
        allowed_tools=["b"],
        forbidden=["delete", "create"],
        required_checks=["UNIT", "LINT"],
        unavailable_gates="review",
        integrity="refuse",
        review={"tools": ["a", "b"], "max_lines": 20, "max_files": 3, "ai_made": True, "wait": True},
    )


def test_every_setting_says_how_it_is_tightened() -> None:
    """Those of a policy file too: one policy file tightens another."""
    first, second = (Policy.model_validate({"version": 1, "limits": {"max_files": number}}) for number in (7, 3))
    assert tightened(first, second).limits.max_files == 3
    for model in (Policy, PatchLimits, ReviewSettings):
        leaves = [field for field in model.model_fields.values() if not isinstance(field.default, Section)]
        assert all(isinstance(tightening_of(field), Tightening) for field in leaves)


def test_paths_of_both_hold_side_by_side() -> None:
    """Scopes can't be put into one list, nor can a `!` of theirs take back what ours protect."""
    ours = rails(scope=["src/"], protected_paths=["src/vendor/"])
    theirs = rails(scope=["*.py"], protected_paths=["*", "!src/vendor/"], review={"paths": ["b.py"]})
    result = tightened(ours, theirs)
    assert (result.scope, result.protected_paths) == (("src/",), ("src/vendor/",))
    assert result.further_paths == (
        PathRules(scope=("*.py",), protected_paths=("*", "!src/vendor/"), review_paths=("b.py",)),
    )


def test_no_tools_at_all_are_less_than_any() -> None:
    """An empty list allows nothing; that is no missing list."""
    assert tightened(GuardrailSettings(), rails(allowed_tools=[])).allowed_tools == ()
    assert tightened(rails(allowed_tools=[]), rails(allowed_tools=["a"])).allowed_tools == ()


def test_what_is_in_force_names_who_says_so_and_what_has_no_effect() -> None:
    """Default, the run, the repository's file, or both; what would loosen is told."""
    ours = rails(scope=["src/"], limits={"max_files": 5}, allowed_tools=["a"], forbidden=["delete"])
    theirs = rails(
        scope=["*.py"],
        limits={"max_files": 9, "max_bytes": 10},
        allowed_tools=["a"],
        forbidden=["create"],
    )
    found = [(one.setting, one.value, one.source, one.note) for one in explained(ours, theirs, them="acms.toml")]
    assert [one for one in found if one[2] != "default"] == [
        ("limits.max_files", 5, "the run", "acms.toml says 9: no effect, it can only tighten"),
        ("limits.max_bytes", 10, "acms.toml", ""),
        ("scope", ["src/"], "the run", ""),
        ("scope", ["*.py"], "acms.toml", ""),
        ("allowed_tools", ["a"], "the run, acms.toml", ""),
        ("forbidden", ["delete", "create"], "the run, acms.toml", ""),
    ]
    names = {one[0] for one in found}
    assert {"review.expires_after_sec", "integrity", "limits.allow_binary", "further_paths"} <= names


# -- the law ----------------------------------------------------------------------------------------------------------

globs = st.lists(
    st.sampled_from(["*.py", "src/", "/src/*", "!src/deep/", "docs/", "*", "!a.py", "Makefile", "**/c.txt"]), max_size=3
)


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Any part of these settings."""
    return st.fixed_dictionaries({}, optional=fields)


policies = some(
    limits=some(max_files=st.integers(1, 4), max_lines_per_file=st.integers(1, 4), allow_executable=st.booleans()),
    scope=globs,
    protected_paths=globs,
    allowed_tools=st.none() | st.lists(st.sampled_from(TOOLS), max_size=2),
    forbidden=st.lists(st.sampled_from(["create", "delete"]), max_size=2),
    required_checks=st.lists(st.sampled_from(["LINT", "UNIT"]), max_size=2),
    integrity=st.sampled_from(["review", "refuse"]),
    unavailable_gates=st.sampled_from(["allow", "review_ai", "review", "refuse"]),
    review=some(
        always=st.booleans(),
        ai_made=st.booleans(),
        paths=globs,
        tools=st.lists(st.sampled_from(TOOLS), max_size=2),
        tiers=st.lists(st.sampled_from(["low", "high"]), max_size=2),
        max_files=st.none() | st.integers(0, 3),
        max_lines=st.none() | st.integers(0, 9),
    ),
).map(GuardrailSettings.model_validate)

facts = st.builds(
    PatchFacts,
    files=st.lists(st.sampled_from(PATHS), unique=True, max_size=4).map(tuple),
    lines=st.integers(0, 12),
    tool_id=st.sampled_from(TOOLS),
    tier=st.sampled_from(Tier),
    ai_made=st.booleans(),
    judging=st.frozensets(st.sampled_from([GateType.LINT, GateType.UNIT])),
)


def a_patch(files: list[tuple[str, str, int]]) -> bytes:
    """A diff that does this to these files: each with what is done and on how many lines."""
    return "".join(_part(path, what, lines) for path, what, lines in sorted(files)).encode()


def _part(path: str, what: str, lines: int) -> str:
    old = "/dev/null" if what == "create" else f"a/{path}"
    new = "/dev/null" if what == "delete" else f"b/{path}"
    mode = {"create": "new file mode 100644\n", "delete": "deleted file mode 100644\n"}.get(what, "")
    if what == "chmod":
        return f"diff --git a/{path} b/{path}\nold mode 100644\nnew mode 100755\n"
    sign = "-" if what == "delete" else "+"
    counts = f"-1,{lines} +0,0" if what == "delete" else f"-0,0 +1,{lines}"
    return f"diff --git a/{path} b/{path}\n{mode}--- {old}\n+++ {new}\n@@ {counts} @@\n" + f"{sign}x\n" * lines


patches = st.lists(
    st.tuples(st.sampled_from(PATHS), st.sampled_from(["create", "delete", "chmod"]), st.integers(1, 6)),
    min_size=1,
    max_size=4,
    unique_by=lambda file: file[0],
).map(a_patch)


def broken(guardrails: GuardrailSettings, patch: bytes) -> set[tuple[str, str]]:
    """What validation has against a patch under these guardrails: rules and places."""
    found = validate_patch(
        patch,
        limits=guardrails.limits,
        protected=guardrails.protected_paths,
        scope=("**",),
        forbidden=guardrails.forbidden,
        policy=guardrails.path_rules,
    )
    # the first file that is too many is another one where fewer are allowed
    whole = {Rule.TOO_MANY_FILES}
    return {(one.rule.value, "" if one.rule in whole else one.where) for one in found.violations}


@given(ours=policies, theirs=policies, patch=patches)
@settings(max_examples=25)
def test_a_patch_that_either_refuses_is_refused_by_both_together(
    ours: GuardrailSettings, theirs: GuardrailSettings, patch: bytes
) -> None:
    """Validation finds at least what each alone finds; theirs count as far as they say something."""
    together = broken(tightened(ours, theirs), patch)
    assert broken(ours, patch) <= together
    lenient = rails(protected_paths=[], limits={"allow_executable": True})
    assert broken(tightened(lenient, theirs), patch) <= together


@given(ours=policies, theirs=policies, patch=facts)
@settings(max_examples=100)
def test_a_patch_that_waits_or_is_refused_alone_does_not_slip_through_together(
    ours: GuardrailSettings, theirs: GuardrailSettings, patch: PatchFacts
) -> None:
    """Refused stays refused; what waited waits or is refused now; the order of the two does not matter for that."""

    def verdict(guardrails: GuardrailSettings) -> int:
        return 2 if refusals(guardrails, patch) else int(bool(review_reasons(guardrails, patch)))

    assert verdict(tightened(ours, theirs)) >= verdict(ours)
    lenient = rails(protected_paths=[], unavailable_gates="allow", review={"ai_made": False})
    assert verdict(tightened(ours, theirs)) >= verdict(tightened(lenient, theirs))


@given(ours=policies, theirs=policies)
@settings(max_examples=40)
def test_tightening_twice_is_tightening_once(ours: GuardrailSettings, theirs: GuardrailSettings) -> None:
    """But for the rules for paths, which are kept as they are said."""
    once = tightened(ours, theirs)
    twice = tightened(once, theirs)
    assert twice.model_copy(update={"further_paths": ()}) == once.model_copy(update={"further_paths": ()})
    assert set(twice.further_paths) == set(once.further_paths)
