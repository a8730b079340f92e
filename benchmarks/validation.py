"""What it costs to validate a patch, beside `git apply --check` of the same one: `python benchmarks/validation.py`.

Both are timed in turn in the same run, on the same repository (of 2,000 files), and the median counts. Our part does
all that a run does: it reads the patch three times, has git apply it in a place of its own, compares every file, and
reads those of known kinds.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from prefect_acms.blocks.guardrails import GuardrailSettings, PatchLimits
from prefect_acms.tasks.patches import validate_patch
from prefect_acms.tasks.repository import DIFF_FORM, Repository

SIZES: tuple[tuple[str, int, int], ...] = (
    ("1 line", 1, 1),
    ("20 lines in 3 files", 3, 7),
    ("200 lines in 10 files", 10, 20),
    ("5,000 lines in 50 files", 50, 100),
    ("24,000 lines in 50 files", 50, 480),
)
"""Name, files and changed lines a file."""

FILES = 2000
LINES = 500
WANTED_MS = 50.0
"""What a typical patch (20 lines in 3 files) should stay under."""


def git(top: Path, *arguments: str, data: bytes | None = None) -> bytes:
    """What git says."""
    return subprocess.run(["git", *arguments], cwd=top, input=data, capture_output=True, check=True).stdout  # noqa: S607


def content(number: int, changed: int) -> str:
    """A Python file, of which the first lines are others than they were."""
    half = max(1, changed // 2)
    return "".join(f"x_{number}_{n} = {n + (n < half and changed > 0)}\n" for n in range(LINES))


def repository_at(top: Path) -> Repository:
    """A repository of many Python files in folders."""
    for number in range(FILES):
        path = top / f"pkg{number % 40}" / f"mod{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content(number, 0))
    git(top, "init", "--quiet")
    git(top, "add", "--all")
    git(top, "-c", "user.name=u", "-c", "user.email=u@x", "commit", "--quiet", "--message=first")
    return Repository.open(top)


def patch_of(top: Path, files: int, changed: int) -> bytes:
    """A patch of so many files, as we capture it; the repository is as it was."""
    for number in range(files):
        (top / f"pkg{number % 40}" / f"mod{number}.py").write_text(content(number, changed))
    patch = git(top, "diff-index", *DIFF_FORM, "HEAD")
    git(top, "reset", "--hard", "--quiet")
    return patch


def milliseconds(parts: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """The median of each part; they take turns."""
    times: list[list[float]] = [[] for _ in parts]
    for _ in range(rounds):
        for part, spent in zip(parts, times, strict=True):
            started = time.perf_counter()
            part()
            spent.append((time.perf_counter() - started) * 1000)
    return [median(spent) for spent in times]


def main() -> None:
    """Print a line a size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="times each part is timed")
    rounds = parser.parse_args().rounds
    limits, protected = PatchLimits(), GuardrailSettings().protected_paths
    with tempfile.TemporaryDirectory() as folder:
        repository = repository_at(Path(folder))
        head = repository.head()
        print(f"{'patch':26} {'bytes':>9} {'ours, ms':>9} {'git apply --check, ms':>22} {'ratio':>6}")
        for name, files, changed in SIZES:
            patch = patch_of(repository.top, files, changed)

            def ours(patch: bytes = patch) -> None:
                found = validate_patch(
                    patch, limits=limits, protected=protected, scope=("**",), repository=repository, base=head
                )
                assert found.ok, found.violations[:3]  # noqa: S101  # what is refused costs less

            def theirs(patch: bytes = patch) -> None:
                git(repository.top, "apply", "--check", "-", data=patch)

            ours()
            mine, git_ms = milliseconds([ours, theirs], rounds)
            print(f"{name:26} {len(patch):9} {mine:9.1f} {git_ms:22.1f} {mine / git_ms:6.1f}")
    print(f"wanted: under {WANTED_MS:g} ms for a typical patch (20 lines in 3 files)")


if __name__ == "__main__":
    main()
