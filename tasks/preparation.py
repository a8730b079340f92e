"""Before anything is changed: the base commit in a worktree, its environment, and what the gates say of it."""

from __future__ import annotations

from dataclasses import replace

from prefect_acms.blocks.config import EnvironmentSettings
from prefect_acms.canonical.test_gate import GateType
from prefect_acms.tasks.baseline import Baseline
from prefect_acms.tasks.driving import Drive
from prefect_acms.tasks.environment import Environment, environment_for, own_python, run_setup
from prefect_acms.tasks.gate_finding import find_gates
from prefect_acms.tasks.gate_rows import judged_base
from prefect_acms.tasks.isolation import isolation_of
from prefect_acms.tasks.survivors import RUN_MARK, run_mark
from prefect_acms.tasks.worktrees import Worktree, adopt_worktree, open_worktree

BASE = "base"
"""Key of the worktree that holds the base commit."""


def prepared_worktree(drive: Drive, key: str, commit: str) -> tuple[Worktree, Environment]:
    """A worktree at that commit with its environment; the setup commands have run in it, once.

    Raises RunEnding once the run is being ended, and ToolFailed when the setup fails: then there is no worktree.
    """
    drive.require_going()
    path = drive.worktree(key)
    settings = drive.config.environment
    environment = environment_for(path, drive.repository.top, settings)
    environment = environment.with_variables(**{RUN_MARK: run_mark(drive.run_id, drive.epoch)})
    if path.exists():
        worktree = adopt_worktree(drive.repository, path)
        return worktree, isolated(environment, worktree, settings)
    worktree = open_worktree(drive.repository, path, commit)
    environment = isolated(environment, worktree, settings)
    try:
        with drive.watching():
            run_setup(path, environment, settings)
    except BaseException:
        worktree.remove()
        raise
    worktree.keep_leavings()
    return worktree, environment


def isolated(environment: Environment, worktree: Worktree, settings: EnvironmentSettings) -> Environment:
    """The environment with the view of this worktree, where isolation is in force.

    Of the repository it shows what git needs in the worktree, without the configuration, which may hold credentials.
    """
    repository = worktree.repository
    isolation = isolation_of(
        worktree.path,
        settings,
        repository=repository.top,
        git_folder=repository.common_dir,
        interpreters=(environment.interpreter, own_python()),
        search_path=environment.variables["PATH"],
        stand_ins=((worktree.bare_configuration(), repository.common_dir / "config"),),
    )
    return replace(environment, isolation=isolation)


def has_tests(drive: Drive) -> bool:
    """Whether the base commit has tests that the UNIT gate would run."""
    worktree, environment = prepared_worktree(drive, BASE, drive.base_commit)
    return any(gate.gate_type is GateType.UNIT for gate in find_gates(worktree.path, drive.config.gates, environment))


def baseline_of(drive: Drive) -> Baseline:
    """What the gates say of the base commit; they are run once a run."""
    if drive.baseline is None:
        drive.baseline = baseline_at(drive, BASE, drive.base_commit)
    return drive.baseline


def baseline_at(drive: Drive, key: str, commit: str) -> Baseline:
    """What the gates of that commit say of it, in the worktree of that key."""
    worktree, environment = prepared_worktree(drive, key, commit)
    gates = find_gates(worktree.path, drive.config.gates, environment)
    results = {}
    for gate in gates:
        results[gate.gate_type] = judged_base(drive, gate, worktree, environment)
        worktree.reset()
    baseline = Baseline(gates, results)
    baseline.remember(drive.repository.tree_of(commit), ())
    return baseline
