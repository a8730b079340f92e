"""The key that signs evidence: made on first use under `$ACMS_HOME/keys`, its private part for its owner only."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.signer import CryptoSigner, SSlibKey

from prefect_acms.canonical.errors import InvalidValue
from prefect_acms.dao.home import acms_home

_FIELD = "the evidence key"
_PRIVATE_FILE, _PRIVATE_FOLDER = 0o600, 0o700


def key_path() -> Path:
    """Where the private key lies."""
    return acms_home() / "keys" / "evidence.pem"


def signer() -> CryptoSigner:
    """What signs evidence here; makes the key where there is none, and of several processes at once only one does.

    Raises InvalidValue when others may read it, or when it is no Ed25519 key.
    """
    path = key_path()
    if not path.exists():
        _make(path)
    for place, wanted in ((path.parent, _PRIVATE_FOLDER), (path, _PRIVATE_FILE)):
        mode = stat.S_IMODE(place.stat().st_mode)
        if mode & ~wanted:
            expected = f"a mode of at most {wanted:o}, it is {mode:o}: others may have read it"
            raise InvalidValue(field=_FIELD, value=str(place), expected=expected)
    try:
        private = load_pem_private_key(path.read_bytes(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _no_key(path, "private") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise _no_key(path, "private")
    return CryptoSigner(private)


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=_PRIVATE_FOLDER)
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=".evidence-")
    try:
        with os.fdopen(handle, "wb") as file:  # mkstemp gives 0600, whatever the umask
            file.write(CryptoSigner.generate_ed25519().private_bytes)
            file.flush()
            os.fsync(file.fileno())
        # a link is made whole or not at all, and never over one that somebody else has made meanwhile
        os.link(beside, path)
    except FileExistsError:
        return
    finally:
        Path(beside).unlink()


def public_pem(key: SSlibKey) -> str:
    """A public key as PEM, which openssl reads too."""
    raw = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.keyval["public"]))
    return raw.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def read_public(path: Path) -> SSlibKey:
    """The public key in a PEM file; raises InvalidValue when there is no Ed25519 key in it."""
    try:
        found = load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise InvalidValue(field="--key", value=str(path), expected=f"a PEM file ({error.strerror})") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _no_key(path, "public") from error
    if not isinstance(found, Ed25519PublicKey):
        raise _no_key(path, "public")
    return SSlibKey.from_crypto(found)


def _no_key(path: Path, part: str) -> InvalidValue:
    return InvalidValue(field=_FIELD, value=str(path), expected=f"a PEM file with an Ed25519 {part} key")
