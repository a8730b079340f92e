"""Whatever the validator accepts, `git apply` does exactly, to the byte and the mode, and only inside the scope."""

from __future__ import annotations

import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha1, sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from patch_cases import git
from patch_grammar import CHANGES, EXECUTABLES, FILES, LINKS, SCOPE, Choices, mangled

from prefect_acms.blocks.guardrails import GuardrailSettings, PatchLimits
from prefect_acms.tasks.guardrails import outside_scope
from prefect_acms.tasks.patch_images import image_of
from prefect_acms.tasks.patch_readers import read_patch
from prefect_acms.tasks.patches import Validation, validate_patch
from prefect_acms.tasks.repository import DIFF_FORM, Repository

Snapshot = dict[str, tuple[str, bytes]]
"""Every file by its path: its mode as git has it, and its content; of a link, its target."""

LIMITS = PatchLimits(allow_binary=True)
PROTECTED = GuardrailSettings().protected_paths
SHORT, LONG = 250, int(os.environ.get("ACMS_FUZZ_INPUTS", "200000"))


def snapshot(top: Path) -> Snapshot:
    found: Snapshot = {}
    for folder, folders, names in os.walk(top):
        for name in (*names, *(one for one in folders if Path(folder, one).is_symlink())):
            path = Path(folder, name)
            if path.is_symlink():
                kind, content = "120000", os.fsencode(path.readlink())
            else:
                kind, content = "100755" if path.stat().st_mode & 0o100 else "100644", path.read_bytes()
            found[path.relative_to(top).as_posix()] = (kind, content)
    return found


def write(top: Path, files: Snapshot) -> None:
    for name, (mode, content) in files.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if mode == "120000":
            path.symlink_to(os.fsdecode(content))
        else:
            path.write_bytes(content)
            path.chmod(int(mode[-3:], 8))


def remove(top: Path, name: str) -> None:
    """Remove a file, and the folders above it that hold nothing else."""
    path = top / name
    path.unlink()
    while path.parent != top and not any(path.parent.iterdir()):
        path = path.parent
        path.rmdir()


def base() -> Snapshot:
    files = {path: ("100755" if path in EXECUTABLES else "100644", content) for path, content in FILES.items()}
    return files | {path: ("120000", target.encode()) for path, target in LINKS.items()}


@dataclass
class Target:
    """The validator and `git apply` side by side; it counts what becomes of the inputs."""

    repository: Repository
    seeds: tuple[bytes, ...]
    plain: Path
    around: Snapshot
    inputs: int = 0
    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    seen: set[bytes] = field(default_factory=set)

    def try_one(self, data: bytes) -> None:
        """Make a patch of the fuzzer's bytes, and judge it."""
        patch = mangled(Choices(data), self.seeds)
        self.inputs += 1
        digest = sha256(patch).digest()
        if digest in self.seen:
            return
        found = validate_patch(
            patch, limits=LIMITS, protected=PROTECTED, scope=SCOPE, repository=self.repository, base="HEAD"
        )
        if found.ok:
            self.accepted += 1
            self._check(patch, found)
        else:
            self.refused[found.violations[0].rule] += 1
            assert all(one.where.startswith("line ") and one.problem for one in found.violations)
        self.seen.add(digest)

    def _check(self, patch: bytes, found: Validation) -> None:
        before = base()
        expected = self._expected(patch, before)
        done = subprocess.run(
            ["git", "apply", "-p1", "--whitespace=nowarn", "-"],
            cwd=self.plain,
            env={**os.environ, "GIT_CEILING_DIRECTORIES": str(self.plain.parent), "GIT_CONFIG_GLOBAL": os.devnull},
            input=patch,
            capture_output=True,
            check=False,
        )
        after = snapshot(self.plain)
        changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
        for path in changed & after.keys():
            remove(self.plain, path)
        write(self.plain, {path: before[path] for path in changed & before.keys()})
        assert done.returncode == 0, (patch, done.stderr)
        assert {path: after.get(path) for path in changed} == expected, patch
        assert changed <= set(found.files), patch
        assert not outside_scope(changed, SCOPE), patch
        assert snapshot(self.plain.parent / "around") == self.around, patch

    @staticmethod
    def _expected(patch: bytes, before: Snapshot) -> dict[str, tuple[str, bytes] | None]:
        """What our own reader says: every file that changes, as it is afterwards; binary files as git makes them."""
        expected: dict[str, tuple[str, bytes] | None] = {}
        for file in read_patch(patch).files:
            old = file.old_path.decode() if file.old_path else None
            if old is not None and file.operation in {"delete", "rename"}:
                expected[old] = None
            if file.new_path is None:
                continue
            mode, content = before[old] if old is not None else ("100644", b"")
            content = BINARIES[file.headers["index"][42:82]] if file.is_binary else image_of(file, content)
            expected[file.new_path.decode()] = ((file.new_mode or mode.encode()).decode(), content)
        return {path: state for path, state in expected.items() if before.get(path) != state}


BINARIES = {
    sha1(b"blob %d\0%b" % (len(content), content), usedforsecurity=False).hexdigest().encode(): content
    for change, _ in CHANGES
    for path, content in change.items()
    if content is not None and path.endswith("bin")
}
"""What git calls the binary contents, and the contents."""


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Target:
    place = tmp_path_factory.mktemp("fuzz")
    for name in ("repository", "plain"):
        write(place / name, base())
    write(place / "around", {"out.txt": ("100644", b"x\ny\n"), "x": ("100644", b"x\n")})
    top = place / "repository"
    git(top, "init", "--quiet", "--initial-branch=main")
    git(top, "add", "--all", "--force")
    git(top, "commit", "--quiet", "--message=first")
    seeds: list[bytes] = []
    for change, options in CHANGES:
        for path, content in change.items():
            (top / path).unlink(missing_ok=True)
            if content is not None:
                write(top, {path: ("100755" if path in EXECUTABLES else "100644", content)})
        git(top, "add", "--all", "--force")
        tree = git(top, "write-tree").decode().strip()
        seeds.append(git(top, "diff-tree", *DIFF_FORM, *options, "HEAD", tree))
        git(top, "reset", "--hard", "--quiet", "HEAD")
    return Target(Repository.open(top), tuple(seeds), place / "plain", snapshot(place / "around"))


def fuzz(inputs: int, phases: tuple[Phase, ...], try_one: Callable[[bytes], None]) -> None:
    """Let Hypothesis make up so many strings of bytes, and shrink the one that breaks something."""

    @settings(
        max_examples=inputs,
        phases=phases,
        database=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    @given(st.binary(min_size=32, max_size=32))
    def fuzzed(data: bytes) -> None:
        try_one(data)

    fuzzed()


def test_what_is_accepted_git_does_exactly(target: Target) -> None:
    """A few hundred mangled diffs in each run of the suite; some are accepted, most are not."""
    fuzz(SHORT, tuple(Phase), target.try_one)
    assert target.accepted
    assert len(target.refused) > 3


@pytest.mark.campaign
@pytest.mark.timeout(0)
def test_what_is_accepted_git_does_exactly_at_length(target: Target, capsys: pytest.CaptureFixture[str]) -> None:
    """At least 200,000 inputs; tells how many were accepted, and by which rule the others were refused."""

    def try_one(data: bytes) -> None:
        target.try_one(data)
        if target.inputs % 5000 == 0:
            tell()

    def tell() -> None:
        with capsys.disabled():
            print(  # noqa: T201  # the campaign's report
                f"\n{target.inputs} inputs, {len(target.seen)} different, {target.accepted} accepted,"
                f" {sum(target.refused.values())} refused in {time.monotonic() - started:.0f} s: "
                + ", ".join(f"{rule} {count}" for rule, count in target.refused.most_common())
            )

    started = time.monotonic()
    fuzz(LONG, (Phase.generate, Phase.shrink), try_one)
    tell()
    assert target.accepted
