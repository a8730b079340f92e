"""A grammar of patches gone wrong: real diffs, and what can be done to their bytes, lines, headers, paths and hunks.

All choices come from one string of bytes, so that any fuzzer can drive it and shrink what it has found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")

FILES: dict[str, bytes] = {
    "text.txt": b"".join(b"line %d\n" % n for n in range(1, 16)),
    "crlf.txt": b"a\r\nb\r\nc\r\n",
    "open.txt": b"one\ntwo",
    "empty.txt": b"",
    "sp ace.txt": b"x\ny\n",
    "\u00fc.txt": b"x\ny\n",
    "src/mod.py": b"A = 1\nB = 2\nC = 3\n",
    "src/data.json": b'{"a": 1}\n',
    "src/bin": bytes(range(64)),
    "out.txt": b"x\ny\n",
    "run.sh": b"#!/bin/sh\necho\n",
}
EXECUTABLES = ("run.sh",)
LINKS = {"link": "src", "away": "/etc"}
SCOPE = ("text.txt", "crlf.txt", "open.txt", "empty.txt", "sp ace.txt", "\u00fc.txt", "src/", "new*", "n/", "run.sh")

Change = dict[str, bytes | None]
CHANGES: tuple[tuple[Change, tuple[str, ...]], ...] = (
    ({"text.txt": b"".join(b"line %d\n" % n if n % 6 else b"new %d\n" % n for n in range(1, 16))}, ()),
    ({"text.txt": b"".join(b"line %d\n" % n if n % 6 else b"new %d\n" % n for n in range(1, 16))}, ("-U1",)),
    ({"text.txt": b"line 1\n", "crlf.txt": b"a\r\nB\r\nc\r\n"}, ()),
    ({"open.txt": b"one\nthree"}, ()),
    ({"open.txt": b"one\ntwo\nthree\n"}, ()),
    ({"empty.txt": b"full\n", "new.txt": b"n\nm\n"}, ()),
    ({"empty.txt": None, "new.txt": b""}, ()),
    ({"sp ace.txt": b"x\nz\n", "\u00fc.txt": b"z\ny\n"}, ()),
    ({"src/mod.py": b"A = 1\nB = 3\nC = 3\n", "src/data.json": b'{"a": 2}\n'}, ()),
    ({"text.txt": None}, ()),
    ({"text.txt": None, "new.txt": FILES["text.txt"]}, ("-M",)),
    ({"text.txt": None, "n/ew.txt": FILES["text.txt"] + b"more\n"}, ("-M",)),
    ({"new.txt": FILES["text.txt"]}, ("-C", "--find-copies-harder")),
    ({"run.sh": b"#!/bin/sh\necho x\n"}, ()),
    ({"src/bin": bytes(range(63, -1, -1))}, ()),
    ({"new.bin": b"\0\1\2" * 20}, ()),
    ({"out.txt": b"x\nz\n"}, ()),
)

PATHS = (
    *(
        b"text.txt",
        b"crlf.txt",
        b"open.txt",
        b"out.txt",
        b"new.txt",
        b"newer.txt",
        b"src/mod.py",
        b"n/ew.txt",
        b"run.sh",
    ),
    *(
        b"../out.txt",
        b"/etc/passwd",
        b".git/config",
        b".GIT/x",
        b"src/../out.txt",
        b"link/mod.py",
        b"link",
        b"away/passwd",
    ),
    *(
        b"sp ace.txt",
        b'"\\303\\274.txt"',
        b'"..\\057out.txt"',
        b"src",
        b"text.txt/x",
        b"TEXT.txt",
        b"new.txt\t",
        b"/dev/null",
    ),
    *(
        b"Jenkinsfile",
        b".gitattributes",
        b"empty.txt",
        b"./text.txt",
        b"src//mod.py",
        b"git~1/x",
        b"new\x00.txt",
        b"\xff",
    ),
)
LINES = (
    *(
        b"prose",
        b"",
        b" ",
        b"+",
        b"-",
        b"+new",
        b"-line 1",
        b" line 2",
        b"\\ No newline at end of file",
        b"-- ",
        b"+<<<<<<< x",
    ),
    *(b"diff --git a/text.txt b/text.txt", b"diff --git a/new.txt b/new.txt", b"diff --cc text.txt", b"--- a/text.txt"),
    *(
        b"+++ b/text.txt",
        b"--- /dev/null",
        b"+++ /dev/null",
        b"@@ -1 +1 @@",
        b"@@ -0,0 +1 @@",
        b"@@ -1 +0,0 @@",
        b"@@ -3,2 +3,2 @@",
    ),
    *(
        b"new file mode 100644",
        b"new file mode 120000",
        b"deleted file mode 100644",
        b"old mode 100644",
        b"new mode 100755",
    ),
    *(
        b"new mode 100644",
        b"index 0000000..1234567",
        b"index 1234567..89abcde 100644",
        b"similarity index 100%",
        b"rename from text.txt",
    ),
    *(
        b"rename to new.txt",
        b"copy from src/mod.py",
        b"copy to new.txt",
        b"copy from link",
        b"rename from link",
        b"GIT binary patch",
    ),
    *(
        b"literal 0",
        b"HcmV?d00001",
        b"delta 5",
        b"Binary files a/text.txt and b/text.txt differ",
        b"Index: text.txt",
        b"\r",
        b"@@",
    ),
)
_NAMES = rb"(?m)(?<=[ab]/)[^\n]+?(?= b/|$)|(?<=from )[^\n]+|(?<=e to )[^\n]+|(?<=y to )[^\n]+"
MODES = (b"100644", b"100755", b"120000", b"160000", b"100666", b"040000", b"000000")
BYTES = (b"\0", b"\n", b"\r", b" ", b"+", b"-", b"\\", b'"', b"/", b"\xff", b"@", b"0", b"9", b"\t")


class Choices:
    """Numbers out of bytes; zero when there are no more."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def below(self, limit: int) -> int:
        """One of the numbers 0 to limit - 1."""
        part = self._data[self._at : self._at + 2]
        self._at += 2
        return int.from_bytes(part, "little") % limit if limit > 0 else 0

    def of(self, values: Sequence[T]) -> T:
        """One of these."""
        return values[self.below(len(values))]


def mangled(choices: Choices, seeds: Sequence[bytes]) -> bytes:
    """One or two real diffs, with up to four things done to them; now and then nothing at all."""
    patch = choices.of(seeds)
    if choices.below(3) == 0:
        patch += choices.of(seeds)
    if choices.below(2):
        # an index line gives most of what follows away at once
        patch = _no_index(choices, patch)
    for _ in range(choices.of((1, 1, 2, 2, 3, 4, 0, 1))):
        patch = choices.of(MANGLERS)(choices, patch)
    return patch


def _line(choices: Choices, patch: bytes, change: Callable[[list[bytes], int], None]) -> bytes:
    lines = patch.split(b"\n")
    change(lines, choices.below(len(lines)))
    return b"\n".join(lines)


def _delete_line(choices: Choices, patch: bytes) -> bytes:
    return _line(choices, patch, lambda lines, at: lines.__delitem__(at))


def _double_line(choices: Choices, patch: bytes) -> bytes:
    return _line(choices, patch, lambda lines, at: lines.insert(at, lines[at]))


def _swap_lines(choices: Choices, patch: bytes) -> bytes:
    def swap(lines: list[bytes], at: int) -> None:
        other = min(at + 1 + choices.below(3), len(lines) - 1)
        lines[at], lines[other] = lines[other], lines[at]

    return _line(choices, patch, swap)


def _insert_line(choices: Choices, patch: bytes) -> bytes:
    return _line(choices, patch, lambda lines, at: lines.insert(at, choices.of(LINES)))


def _other_sign(choices: Choices, patch: bytes) -> bytes:
    def sign(lines: list[bytes], at: int) -> None:
        lines[at] = choices.of((b"+", b"-", b" ", b"\\", b"")) + lines[at][1:]

    return _line(choices, patch, sign)


def _other_text(choices: Choices, patch: bytes) -> bytes:
    """Another text in an added line: the likeliest to be good still."""
    found = list(re.finditer(rb"(?m)^\+(?!\+\+ ).*$", patch))
    if not found:
        return patch
    match = choices.of(found)
    text = b"+%s%d" % (choices.of((b"x", b"A = ", b"<<<<<<< ", b"", b"\xe9", b"x\r", b"x\0")), choices.below(5000))
    return patch[: match.start()] + text + patch[match.end() :]


def _other_number(choices: Choices, patch: bytes) -> bytes:
    found = list(re.finditer(rb"(?<=[-+, ])\d+(?=[, ].*@@|%$| @@)", patch)) or list(re.finditer(rb"\d+", patch))
    if not found:
        return patch
    match = choices.of(found)
    number = max(0, int(match.group()[:9]) + choices.of((-1, 1, -2, 2, 5, 100, 10**12)))
    return patch[: match.start()] + b"%d" % number + patch[match.end() :]


def _other_mode(choices: Choices, patch: bytes) -> bytes:
    return _replaced(choices, patch, rb"\b(?:100644|100755|120000)\b", MODES)


def _other_name(choices: Choices, patch: bytes) -> bytes:
    """Another name in one place."""
    return _replaced(choices, patch, _NAMES, PATHS)


def _other_name_everywhere(choices: Choices, patch: bytes) -> bytes:
    """Another name wherever one stands: a good patch for another file, or a well-formed bad one."""
    found = re.findall(rb"(?m)^diff --git \"?a/([^\"\n]+?)\"? ", patch)
    if not found:
        return patch
    old, new = choices.of(found), choices.of(PATHS)
    if new.startswith(b'"'):
        for side in (b"a/", b"b/"):
            patch = patch.replace(side + old, b'"' + side + new[1:])
    return patch.replace(old, new)


def _other_ids(choices: Choices, patch: bytes) -> bytes:
    return _replaced(choices, patch, rb"\b[0-9a-f]{40}\b", (b"0" * 40, b"1" * 40, b"1234567", b"0000000"))


def _no_index(choices: Choices, patch: bytes) -> bytes:
    del choices
    return patch if b"GIT binary" in patch else re.sub(rb"(?m)^index .*\n", b"", patch)


def _other_byte(choices: Choices, patch: bytes) -> bytes:
    at = choices.below(len(patch) + 1)
    return patch[:at] + choices.of(BYTES) + patch[at + choices.below(2) :]


def _no_bytes(choices: Choices, patch: bytes) -> bytes:
    at = choices.below(len(patch) + 1)
    return patch[:at] + patch[at + 1 + choices.below(8) :]


def _moved_hunk(choices: Choices, patch: bytes) -> bytes:
    """A hunk with both of its places moved alike."""
    found = list(re.finditer(rb"@@ -(\d+)((?:,\d+)?) \+(\d+)", patch))
    if not found:
        return patch
    match, by = choices.of(found), choices.of((-1, 1, 2, 5))
    old, new = (max(0, int(match[group][:9]) + by) for group in (1, 3))
    return patch[: match.start()] + b"@@ -%d%b +%d" % (old, match[2], new) + patch[match.end() :]


def _no_hunk(choices: Choices, patch: bytes) -> bytes:
    found = list(re.finditer(rb"(?m)^@@ .*\n(?:[-+ \\].*\n)*", patch))
    if not found:
        return patch
    match = choices.of(found)
    return patch[: match.start()] + patch[match.end() :]


def _replaced(choices: Choices, patch: bytes, pattern: bytes, values: Sequence[bytes]) -> bytes:
    found = list(re.finditer(pattern, patch))
    if not found:
        return patch
    match = choices.of(found)
    return patch[: match.start()] + choices.of(values) + patch[match.end() :]


MANGLERS: tuple[Callable[[Choices, bytes], bytes], ...] = (
    *(_delete_line, _double_line, _swap_lines, _insert_line, _insert_line, _other_sign, _other_number, _other_number),
    *(_other_text, _other_text, _other_text, _other_text, _other_mode, _other_name, _other_name, _other_ids, _no_index),
    *(_other_name_everywhere, _other_name_everywhere, _other_byte, _other_byte, _no_bytes, _moved_hunk, _no_hunk),
)
