"""The key that signs evidence: made once, for its owner's eyes only, and nothing else is taken for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner

from prefect_acms.canonical.errors import InvalidValue
from prefect_acms.tasks.evidence_keys import key_path, public_pem, read_public, signer


def test_the_key_is_for_its_owner_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made whatever the umask says; once others may read it, it signs nothing more."""
    monkeypatch.setenv("ACMS_HOME", str(tmp_path / "home"))
    before = os.umask(0)
    try:
        made = signer()
    finally:
        os.umask(before)
    assert key_path().stat().st_mode & 0o777 == 0o600
    assert key_path().parent.stat().st_mode & 0o777 == 0o700
    assert signer().public_key == made.public_key
    for place, mode in ((key_path(), 0o640), (key_path().parent, 0o755)):
        right = place.stat().st_mode & 0o777
        place.chmod(mode)
        with pytest.raises(InvalidValue, match="others may have read it"):
            signer()
        place.chmod(right)


def test_two_processes_make_one_key(tmp_path: Path) -> None:
    """Whoever comes second takes the key of the first; nothing is left beside it."""
    code = "from prefect_acms.tasks.evidence_keys import signer; print(signer().public_key.keyid)"
    environment = {**os.environ, "ACMS_HOME": str(tmp_path)}
    started = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    keys = {process.communicate()[0] for process in started}
    assert len(keys) == 1
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["evidence.pem"]


def test_what_is_no_key_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A private key where a public one is wanted, a text, a key of another kind."""
    monkeypatch.setenv("ACMS_HOME", str(tmp_path))
    public = tmp_path / "pub.pem"
    public.write_text(public_pem(signer().public_key))
    assert read_public(public) == signer().public_key
    for content in (key_path().read_bytes(), b"no key", CryptoSigner.generate_ecdsa().private_bytes):
        public.write_bytes(content)
        with pytest.raises(InvalidValue, match="Ed25519 public key"):
            read_public(public)
    key_path().write_bytes(CryptoSigner.generate_ecdsa().private_bytes)
    with pytest.raises(InvalidValue, match="Ed25519 private key"):
        signer()
