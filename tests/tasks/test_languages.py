"""Sources and fixers of other languages, with the real programs; each is skipped where its program is not installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from prefect_acms.canonical.outside_errors import SourceFailed
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.profiles import load_profiles
from prefect_acms.tasks.rust import EDITION, edition_of
from prefect_acms.tasks.sources import Scan, load_sources
from prefect_acms.tasks.tools import ToolValues, require_work, run_tool

MakeRepository = Callable[..., Path]
ScanOf = Callable[..., Scan]

CARGO = '[package]\nname = "shop"\nversion = "0.1.0"\nedition = "2021"\n'
RUST = "pub async fn later() {}\npub fn price(x: u32) -> u32 {\n    return x;\n}\n"
ESLINT = 'export default [{ rules: { "no-var": "error", "no-unused-vars": "warn" } }];\n'
MODULE = '{"type": "module"}\n'


def found(source: str, scan: Scan) -> list[Gap]:
    """What a source finds; skips the test where its program is missing."""
    (asked,) = load_sources([source])
    try:
        return list(asked.discover(scan).gaps)
    except SourceFailed as missing:
        if "is not installed" not in str(missing):
            raise
        pytest.skip(str(missing))


def fixed(tool: str, scan: Scan, *gaps: Gap) -> None:
    """Let the shipped tool work on these gaps."""
    (profile,) = (one for one in load_profiles() if one.tool_id == tool)
    values = ToolValues(
        files=tuple(sorted({path for gap in gaps for path in gap.file_paths})),
        rules=tuple(sorted({gap.rule_id for gap in gaps})),
    )
    require_work(profile, run_tool(profile, worktree=scan.root, environment=scan.environment, values=values))


@pytest.mark.parametrize(
    ("source", "name", "text", "after"),
    [
        ("gofmt", "cmd/-x.go", "package main\n\nfunc main( ) {\n}\n", "package main\n\nfunc main() {\n}\n"),
        ("prettier", "web/a b.js", "let a = {b:1}\n", "let a = { b: 1 };\n"),
        ("rustfmt", "src/lib.rs", "mod other;\npub async fn f( ) {}\n", "mod other;\npub async fn f() {}\n"),
    ],
)  # fmt: skip
def test_a_formatter_finds_and_formats(  # noqa: PLR0917  fixtures
    source: str, name: str, text: str, after: str, make_repository: MakeRepository, scan_of: ScanOf
) -> None:
    """Only the files that are asked about, and only those that need it; then nothing is found any more."""
    other = "src/other.rs", "pub fn  g( ) {}\n"
    top = make_repository({name: text, "Cargo.toml": CARGO, **dict([other])})
    gaps = [gap for gap in found(source, scan_of(top)) if gap.file_paths == (name,)]
    assert [(gap.rule_id, gap.fixable, gap.category) for gap in gaps] == [("unformatted", True, "formatting")]
    assert found(source, scan_of(top, files=("Cargo.toml",))) == []
    fixed(source, scan_of(top), *gaps)
    assert (top / name).read_text() == after
    assert found(source, scan_of(top, files=(name,))) == []
    assert (top / other[0]).read_text() == other[1]


def test_eslint_finds_and_fixes(make_repository: MakeRepository, scan_of: ScanOf) -> None:
    """What it can; a file that can't be read is a finding, and a repository without a configuration a failure."""
    files = {"a.js": "var a = 1;\nexport {};\n", "b.js": "let (\n", "eslint.config.js": ESLINT, "package.json": MODULE}
    top = make_repository(files)
    gaps = found("eslint", scan_of(top))
    told = [(gap.file_paths, gap.rule_id, gap.severity.value, gap.fixable) for gap in gaps]
    assert told == [
        (("a.js",), "no-var", "medium", True),
        (("a.js",), "no-unused-vars", "low", False),
        (("b.js",), "syntax", "high", False),
    ]
    fixed("eslint-fix", scan_of(top), gaps[0])
    assert (top / "a.js").read_text() == "let a = 1;\nexport {};\n"
    assert [gap.rule_id for gap in found("eslint", scan_of(top, files=("a.js",)))] == ["no-unused-vars"]
    bare = make_repository({"a.js": "var a = 1;\n"}, "bare")
    with pytest.raises(SourceFailed, match=r"eslint\.config"):
        found("eslint", scan_of(bare))


def test_clippy_finds_and_fixes_what_is_asked(make_repository: MakeRepository, scan_of: ScanOf) -> None:
    """In the files of the task alone, for its rules alone; neither a lock nor what was built is left behind."""
    other = "pub fn g(x: u32) -> u32 {\n    return x;\n}\n"
    top = make_repository(
        {"Cargo.toml": CARGO, "src/lib.rs": f"mod other;\npub use other::g;\n{RUST}", "src/other.rs": other}
    )
    gaps = found("clippy", scan_of(top))
    told = [(gap.file_paths, gap.rule_id, gap.start_line, gap.fixable) for gap in gaps]
    assert told == [
        (("src/lib.rs",), "clippy::needless_return", 5, True),
        (("src/other.rs",), "clippy::needless_return", 2, True),
    ]
    fixed("clippy-fix", scan_of(top), gaps[0])
    assert "    x\n" in (top / "src/lib.rs").read_text()
    assert (top / "src/other.rs").read_text() == other
    assert [gap.file_paths for gap in found("clippy", scan_of(top))] == [("src/other.rs",)]
    changed = subprocess.run(["git", "status", "--porcelain"], cwd=top, capture_output=True, text=True, check=True)
    assert changed.stdout == " M src/lib.rs\n"


@pytest.mark.parametrize(
    ("source", "name"),
    [("eslint", "a.js"), ("prettier", "a.js"), ("gofmt", "a.go"), ("rustfmt", "a.rs"), ("clippy", "a.rs")],
)
def test_a_missing_program_fails_its_source_alone(
    source: str, name: str, make_repository: MakeRepository, scan_of: ScanOf, tmp_path: Path
) -> None:
    """With what to install; where there is no file of the language, nobody needs the program."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/git").symlink_to(shutil.which("git") or "")
    scan = scan_of(make_repository({name: "", "Cargo.toml": CARGO}))
    bare = Scan(scan.root, scan.environment.with_variables(PATH=str(tmp_path / "bin")), scan.settings, 60)
    (asked,) = load_sources([source])
    with pytest.raises(SourceFailed, match="is not installed: "):
        asked.discover(bare)
    none = Scan(make_repository({"a.txt": ""}, "none"), bare.environment, scan.settings, 60)
    assert asked.discover(none).gaps == ()


def test_the_edition_is_that_of_the_crate(tmp_path: Path) -> None:
    """Its own, that of its workspace, or the oldest."""
    (tmp_path / "own").mkdir()
    (tmp_path / "Cargo.toml").write_text('[workspace.package]\nedition = "2024"\n')
    assert edition_of(tmp_path / "a.rs") == EDITION
    (tmp_path / "own/Cargo.toml").write_text('[package]\nname = "a"\nedition = { workspace = true }\n')
    assert edition_of(tmp_path / "own/src/a.rs") == "2024"
    (tmp_path / "older").mkdir()
    (tmp_path / "older/Cargo.toml").write_text('[package]\nname = "a"\n')
    assert edition_of(tmp_path / "older/a.rs") == EDITION


def test_what_the_setup_installs_is_found_behind_what_the_machine_has(
    make_repository: MakeRepository, scan_of: ScanOf
) -> None:
    """In a repository of JavaScript alone."""
    scan = scan_of(make_repository({"package.json": MODULE}))
    assert scan.environment.variables["PATH"].split(os.pathsep)[-1] == str(scan.root / "node_modules/.bin")
    other = scan_of(make_repository({}, "other"))
    assert str(other.root) not in other.environment.variables["PATH"]
