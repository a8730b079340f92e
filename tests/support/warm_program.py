"""A program of ours whose imports are paid for once: each run is a process of its own, forked from a warm one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

_WARM = """
import importlib, json, os, runpy, sys
module, *imported = sys.argv[1:]
for name in imported:
    importlib.import_module(name)
for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if child:
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        continue
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["variables"])
    for number, path in ((0, os.devnull), (1, asked["out"]), (2, asked["err"])):
        os.dup2(os.open(path, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.argv = [module, *asked["arguments"]]
    code = 1
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
"""


class Ended(NamedTuple):
    """How a run of the program ended."""

    code: int
    out: str
    err: str


class WarmProgram:
    """Runs `python -I -m MODULE` without its start."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self._process, self._folder = process, folder

    def run(self, arguments: Sequence[str], *, folder: Path, variables: Mapping[str, str]) -> Ended:
        """Run it with these arguments in that folder; its environment holds these variables and no others."""
        places = {name: str(self._folder / name) for name in ("out", "err")}
        asked = {"arguments": list(arguments), "folder": str(folder), "variables": dict(variables), **places}
        if self._process.stdin is None or self._process.stdout is None:
            raise ValueError(self._process)
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        return Ended(code, *(Path(place).read_text(encoding="utf-8", errors="replace") for place in places.values()))


@contextmanager
def warm_program(module: str, *imported: str, folder: Path) -> Iterator[WarmProgram]:
    """The program of a module, with these modules imported before."""
    command = [sys.executable, "-I", "-c", _WARM, module, *imported]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield WarmProgram(process, folder)
        if process.stdin is not None:
            process.stdin.close()
