"""A codemod as data: what it finds, what it puts there, and which imports that needs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field

LANGUAGES = {
    ".py": "python",
    ".pyi": "python",
    ".js": "javascript",
    ".jsx": "javascript",
    ".mjs": "javascript",
    ".cjs": "javascript",
    ".ts": "typescript",
    ".mts": "typescript",
    ".cts": "typescript",
    ".tsx": "tsx",
    ".go": "go",
    ".rs": "rust",
    ".java": "java",
    ".kt": "kotlin",
    ".rb": "ruby",
    ".php": "php",
    ".c": "c",
    ".h": "c",
    ".cc": "cpp",
    ".cpp": "cpp",
    ".hpp": "cpp",
    ".cs": "csharp",
    ".swift": "swift",
    ".scala": "scala",
    ".lua": "lua",
}
"""The languages that ast-grep is asked about, by the endings of files."""


def language_of(path: str) -> str | None:
    """The language of a file by its ending, None where no codemod can be had for it."""
    return LANGUAGES.get(PurePosixPath(path).suffix.lower())


class _Blocks(yaml.SafeDumper):
    """Writes code of several lines as it stands."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Blocks.add_representer(str, _text)


class Rewrite(BaseModel):
    """One rule of ast-grep: the code that it finds, and what it writes there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pattern: str = Field(min_length=1, description="code with $NAMES for what differs, as ast-grep reads it")
    fix: str = Field(description="the code that takes its place, with the same $NAMES; empty: its lines go")

    kinds: dict[str, tuple[str, ...]] = Field(
        default={}, description="kinds of code, as its grammar names them, that a $NAME may stand for; none: any"
    )

    def rule(self, number: int, language: str) -> dict[str, Any]:
        """The rule as ast-grep reads it; what the pattern does not say, a comment too, must not be there."""
        limits = {name: {"any": [{"kind": kind} for kind in kinds]} for name, kinds in self.kinds.items()}
        return {
            "id": f"rewrite-{number}",
            "language": language,
            "rule": {"pattern": {"context": self.pattern, "strictness": "cst"}},
            **({"constraints": limits} if limits else {}),
            "fix": self.fix,
        }

    @classmethod
    def read(cls, rule: Mapping[str, Any]) -> Rewrite:
        """The rewrite that such a rule stands for."""
        limits = rule.get("constraints", {})
        kinds = {name: tuple(one["kind"] for one in limit["any"]) for name, limit in limits.items()}
        return cls(pattern=rule["rule"]["pattern"]["context"], fix=rule["fix"], kinds=kinds)


class Import(BaseModel):
    """One name that a Python module imports."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    module: str = Field(pattern=r"^[A-Za-z_][\w.]*$", description="the module")
    name: str | None = Field(default=None, pattern=r"^[A-Za-z_]\w*$", description="what is imported of it, if not it")

    def __str__(self) -> str:
        return f"{self.module}:{self.name}" if self.name else self.module

    @classmethod
    def read(cls, text: str) -> Import:
        """The import that `module` or `module:name` stands for."""
        module, _, name = text.partition(":")
        return cls(module=module, name=name or None)


class Codemod(BaseModel):
    """A deterministic edit of whole files; the same file always comes out the same."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    language: str = Field(description="language of the files, as ast-grep names it")
    rewrites: tuple[Rewrite, ...] = Field(min_length=1, description="what is found and rewritten, by ast-grep")
    adds: tuple[Import, ...] = Field(default=(), description="imports that a rewritten file needs, by libcst")
    drops: tuple[Import, ...] = Field(
        default=(), description="imports that go, by libcst, where nothing uses them after that"
    )
    sorts_imports: bool = Field(default=False, description="whether ruff sorts the imports that were added")

    @property
    def rules(self) -> str:
        """The rules as a YAML file of ast-grep."""
        documents = [rewrite.rule(number, self.language) for number, rewrite in enumerate(self.rewrites, 1)]
        return yaml.dump_all(documents, Dumper=_Blocks, sort_keys=False, allow_unicode=True, width=10_000)

    @property
    def changes_imports(self) -> bool:
        """Whether it takes libcst."""
        return bool(self.adds or self.drops)

    def suits(self, path: str) -> bool:
        """Whether a file is of its language."""
        return language_of(path) == self.language
