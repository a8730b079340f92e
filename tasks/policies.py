"""Policies as documents: a policy file, and what a repository says of itself in the commit that a run starts from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, Field

from prefect_acms.blocks.guardrails import GuardrailSettings, Tightening
from prefect_acms.canonical.errors import InvalidDocument
from prefect_acms.tasks.documents import parse_document, read_toml, toml_of
from prefect_acms.tasks.repository import Repository

OWN_FILE = "acms.toml"
PROJECT_FILE = "pyproject.toml"
PROJECT_TABLE = "tool.acms"

VERSION = 1

POLICY_FILES = (OWN_FILE, PROJECT_FILE)
"""Where a repository can keep its policy: at its top, in the one or the other."""


def _known_version(version: int) -> int:
    # no Literal: to that, true is 1
    if version != VERSION:
        message = f"expected {VERSION}, the only version there is"
        raise ValueError(message)
    return version


class Policy(GuardrailSettings):
    """A policy file, and the table `[tool.acms]` of a repository: what is not said in it is left to the run."""

    version: Annotated[int, AfterValidator(_known_version), Tightening.OURS] = Field(
        default=VERSION, description="version of this format", json_schema_extra={"const": VERSION}
    )


class RepositoryPolicy(NamedTuple):
    """What a repository says of itself, and in which of its files."""

    file: str
    policy: Policy


def read_policy(path: Path) -> Policy:
    """The policy of a TOML file; raises InvalidDocument with the place and the problem."""
    return _policy(read_toml(path), str(path))


def repository_policy(repository: Repository, revision: str) -> RepositoryPolicy | None:
    """What the repository says of itself in that commit or tree, never in its working tree; None where it says nothing.

    Raises InvalidDocument when it can't be read, or when both files say something: then nobody knows what is meant.
    """
    stated = {file: said for file in POLICY_FILES if (said := _stated(repository, revision, file)) is not None}
    if len(stated) > 1:
        problem = f"{PROJECT_FILE} has a table [{PROJECT_TABLE}] too: keep one of them"
        raise InvalidDocument(path=OWN_FILE, where="file", problem=problem)
    return next((RepositoryPolicy(file, _policy(said, file)) for file, said in stated.items()), None)


def policy_record(stated: RepositoryPolicy | None) -> dict[str, Any] | None:
    """What a run keeps of the repository's policy: the file, and what is said in it."""
    if stated is None:
        return None
    return {"file": stated.file, "policy": stated.policy.model_dump(mode="json", exclude_unset=True)}


def recorded_policy(record: dict[str, Any] | None) -> RepositoryPolicy | None:
    """The repository's policy as a run has kept it."""
    return RepositoryPolicy(record["file"], _policy(record["policy"], record["file"])) if record else None


def policy_changes(repository: Repository, before: str, after: str) -> tuple[str, ...]:
    """The files in which two commits or trees say different things of the repository's policy.

    A file that can't be read after the change says something else than one that could be before it.
    """
    return tuple(file for file in POLICY_FILES if _said(repository, before, file) != _said(repository, after, file))


def _said(repository: Repository, revision: str, file: str) -> str | None:
    try:
        stated = _stated(repository, revision, file)
    except InvalidDocument as error:
        return str(error)
    return None if stated is None else json.dumps(stated, sort_keys=True, default=str)


def _stated(repository: Repository, revision: str, file: str) -> Any:
    """What a file says of the policy, unchecked."""
    mode = repository.mode(revision, file)
    if mode is None:
        return None
    if mode not in {"100644", "100755"}:
        raise InvalidDocument(path=file, where="file", problem="a policy can't be read from it, it is no plain file")
    content = toml_of(repository.content(revision, file) or b"", file)
    if file == OWN_FILE:
        return content
    tools = content.get("tool", {})
    return tools.get("acms") if isinstance(tools, dict) else None


def _policy(stated: Any, path: str) -> Policy:
    return parse_document(Policy, json.dumps(stated, default=str).encode(), path)
