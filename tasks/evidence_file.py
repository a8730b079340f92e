"""The file of evidence: a DSSE envelope in the one form it can have, so that each byte that was changed can be named.

Beside the payload and its signature the file carries marks: a checksum for every 64 characters. They prove nothing;
they tell where a damage is, and what stood there is tried out until the signature holds again.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice, product
from typing import NamedTuple
from zlib import crc32

from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import CryptoSigner, Signature, SSlibKey

from prefect_acms.tasks.evidence_model import PAYLOAD_TYPE, Statement
from prefect_acms.tasks.json_places import pointer_at

CHUNK = 64
"""Characters that share a mark."""

_MARK = 8
_KEYID, _SIGNATURE = 64, 88
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="

_OPENING = b'{"marks":"'
_BEFORE_PAYLOAD = b'","payload":"'
_BEFORE_KEYID = b'","payloadType":"' + PAYLOAD_TYPE.encode() + b'","signatures":[{"keyid":"'
_BEFORE_SIGNATURE = b'","sig":"'
_CLOSING = b'"}]}\n'
_FIXED = sum(map(len, (_OPENING, _BEFORE_PAYLOAD, _BEFORE_KEYID, _BEFORE_SIGNATURE, _CLOSING))) + _KEYID + _SIGNATURE

_ASCII = 0x80
_MOST_MENDED = 4
"""Damaged chunks that are mended; who has changed more of them has not slipped."""

_MOST_TRIED = 256

MOST_NAMED = 20
"""Damages that are named; a file with more of them is another file."""


@dataclass(frozen=True, slots=True)
class Damage:
    """Something in a file of evidence that is not as it was signed."""

    problem: str
    pointer: str
    """Where in the JSON it is, as a JSON pointer; from `/payload` on within the statement."""
    offset: int | None = None
    """The byte of the file, where it is known."""
    expected: str | None = None
    found: str | None = None

    def __str__(self) -> str:
        place = self.pointer if self.offset is None else f"{self.pointer}, byte {self.offset} of the file"
        values = f": expected {self.expected}, found {self.found}" if self.expected is not None else ""
        return f"{place}: {self.problem}{values}"


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of the file as they stand in it, and where the payload begins."""

    marks: bytes
    payload: bytes
    keyid: bytes
    signature: bytes

    @property
    def marked(self) -> bytes:
        """What the marks are of, in this order."""
        return self.payload + self.keyid + self.signature

    def encoded(self) -> bytes:
        """The file."""
        return b"".join(part for part, _ in _layout(self))


def _layout(fields: Fields) -> tuple[tuple[bytes, str], ...]:
    """The parts of the file in their order, each with its JSON pointer."""
    return (
        (_OPENING, ""),
        (fields.marks, "/marks"),
        (_BEFORE_PAYLOAD, ""),
        (fields.payload, "/payload"),
        (_BEFORE_KEYID, "/payloadType"),
        (fields.keyid, "/signatures/0/keyid"),
        (_BEFORE_SIGNATURE, "/signatures/0"),
        (fields.signature, "/signatures/0/sig"),
        (_CLOSING, ""),
    )


def signed_file(statement: Statement, signer: CryptoSigner) -> bytes:
    """The file of a statement: the same statement and key, the same bytes."""
    envelope = Envelope(statement.payload(), PAYLOAD_TYPE, {})
    signature = envelope.sign(signer)
    fields = Fields(
        marks=b"",
        payload=b64encode(envelope.payload),
        keyid=signature.keyid.encode(),
        signature=b64encode(bytes.fromhex(signature.signature)),
    )
    return replace(fields, marks=_marks(fields.marked)).encoded()


def _marks(marked: bytes) -> bytes:
    return b"".join(_mark(chunk) for chunk in _chunks(marked))


def _mark(chunk: bytes) -> bytes:
    return b"%08x" % crc32(chunk)


def _chunks(marked: bytes) -> Iterator[bytes]:
    return (marked[start : start + CHUNK] for start in range(0, len(marked), CHUNK))


def split_file(content: bytes) -> Fields | Damage:
    """The fields of a file, found by its length alone, since each has its place; or why it can have none."""
    payload = _payload_length(len(content) - _FIXED)
    if payload is None:
        return Damage("no file of evidence has this length: something was cut off or added", "", offset=len(content))
    marks = _MARK * -(-(payload + _KEYID + _SIGNATURE) // CHUNK)
    at = len(_OPENING)
    taken: list[bytes] = []
    for length, gap in (
        (marks, _BEFORE_PAYLOAD), (payload, _BEFORE_KEYID), (_KEYID, _BEFORE_SIGNATURE), (_SIGNATURE, _CLOSING),
    ):  # fmt: skip
        taken.append(content[at : at + length])
        at += length + len(gap)
    return Fields(*taken)


def _payload_length(rest: int) -> int | None:
    """The length of the payload, when it and its marks together have this length."""
    # a mark every 64 characters: nine ninths are eight ninths of payload, and a few more or less
    guess = rest * CHUNK // (CHUNK + _MARK)
    for length in range(max(4, guess - 4 * CHUNK), guess + 4 * CHUNK):
        if length % 4 == 0 and length + _MARK * -(-(length + _KEYID + _SIGNATURE) // CHUNK) == rest:
            return length
    return None


class Opened(NamedTuple):
    """What a file holds: the signed bytes, if a signature of this key is there for them, and what is damaged."""

    payload: bytes
    holds: bool
    damages: tuple[Damage, ...]


def open_file(content: bytes, key: SSlibKey) -> Opened:
    """Check the file against a public key; every damage is named; the payload is what was signed if that is known."""
    fields = split_file(content)
    if isinstance(fields, Damage):
        return Opened(b"", holds=False, damages=(fields,))
    damages = list(islice(_in_form(content, fields), MOST_NAMED))
    mended = next((found for found in _mendings(fields) if _is_signed(found, key)), None)
    if mended is not None:
        damages += _between(fields, replace(mended, marks=_marks(mended.marked)))
        return Opened(b64decode(mended.payload), holds=not damages, damages=tuple(damages[:MOST_NAMED]))
    damages += islice(_unmended(fields, key), MOST_NAMED)
    return Opened(_decoded(fields.payload), holds=False, damages=tuple(damages[:MOST_NAMED]))


def _in_form(content: bytes, fields: Fields) -> Iterator[Damage]:
    """The bytes between the fields that are not as they must be."""
    for at, (wanted, there) in enumerate(zip(fields.encoded(), content, strict=True)):
        if wanted != there:
            pointer = _pointer(fields, at)
            yield Damage("it is not the one form of the file", pointer, at, _shown(wanted), _shown(there))


def _mendings(fields: Fields) -> Iterator[Fields]:
    """The fields as they are, and with each damaged chunk as it may have been."""
    yield fields
    bad = _bad_chunks(fields)
    if 0 < len(bad) <= _MOST_MENDED:
        chunks = list(_chunks(fields.marked))
        for choice in islice(product(*(_origins(chunks[place], fields, place) for place in bad)), _MOST_TRIED):
            for place, chunk in zip(bad, choice, strict=True):
                chunks[place] = chunk
            yield _with_marked(fields, b"".join(chunks))


def _bad_chunks(fields: Fields) -> list[int]:
    return [place for place, chunk in enumerate(_chunks(fields.marked)) if _mark(chunk) != _mark_at(fields, place)]


def _mark_at(fields: Fields, place: int) -> bytes:
    return fields.marks[place * _MARK : (place + 1) * _MARK]


def _origins(chunk: bytes, fields: Fields, place: int) -> list[bytes]:
    """What a chunk may have been: itself, if its mark is what was changed, or itself but for one character."""
    try:
        mark = int(_mark_at(fields, place), 16)
    except ValueError:
        return [chunk]
    found = [chunk]
    for at in range(len(chunk)):
        before, after = crc32(chunk[:at]), chunk[at + 1 :]
        found += [
            chunk[:at] + bytes((char,)) + after
            for char in _ALPHABET
            if crc32(after, crc32(bytes((char,)), before)) == mark
        ]
    return found


def _with_marked(fields: Fields, marked: bytes) -> Fields:
    end = len(fields.payload)
    return Fields(fields.marks, marked[:end], marked[end : end + _KEYID], marked[end + _KEYID :])


def _is_signed(fields: Fields, key: SSlibKey) -> bool:
    """Whether the signature is this key's for this payload, and both are written in the one way there is."""
    payload, signature = _decoded(fields.payload), _decoded(fields.signature)
    if b64encode(payload) != fields.payload or b64encode(signature) != fields.signature:
        return False
    keyid = fields.keyid.decode("latin-1")
    envelope = Envelope(payload, PAYLOAD_TYPE, {keyid: Signature(keyid, signature.hex())})
    try:
        envelope.verify([key], 1)
    except VerificationError:
        return False
    return True


def _decoded(field: bytes) -> bytes:
    try:
        return b64decode(field, validate=True)
    except ValueError:
        return b""


def _between(found: Fields, signed: Fields) -> Iterator[Damage]:
    """Every byte in which a file differs from the one that was signed."""
    for at, (wanted, there) in enumerate(zip(signed.encoded(), found.encoded(), strict=True)):
        if wanted != there:
            yield Damage("it was changed", _pointer(signed, at), at, _shown(wanted), _shown(there))


def _unmended(fields: Fields, key: SSlibKey) -> Iterator[Damage]:
    """What can be said when nothing that was tried makes the signature hold."""
    bad = _bad_chunks(fields)
    for place in bad:
        first = place * CHUNK
        at = _offset_of(fields, first)
        yield Damage(f"something in the {CHUNK} bytes from here was changed", _pointer(fields, at), at)
    keyid = fields.keyid.decode("latin-1")
    if keyid != key.keyid and not bad:
        yield Damage("it was signed by another key", "/signatures/0/keyid", expected=key.keyid, found=keyid)
    elif not bad:
        problem = "it is not the signature of this payload: another payload, or another signature, was put here"
        yield Damage(problem, "/signatures/0/sig")


def _offset_of(fields: Fields, marked: int) -> int:
    """Where in the file a character stands that is marked."""
    at = len(_OPENING) + len(fields.marks) + len(_BEFORE_PAYLOAD) + marked
    if marked >= len(fields.payload):
        at += len(_BEFORE_KEYID)
    return at + (len(_BEFORE_SIGNATURE) if marked >= len(fields.payload) + _KEYID else 0)


def _pointer(fields: Fields, offset: int) -> str:
    """The JSON pointer of a byte of the file; a byte of the payload is looked for in the statement."""
    at = 0
    for part, pointer in _layout(fields):
        if offset < at + len(part):
            if pointer == "/payload":
                return pointer + pointer_at(_decoded_until(part, offset - at), (offset - at) * 3 // 4)
            return pointer
        at += len(part)
    return ""


def _decoded_until(payload: bytes, char: int) -> bytes:
    """The payload; of one that can't be decoded what comes before that character."""
    whole = _decoded(payload)
    return whole or _decoded(payload[: char - char % 4])


def _shown(byte: int) -> str:
    return repr(chr(byte)) if chr(byte).isprintable() and byte < _ASCII else f"0x{byte:02x}"
