"""The clones of saved workspaces: one a workspace, below `$ACMS_HOME`, kept with the branches of its runs."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock, Timeout

from prefect_acms.blocks.workspace import Workspace
from prefect_acms.canonical.errors import RepositoryBusy
from prefect_acms.dao.home import acms_home, require_home


def checked_out(workspace: Workspace, name: str) -> Path:
    """The folder of the workspace: a local path as it is, a URL as its clone, which is as the remote is now.

    Raises what Workspace.checkout raises, and RepositoryBusy when somebody else clones it for too long.
    """
    if not workspace.is_remote:
        return workspace.checkout(Path())
    require_home()
    folder = acms_home() / "checkouts" / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder.with_name(f"{name}.lock"), timeout=workspace.timeout_sec):
            return workspace.checkout(folder)
    except Timeout as held:
        raise RepositoryBusy(
            path=folder, owner=f"another process, which has cloned it for {workspace.timeout_sec:g} s"
        ) from held
