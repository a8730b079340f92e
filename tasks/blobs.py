"""Contents of many files of a tree at once, in the bytes that git stores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prefect_acms.tasks.git import names_of, run_git
from prefect_acms.tasks.repository import Repository


def contents_of(repository: Repository, revision: str, paths: Iterable[str]) -> dict[str, bytes]:
    """The contents of those of the files that are in a commit or tree, a link's its target; two processes in all."""
    wanted = set(paths)
    listed = names_of(run_git(["ls-tree", "-r", "-z", "--full-tree", revision], cwd=repository.top).stdout)
    entries = ((fields.split(), name) for fields, _, name in (entry.partition("\t") for entry in listed))
    return read_blobs(
        repository, {name: blob for (_, kind, blob), name in entries if name in wanted and kind == "blob"}
    )


def read_blobs(repository: Repository, blobs: Mapping[str, str]) -> dict[str, bytes]:
    """The contents of blobs, by the names that are given to them; one process in all."""
    if not blobs:
        return {}
    asked = "".join(f"{blob}\n" for blob in blobs.values()).encode()
    answer = run_git(["cat-file", "--batch"], cwd=repository.top, input=asked).stdout
    found, place = {}, 0
    for name in blobs:
        start = answer.index(b"\n", place) + 1
        size = int(answer[place:start].split()[2])
        found[name] = answer[start : start + size]
        place = start + size + 1
    return found
