"""Edits that a model proposes: checked against the files as they are, and made all together or not at all."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NoReturn

from pydantic import BaseModel, Field

from prefect_acms.dao.redaction import HIDDEN
from prefect_acms.tasks.ai.context import NOT_PARSED
from prefect_acms.tasks.ai.disclosure import Disclosure, secret_lines
from prefect_acms.tasks.guardrails import escape, outside_scope

LARGEST_RESULT = 1 << 20
"""Bytes that a file may have after the edits."""

_SHOWN_LINES = 3

_LONGEST_PATH, _LONGEST_NAME = 1024, 255
"""Bytes of a path, and of each name in it."""

_STAND_IN = "\0"
"""Begins what stands for a hidden line while its file is edited: no text that may be shown has it, and no edit may."""


class Edit(BaseModel):
    """One change of one file."""

    path: str = Field(description="path of the file, relative to the repository's top, as it was shown")
    search: str = Field(
        description="text to be replaced: whole lines, copied exactly as they were shown, enough of them to stand only "
        "once in the file; empty only for a new file"
    )
    replace: str = Field(description="text that takes its place; for a new file, all of its content")


class Edits(BaseModel):
    """Every change that is needed, and what was done, in a sentence."""

    summary: str = Field(description="what was changed and why, in one or two sentences")
    edits: list[Edit] = Field(
        min_length=1, max_length=200, description="the changes, in the order in which to make them"
    )


class Declined(BaseModel):
    """That nothing should be changed, and why."""

    reason: str = Field(description="why the findings can't or should not be fixed by an edit of these files")


@dataclass(frozen=True)
class EditsUnfit(Exception):
    """Edits that can't be made; each problem is a sentence for whoever proposed them."""

    problems: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(f"- {problem}" for problem in self.problems)


def planned_edits(edits: Sequence[Edit], disclosure: Disclosure, scope: Sequence[str]) -> dict[str, bytes]:
    """The content that each file would have; raises EditsUnfit with everything that is wrong, and nothing was done."""
    problems: list[str] = []
    texts: dict[str, _Text] = {}
    for number, edit in enumerate(edits, 1):
        try:
            _make(edit, texts, disclosure, scope)
        except EditsUnfit as unfit:
            problems += [f"edit {number} ({edit.path}): {problem}" for problem in unfit.problems]
    changed = {path: text for path, text in texts.items() if text.content != text.before}
    problems += [f"{path}: {problem}" for path, text in sorted(changed.items()) for problem in _faults(text)]
    if not problems and not changed:
        problems.append("the edits change nothing: each replaces a text by itself")
    if problems:
        raise EditsUnfit(tuple(problems))
    return {path: text.content for path, text in sorted(changed.items())}


def make_edits(root: Path, contents: Mapping[str, bytes]) -> None:
    """Write what was planned; a file keeps its mode."""
    for path, content in contents.items():
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)


@dataclass
class _Text:
    """A file's text while it is edited, with line feeds only; `before` is what is on disk, None for a new file.

    What the model was not shown isn't in `text` either, so that no edit can change it, or find out by an answer what
    it is: for each such line there is a stand-in, and the line itself in `hidden`.
    """

    path: str
    text: str
    before: bytes | None
    ending: str = "\n"
    hidden: Mapping[str, str] = field(default_factory=dict)

    @property
    def whole(self) -> str:
        """The text with the hidden lines, as it will stand in the file."""
        return "\n".join(self.hidden.get(line, line) for line in self.text.split("\n"))

    @property
    def content(self) -> bytes:
        return self.whole.replace("\n", self.ending).encode("utf-8")

    @property
    def keeps_hidden_lines(self) -> bool:
        """Whether each stand-in is a line of its own still; one that was joined to another would be changed."""
        return [line for line in self.text.split("\n") if _STAND_IN in line] == list(self.hidden)


def _make(edit: Edit, texts: dict[str, _Text], disclosure: Disclosure, scope: Sequence[str]) -> None:
    _check_place(edit, disclosure, scope)
    if HIDDEN in edit.search or HIDDEN in edit.replace:
        _refuse(f"lines that are shown as {HIDDEN} can't be changed, and can't be written")
    if _STAND_IN in edit.search or _STAND_IN in edit.replace:
        _refuse("a text has no NUL characters")
    search, replace = (text.replace("\r\n", "\n") for text in (edit.search, edit.replace))
    known = texts.get(edit.path)
    if not search:
        if known is not None or (disclosure.root / edit.path).exists():
            _refuse("the file exists already: say in `search` which lines of it to replace")
        _check_folders(edit.path, texts, disclosure.root)
        texts[edit.path] = _Text(edit.path, replace, None)
        return
    text = known or _read(edit.path, disclosure)
    text.text = _replaced(text.text, search, replace)
    texts[edit.path] = text


def _check_place(edit: Edit, disclosure: Disclosure, scope: Sequence[str]) -> None:
    if problem := escape(edit.path):
        _refuse(f"the path {problem}")
    name = edit.path.encode()
    if len(name) > _LONGEST_PATH or any(len(part) > _LONGEST_NAME for part in name.split(b"/")):
        _refuse("the path is too long")
    if outside_scope([edit.path], scope):
        _refuse(f"the file is outside of what may be changed: {', '.join(scope)}")
    top = disclosure.root.resolve()
    place = disclosure.root / edit.path
    if place.is_symlink() or not place.resolve().is_relative_to(top):
        _refuse("the path leads through a symbolic link")


def _check_folders(path: str, texts: Iterable[str], root: Path) -> None:
    """Refuse a new file that would lie below a file, or where a folder of another new one is."""
    above = [str(folder) for folder in PurePosixPath(path).parents][:-1]
    if file := next((one for one in above if one in texts or (root / one).is_file()), None):
        _refuse(f"{file} is a file, so that nothing can lie below it")
    if any(other.startswith(f"{path}/") for other in texts):
        _refuse("there is a folder of that name")


def _read(path: str, disclosure: Disclosure) -> _Text:
    shown = disclosure.shown(path)
    if shown is None:
        exists = path in disclosure.files or not (disclosure.root / path).exists()
        _refuse("there is no such file that could be edited" if exists else "this file is not open to be changed")
    before = (disclosure.root / path).read_bytes()
    text = before.decode("utf-8")
    ends = text.count("\n")
    ending = "\r\n" if ends and text.count("\r\n") == ends else "\n"
    lines = (text.replace("\r\n", "\n") if ending == "\r\n" else text).split("\n")
    hidden = {f"{_STAND_IN}{number}": lines[number - 1] for number in sorted(shown.hidden)}
    for stand_in in hidden:
        lines[int(stand_in[1:]) - 1] = stand_in
    return _Text(path, "\n".join(lines), before, ending, hidden)


def _replaced(text: str, search: str, replace: str) -> str:
    """The text with the one place replaced; blanks at the ends of lines are not asked for, if it is not found else."""
    found = text.count(search)
    if found > 1:
        _refuse(f"`search` stands {found} times in the file: copy more lines around it, so that it stands there once")
    if found == 1:
        return text.replace(search, replace, 1)
    lines, wanted = text.split("\n"), [line.rstrip() for line in search.strip("\n").split("\n")]
    places = [at for at in range(len(lines) - len(wanted) + 1) if _same(lines[at : at + len(wanted)], wanted)]
    if len(places) != 1:
        _refuse(
            "`search` is not in the file: copy the lines exactly as they were shown, with their indentation"
            if not places
            else f"`search` stands {len(places)} times in the file: copy more lines around it"
        )
    at = places[0]
    return "\n".join([*lines[:at], *replace.strip("\n").split("\n"), *lines[at + len(wanted) :]])


def _same(lines: Sequence[str], wanted: Sequence[str]) -> bool:
    return all(line.rstrip() == other for line, other in zip(lines, wanted, strict=True))


def _faults(text: _Text) -> Iterator[str]:
    """What is wrong with a file as it would be."""
    if len(text.content) > LARGEST_RESULT:
        yield "the file would be too large"
        return
    if not text.keeps_hidden_lines:
        yield f"a line that is shown as {HIDDEN} can't be joined to another"
        return
    before = "" if text.before is None else text.before.decode("utf-8")
    if len(secret_lines(text.whole)) > len(secret_lines(before)):
        yield "the edit would bring in something that looks like a secret"
    if text.path.endswith((".py", ".pyi")) and _parses(before) and (problem := _syntax_problem(text)):
        yield f"the file would be no Python any more: {problem}"


def _parses(text: str) -> bool:
    try:
        ast.parse(text)
    except NOT_PARSED:
        return False
    return True


def _syntax_problem(text: _Text) -> str | None:
    """What Python says of the text, with the lines at which it says so; nothing that it says of a hidden one."""
    try:
        ast.parse(text.whole)
    except SyntaxError as error:
        lines = [HIDDEN if line in text.hidden else line for line in text.text.split("\n")]
        at = error.lineno or 1
        shown = lines[max(0, at - _SHOWN_LINES) : at]
        said = "it can't be read" if HIDDEN in shown[-1:] else error.msg
        return "\n".join([f"line {at}: {said}:", *shown])
    except (RecursionError, MemoryError):
        return "it is nested too deeply"
    except ValueError as error:
        return str(error)
    return None


def _refuse(problem: str) -> NoReturn:
    raise EditsUnfit((problem,))
