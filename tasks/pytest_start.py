"""Starts pytest so that the code under test can't stand in for it; any Python runs this file as a script.

Usage: `python pytest_start.py IMPORT_PATH ARGUMENTS…`. With `python -m pytest` and a worktree on PYTHONPATH, a
`pytest.py` or a `sitecustomize.py` of the worktree would run first, and could say what it likes of the tests.
"""

import importlib
import os
import sys

PARTS = ("config", "junitxml", "main", "python", "reports", "runner", "skipping", "terminal", "unittest")


def main() -> None:
    """Import pytest from where it is installed, and only then let the worktree be imported from."""
    import_path = sys.argv.pop(1)
    del sys.path[0]  # the folder of this file
    pytest = importlib.import_module("pytest")
    for part in PARTS:
        importlib.import_module(f"_pytest.{part}")
    sys.path[:0] = [os.getcwd(), *(folder for folder in import_path.split(os.pathsep) if folder)]  # noqa: PTH109
    os.environ["PYTHONPATH"] = import_path
    sys.argv[0] = "pytest"
    sys.exit(pytest.console_main())


if __name__ == "__main__":
    main()
