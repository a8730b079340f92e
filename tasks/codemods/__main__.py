"""The program of every `codemod-…` tool: carries one codemod out on the files that it is told."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from prefect_acms.canonical.errors import AcmsError
from prefect_acms.tasks.codemods.codemod import Codemod, Import, Rewrite
from prefect_acms.tasks.codemods.rewriting import rewritten


def main(arguments: Sequence[str]) -> int:
    """Rewrite the files in place; 0 when it is done, also where there was nothing to do."""
    parser = argparse.ArgumentParser(prog="python -m prefect_acms.tasks.codemods", description=__doc__)
    parser.add_argument("--rules", required=True, metavar="YAML", help="the rules, as ast-grep reads them")
    parser.add_argument("--add-import", action="append", default=[], type=Import.read, metavar="MODULE[:NAME]")
    parser.add_argument("--drop-import", action="append", default=[], type=Import.read, metavar="MODULE[:NAME]")
    parser.add_argument("--sort-imports", action="store_true")
    parser.add_argument("files", nargs="+", type=Path)
    given = parser.parse_args(arguments)
    rules = list(yaml.safe_load_all(given.rules))
    codemod = Codemod(
        language=rules[0]["language"],
        rewrites=tuple(Rewrite.read(rule) for rule in rules),
        adds=tuple(given.add_import),
        drops=tuple(given.drop_import),
        sorts_imports=given.sort_imports,
    )
    try:
        done = rewritten(codemod, {str(path): path.read_bytes() for path in given.files if path.is_file()})
    except AcmsError as problem:
        sys.stderr.write(f"{problem}\n")
        return problem.exit_code
    for path, content in sorted(done.items()):
        Path(path).write_bytes(content)
        sys.stdout.write(f"rewritten: {path}\n")
    sys.stdout.write(f"{len(done)} of {len(given.files)} files rewritten\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
