"""Where codemods lie: `$ACMS_HOME/codemods` holds the accepted ones as tool files, and a record of each proposal."""

from __future__ import annotations

from pathlib import Path

from prefect_acms.dao.home import acms_home

PREFIX = "codemod-"
"""How the tools and patterns of codemods begin."""


def codemods_folder() -> Path:
    """The folder of the codemods; it comes into being with the first proposal."""
    return acms_home() / "codemods"


def accepted_files() -> tuple[Path, ...]:
    """The tool files of the codemods that an operator has accepted, by name."""
    return tuple(sorted(codemods_folder().glob("*.toml")))


def accepted_file(name: str) -> Path:
    """Where the tool file of a codemod lies once it is accepted."""
    return codemods_folder() / f"{name}.toml"


def proposals_folder() -> Path:
    """The folder of the records of proposals."""
    return codemods_folder() / "proposals"


def proposal_file(name: str) -> Path:
    """Where the record of a proposal lies."""
    return proposals_folder() / f"{name}.json"
