"""`acms evidence`: a file for strangers, and a verdict that a script can read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from commands import Acms
from evidenced import Evidenced, small_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Evidenced:
    """A small run that has ended well."""
    folder = tmp_path_factory.mktemp("run")
    return small_run(folder / "shop", f"sqlite:///{folder / 'canonical.db'}")


@pytest.fixture
def exported(run: Evidenced, acms: Acms, tmp_path: Path) -> Path:
    """A folder with its evidence and the public key, as a stranger has them."""
    called = acms("evidence", "export", "latest", "--output", str(tmp_path / "e.json"), "--database-url", run.store.url)
    assert called.returncode == 0, called.stderr
    (tmp_path / "pub.pem").write_text(acms("evidence", "key").stdout)
    return tmp_path


def _check(acms: Acms, folder: Path, *more: str) -> tuple[int, str, str]:
    called = acms("evidence", "verify", str(folder / "e.json"), "--key", str(folder / "pub.pem"), *more)
    return called.returncode, called.stdout, called.stderr


def test_what_is_exported_is_intact(run: Evidenced, exported: Path, acms: Acms) -> None:
    """To a stranger with the key and nothing else; with the repository as well."""
    code, out, _ = _check(acms, exported, "--repository", str(run.repository.top), "--run", run.run_id)
    assert code == 0
    assert f"Intact: run {run.run_id}" in out
    keyid = json.loads(acms("evidence", "key", "--json").stdout)["keyid"]
    assert f"Signed by key {keyid}." in out
    assert (
        acms("evidence", "export", run.run_id[-6:], "--database-url", run.store.url).raw
        == (exported / "e.json").read_bytes()
    )


def test_what_was_changed_is_named(exported: Path, acms: Acms) -> None:
    """One byte: the exit code is 1, and the line says which byte, where, and what it was."""
    file = exported / "e.json"
    content = bytearray(file.read_bytes())
    at = len(content) // 2
    before, content[at] = chr(content[at]), ord("!")
    file.write_bytes(content)
    code, out, _ = _check(acms, exported)
    assert code == 1
    assert f"byte {at} of the file: it was changed: expected {before!r}, found '!'" in out
    code, out, _ = _check(acms, exported, "--json")
    told = json.loads(out)
    assert (code, told["ok"], [damage["offset"] for damage in told["damages"]]) == (1, False, [at])


def test_the_evidence_of_another_run_is_refused_where_one_is_named(exported: Path, acms: Acms) -> None:
    """A whole envelope that is replayed is intact; it just speaks of something else."""
    code, out, _ = _check(acms, exported, "--run", "run_of_mine")
    assert (code, "it is the evidence of another run: expected run_of_mine" in out) == (1, True)


def test_what_can_not_be_checked_is_bad_input(exported: Path, acms: Acms, tmp_path: Path) -> None:
    """No file, no key, no repository: a sentence and exit code 2."""
    (exported / "none.pem").write_text("no key")
    shutil.copy(exported / "e.json", exported / "e2.json")
    for arguments in (
        ("verify", str(exported / "gone.json"), "--key", str(exported / "pub.pem")),
        ("verify", str(exported / "e2.json"), "--key", str(exported / "none.pem")),
        ("verify", str(exported / "e2.json"), "--key", str(exported / "gone.pem")),
        ("verify", str(exported / "e2.json"), "--repository", str(tmp_path / "nowhere")),
    ):
        called = acms("evidence", *arguments)
        assert (called.returncode, called.stderr.count("\n")) == (2, 1), called.stderr
    called = acms("evidence", "verify", str(exported / "e2.json"), ACMS_HOME=str(tmp_path / "empty"))
    assert (called.returncode, "--key" in called.stderr) == (2, True)
    assert not (tmp_path / "empty").exists()


def test_a_run_in_progress_is_refused(acms: Acms, tmp_path: Path) -> None:
    """And no key is made for it, no file written."""
    url = f"sqlite:///{tmp_path / 'canonical.db'}"
    small_run(tmp_path / "shop", url, ended=False)
    called = acms("evidence", "export", "latest", "--output", str(tmp_path / "e.json"), "--database-url", url)
    assert (called.returncode, "one that has ended, it is running" in called.stderr) == (2, True)
    assert not (tmp_path / "e.json").exists()
