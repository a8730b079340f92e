"""Options and a configuration file, and the configuration that they amount to."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from prefect.deployments.runner import DeploymentApplyError
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from pydantic import BaseModel, ValidationError

from prefect_acms.blocks.config import ClusterBy, Mode, PipelineConfig
from prefect_acms.canonical.errors import InvalidDocument
from prefect_acms.deployments.failures import failure_of, validation_sentence
from prefect_acms.deployments.options import CLUSTER_BY, FIELDS, MODES, build_config


def test_the_choices_of_options_are_those_of_the_model() -> None:
    """The command line lists modes without importing the model; the two lists must agree."""
    assert tuple(MODES) == tuple(Mode)
    assert tuple(CLUSTER_BY) == tuple(ClusterBy)


@pytest.mark.parametrize(("name", "path"), FIELDS.items())
def test_every_option_has_its_place_in_the_configuration(name: str, path: tuple[str, ...]) -> None:
    """A renamed setting can't leave an option that does nothing."""
    section: type[BaseModel] = PipelineConfig
    for key in path:
        assert key in section.model_fields, name
        section = type(section.model_fields[key].default)


def test_without_options_the_configuration_is_the_default(tmp_path: Path) -> None:
    """A repository path is all that must be given."""
    assert build_config(tmp_path, {}) == PipelineConfig(repository=tmp_path)
    assert build_config(None, {}).repository == Path()


def test_options_go_where_they_belong(tmp_path: Path) -> None:
    """Lists, commands, switches and numbers arrive as the model has them."""
    config = build_config(
        tmp_path,
        {
            "source": ("ruff",), "only": ("F401", "src/*"), "max_gaps": 7, "by": "proximity", "concurrency": 2,
            "allow_dirty": True, "python": Path("/usr/bin/python3"), "setup": (("pip", "install", "."),),
            "tool_file": (Path("tools.toml"),), "lint": ("ruff", "check"), "unit": ("tox", "-q"), "no_lint": True,
            "unsafe_fixes": True, "mode": "plan_only", "database_url": "sqlite:////tmp/x.db",
        },
    )  # fmt: skip
    assert config.discovery.sources == ("ruff",)
    assert config.discovery.only == ("F401", "src/*")
    assert (config.discovery.max_gaps, config.discovery.unsafe_fixes) == (7, True)
    assert (config.clustering.by, config.execution.concurrency, config.allow_dirty) == ("proximity", 2, True)
    assert config.environment.setup == (("pip", "install", "."),)
    assert (config.gates.lint, config.gates.unit) == (("ruff", "check"), ("tox", "-q"))
    assert (config.gates.lint_enabled, config.gates.unit_enabled) == (False, True)
    assert (config.mode, config.database_url) == ("plan_only", "sqlite:////tmp/x.db")


def test_who_names_a_report_has_it_read(tmp_path: Path) -> None:
    """`--report` alone asks the source `report` too."""
    config = build_config(tmp_path, {"report": (Path("gaps.json"),)})
    assert config.discovery.sources == ("ruff", "pytest", "markers", "report")
    named = build_config(tmp_path, {"report": (Path("gaps.json"),), "source": ("report",)})
    assert named.discovery.sources == ("report",)


def test_options_win_over_the_file_and_the_file_over_defaults(tmp_path: Path) -> None:
    """What neither says is the default."""
    path = tmp_path / "acms.toml"
    path.write_text(
        'mode = "plan_only"\n[discovery]\nsources = ["ruff"]\nmax_gaps = 3\n[gates]\nlint_enabled = false\n'
    )
    config = build_config(tmp_path, {"config": path, "max_gaps": 9, "source": ()})
    assert (config.mode, config.discovery.sources, config.discovery.max_gaps) == ("plan_only", ("ruff",), 9)
    assert (config.gates.lint_enabled, config.gates.unit_enabled) == (False, True)


def test_paths_in_a_file_are_meant_from_where_the_file_is(tmp_path: Path) -> None:
    """A configuration in the repository means the same from any folder."""
    path = tmp_path / "acms.toml"
    path.write_text(
        'repository = "here"\n[discovery]\nbaseline = "known.json"\nreports = ["a.json", "/b.json"]\n'
        '[execution]\ntool_files = ["tools.toml"]\n'
    )
    config = build_config(None, {"config": path})
    assert config.repository == tmp_path / "here"
    assert config.discovery.baseline == tmp_path / "known.json"
    assert config.discovery.reports == (tmp_path / "a.json", Path("/b.json"))
    assert config.execution.tool_files == (tmp_path / "tools.toml",)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"mode = ", "TOML"),
        (b"\xff\xfe", "not UTF-8"),
        (b'mode = "sideways"', "mode is 'sideways'"),
        (b"[discovery]\nmax_gap = 3", "no setting discovery.max_gap"),
        (b"discovery = 3", "discovery is 3"),
        (b"[execution]\nconcurrency = 0", "execution.concurrency is 0"),
    ],
)
def test_a_wrong_file_is_named_with_the_place_and_the_problem(tmp_path: Path, content: bytes, told: str) -> None:
    """The sentence says which file and which key, and what was expected."""
    path = tmp_path / "acms.toml"
    path.write_bytes(content)
    with pytest.raises(InvalidDocument, match=r"acms\.toml") as caught:
        build_config(tmp_path, {"config": path})
    assert told in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """So is a folder that stands where a file should be."""
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(InvalidDocument):
            build_config(tmp_path, {"config": path})


def test_a_wrong_value_is_told_with_its_field_and_what_was_expected(tmp_path: Path) -> None:
    """Not pydantic's page of text: one sentence, further problems counted."""
    with pytest.raises(ValidationError) as caught:
        build_config(tmp_path, {"concurrency": 100, "max_gaps": 0})
    sentence = validation_sentence(caught.value)
    assert sentence == "discovery.max_gaps is 0: expected greater than or equal to 1 (and 1 more)"
    failure = failure_of(caught.value)
    assert failure is not None
    assert failure.exit_code == 2


def test_only_what_was_foreseen_becomes_a_sentence() -> None:
    """An error that nobody foresaw keeps its traceback: it is ours to mend."""
    assert failure_of(RuntimeError("bug")) is None
    missing = failure_of(FileNotFoundError(2, "No such file or directory", "/x"))
    assert missing is not None
    assert missing == ("/x: No such file or directory", 1)


def _refusal(status: int, body: object) -> PrefectHTTPStatusError:
    """What Prefect's client raises when its server refuses a request."""
    request = httpx.Request("POST", "http://prefect:4200/api/deployments/")
    answer = httpx.Response(status, json=body, request=request)
    with pytest.raises(httpx.HTTPStatusError) as caught:
        answer.raise_for_status()
    return PrefectHTTPStatusError.from_httpx_error(caught.value)


def test_a_refusal_of_the_prefect_server_is_a_sentence() -> None:
    """With its reason and without the request, however it comes out of Prefect; it is bad input, as elsewhere."""
    detail = [{"loc": ["body", "name"], "msg": "Field required", "input": "s3cret"}]
    invalid = _refusal(422, {"exception_detail": detail, "request_body": {"token": "s3cret"}})
    unapplied = DeploymentApplyError("Error while applying deployment: s3cret")
    unapplied.__cause__ = _refusal(409, {"detail": "config.repository is missing"})
    for error, told in (
        (invalid, "it answers 422 Unprocessable Entity: body.name: Field required"),
        (ExceptionGroup("of a worker", [invalid]), "it answers 422 Unprocessable Entity: body.name: Field required"),
        (unapplied, "it answers 409 Conflict: config.repository is missing"),
        (ObjectNotFound(_refusal(404, {"detail": "Not Found"})), "it answers 404 Not Found"),
        (httpx.ConnectError("All connection attempts failed"), "All connection attempts failed"),
    ):
        failure = failure_of(error)
        assert failure is not None
        assert failure.sentence.endswith(f"(PREFECT_API_URL) can't be used: {told}")
        assert failure.exit_code == 2
