"""How branches are watched that runs were merged into."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from prefect_acms.blocks.section import Section


class WatchAction(StrEnum):
    """What follows when a merged run turns out to have broken something."""

    PROPOSE = "propose"
    ROLLBACK = "rollback"


class WatchSettings(Section):
    """Which merges are looked at, by what, and what follows."""

    branch: str | None = Field(
        default=None, description="branch that is watched; none: the one that the run started from"
    )
    window_sec: float = Field(default=7 * 86400.0, gt=0, description="seconds after a merge for which it is watched")
    test: tuple[str, ...] | None = Field(
        default=None,
        description="command as arguments that has to pass there; none: the gates judge",
    )
    timeout_sec: float = Field(default=900.0, gt=0, description="seconds the command may take")
    action: WatchAction = Field(
        default=WatchAction.PROPOSE,
        description="what follows when a patch broke something: propose its rollback, or make the rollback's branch",
    )
