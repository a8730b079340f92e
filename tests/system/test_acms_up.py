"""What `acms up` starts, from the form to the branch in a real browser; screenshots of the steps are kept."""

from __future__ import annotations

from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING
from uuid import UUID

import httpx
import pytest
from faults import APP, until
from repositories import git
from system import System, started

from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.store import open_store

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun
    from prefect_ui import PrefectUi

GOOD = '"""A module in which nothing is found."""\n'
LONG_SEC = 180.0


def _repository(folder: Path, **files: str) -> Path:
    """A repository with a finding and a test, or with these files."""
    folder.mkdir()
    found = files or {"app.py": APP, "test_app.py": "import app\n\n\ndef test_it():\n    assert app.go()\n"}
    for name, text in found.items():
        (folder / name).write_text(text)
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", "first")
    return folder


def _run_of(system: System, flow_run_id: UUID) -> RunRow:
    """The canonical run that a flow run stands for."""
    store = open_store(system.store_url)
    with store.begin(read_only=True) as dao:
        run = dao.runs.by_flow_run(str(flow_run_id))
    store.close()
    assert run is not None
    return run


def _flow_runs(system: System) -> list[FlowRun]:
    return system.asked(lambda client: client.read_flow_runs(limit=200))


def _until_over(system: System, flow_run_id: UUID) -> None:
    """Wait for its end, by the server's own word."""

    def is_over() -> bool:
        state = system.asked(lambda client: client.read_flow_run(flow_run_id)).state
        return state is not None and state.is_final()

    until(is_over, "the run ends", LONG_SEC)


def _improved(repository: Path, run: RunRow) -> bool:
    return "import os" not in git(repository, "show", f"acms/{run.id}:app.py")


def test_one_command_brings_all_up(system: System) -> None:
    """The UI asks the port that was asked for, and whoever starts it a second time is told in a sentence."""
    assert f"The Prefect UI:      {system.address}\n" in system.told()
    settings = httpx.get(f"{system.address}/ui-settings").json()
    assert settings["api_url"] == f"{system.address}/api"
    again = system.acms("up", "--port", system.address.rpartition(":")[2], PREFECT_API_URL="")
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    assert f"a Prefect server is there already, which PREFECT_API_URL={system.address}/api would use" in again.stderr


def test_a_repository_is_improved_from_the_form(ui: PrefectUi, system: System, tmp_path: Path) -> None:
    """Open the deployment, fill in the path and nothing else, submit, watch it to its end; the branch is in git."""
    repository = _repository(tmp_path / "shop")
    ui.open_deployment("improve")
    ui.shot("run-1-deployment")
    ui.open_form()
    ui.field("Repository (Optional)").fill(str(repository))
    ui.shot("run-2-form")
    flow_run_id = ui.open_submitted()
    ui.leave()
    _until_over(system, flow_run_id)
    run = _run_of(system, flow_run_id)
    assert run.state == "succeeded"
    assert _improved(repository, run)
    assert git(repository, "status", "--porcelain") == ""
    ui.open_run(flow_run_id)
    assert ui.until_ended() == "Completed"
    assert ui.title() == f"shop full {run.id[-8:]}"
    ui.shot("run-3-ended")
    for number, tab in enumerate(("Logs", "Task Runs", "Subflow Runs", "Artifacts"), start=4):
        ui.open_tab(tab)
        ui.shot(f"run-{number}-{tab.lower().replace(' ', '-')}")
    ui.open_artifact("acms-shop-result")
    ui.shot("run-8-result")


def test_bad_parameters_are_refused_before_a_run_exists(ui: PrefectUi, system: System) -> None:
    """By the form itself where it can, else by the server; each time with a sentence about the field."""
    before = len(_flow_runs(system))
    ui.open_deployment("improve")
    ui.open_form()
    wait = ui.field("Wait (seconds) (Optional)")
    wait.fill("-1")
    assert ui.refused(wait) == "Value must be greater than or equal to 0."
    ui.shot("refused-1-by-the-form")
    wait.fill("0")
    ui.field("Plan (Optional)").fill("plan.json")
    ui.submit("'repository' is a required property")
    ui.shot("refused-2-by-the-server")
    assert len(_flow_runs(system)) == before


def test_what_a_schema_can_t_say_is_refused_in_the_run(ui: PrefectUi, system: System, tmp_path: Path) -> None:
    """The run ends at once with our sentence, before anything is written."""
    ui.open_deployment("improve")
    ui.open_form()
    ui.field("Repository (Optional)").fill(str(tmp_path / "nowhere"))
    flow_run_id = ui.open_submitted()
    ui.leave()
    _until_over(system, flow_run_id)
    ui.open_run(flow_run_id)
    assert ui.until_ended() == "Failed"
    ui.open_tab("Details")
    ui.shot("refused-3-by-the-run")
    state = next(run.state for run in _flow_runs(system) if run.id == flow_run_id)
    assert state is not None
    assert f"{tmp_path / 'nowhere'} is not a git repository: there is no such folder" in (state.message or "")


def test_the_blocks_are_in_the_catalogue(ui: PrefectUi) -> None:
    """Each of them, with what it is for."""
    ui.go("blocks/catalog")
    for name in ("Canonical Store", "Guardrail Policy", "Resilience Policy", "Tool Profile", "Workspace"):
        ui.see(f"ACMS {name}")
    ui.shot("blocks-1-catalogue", whole=True)


def test_a_patch_that_waits_is_approved_in_the_ui(ui: PrefectUi, system: System, tmp_path: Path) -> None:
    """The run pauses; the form shows the diff; after the answer it goes on, and the patch is on the branch."""
    repository = _repository(
        tmp_path / "careful", **{"app.py": APP, "acms.toml": "[review]\nalways = true\nexpires_after_sec = 3600\n"}
    )
    ui.open_deployment("improve")
    ui.open_form()
    ui.field("Repository (Optional)").fill(str(repository))
    flow_run_id = ui.open_submitted()
    ui.leave()
    paused = until(lambda: _paused(system), "a patch waits", LONG_SEC)
    ui.open_run(paused)
    ui.shot("approve-1-paused")
    ui.answer("approve", "ada", "looked at it")
    ui.leave()
    _until_over(system, flow_run_id)
    ui.open_run(flow_run_id)
    assert ui.until_ended() == "Completed"
    ui.shot("approve-3-ended")
    run = _run_of(system, flow_run_id)
    assert _improved(repository, run)
    assert "ada" in system.acms("audit", "export", run.id).stdout


def test_a_schedule_makes_two_runs_by_itself(ui: PrefectUi, system: System, tmp_path: Path) -> None:
    """An interval that was added in the UI; nobody triggers anything after that."""
    repository = _repository(tmp_path / "nightly", **{"app.py": GOOD})
    ui.open_deployment("improve")
    ui.add_schedule(15, {"Repository (Optional)": str(repository)}, switch="Skip if busy (Optional)")
    ui.shot("schedule-2-added")
    ui.leave()
    done = until(lambda: len(found := _scheduled(system)) > 1 and found, "the schedule has made two runs", LONG_SEC)
    ui.open_deployment("improve")
    ui.shot("schedule-3-runs")
    assert {run.state_name for run in done} <= {"Completed", "Skipped"}
    assert "acms" not in git(repository, "branch", "--list")


def test_a_server_that_runs_already_is_used_and_left_running(system: System, tmp_path: Path) -> None:
    """No other one is started; pool, deployments and worker are added, and only the worker ends."""
    with started(tmp_path, "--pool", "beside", server=system.address) as beside:
        assert "Starting a Prefect server" not in beside.told()
        assert "Work pool beside made" in beside.told()
        assert f"export PREFECT_API_URL={system.address}/api\n" in beside.told()
    assert httpx.get(f"{system.address}/api/work_pools/beside").json()["type"] == "acms"


def test_the_scheduler_makes_runs(system: System) -> None:
    """The smoke test of the pins: with some versions the server does not start, or its scheduler makes no runs."""
    if which("chromium"):
        pytest.skip("the schedule that is made in the browser shows it")
    sweep = httpx.get(f"{system.address}/api/deployments/name/acms-sweep/sweep").json()
    often = [{"active": True, "schedule": {"interval": 5}}]
    httpx.post(f"{system.address}/api/deployments/{sweep['id']}/schedules", json=often, timeout=60).raise_for_status()
    until(lambda: "sweep: Completed, nothing to sweep" in system.told(), "a run that the scheduler made is done")


def _scheduled(system: System) -> list[FlowRun]:
    """The runs that a schedule has made and that are over."""
    return [run for run in _flow_runs(system) if run.auto_scheduled and run.state and run.state.is_final()]


def _paused(system: System) -> UUID | None:
    """The flow run that shows a form."""
    return next((run.id for run in _flow_runs(system) if run.state and run.state.is_paused()), None)
