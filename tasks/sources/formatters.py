"""The gap sources `prettier`, `gofmt` and `rustfmt`: files that the formatter of their language would change."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import ClassVar

from prefect_acms.canonical.gap import GapSeverity
from prefect_acms.tasks.fingerprints import Fingerprinter
from prefect_acms.tasks.gaps import Gap
from prefect_acms.tasks.sources import Discovered, Scan
from prefect_acms.tasks.sources.program import Program, files_of

UNFORMATTED = "unformatted"

AT_ONCE = 500
"""Files that are named in one call."""

FROM_NPM = "run `npm ci` as environment.setup, or put it on the PATH"
"""How one comes by a program of JavaScript."""


class FormatterSource:
    """Asks a formatter which files it would change; writes nothing."""

    name: ClassVar[str]
    endings: ClassVar[tuple[str, ...]]
    program: ClassVar[tuple[str, ...]]
    needs: ClassVar[str]
    """The program that has to be installed."""
    listing: ClassVar[tuple[str, ...]]
    good: ClassVar[tuple[int, ...]] = (0, 1)
    version: ClassVar[tuple[str, ...]] = ("--version",)
    hint: ClassVar[str]

    def discover(self, scan: Scan) -> Discovered:
        """A gap for each file that is not formatted; raises SourceFailed."""
        files = files_of(scan, self.endings)
        if not files:
            return Discovered(())
        Program(self.name, scan, (self.needs,), self.hint).require()
        program = Program(self.name, scan, self.program, self.hint)
        gaps = tuple(_unformatted(self.name, path) for path in sorted(self._listed(program, files)) if path in files)
        told = program.run(*self.version).stdout if self.version else ""
        return Discovered(gaps, f"{self.name} {told.strip()}".strip(), (*self.program, *self.listing, "FILES"))

    def _listed(self, program: Program, files: Sequence[str]) -> Iterator[str]:
        for start in range(0, len(files), AT_ONCE):
            lines: list[str] = []
            named = (f"./{path}" for path in files[start : start + AT_ONCE])
            program.run(*self.listing, *named, good=self.good, lines=lines)
            yield from (line.removeprefix("./") for line in lines if line)


class PrettierSource(FormatterSource):
    """Files of the web that Prettier would write in another way."""

    name = "prettier"
    endings = (
        *(".js", ".jsx", ".mjs", ".cjs", ".ts", ".tsx", ".mts", ".cts", ".vue", ".css", ".scss", ".less"),
        *(".json", ".jsonc", ".json5", ".html", ".md", ".mdx", ".yaml", ".yml", ".graphql"),
    )
    program = ("prettier",)
    needs = "prettier"
    listing = ("--list-different", "--no-color", "--ignore-unknown", "--")
    hint = FROM_NPM


class GofmtSource(FormatterSource):
    """Go files that gofmt would write in another way."""

    name = "gofmt"
    endings = (".go",)
    program = ("gofmt",)
    needs = "gofmt"
    listing = ("-l", "--")
    good = (0,)
    version = ()  # it has none of its own: it comes with Go
    hint = "it comes with Go"


class RustfmtSource(FormatterSource):
    """Rust files that rustfmt would write in another way, each by itself, in the edition of its crate."""

    name = "rustfmt"
    endings = (".rs",)
    program = (sys.executable, "-E", "-P", "-m", "prefect_acms.tasks.rust")
    needs = "rustfmt"
    listing = ("unformatted",)
    good = (0,)
    version = ("version",)
    hint = "rustup component add rustfmt"


def _unformatted(source: str, path: str) -> Gap:
    return Gap(
        source=source,
        rule_id=UNFORMATTED,
        fingerprint=Fingerprinter().next(f"{source} {UNFORMATTED}", path, ()),
        title=f"{path} is not formatted as {source} would format it",
        category="formatting",
        severity=GapSeverity.INFO,
        file_paths=(path,),
        fixable=True,
    )
