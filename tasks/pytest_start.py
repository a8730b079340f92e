"""Starts pytest so that the code under test can't stand in for it; any Python runs this file as a script.

Usage: `python pytest_start.py WORD IMPORT_PATH ARGUMENTS…`. With `python -m pytest` and a worktree on PYTHONPATH, a
`pytest.py` or a `sitecustomize.py` of the worktree would run first, and could say what it likes of the tests. Each
failure is told on stderr as it happens, in a line that begins with WORD: what was read can't be taken back.
"""

import importlib
import os
import sys
from typing import Any

PARTS = ("config", "junitxml", "main", "python", "reports", "runner", "skipping", "terminal", "unittest")


class Telling:
    """A plugin that tells of each failure as soon as pytest knows of it."""

    def __init__(self, word: str) -> None:
        self._word, self._stderr = word, os.dup(2)

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Tell of a test that failed, in any of its parts."""
        if report.failed:
            os.write(self._stderr, f"\n{self._word} {report.nodeid}\n".encode("utf-8", "backslashreplace"))

    def pytest_collectreport(self, report: Any) -> None:
        """Tell of a file that can't be collected."""
        self.pytest_runtest_logreport(report)


def main() -> None:
    """Import pytest from where it is installed, and only then let the worktree be imported from."""
    word, import_path = sys.argv.pop(1), sys.argv.pop(1)
    del sys.path[0]  # the folder of this file
    pytest = importlib.import_module("pytest")
    for part in PARTS:
        importlib.import_module(f"_pytest.{part}")
    sys.path[:0] = [os.getcwd(), *(folder for folder in import_path.split(os.pathsep) if folder)]  # noqa: PTH109
    os.environ["PYTHONPATH"] = import_path
    sys.argv[0] = "pytest"
    sys.exit(int(pytest.main(plugins=[Telling(word)])))


if __name__ == "__main__":
    main()
