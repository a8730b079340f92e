"""Where in the repository a SARIF log means: URIs, their bases and the machine that the tool ran on, taken together."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from posixpath import normpath
from typing import Any
from urllib.parse import unquote

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+):")
_DRIVE = re.compile(r"^/*([A-Za-z]:)")

_Object = Mapping[str, Any]


class Tree:
    """The files of a work tree, as far as they are asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._roots = tuple(dict.fromkeys(str(top).rstrip("/") for top in (root, root.resolve())))

    def holds(self, path: str) -> bool:
        """Whether the path is a file of the tree, and no link out of it."""
        place = self.root / path
        try:
            return place.is_file() and place.resolve().is_relative_to(self.root.resolve())
        except OSError:  # a name that no file system takes
            return False

    def below(self, absolute: str) -> str | None:
        """The path from the top of the tree, if it is in it."""
        return next((absolute[len(top) + 1 :] for top in self._roots if absolute.startswith(f"{top}/")), None)

    def only(self, ending: str) -> str | None:
        """The one file whose path ends with this one: a tool that ran in a folder counts from there."""
        found = [path for path in self._names.get(ending.rsplit("/", 1)[-1], ()) if path.endswith(f"/{ending}")]
        return found[0] if len(found) == 1 else None

    @cached_property
    def _names(self) -> Mapping[str, list[str]]:
        names: dict[str, list[str]] = {}
        for folder, folders, files in os.walk(self.root):
            folders[:] = [name for name in folders if name not in {".git", "node_modules", ".venv"}]
            for name in files:
                names.setdefault(name, []).append((Path(folder) / name).relative_to(self.root).as_posix())
        return names


class Places:
    """The artifact locations of one run, resolved to paths of a tree."""

    def __init__(self, run: _Object, tree: Tree) -> None:
        self._tree = tree
        self._bases: _Object = run.get("originalUriBaseIds") or {}
        self._artifacts = run.get("artifacts") or ()
        self._run = run
        self._known: dict[tuple[str, str], str | None] = {}

    def uri_of(self, location: _Object | None) -> str:
        """The URI of an artifact location as it was written, that of the cached artifact where it only has an index."""
        return str(self._located(location).get("uri") or "")

    def path_of(self, location: _Object | None) -> str | None:
        """The path from the top of the tree; None for what is not in it, or is no file at all."""
        found = self._located(location)
        asked = str(found.get("uri") or ""), str(found.get("uriBaseId") or "")
        if asked not in self._known:
            self._known[asked] = self._path(*asked)
        return self._known[asked]

    def _located(self, location: _Object | None) -> _Object:
        location = location or {}
        index = location.get("index", -1)
        if not location.get("uri") and 0 <= index < len(self._artifacts):
            return self._artifacts[index].get("location") or {}
        return location

    def _path(self, uri: str, base: str) -> str | None:
        if not uri:
            return None
        full = self._joined(uri, base)
        if full is None:
            return None
        candidates = [path for path in self._candidates(full) if _stays_inside(path)]
        real = next((path for path in candidates if self._tree.holds(path)), None)
        if real or not candidates:
            return real
        return self._tree.only(candidates[0]) or candidates[0]

    def _joined(self, uri: str, base: str) -> str | None:
        """The file path that a URI and its base make, absolute or not; None for a URI that is no file's."""
        seen = set()
        path = _file_path(uri)
        while path is not None and not path.startswith("/") and base in self._bases and base not in seen:
            seen.add(base)
            above = self._bases[base]
            start, base = _file_path(str(above.get("uri") or "")), str(above.get("uriBaseId") or "")
            path = None if start is None else f"{start.rstrip('/')}/{path}" if start else path
        return None if path is None else normpath(path)

    def _candidates(self, path: str) -> Iterator[str]:
        """The paths from the top of the tree that an absolute path may mean; a relative one is such a path."""
        if not path.startswith("/"):
            yield path
            return
        if (below := self._tree.below(path)) is not None:
            yield below
            return
        for top in (*self._tops, *self._likely_top):
            if path.startswith(f"{top}/"):
                yield path[len(top) + 1 :]

    @cached_property
    def _tops(self) -> tuple[str, ...]:
        """Where on the tool's machine the tree may have been: what it says itself, and the bases, outermost first."""
        mapped = [entry.get("mappedTo") for entry in self._run.get("versionControlProvenance") or ()]
        bases = [{"uriBaseId": name} for name in self._bases]
        folders = [entry.get("workingDirectory") for entry in self._run.get("invocations") or ()]
        tops = [self._top(location) for location in (*mapped, *bases, *folders) if location]
        absolute = {top.rstrip("/") for top in tops if top and top.startswith("/")}
        return tuple(sorted(absolute, key=lambda top: (len(top), top)))

    @cached_property
    def _likely_top(self) -> tuple[str, ...]:
        """Where the tree may have been by the names of the files alone: below which folder the most of them are found.

        Many tools write down nothing but the absolute paths of the machine that they ran on.
        """
        votes: Counter[str] = Counter()
        for path in {path for location in _artifact_locations(self._run) if (path := self._absolute(location))}:
            parts = path.split("/")
            # from the longest ending that is a file of the tree on
            found = next((cut for cut in range(1, len(parts)) if self._tree.holds("/".join(parts[cut:]))), None)
            if found is not None:
                votes["/".join(parts[:found])] += 1
        return (min(votes, key=lambda top: (-votes[top], len(top), top)),) if votes else ()

    def _absolute(self, location: _Object) -> str | None:
        path = self._joined(str(location.get("uri") or "."), str(location.get("uriBaseId") or ""))
        return path if path and path.startswith("/") and _stays_inside(path[1:]) else None

    def _top(self, location: _Object) -> str | None:
        return self._joined(str(location.get("uri") or "."), str(location.get("uriBaseId") or ""))


def _artifact_locations(run: _Object) -> Iterator[_Object]:
    yield from (one["location"] for one in run.get("artifacts") or () if "location" in one)
    for result in run.get("results") or ():
        for location in result.get("locations") or ():
            yield (location.get("physicalLocation") or {}).get("artifactLocation") or {}


def _file_path(uri: str) -> str | None:
    """The path in a URI, unescaped; None where its scheme says that it is no file."""
    uri = uri.replace("\\", "/")
    if found := _SCHEME.match(uri):
        if found[1].lower() != "file":
            return None
        uri = uri[len(found[0]) :]
        uri = re.sub(r"^//[^/]*", "", uri) or "/"
    path = unquote(uri)
    # a drive letter is the first folder of an absolute path: C:/a is /C:/a
    return _DRIVE.sub(r"/\1", path)


def _stays_inside(path: str) -> bool:
    parts = path.split("/")
    return path not in {"", "."} and ".." not in parts and ".git" not in map(str.lower, parts) and path.isprintable()
