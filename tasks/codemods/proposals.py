"""Proposals of codemods as they are kept: what is proposed, what speaks for it, and who has decided what."""

from __future__ import annotations

import re
from enum import StrEnum
from hashlib import sha256

from pydantic import BaseModel, ConfigDict, Field

from prefect_acms.canonical.errors import UnknownName
from prefect_acms.tasks.codemods.cases import Rule
from prefect_acms.tasks.codemods.codemod import Codemod
from prefect_acms.tasks.codemods.files import PREFIX, proposal_file, proposals_folder
from prefect_acms.tasks.documents import parse_document, read_bytes, write_document

_LONGEST_NAME = 64


class Status(StrEnum):
    """What has become of a proposal."""

    PROPOSED = "proposed"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    REVOKED = "revoked"


class Decision(BaseModel):
    """What an operator has decided about a proposal."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    status: Status = Field(description="what it is since then")
    operator: str = Field(min_length=1, description="who has decided")
    reason: str = Field(min_length=1, description="why")
    at: str = Field(description="when")


class Evidence(BaseModel):
    """A case that the codemod reproduces byte for byte: one file of one accepted patch."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    patch_id: str = Field(description="the patch")
    entry_id: str = Field(description="its entry in the patch ledger")
    run_id: str = Field(description="its run")
    tool_id: str = Field(description="the AI tool that has made it")
    repository: str = Field(description="the repository")
    base_commit: str = Field(description="the commit that holds the file as it was")
    commit: str = Field(description="the commit of the patch")
    path: str = Field(description="the file")
    diff: str = Field(description="what the codemod does to it: of the patch, what was done for the rule")
    sha256: str = Field(description="hash of the file as the codemod must leave it")


class LeftOut(BaseModel):
    """A patch for the same rule that the codemod does not reproduce, or from which nothing could be learned."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    patch_id: str = Field(description="the patch")
    reason: str = Field(description="why")


class Proposal(BaseModel):
    """A codemod with what speaks for it, and what was decided."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=rf"^{PREFIX}[a-z0-9-]+$", max_length=_LONGEST_NAME, description="name of its tool")
    source: str = Field(description="gap source whose gaps it fixes")
    rule_id: str = Field(description="rule whose gaps it fixes")
    category: str = Field(description="category of those gaps")
    codemod: Codemod = Field(description="what it does")
    rules: str = Field(description="its rules as a YAML file of ast-grep, for people")
    cases: tuple[Evidence, ...] = Field(description="what it reproduces")
    left_out: tuple[LeftOut, ...] = Field(default=(), description="what it does not")
    proposed_at: str = Field(description="when it was proposed")
    status: Status = Field(default=Status.PROPOSED, description="what has become of it")
    decisions: tuple[Decision, ...] = Field(default=(), description="who has decided what, oldest first")

    @property
    def rule(self) -> Rule:
        """The rule that it is about."""
        return Rule(self.source, self.rule_id)

    @property
    def patches(self) -> tuple[str, ...]:
        """The patches that it reproduces."""
        return tuple(dict.fromkeys(case.patch_id for case in self.cases))


def name_of(rule: Rule) -> str:
    """The name of the codemod of a rule; rules whose names are alike once they are plain get different ones."""
    plain = re.sub(r"[^a-z0-9]+", "-", f"{rule.source}-{rule.rule_id}".lower()).strip("-")
    name = f"{PREFIX}{plain}"
    if len(name) <= _LONGEST_NAME and f"{rule.source}-{rule.rule_id}".lower() == plain:
        return name
    digest = sha256(f"{rule.source}\0{rule.rule_id}".encode()).hexdigest()[:8]
    return f"{name[: _LONGEST_NAME - 9].rstrip('-')}-{digest}"


def proposals() -> list[Proposal]:
    """Every proposal, whatever became of it, by name."""
    files = sorted(proposals_folder().glob("*.json"))
    return [parse_document(Proposal, read_bytes(path), str(path)) for path in files]


def find_proposal(name: str) -> Proposal | None:
    """The proposal of that name, if there is one."""
    path = proposal_file(name)
    return parse_document(Proposal, read_bytes(path), str(path)) if path.is_file() else None


def get_proposal(text: str) -> Proposal:
    """The proposal of that name, with or without `codemod-`, or for that rule; raises UnknownName."""
    known = proposals()
    for one in known:
        if text in {one.name, one.name.removeprefix(PREFIX), str(one.rule), one.rule_id}:
            return one
    raise UnknownName(kind="codemod", name=text, known=[one.name for one in known])


def keep(proposal: Proposal) -> None:
    """Write a proposal down, in place of what was known of it."""
    write_document(proposal, proposal_file(proposal.name))
