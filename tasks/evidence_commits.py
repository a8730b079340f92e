"""Commits as evidence has them: read from a repository, and held against one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from prefect_acms.tasks.evidence_checks import PREDICATE
from prefect_acms.tasks.evidence_file import Damage
from prefect_acms.tasks.evidence_model import Patch, Statement
from prefect_acms.tasks.git import run_git, text_of
from prefect_acms.tasks.repository import Repository


def commit_object(repository: Repository, commit: str) -> bytes | None:
    """The commit as git hashes it, or None where there is no such commit."""
    if repository.find(commit) is None:
        return None
    return run_git(["cat-file", "commit", commit], cwd=repository.top).stdout


def problems_in(repository: Repository, statement: Statement) -> Iterator[Damage]:
    """Everything that the repository says otherwise: a commit that is missing, a diff that is not its commit's."""
    for place, patch in enumerate(statement.predicate.patches):
        if patch.commit is not None:
            yield from _in_commit(repository, patch, patch.commit.id, f"{PREDICATE}/patches/{place}")


def _in_commit(repository: Repository, patch: Patch, commit: str, where: str) -> Iterator[Damage]:
    found = commit_object(repository, commit)
    if found is None:
        yield Damage("the repository has no such commit", f"{where}/commit/id", found=commit)
        return
    if patch.commit is not None and patch.commit.content() not in {None, found}:
        yield Damage("the repository has another commit of that id", f"{where}/commit/object")
    content = patch.content()
    if content is None:
        return
    tree = repository.tree_of(commit)
    made = applied(repository, f"{commit}^", content)
    if made != tree:
        problem = "the diff, applied to the parent of its commit, does not give the tree of the commit"
        yield Damage(problem, f"{where}/diff", expected=tree, found=made or "no tree: it does not apply")


def applied(repository: Repository, base: str, diff: bytes) -> str | None:
    """The tree that a diff makes of a commit's, or None if it does not apply; the repository stays as it is."""
    with TemporaryDirectory(prefix="acms-evidence-") as folder:
        objects = Path(folder) / "objects"
        objects.mkdir()
        variables = {
            "GIT_DIR": str(repository.common_dir),
            "GIT_INDEX_FILE": str(Path(folder) / "index"),
            "GIT_OBJECT_DIRECTORY": str(objects),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(repository.common_dir / "objects"),
        }
        run_git(["read-tree", base], cwd=repository.common_dir, variables=variables)
        apply = ["apply", "--cached", "--whitespace=nowarn", "-p1", "-"]
        done = run_git(apply, cwd=repository.common_dir, variables=variables, input=diff, accept=(0, 1, 128))
        if done.returncode != 0:
            return None
        return text_of(run_git(["write-tree"], cwd=repository.common_dir, variables=variables))
