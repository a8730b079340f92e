"""Edits that a model proposes: made all together, exactly as proposed, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from driven import repository_of
from repositories import git

from prefect_acms.dao.redaction import HIDDEN
from prefect_acms.tasks.ai.disclosure import Disclosure
from prefect_acms.tasks.ai.edits import Edit, EditsUnfit, make_edits, planned_edits

TOKEN = "ghp_" + "0aB1cD2eF3gH4iJ5kL6mN7oP8qR9sT0uV1wX"
FILES = {
    "a.py": "def f(x):\n    y = x\n    return y\n\n\ndef g(x):\n    y = x\n    return x\n",
    "doc.txt": "one\r\ntwo\r\nthree\r\n",
    "held.py": f"# head\nK = '{TOKEN}'\nuse(K)\n",
    ".env": "A=1\n",
    "broken.py": "def f(:\n    pass\n",
}


@pytest.fixture
def seen(tmp_path: Path) -> Disclosure:
    """A small repository, as a model may see it."""
    return Disclosure.of(repository_of(tmp_path, FILES))


def _planned(seen: Disclosure, *edits: tuple[str, str, str], scope: tuple[str, ...] = ("*",)) -> dict[str, bytes]:
    made = [Edit(path=path, search=search, replace=replace) for path, search, replace in edits]
    return planned_edits(made, seen, scope)


def test_edits_are_made_in_their_order_and_files_keep_their_form(seen: Disclosure) -> None:
    """Several of one file, a new file in a new folder, ends of lines and modes as they were."""
    (seen.root / "a.py").chmod(0o755)
    planned = _planned(
        seen,
        ("a.py", "    return y\n", "    return y + 1\n"),
        ("a.py", "return y + 1", "return y + 2"),
        ("doc.txt", "two\nthree", "2\n3"),
        ("new/b.py", "", "B = 1\n"),
    )
    make_edits(seen.root, planned)
    assert (seen.root / "a.py").read_text() == FILES["a.py"].replace("return y", "return y + 2")
    assert (seen.root / "doc.txt").read_bytes() == b"one\r\n2\r\n3\r\n"
    assert (seen.root / "new/b.py").read_text() == "B = 1\n"
    assert (seen.root / "a.py").stat().st_mode & 0o777 == 0o755


def test_blanks_at_the_ends_of_lines_are_forgiven(tmp_path: Path) -> None:
    """Models leave them out; what else differs is another text."""
    seen = Disclosure.of(repository_of(tmp_path, {"a.txt": "one  \n  two\t\nthree\n"}))
    assert _planned(seen, ("a.txt", "one\n  two", "1\n  2")) == {"a.txt": b"1\n  2\nthree\n"}
    with pytest.raises(EditsUnfit, match="not in the file"):
        _planned(seen, ("a.txt", "one\ntwo", "1\n2"))


@pytest.mark.parametrize(
    ("edit", "problem"),
    [
        (("a.py", "    y = x\n", "    y = 2 * x\n"), "stands 2 times"),
        (("a.py", "z = x", "z = y"), "not in the file"),
        (("a.py", "", "all new\n"), "exists already"),
        (("a.py", "return y", "return y"), "change nothing"),
        (("a.py", "    return y", "  return y"), "no Python any more: line 3"),
        (("missing.py", "a", "b"), "no such file"),
        (("../a.py", "", "x\n"), "leaves the repository"),
        (("/etc/passwd", "", "x\n"), "is absolute"),
        ((".git/hooks/post-checkout", "", "x\n"), "inside .git"),
        ((".env", "A=1", "A=2"), "not open to be changed"),
        ((".env", "", "A=2"), "exists already"),
        (("a.py/b.py", "", "x = 1\n"), "a.py is a file"),
        ((f"{'n' * 256}.py", "", "x = 1\n"), "too long"),
        (("a.py", "return y", "return '\0'"), "NUL"),
        (("a.py", "return y", f"return {'-' * 100_000}y"), "no Python any more: it is nested too deeply"),
        (("held.py", HIDDEN, "K = 1"), "can't be changed"),
        (("held.py", "use(K)", f"use('{TOKEN[:-1]}Z')"), "looks like a secret"),
        (("a.py", "return y", f"return '{HIDDEN}'"), "can't be written"),
    ],
)
def test_what_does_not_fit_is_told(seen: Disclosure, edit: tuple[str, str, str], problem: str) -> None:
    """In words from which the model can do better; nothing is written."""
    with pytest.raises(EditsUnfit, match=problem):
        _planned(seen, edit)
    assert git(seen.root, "status", "--porcelain") == ""


def test_a_hidden_line_is_not_changed_and_not_told_by_what_fits(seen: Disclosure) -> None:
    """No text of it is found, whether it is there or not; nothing is put before or behind it in its line."""
    answers = set()
    for guess in ("K = '", f"K = '{TOKEN[:9]}", f"K = '{TOKEN[:8]}?", f"{TOKEN}'\nuse(K)"):
        with pytest.raises(EditsUnfit) as told:
            _planned(seen, ("held.py", guess, "K = ''"))
        answers.add(str(told.value))
    assert len(answers) == 1
    for search, replace in (("\nuse(K)", "  # use(K)"), ("# head\n", "# ")):
        with pytest.raises(EditsUnfit, match="can't be joined"):
            _planned(seen, ("held.py", search, replace))
    kept = _planned(seen, ("held.py", "# head\n", "# foot\n\n"), ("held.py", "use(K)", "use(k=K)"))
    assert kept == {"held.py": f"# foot\n\nK = '{TOKEN}'\nuse(k=K)\n".encode()}


def test_what_python_says_of_an_edit_shows_no_hidden_line(tmp_path: Path) -> None:
    """Neither as one of the lines before the error, nor as its own."""
    value = "q8Zr5tYw2xLm9KpA4n"
    seen = Disclosure.of(repository_of(tmp_path, {"a.py": f"a = (1)\napi_key = '{value}'\nb = 2\n"}))
    for search, replace in (("b = 2", "b = = 2"), ("a = (1)", "a = (1")):
        with pytest.raises(EditsUnfit, match="no Python any more") as told:
            _planned(seen, ("a.py", search, replace))
        assert value not in str(told.value)


def test_new_files_stand_in_no_way_of_each_other(seen: Disclosure) -> None:
    """One can't be a folder of the other, in whichever order they are proposed."""
    one, other = ("new", "", "x\n"), ("new/b.txt", "", "y\n")
    for pair in ((one, other), (other, one)):
        with pytest.raises(EditsUnfit, match="edit 2"):
            _planned(seen, *pair)


def test_every_problem_is_told_at_once_and_nothing_of_it_is_done(seen: Disclosure) -> None:
    """One good edit does not carry bad ones in, and one round is enough to mend them all."""
    with pytest.raises(EditsUnfit) as told:
        _planned(
            seen, ("a.py", "return y", "return 1"), ("a.py", "nothing", ""), ("doc.txt", "one", "1"), scope=("*.py",)
        )
    assert [problem.partition(":")[0] for problem in told.value.problems] == ["edit 2 (a.py)", "edit 3 (doc.txt)"]


def test_no_edit_goes_through_a_link(tmp_path: Path) -> None:
    """Neither by a linked file nor by a linked folder is anything written outside."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x.py").write_text("x = 1\n")
    top = repository_of(tmp_path / "r", {"a.py": "1\n"})
    (top / "link.py").symlink_to(outside / "x.py")
    (top / "folder").symlink_to(outside)
    git(top, "add", "-A")
    seen = Disclosure.of(top)
    for path in ("link.py", "folder/x.py", "folder/new.py"):
        with pytest.raises(EditsUnfit, match="symbolic link"):
            _planned(seen, (path, "", "y = 2\n"))


def test_a_file_that_was_no_python_before_may_be_mended_step_by_step(seen: Disclosure) -> None:
    """Only what was whole before must be whole afterwards."""
    assert _planned(seen, ("broken.py", "    pass", "    return"))["broken.py"].endswith(b"return\n")
