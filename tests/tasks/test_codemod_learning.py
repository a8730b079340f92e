"""Learning codemods: what was done the same way three times becomes a rule, and nothing that does more."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import yaml

from prefect_acms.canonical.errors import NotPromotable
from prefect_acms.dao.gaps import GapRow
from prefect_acms.dao.ledger import LedgerRow
from prefect_acms.dao.patches import PatchRow
from prefect_acms.dao.tasks import TaskRow
from prefect_acms.tasks.codemods.cases import Case, Fix, Rule
from prefect_acms.tasks.codemods.codemod import Codemod, Import, Rewrite, language_of
from prefect_acms.tasks.codemods.edits import applied, edits_of
from prefect_acms.tasks.codemods.learning import Learned, learn
from prefect_acms.tasks.codemods.rewriting import rewritten

RULE = Rule("ruff", "E711")


def case_of(number: int, before: str, after: str, path: str = "a.py", gaps: Sequence[tuple[str, int]] = ()) -> Case:
    """A file of a patch, by default with one gap of the rule in its first line."""
    rows = [
        GapRow(source="ruff", rule_id=rule, file_paths=[path], start_line=line, end_line=line)
        for rule, line in gaps or [("E711", 1)]
    ]
    fix = Fix(LedgerRow(id=f"entry-{number}"), PatchRow(id=f"patch-{number}"), TaskRow(), "/nowhere", tuple(rows))
    return Case(fix, path, language_of(path) or "", before, after)


def learned(*pairs: tuple[str, str], path: str = "a.py") -> Learned:
    """What is learned from these files, each of a patch of its own."""
    return learn(RULE, [case_of(number, before, after, path) for number, (before, after) in enumerate(pairs)])


def rules_of(found: Learned) -> list[tuple[str, str]]:
    """Its rules as patterns and fixes; all cases count."""
    assert len(found.supporting) == len(found.studied)
    return [(rewrite.pattern, rewrite.fix) for rewrite in found.codemod.rewrites]


def test_what_differs_gets_a_name_and_what_is_the_same_stays() -> None:
    """Three comparisons with None, of a name, an attribute and a call, in one line and deep in a function."""
    found = learned(
        ("if x == None:\n    y\n", "if x is None:\n    y\n"),
        ("def f(a):\n    return a.b == None or 'ü'\n", "def f(a):\n    return a.b is None or 'ü'\n"),
        ("# ü\r\nk = g(1) == None\r\n", "# ü\r\nk = g(1) is None\r\n"),
    )
    assert rules_of(found) == [("$A == None", "$A is None")]


def test_a_rule_that_was_fixed_in_two_ways_becomes_two_rules() -> None:
    """Each way is seen in three patches; what was done once only is left to others."""
    found = learned(
        ("a = x == None\nb = y != None\n", "a = x is None\nb = y is not None\n"),
        ("if p() == None or q != None:\n    pass\n", "if p() is None or q is not None:\n    pass\n"),
        ("c = d.e == None\nf = g != None\nh = None == i\n", "c = d.e is None\nf = g is not None\nh = i is None\n"),
    )
    assert rules_of(found) == [("$A == None", "$A is None"), ("$A != None", "$A is not None")]
    assert found.expected[2] == "c = d.e is None\nf = g is not None\nh = None == i\n"


def test_a_rule_takes_in_as_much_around_an_edit_as_it_needs() -> None:
    """`from err` comes from the clause around the raise, whose try is of any length."""
    cases = [("        a()\n", "KeyError", "e", "'a'"), ("        b\n        c()\n", "OSError", "err", "x, y")]
    cases.append(("        d(1)\n", "(A, B)", "error", ""))
    before = "def f{0}():\n    try:\n{1}    except {2} as {3}:\n        raise V{0}({4})\n"
    pairs = [before.format(number, *case) for number, case in enumerate(cases)]
    found = learned(*((text, f"{text[:-1]} from {case[2]}\n") for text, case in zip(pairs, cases, strict=True)))
    [(pattern, fix)] = rules_of(found)
    assert pattern == "try:\n    $$$A\nexcept $B as $C:\n    raise $D($$$E)"
    assert fix == f"{pattern} from $C"


def test_a_name_that_is_the_same_everywhere_is_still_taken_from_around_the_edit() -> None:
    """Else each `raise A()` in a file, in no clause at all, would become one `from error`."""
    before = "def f{0}():\n    try:\n        a{0}()\n    except KeyError as error:\n        raise A('{0}')\n"
    pairs = [before.format(number) for number in range(3)]
    found = learned(*((text, f"{text[:-1]} from error\n") for text in pairs))
    [(pattern, fix)] = rules_of(found)
    assert "except KeyError as error:" in pattern
    assert fix == f"{pattern} from error"


def test_a_name_of_the_file_is_there_wherever_the_rule_is_used() -> None:
    """What a module has at its top level needs no code around the edit."""
    before = "log = 1\n\n\ndef f{0}(a):\n    print({0})\n"
    pairs = [before.format(number) for number in range(3)]
    found = learned(*((text, text.replace("print(", "log.info(")) for text in pairs))
    assert rules_of(found) == [("print($A)", "log.info($A)")]


def test_the_same_edit_of_the_same_file_counts_once() -> None:
    """Runs that start from the same commit make the same patch again; it is one example all the same."""
    pair = ("x == None\n", "x is None\n")
    with pytest.raises(NotPromotable, match=r"too few patches .*: a\.py: patch patch-0 has made the same of the same"):
        learned(pair, pair, pair)


def test_a_rule_that_would_touch_what_the_patches_left_alone_is_not_taken() -> None:
    """`$A == None` would, in the second line of each file; with what stands around it, it does not."""
    texts = [f"x = {code} == None\ny = z == None\n" for code in ("f", "g()", "a.h")]
    found = learned(*((text, text.replace("None", "NONE", 1).replace("== NONE", "is None")) for text in texts))
    assert rules_of(found) == [("x = $A == None", "x = $A is None")]
    same = [f"v{number} = {code}\nw = v{number} + 1\n" for number, code in enumerate(("f(1)", "g", "h.i"))]
    with pytest.raises(NotPromotable, match="no edit was made the same way in 3 patches"):
        learned(*((text, text.replace(" = ", f" = {number} + ", 1)) for number, text in enumerate(same)))


def test_a_rule_is_kept_to_the_kinds_of_code_that_it_was_seen_with_where_it_must_be() -> None:
    """`except B as e` is left alone in one of the files, so the name in the rule stands for no `B as e`."""
    text = "try:\n    f()\nexcept {0}:\n    raise E\n"
    left = text.format("B as e")
    fixed = text.replace("raise E", "raise E from None")
    found = learned(
        (text.format("A"), fixed.format("A")),
        (text.format("B.C") + left, fixed.format("B.C") + left),
        (text.format("D"), fixed.format("D")),
    )
    [rewrite] = found.codemod.rewrites
    assert rewrite.kinds == {"A": ("attribute", "identifier")}
    assert [Rewrite.read(rule) for rule in yaml.safe_load_all(found.codemod.rules)] == [rewrite]


def test_what_a_rule_does_not_say_is_never_lost() -> None:
    """A comment, a further clause: code that has them is left alone."""
    rewrite = Rewrite(
        pattern="try:\n    $$$A\nexcept $B:\n    raise C", fix="try:\n    $$$A\nexcept $B:\n    raise C from None"
    )
    text = b"try:\n    a()\nexcept B:\n    raise C"
    files = {
        "plain.py": text + b"\n",
        "comment.py": text + b"  # why\n",
        "clause.py": text + b"\nelse:\n    pass\n",
        "more.py": text + b"\nexcept D:\n    raise E\n",
    }
    found = rewritten(Codemod(language="python", rewrites=(rewrite,)), files)
    assert found == {"plain.py": text + b" from None\n"}


@pytest.mark.parametrize(
    "pairs",
    [
        [("f(a)\n", "f(int(a))\n"), ("g(b)\n", "g(int(b))\n"), ("h(c)\n", "h(int(c))\n")],
        [("f(a)\n", "f(b)\n"), ("g(1)\n", "k(1)\n"), ("x + y\n", "x\n")],
        [("x == None\n", "x is None\n"), ("y == None\n", "y is None\n")],
    ],
    ids=["nothing the same", "each another way", "two patches"],
)
def test_what_says_too_little_is_no_rule(pairs: list[tuple[str, str]]) -> None:
    """A rule has some word of its own, and three patches behind it."""
    with pytest.raises(NotPromotable, match="no codemod for ruff:E711"):
        learned(*pairs)


def test_one_patch_of_many_files_counts_once() -> None:
    """Three files of one patch are one decision of one person."""
    one = [case_of(1, f"{name} == None\n", f"{name} is None\n") for name in "abc"]
    with pytest.raises(NotPromotable, match="3 patches"):
        learn(RULE, one)


def test_edits_for_other_rules_of_the_same_patch_are_left_to_them() -> None:
    """The gap's line tells which edit is whose; the codemod gives the file with its own edit alone."""
    gaps = [("E711", 1), ("F401", 3)]
    cases = [
        case_of(number, f"a = {code} == None\n\nb = 1\n", f"a = {code} is None\n\nb = {number + 2}\n", gaps=gaps)
        for number, code in enumerate(("x", "y()", "z.w"))
    ]
    found = learn(RULE, cases)
    assert rules_of(found) == [("$A == None", "$A is None")]
    assert found.expected[0] == "a = x is None\n\nb = 1\n"


def test_imports_come_and_go_with_a_rewrite() -> None:
    """By libcst: put where they are missing, taken out where nothing uses them any more."""
    before = "import {0}\nimport os\n\nx = os.path.join({1})\ny = {0}.z\n"
    after = "import {0}\nfrom pathlib import Path\n\nx = Path({1})\ny = {0}.z\n"
    found = learned(*((before.format(*one), after.format(*one)) for one in (("a", "b"), ("c", "d, 1"), ("e", "f()"))))
    assert rules_of(found) == [("os.path.join", "Path")]
    assert (found.codemod.adds, found.codemod.drops) == (
        (Import(module="pathlib", name="Path"),),
        (Import(module="os"),),
    )
    used = b"import os\n\nx = os.path.join(1)\nos.getcwd()\n"
    assert rewritten(found.codemod, {"a.py": used})["a.py"] == used.replace(b"os.path.join", b"Path").replace(
        b"import os\n", b"import os\nfrom pathlib import Path\n"
    )


def test_added_imports_are_sorted_where_the_patches_have_sorted_them() -> None:
    """By ruff, as libcst only appends them."""
    head = "import os\nfrom typing import Any\n", "import os\nfrom pathlib import Path\nfrom typing import Any\n"
    found = learned(*((f"{head[0]}\nx = open({one})\n", f"{head[1]}\nx = Path({one}).open()\n") for one in "abc"))
    assert rules_of(found) == [("open($A)", "Path($A).open()")]
    assert found.codemod.sorts_imports


def test_a_statement_that_goes_takes_its_lines_along() -> None:
    """Without an empty line in its place, indented or last in the file."""
    found = learned(*((f"def f():\n    x = {one}\n    print({one})\n", f"def f():\n    x = {one}\n") for one in "abc"))
    assert rules_of(found) == [("print($A)", "")]
    assert rewritten(found.codemod, {"a.py": b"print(1)\nif a:\n    b\n    print(2)"})["a.py"] == b"if a:\n    b\n"


def test_other_languages_are_learned_as_well() -> None:
    """By the endings of files; a codemod leaves files of other languages alone."""
    texts = [f"if ({one} == null) {{ f(); }}\n" for one in ("a", "b()", "c.d")]
    found = learned(*((text, text.replace("==", "===")) for text in texts), path="a.js")
    assert rules_of(found) == [("$A == null", "$A === null")]
    assert rewritten(found.codemod, {"a.py": b"a == null\n", "b.js": b"f()\n"}) == {}


def test_files_that_are_no_text_keep_their_bytes() -> None:
    """They hide no others, and lose nothing."""
    codemod = Codemod(language="python", rewrites=(Rewrite(pattern="$A == None", fix="$A is None"),))
    files = {"a.py": b"x == None  # \xff\n", "b.py": b"x == None\n"}
    assert rewritten(codemod, files).get("b.py") == b"x is None\n"
    assert b"\xff" in rewritten(codemod, files).get("a.py", files["a.py"])


def test_edits_lead_from_one_text_to_the_other_or_are_not_told() -> None:
    """What only white space tells apart, or a comment, too."""
    for before, after in [
        ("a = 1\nb = 2\n", "a = 1\nc = 3\nb = 2\n"),
        ("def f():\n    return 1\n", "def f():\n    '''Doc.'''\n    return 1\n"),
        ("f(a,b)\n", "f(a, b)\n"),
        ("x = 1  # a\n", "x = 1  # b\n"),
        ("x = (\n", "y = (\n"),
    ]:
        edits = edits_of(before, after, "python")
        assert edits is None or applied(before, edits) == after
    assert edits_of("f(a,b)\n", "f(a, b)\n", "python")
