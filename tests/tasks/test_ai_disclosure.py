"""What a model may be shown of a repository, and what never leaves the machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from driven import repository_of
from repositories import git

from prefect_acms.dao.redaction import HIDDEN, KNOWN
from prefect_acms.tasks.ai.disclosure import LARGEST_FILE, Disclosure, secret_lines

TOKEN = "ghp_" + "0aB1cD2eF3gH4iJ5kL6mN7oP8qR9sT0uV1wX"
KEY_BLOCK = f"-----BEGIN RSA PRIVATE KEY-----\n{'MIIEow' + 'Ab0/' * 15}\n{'Qx7+' * 16}\n-----END RSA PRIVATE KEY-----"


def test_acmsignore_is_read_as_git_reads_gitignore(tmp_path: Path) -> None:
    """Folders, globs, anchors, what is taken back, files in folders of their own: whatever they cover is not there."""
    files = {
        ".acmsignore": "plans/\n*.csv\n!open.csv\n/top.py\n",
        "lib/.acmsignore": "inner.py\n",
        **dict.fromkeys(("plans/a.py", "lib/plans/b.py", "x.csv", "open.csv", "top.py", "lib/top.py"), "1\n"),
        **dict.fromkeys(("inner.py", "lib/inner.py", "UPPER.CSV"), "1\n"),
    }
    seen = Disclosure.of(repository_of(tmp_path, files))
    assert seen.files == (".acmsignore", "inner.py", "lib/.acmsignore", "lib/top.py", "open.csv")
    assert seen.shown("plans/a.py") is None


@pytest.mark.parametrize(
    "path", [".env", "deploy/.env.production", "ID_RSA", "certs/site.pem", "a/.aws/config", "secrets.yaml", "x.tfvars"]
)
def test_files_of_credentials_are_withheld_by_their_names(tmp_path: Path, path: str) -> None:
    """Nobody has to think of them, and no spelling of theirs gets through."""
    seen = Disclosure.of(repository_of(tmp_path, {path: "harmless\n", "a.py": "1\n"}))
    assert seen.files == ("a.py",)


def test_no_pattern_of_a_repository_opens_what_is_always_closed(tmp_path: Path) -> None:
    """`.acmsignore` withholds more, never less."""
    seen = Disclosure.of(repository_of(tmp_path, {".acmsignore": "!.env\n", ".env": "A=1\n"}))
    assert ".env" not in seen.files


def test_only_tracked_text_of_a_bearable_size_is_shown(tmp_path: Path) -> None:
    """What lies beside the repository, links, binaries and very large files are none of a model's business."""
    outside = tmp_path / "outside.py"
    outside.write_text("outside\n")
    top = repository_of(tmp_path / "r", {"a.py": "one\r\ntwo\r\n", "big.py": "x" * (LARGEST_FILE + 1), "b.bin": "\0"})
    (top / "link.py").symlink_to(outside)
    (top / "latin.py").write_bytes(b"# caf\xe9\n")
    git(top, "add", "-A")
    (top / "untracked.py").write_text("new\n")
    seen = Disclosure.of(top)
    assert {path for path in seen.files if seen.shown(path)} == {"a.py"}
    shown = seen.shown("a.py")
    assert shown is not None
    assert shown.lines == ["one", "two"]


def test_lines_that_hold_a_secret_are_shown_as_hidden(tmp_path: Path) -> None:
    """By its shape, by what it is called, over several lines, or because this process knows it."""
    KNOWN.learn("correct-horse-battery")
    text = "\n".join(
        [
            "a = 1",
            f"t = '{TOKEN}'",
            *KEY_BLOCK.split("\n"),
            "b = 2",
            "api_key = 'q8Zr5tYw2xLm9KpA4n'",
            "correct-horse-battery",
        ]
    )
    shown = Disclosure.of(repository_of(tmp_path, {"a.py": f"{text}\n"})).shown("a.py")
    assert shown is not None
    assert shown.hidden == {2, 3, 4, 5, 6, 8, 9}
    assert shown.lines == ["a = 1", *[HIDDEN] * 5, "b = 2", HIDDEN, HIDDEN]


def test_ordinary_code_is_shown_as_it_is() -> None:
    """Names of secrets, placeholders and hashes are no secrets."""
    text = "password = os.environ['PASSWORD']\ntoken = get_token()\nkey = 'example'\nsha = 'd41d8cd98f00b204'\n"
    assert secret_lines(text) == frozenset()
