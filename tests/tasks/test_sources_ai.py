"""The gap source `ai`: what a model finds becomes gaps that are known again, within a budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from driven import a_gap, repository_of, started_run
from provider_answers import Cut, Failure, Garbled, Reply, Scripted, Silence, structured
from providers import Provider
from repositories import git

from prefect_acms.blocks.ai import AiSettings
from prefect_acms.blocks.budget import BudgetLimits, BudgetSettings
from prefect_acms.canonical.errors import BudgetExceeded
from prefect_acms.canonical.outside_errors import SourceFailed
from prefect_acms.tasks.ai.scanning import identities
from prefect_acms.tasks.discovery import discover
from prefect_acms.tasks.fingerprints import compare
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.source_budgets import SourceBudget
from prefect_acms.tasks.sources import Scan
from prefect_acms.tasks.sources.ai import AiSource

FILES = {
    "often.py": "def half(x):\n    return x / 0\n\n\ndef third(x):\n    return x / 3\n",
    "once.py": "import os\n\nos.system(input())\n",
    "tests/test_half.py": "def test_half():\n    assert True\n",
    "notes.md": "# Notes\n",
    ".acmsignore": "hidden.py\n",
    "hidden.py": "hidden = 1\n",
}
DIVISION = {
    "path": "often.py", "line": 3, "code": "    return x / 0", "kind": "bug", "severity": "high",
    "title": "Divides\nby zero", "explanation": "It raises; divide by two.",
}  # fmt: skip
SHELL = {
    "path": "once.py", "line": 3, "code": "os.system(input())", "kind": "security", "severity": "critical",
    "title": "Runs what is typed in", "explanation": "Don't.",
}  # fmt: skip


@pytest.fixture
def scan(tmp_path: Path, scan_of: Callable[..., Scan]) -> Scan:
    """The question about a small repository, of which one file has changed more often than the others."""
    top = repository_of(tmp_path / "repository", FILES)
    for number in range(2):
        (top / "often.py").write_text(f"{FILES['often.py']}# {number}\n")
        git(top, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-am", "again")
    return replace(scan_of(top), ai=AiSettings(model="openai-chat:gpt-test", patience_sec=0, request_retries=0))


def report(*findings: dict[str, Any]) -> Scripted:
    """The answer that reports these faults."""
    return structured({"findings": list(findings)}, tool="report_findings")


def states(*there: str) -> Scripted:
    """The answer that says of each finding whether it is still there."""
    told = [{"number": n, "still_there": one == "there", "reason": "so"} for n, one in enumerate(there, 1)]
    return structured({"states": told}, tool="report_states")


def test_faults_become_gaps_that_say_where_they_are(provider: Provider, scan: Scan) -> None:
    """By the quoted line, wherever the model believes it to be; files that changed often come first, tests last."""
    provider.script(report(SHELL, {**DIVISION, "code": "return 0"}), report(SHELL, DIVISION))
    found = AiSource().discover(scan)
    gaps = {gap.rule_id: gap for gap in found.gaps}
    assert {rule: (gap.file_paths, gap.start_line, gap.severity) for rule, gap in gaps.items()} == {
        "ai-bug": (("often.py",), 2, "high"),
        "ai-security": (("once.py",), 3, "critical"),
    }
    assert gaps["ai-bug"].title == "Divides by zero"
    assert (gaps["ai-bug"].category, gaps["ai-bug"].fixable) == ("bug", False)
    assert "openai-chat:gpt-test" in found.version
    prompt = provider.asked[0].prompt
    places = [prompt.index(f'file "{path}"') for path in ("often.py", "once.py", "tests/test_half.py")]
    assert places == sorted(places)
    assert "hidden" not in prompt
    assert "notes.md" not in prompt
    assert "`code` is no line of that file" in provider.asked[1].prompt


def _known(scan: Scan, path: str, line: int, title: str) -> Gap:
    names = identities("ai-bug", path, (scan.root / path).read_text().splitlines())
    return a_gap(names[line - 1], path, source="ai", rule_id="ai-bug", title=title, start_line=line)


def test_a_known_gap_is_asked_about_only_where_its_code_has_changed(provider: Provider, scan: Scan) -> None:
    """So a proof costs nothing where nothing was done, never finds anything new, and takes the model's word else."""
    half, third = _known(scan, "often.py", 2, "Divides by zero"), _known(scan, "often.py", 6, "Forgets the rest")
    shell = _known(scan, "once.py", 3, "Runs what is typed in")
    gone = _known(scan, "tests/test_half.py", 2, "Tests nothing")
    proof = replace(scan, files=("often.py", "once.py", "tests/test_half.py"), known=(half, third, shell, gone))
    file = scan.root / "often.py"
    file.write_text(f"# moved\n\n{file.read_text()}")
    (scan.root / "tests/test_half.py").unlink()
    assert AiSource().discover(proof).gaps == (half, third, shell)
    assert provider.asked == []
    file.write_text(file.read_text().replace("x / 0", "x / 2").replace("x / 3", "x // 3"))
    provider.script(states("gone", "there"))
    assert AiSource().discover(proof).gaps == (shell, third)
    prompt = provider.asked[0].prompt
    assert "Divides by zero" in prompt
    assert "return x // 3" in prompt
    assert "Runs what is typed in" not in prompt
    assert AiSource().discover(proof).gaps == (shell, third)
    file.write_text(file.read_text() + "# more\n")
    provider.script(states("there", "gone"))
    assert AiSource().discover(proof).gaps == (shell, half)
    assert len(provider.asked) == 2, "it is asked once about a file of a certain content"


def test_a_patch_may_mend_a_gap_and_leave_its_code(provider: Provider, scan: Scan) -> None:
    """So the model is asked about each gap in a file that the patch has changed; its word counts from then on."""
    shell = _known(scan, "once.py", 3, "Runs what is typed in")
    merge = replace(scan, files=("once.py",), known=(shell,))
    file = scan.root / "once.py"
    file.write_text(file.read_text().replace("import os\n", "import os\n\ninput = allowed\n"))
    provider.script(states("gone"))
    assert AiSource().discover(merge).gaps == (shell,)
    assert AiSource().discover(replace(merge, patched=frozenset({"once.py"}))).gaps == ()
    assert AiSource().discover(merge).gaps == ()
    assert len(provider.asked) == 1


def test_a_gap_goes_with_its_file(provider: Provider, scan: Scan) -> None:
    """Renamed, with its code as it was, it is known again wherever the file is; without its code it is gone."""
    half, third = _known(scan, "often.py", 2, "Divides by zero"), _known(scan, "often.py", 6, "Forgets the rest")
    proof = replace(scan, files=("often.py",), known=(half, third))
    git(scan.root, "mv", "often.py", "new.py")
    file = scan.root / "new.py"
    file.write_text(file.read_text().replace("x / 3", "x // 3"))
    (there,) = AiSource().discover(proof).gaps
    assert (there.title, there.file_paths) == ("Divides by zero", ("new.py",))
    result = compare((half, third), (there,), is_there=lambda path: (scan.root / path).exists())
    assert ([gap.title for gap in result.gone], result.kept, result.new) == (["Forgets the rest"], (half,), ())
    assert provider.asked == []


def test_a_model_that_can_not_be_asked_hides_no_other_source(scan: Scan) -> None:
    """It is reported with the reason."""
    (scan.root / "often.py").write_text("x = 1  # TODO: more\n")
    result = discover(replace(scan, ai=AiSettings(model="nonsense:x")), ["ai", "markers"])
    assert [gap.rule_id for gap in result.gaps] == ["TODO"]
    assert [outcome.ok for outcome in result.sources] == [False, True]
    assert "ai.model is 'nonsense:x'" in (result.sources[0].problem or "")


def test_without_a_model_nothing_is_asked(scan: Scan) -> None:
    """It says which setting names one."""
    with pytest.raises(SourceFailed, match=r"ai\.model_block"):
        AiSource().discover(replace(scan, ai=AiSettings()))


def test_a_call_is_made_only_if_the_budget_has_room_for_it(
    provider: Provider, scan: Scan, tmp_path: Path, canonical_url: str
) -> None:
    """What was used is counted, and what would be too much is not asked for; what was found before is kept."""
    provider.script(report(DIVISION), report(SHELL))
    limits = BudgetSettings(run=BudgetLimits(tokens=9_000))
    drive = started_run(repository_of(tmp_path / "run", {"a.py": ""}), canonical_url, budget=limits)
    for path in (scan.root / "often.py", scan.root / "once.py"):
        path.write_text(path.read_text() + "# filler\n" * 350)
    small = {"context_tokens": 1_100, "max_output_tokens": 6_000, "edit_retries": 0}
    budget = SourceBudget(drive.budgets, drive.run_id)
    paid = replace(scan, ai=scan.ai.model_copy(update=small), budget=budget)
    assert [gap.rule_id for gap in AiSource().discover(paid).gaps] == ["ai-bug"]
    with drive.reading() as dao:
        spent, held = dao.budgets.used(drive.run_id)
    assert (spent.tool_runs, held.tokens) == (1, 0)
    assert 500 < spent.tokens < 3_000
    with pytest.raises(BudgetExceeded, match="tokens"):
        AiSource().discover(paid)
    assert len(provider.asked) == 1


def test_what_was_found_before_a_provider_failed_is_kept(provider: Provider, scan: Scan) -> None:
    """The source counts as failed, with the reason, and its gaps are there: nothing that was paid for is lost."""
    for path in (scan.root / "often.py", scan.root / "once.py"):
        path.write_text(path.read_text() + "# filler\n" * 350)
    provider.script(report(DIVISION), Failure(503))
    small = scan.ai.model_copy(update={"context_tokens": 1_100})
    result = discover(replace(scan, ai=small), ["ai"])
    assert [gap.rule_id for gap in result.gaps] == ["ai-bug"]
    (outcome,) = result.sources
    assert (outcome.ok, outcome.count) == (False, 1)
    assert "stopped after 1 request" in (outcome.problem or "")
    assert "did not answer" in (outcome.problem or "")


@pytest.mark.campaign
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Failure(401), "turned the request away"),
        (Failure(429, retry_after="900"), "asks to wait 900 s"),
        (Silence(30), "did not answer"),
        (Cut(Reply("half")), "did not answer"),
        (Reply(refusal="I won't"), "Refusal"),
        (Garbled(), ""),
        (report({**DIVISION, "path": "../../etc/passwd"}), "no file of that name was shown"),
    ],
)
def test_a_fault_of_the_provider_fails_the_source_in_words(
    provider: Provider, scan: Scan, fault: Scripted, said: str
) -> None:
    """Nothing is found, and the reason is one for a person."""
    provider.script(*[fault] * 9)
    quick = scan.ai.model_copy(update={"request_timeout_sec": 2.0, "edit_retries": 1})
    with pytest.raises(SourceFailed) as told:
        AiSource().discover(replace(scan, ai=quick))
    assert said in str(told.value)
    assert "Traceback" not in str(told.value)
