"""The binary parts of a git diff: read strictly, and measured before anything of them is inflated."""

from __future__ import annotations

import re
import zlib
from base64 import b85decode
from collections.abc import Sequence
from dataclasses import dataclass

_HEADER = re.compile(rb"(literal|delta) (0|[1-9]\d{0,17})")
_LONGEST = 52
_GROUP = 4


@dataclass(frozen=True, slots=True)
class BinaryPart:
    """One direction of a binary change: a file's content, or a delta to it, deflated; `size` is what it says to be."""

    kind: str
    size: int
    deflated: bytes
    line: int


def read_parts(lines: Sequence[bytes], start: int) -> tuple[tuple[BinaryPart, ...], int]:
    """The one or two parts that begin at this line (from 0), and the line after them; raises ValueError."""
    parts: list[BinaryPart] = []
    at = start
    while at < len(lines) and len(parts) <= 1 and (header := _HEADER.fullmatch(lines[at])):
        end = next((n for n in range(at + 1, len(lines)) if not lines[n]), None)
        if end is None:
            message = "the binary data is torn"
            raise ValueError(message)
        deflated = b"".join(_decoded(line) for line in lines[at + 1 : end])
        parts.append(BinaryPart(header[1].decode(), int(header[2]), deflated, at + 1))
        at = end + 1
    if not parts:
        message = "there is no binary data"
        raise ValueError(message)
    return tuple(parts), at


def _decoded(line: bytes) -> bytes:
    """One line of git's base 85: a letter for the number of bytes, then groups of five characters."""
    letter = line[:1]
    count = line[0] - ord("A") + 1 if letter.isupper() else line[0] - ord("a") + 27 if letter.islower() else 0
    data = b85decode(line[1:])
    # the last group is filled up
    if not 0 < count <= _LONGEST or len(line) % 5 != 1 or len(data) != -(-count // _GROUP) * _GROUP:
        message = "a line of the binary data has another length than it says"
        raise ValueError(message)
    return data[:count]


def size_of(part: BinaryPart, limit: int) -> int:
    """Bytes of the file that a part leads to, by inflating at most `limit` bytes; more than that if it leads to more.

    Raises ValueError when the data is not what its header says.
    """
    if part.size > limit:
        return part.size
    inflator = zlib.decompressobj()
    try:
        data = inflator.decompress(part.deflated, part.size + 1)
        rest = b"" if inflator.eof else inflator.decompress(inflator.unconsumed_tail, 1)
    except zlib.error as error:
        message = f"the binary data can't be inflated: {error}"
        raise ValueError(message) from error
    if rest or len(data) != part.size or not inflator.eof or inflator.unused_data:
        message = f"the binary data is not the {part.size} bytes that it says"
        raise ValueError(message)
    return part.size if part.kind == "literal" else _target_of(data)


def _target_of(delta: bytes) -> int:
    """The size of the file that a delta says it makes: its second number, seven bits a byte, the low ones first."""
    numbers: list[int] = []
    value = shift = 0
    for byte in delta[:20]:
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            numbers.append(value)
            value = shift = 0
    if len(numbers) <= 1:
        message = "the delta has no sizes"
        raise ValueError(message)
    return numbers[1]
