"""Carrying a codemod out: ast-grep rewrites, libcst sees to the imports, ruff sorts them where it has to."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from prefect_acms.canonical.errors import ExtraMissing
from prefect_acms.canonical.outside_errors import ToolFailed
from prefect_acms.tasks.codemods.codemod import Codemod, Import

TIMEOUT_SEC = 300.0

_GONE = "acms_codemod_gone"
"""Stands where nothing takes the place of some code, until its lines are taken out: ast-grep would leave them empty."""

_GONE_LINES = re.compile(rb"^[ \t]*" + _GONE.encode() + rb"[ \t]*(\r?\n|\Z)", re.MULTILINE)


def rewritten(codemod: Codemod, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """What becomes of these files; those that it leaves alone are not among them.

    Raises ExtraMissing where ast-grep or libcst is not installed, and ToolFailed when ast-grep refuses the rules.
    """
    ours = {path: content for path, content in files.items() if codemod.suits(path)}
    rewrites = tuple(one if one.fix else one.model_copy(update={"fix": _GONE}) for one in codemod.rewrites)
    changed = _by_ast_grep(codemod.model_copy(update={"rewrites": rewrites}).rules, ours)
    changed = {path: _GONE_LINES.sub(b"", content) for path, content in changed.items()}
    if codemod.changes_imports:
        changed = {path: _with_imports(codemod, content) for path, content in changed.items()}
    return {path: content for path, content in changed.items() if content != files[path]}


def _by_ast_grep(rules: str, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Rewrite copies in a folder of their own: no configuration of the repository's has a say in it."""
    if not files:
        return {}
    with TemporaryDirectory(prefix="acms-codemod-") as folder:
        copies = {path: Path(folder, f"{number}{PurePosixPath(path).suffix}") for number, path in enumerate(files)}
        for path, copy in copies.items():
            copy.write_bytes(files[path])
        argv = [_ast_grep(), "scan", "--inline-rules", rules, "--update-all", "--report-style", "short", folder]
        done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_SEC, check=False)
        if done.returncode not in {0, 1}:
            raise ToolFailed(tool="ast-grep", problem=" ".join(done.stderr.split())[:2000] or "it gave no reason")
        found = {path: copy.read_bytes() for path, copy in copies.items()}
    return {path: content for path, content in found.items() if content != files[path]}


def _ast_grep() -> str:
    """The program: that of our own environment, else one on PATH."""
    beside = str(Path(sys.executable).parent)
    program = shutil.which("ast-grep", path=os.pathsep.join([beside, os.environ.get("PATH", os.defpath)]))
    if program is None:
        raise ExtraMissing(what="a codemod", library="ast-grep", choice="codemods")
    return program


def _with_imports(codemod: Codemod, content: bytes) -> bytes:
    try:
        import libcst  # noqa: PLC0415 - half a second, and an optional extra
        from libcst.codemod import CodemodContext  # noqa: PLC0415
        from libcst.codemod.visitors import AddImportsVisitor, RemoveImportsVisitor  # noqa: PLC0415
    except ImportError as missing:
        raise ExtraMissing(what="a codemod that changes imports", library="libcst", choice="codemods") from missing
    context = CodemodContext()
    for one in codemod.adds:
        AddImportsVisitor.add_needed_import(context, *_parts(one))
    for one in codemod.drops:
        RemoveImportsVisitor.remove_unused_import(context, *_parts(one))
    module = AddImportsVisitor(context).transform_module(libcst.parse_module(content))
    done = RemoveImportsVisitor(context).transform_module(module).bytes
    return _sorted_imports(done) if codemod.sorts_imports else done


def _parts(one: Import) -> tuple[str, str | None]:
    return one.module, one.name


def _sorted_imports(content: bytes) -> bytes:
    command = [sys.executable, "-E", "-P", "-m", "ruff", "check", "--isolated", "--select", "I001", "--fix-only", "-q"]
    done = subprocess.run(
        [*command, "--stdin-filename", "sorted.py", "-"],
        input=content,
        capture_output=True,
        timeout=TIMEOUT_SEC,
        check=False,
    )
    if done.returncode != 0:
        raise ToolFailed(tool="ruff", problem=done.stderr.decode(errors="replace").strip()[:2000] or "no reason")
    return done.stdout
