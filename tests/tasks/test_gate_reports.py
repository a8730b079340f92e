"""What other tools write is read finding by finding and test by test; what can't be read lets nothing pass."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from prefect_acms.blocks.config import EnvironmentSettings, GateReport
from prefect_acms.canonical.test_gate import GateType
from prefect_acms.tasks.environment import environment_for
from prefect_acms.tasks.gates import GateCommand, GateResult, run_gate
from prefect_acms.tasks.judging import judge

JUNIT = (
    '<testsuites><testsuite name="cart"><testcase classname="cart" name="adds"/>'
    '<testcase name="lonely"><failure message="no">trace</failure></testcase></testsuite></testsuites>'
)


def sarif(*results: dict[str, Any]) -> str:
    """A SARIF file of these results."""
    return json.dumps({"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "x"}}, "results": list(results)}]})


def result(uri: str, line: int, **more: Any) -> dict[str, Any]:
    """One SARIF result."""
    place = {"physicalLocation": {"artifactLocation": {"uri": uri}, "region": {"startLine": line}}}
    return {"ruleId": "sql", "message": {"text": "tainted"}, "locations": [place], **more}


def gate(root: Path, form: str, content: str | None, *, path: str = "out.txt", before: str = "") -> GateResult:
    """The word of a command that writes a report."""
    code = f"{before}\nimport sys" if content is None else f"{before}\nopen({path!r}, 'w').write({content!r})"
    report = GateReport.model_validate({"format": form, "path": path})
    command = GateCommand(GateType.SECURITY, (sys.executable, "-c", code), None, 30, report)
    return run_gate(command, root, environment_for(root, root, EnvironmentSettings()))


def test_a_sarif_file_is_read_finding_by_finding(tmp_path: Path) -> None:
    """Absolute, file: and escaped names are the same file; what is suppressed or passed is no finding."""
    (tmp_path / "a b.py").write_text("x\nquery(text)\n")
    uris = ("a%20b.py", f"file://{tmp_path}/a b.py")
    found = gate(tmp_path, "sarif", sarif(*(result(uri, 2) for uri in uris), result("../../etc/passwd", 1)))
    assert [(one.rule_id, one.file_paths, one.title) for one in found.findings] == [
        ("sql", (), "tainted"),
        ("sql", ("a b.py",), "tainted"),
        ("sql", ("a b.py",), "tainted"),
    ]
    quiet = sarif(result("a b.py", 2, suppressions=[{"kind": "inSource"}]), result("a b.py", 2, kind="pass"))
    assert gate(tmp_path, "sarif", quiet).findings == ()


def test_only_a_new_finding_is_held_against_a_patch(tmp_path: Path) -> None:
    """One that has only moved is the old one."""
    (tmp_path / "a.py").write_text("query(text)\n")
    base = gate(tmp_path, "sarif", sarif(result("a.py", 1)))
    (tmp_path / "a.py").write_text("import os\nquery(text)\nquery(more)\n")
    assert judge(base, gate(tmp_path, "sarif", sarif(result("a.py", 2)))).passed
    judgement = judge(base, gate(tmp_path, "sarif", sarif(result("a.py", 2), result("a.py", 3, ruleId="xss"))))
    assert judgement.new == ("a.py:3: xss tainted",)


@pytest.mark.parametrize(
    ("form", "content"),
    [
        ("ruff", [{"code": "F401", "filename": "a.py", "location": {"row": 1, "column": 1}, "message": "unused"}]),
        ("bandit", {"results": [{"test_id": "B1", "filename": "./a.py", "line_number": 1, "issue_text": "bad"}]}),
    ],
)
def test_ruffs_and_bandits_json_are_read(tmp_path: Path, form: str, content: object) -> None:
    """From a wrapper of the repository's own, for example."""
    (found,) = gate(tmp_path, form, json.dumps(content)).findings
    assert (found.file_paths, found.start_line) == (("a.py",), 1)


def test_any_junit_report_is_read_test_by_test(tmp_path: Path) -> None:
    """A case without a class is a test too, so that it is missed when it is gone."""
    base = gate(tmp_path, "junit", JUNIT)
    assert base.outcomes == {"::lonely": "failed", "cart::adds": "passed"}
    gone = gate(tmp_path, "junit", JUNIT.replace('<testcase classname="cart" name="adds"/>', ""))
    assert judge(base, gone).missing == ("cart::adds",)


@pytest.mark.parametrize(
    ("form", "content", "reason"),
    [
        ("junit", None, "can't be read: No such file"),
        ("junit", "<testsuites>", "not a JUnit report"),
        ("sarif", "{}", "not what sarif writes: ValueError: document: 'version' is a required property"),
        ("sarif", '{"version": "2.1.0", "runs": [NaN]}', "ValueError: /runs/0: nan is no number"),
        ("sarif", "nonsense", "not what sarif writes"),
        ("ruff", '{"a": 1}', "not what ruff writes"),
        ("bandit", "[]", "not what bandit writes"),
    ],
)
def test_a_report_that_can_not_be_read_lets_nothing_pass(
    tmp_path: Path, form: str, content: str | None, reason: str
) -> None:
    """Though the command ended with 0."""
    said = gate(tmp_path, form, content)
    assert said.exit_code == 0
    assert reason in str(said.unavailable)


def test_a_report_that_lay_there_is_nobodys_word(tmp_path: Path) -> None:
    """Neither one that a patch brings, nor one that a link leads to."""
    (tmp_path / "out.txt").write_text(sarif())
    assert "No such file" in str(gate(tmp_path, "sarif", None).unavailable)
    elsewhere = tmp_path.with_name(f"{tmp_path.name}-elsewhere")
    elsewhere.write_text(sarif())
    linked = gate(tmp_path, "sarif", None, before=f"import os; os.symlink({str(elsewhere)!r}, 'out.txt')")
    assert "a link out of the worktree" in str(linked.unavailable)
    assert elsewhere.read_text() == sarif()
