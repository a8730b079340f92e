"""The toolbox and the files that it is filled from."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_acms.blocks.tool_spec import PLACEHOLDERS, TaskKind, Tier, ToolSpec, placeholders_in
from prefect_acms.canonical.errors import InvalidDocument, InvalidValue, UnknownName
from prefect_acms.tasks.profiles import Toolbox, load_profiles

AGENTS = ("aider", "claude", "codex", "copilot", "gemini")


def file_of(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "tools.toml"
    path.write_text(text, encoding="utf-8")
    return path


def problem_of(tmp_path: Path, text: str) -> str:
    """What is said about a file, without its path; the path must come first."""
    path = file_of(tmp_path, text)
    with pytest.raises(InvalidDocument) as caught:
        load_profiles([path])
    return str(caught.value).removeprefix(f"{path}: ")


def test_the_shipped_tools_are_known_and_say_what_they_are_for() -> None:
    """Each is there with its kinds, its tier and whether it edits files."""
    facts = {
        one.tool_id: (one.task_kinds, one.safety_tier, one.deterministic, one.changes_files) for one in load_profiles()
    }
    assert facts == {
        **dict.fromkeys((*AGENTS, "ai-edit", "ai-edit-strong"), ((TaskKind.IMPLEMENTATION,), Tier.MEDIUM, False, True)),
        "pytest": ((TaskKind.ANALYSIS, TaskKind.TEST), Tier.LOW, False, False),
        "ruff-annotate": ((TaskKind.IMPLEMENTATION,), Tier.MEDIUM, True, True),
        "ruff-fix": ((TaskKind.IMPLEMENTATION,), Tier.MEDIUM, True, True),
        "ruff-fix-unsafe": ((TaskKind.IMPLEMENTATION,), Tier.HIGH, True, True),
        "ruff-format": ((TaskKind.IMPLEMENTATION,), Tier.LOW, True, True),
        "sarif-fix": ((TaskKind.IMPLEMENTATION,), Tier.MEDIUM, True, True),
        "eslint-fix": ((TaskKind.IMPLEMENTATION,), Tier.MEDIUM, True, True),
        "prettier": ((TaskKind.IMPLEMENTATION,), Tier.LOW, True, True),
        "gofmt": ((TaskKind.IMPLEMENTATION,), Tier.LOW, True, True),
        "rustfmt": ((TaskKind.IMPLEMENTATION,), Tier.LOW, True, True),
        "clippy-fix": ((TaskKind.IMPLEMENTATION,), Tier.MEDIUM, True, True),
    }


def test_a_tool_of_the_user_is_added_in_either_form(tmp_path: Path) -> None:
    """[[tools]] with its name inside, or [tools.NAME]."""
    path = file_of(
        tmp_path,
        '[tools.black]\ncommand = ["{acms_python}", "-m", "black", "{files}"]\ndomains = ["format"]\n',
    )
    other = tmp_path / "other.toml"
    other.write_text('[[tools]]\ntool_id = "sort"\ncommand = ["isort", "{files}"]\nmax_parallel = 1\n')
    toolbox = load_profiles([path, other])
    assert [one.tool_id for one in toolbox] == sorted(["black", "sort", *(one.tool_id for one in load_profiles())])
    assert toolbox.get("black").capabilities == ("format", "implementation")
    assert toolbox.get("sort").max_parallel == 1
    assert "black" in toolbox
    assert "white" not in toolbox


def test_rules_of_the_user_come_before_the_shipped_ones(tmp_path: Path) -> None:
    """The user's word counts first, in the order of the files."""
    rules = [f'[[rules]]\nrule_id = "{name}"\nstrategy = "metrics"\n' for name in ("b", "a")]
    files = [tmp_path / "1.toml", tmp_path / "2.toml"]
    for path, text in zip(files, rules, strict=True):
        path.write_text(text)
    assert [rule.rule_id for rule in load_profiles(files).rules] == ["b", "a", "unsafe-fixes", "cascade"]


def test_an_unknown_tool_is_named_with_the_known_ones() -> None:
    """So that a slip of the pen is seen."""
    with pytest.raises(UnknownName, match=r"'ruf-fix': expected one of \['ai-edit', .*'ruff-fix'"):
        load_profiles().get("ruf-fix")


def test_capable_tools_have_every_capability_and_are_safe_enough() -> None:
    """By name; what is more dangerous than the ceiling is left out."""
    toolbox = load_profiles()

    def names(*required: str, ceiling: Tier = Tier.MEDIUM) -> list[str]:
        return [one.tool_id for one in toolbox.capable(required, ceiling=ceiling) if not one.ai]

    assert names("implementation", "python") == ["ruff-annotate", "ruff-fix", "ruff-format"]
    assert names("implementation", "python", "lint", ceiling=Tier.HIGH) == ["ruff-fix", "ruff-fix-unsafe"]
    assert names("implementation", ceiling=Tier.LOW) == ["gofmt", "prettier", "ruff-format", "rustfmt"]
    assert names("implementation", "cobol") == []


def test_tools_from_blocks_join_and_may_not_take_a_name() -> None:
    """One name is one tool."""
    toolbox = load_profiles().with_profiles([ToolSpec(tool_id="mine", command=("mine",))])
    assert toolbox.get("mine").command == ("mine",)
    assert toolbox.rules == load_profiles().rules
    with pytest.raises(InvalidValue, match="'mine': expected a name that no other tool has"):
        toolbox.with_profiles([ToolSpec(tool_id="mine", command=("mine",))])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[tools.x\n", "file: not TOML: Expected ']' at the end of a table declaration (at line 1, column 9)"),
        ("[other]\n", "other: unknown key: expected some of ['tools', 'rules', 'patterns', 'version']"),
        ("tools = 3\n", "tools: expected [[tools]] with tool_id, or [tools.NAME] without"),
        ("tools = [3]\n", "tools[0]: Input should be a valid dictionary"),
        ("[tools]\nx = 3\n", "tools.x: expected [[tools]] with tool_id, or [tools.NAME] without"),
        ('[tools.x]\ntool_id = "y"\ncommand = ["x"]\n', "tools.x: expected [[tools]] with tool_id"),
        ('[[tools]]\ncommand = ["x"]\n', "tools[0].tool_id: Field required"),
        ("[tools.x]\n", "tools.x.command: Field required"),
        ('[tools.X]\ncommand = ["x"]\n', "tools.X.tool_id: String should match"),
        ('[tools.x]\ncommand = ["x"]\nshell = true\n', "tools.x.shell: Extra inputs are not permitted"),
        ('[tools.x]\ncommand = "ruff check {files}"\n', "tools.x.command: expected a list of arguments, not the shell"),
        (
            '[tools.x]\ncommand = ["ruff check {files}"]\n',
            "tools.x.command: expected a list of arguments, not the shell",
        ),
        ('[tools.x]\ncommand = ["bash", "-ec", "x"]\n', "tools.x.command: bash would run a shell string"),
        ("[tools.x]\ncommand = []\n", "tools.x.command: Tuple should have at least 1 item"),
        ('[tools.x]\ncommand = ["", "x"]\n', "tools.x.command: the program has no name"),
        ('[tools.x]\ncommand = ["x", 3]\n', "tools.x.command[1]: Input should be a valid string"),
        ('[tools.x]\ncommand = ["x", "{file}"]\n', "tools.x.command: argument 2: unknown placeholder {file}: expected"),
        (
            '[tools.x]\ncommand = ["x", "{files!r}"]\n',
            "tools.x.command: argument 2: placeholder {files} takes no format",
        ),
        (
            '[tools.x]\ncommand = ["x", "-f={files}"]\n',
            "tools.x.command: argument 2: {files} becomes several arguments",
        ),
        ('[tools.x]\ncommand = ["x", "{"]\n', "tools.x.command: argument 2: "),
        ('[tools.x]\ncommand = ["{files}"]\n', "tools.x.command: the program can't be {files}"),
        (
            '[tools.x]\ncommand = ["x"]\nworking_directory = "../x"\n',
            "tools.x.working_directory: expected a folder inside",
        ),
        ('[tools.x]\ncommand = ["x"]\nenvironment = ["GIT_DIR"]\n', "tools.x.environment: GIT_DIR would lead"),
        ('[tools.x]\ncommand = ["x"]\nenvironment = ["A=1"]\n', "tools.x.environment[0]: String should match"),
        ('[tools.x]\ncommand = ["x"]\ntimeout_sec = 0\n', "tools.x.timeout_sec: Input should be greater than 0"),
        (
            '[tools.x]\ncommand = ["x"]\nexpected_exit_codes = [256]\n',
            "tools.x.expected_exit_codes[0]: Input should be",
        ),
        ('[tools.x]\ncommand = ["x"]\ntask_kinds = ["magic"]\n', "tools.x.task_kinds[0]: Input should be 'analysis'"),
        ('[tools.ruff-fix]\ncommand = ["x"]\n', "tools.ruff-fix: there is another 'ruff-fix' already"),
        ('[[tools]]\ntool_id = "x"\ncommand = ["x"]\n' * 2, "tools[1]: there is another 'x' already"),
        ('[rules.x]\nstrategy = "luck"\n', "rules.x.strategy: Input should be 'fixed', 'round_robin', 'metrics'"),
        ('[rules.x]\nstrategy = "fixed"\n', "rules.x: a fixed rule names exactly one tool, found 0"),
        ('[rules.x]\nstrategy = "fixed"\ntools = ["y"]\n', "rules.x: unknown tool 'y': expected some of ['ai-edit'"),
    ],
)
def test_a_broken_file_is_refused_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    """The sentence names the file, the place in it and what is wrong; nothing is half loaded."""
    assert problem_of(tmp_path, text).startswith(said)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """Missing, a folder, not text."""
    with pytest.raises(InvalidDocument, match=r"none\.toml: file: No such file or directory"):
        load_profiles([tmp_path / "none.toml"])
    with pytest.raises(InvalidDocument, match="file: Is a directory"):
        load_profiles([tmp_path])
    (tmp_path / "latin.toml").write_bytes(b"# caf\xe9\n")
    with pytest.raises(InvalidDocument, match="byte 5: not UTF-8"):
        load_profiles([tmp_path / "latin.toml"])


@pytest.mark.parametrize("command", [("bash", "fix.sh"), ("sh", "-x", "fix.sh", "-c"), ("/opt/my tools/x", "{files}")])
def test_a_script_is_no_shell_string(command: tuple[str, ...]) -> None:
    """What runs a file with arguments is fine; the shell reads no text of ours."""
    assert ToolSpec(tool_id="x", command=command).command == command


def test_a_literal_brace_is_doubled() -> None:
    """As in every format string."""
    assert placeholders_in("{{not}} {task}") == ("task",)


@given(st.text(max_size=20))
def test_an_argument_is_accepted_only_if_all_of_its_placeholders_are_known(argument: str) -> None:
    """Whatever is written there, it is either understood whole or refused."""
    try:
        profile = ToolSpec(tool_id="x", command=("x", argument))
    except ValueError:
        return
    assert profile.placeholders <= PLACEHOLDERS
    profile.command[1].format_map(dict.fromkeys(PLACEHOLDERS, "v"))


def test_a_toolbox_lists_its_tools_by_name() -> None:
    """Whatever order they came in."""
    box = Toolbox([ToolSpec(tool_id=name, command=("x",)) for name in ("b", "c", "a")])
    assert [one.tool_id for one in box] == ["a", "b", "c"]
