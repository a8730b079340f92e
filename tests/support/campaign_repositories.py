"""The tiny repositories of a campaign: some gaps in several workstreams, and one fix that a gate must reject."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_STOCK = "import os\nimport sys\n\n\ndef count(items):\n    return len(items)\n"
_PRICES = (
    "import json\n\n\nclass Price(object):\n    def __init__(self, value):\n"
    "        super(Price, self).__init__()\n        self.value = value\n"
)
_PLUGINS = "import shop.stock\n\n\ndef plugins():\n    return ['stock']\n"
_SHORT = "def short(text):\n    l = len(text)\n    return text[:l]   \n"

_CHECK = (
    'import pathlib\nimport sys\n\nsys.exit("import shop.stock" not in pathlib.Path("shop/plugins.py").read_text())\n'
)
"""A gate of the repository's own: what looks like an import that nobody uses is what registers the plugin."""

_TEST = "import shop.plugins\n\n\ndef test_the_plugin_is_there():\n    assert shop.plugins.shop.stock.count([1]) == 1\n"

_QUICK = "[pytest]\naddopts = -p no:xdist -p no:hypothesispytest -p no:anyio -p no:timeout -p no:platformdirs\n"
"""pytest without the plugins that happen to be installed: it starts in a third of the time."""

_PLAIN = {"shop/__init__.py": "", "shop/stock.py": _STOCK, "shop/prices.py": _PRICES, "shop/plugins.py": _PLUGINS}
_RUFF = {"discovery": {"sources": ["ruff"]}}
_OWN_GATE = [sys.executable, "-I", "-S", "check.py"]


@dataclass(frozen=True, slots=True)
class Shape:
    """A kind of repository, and the configuration of its run."""

    name: str
    files: Mapping[str, str]
    sections: Mapping[str, Any] = field(default_factory=dict)
    left: int = 1
    """How many of its gaps a run must leave: those whose fix a gate rejects, and those that no tool can fix."""
    weight: int = 3
    """How often it is drawn, compared with the others."""


SHAPES = (
    Shape(
        "command-gate",
        _PLAIN | {"check.py": _CHECK},
        _RUFF | {"gates": {"lint": _OWN_GATE, "unit_enabled": False}},
    ),
    Shape(
        "lint-and-command",
        {"shop/stock.py": _STOCK, "shop/plugins.py": _PLUGINS, "check.py": _CHECK},
        _RUFF | {"gates": {"unit": _OWN_GATE}},
    ),
    Shape(
        "left-over-gap",
        {"shop/plugins.py": _PLUGINS, "shop/stock.py": _STOCK, "shop/short.py": _SHORT, "check.py": _CHECK},
        _RUFF | {"gates": {"lint": _OWN_GATE, "unit_enabled": False}},
        left=2,
    ),
    Shape(
        "with-setup",
        _PLAIN | {"check.py": _CHECK, ".gitignore": "build/\n"},
        _RUFF
        | {
            "gates": {"lint": _OWN_GATE, "unit_enabled": False},
            "environment": {"setup": [["mkdir", "-p", "build/deep"], ["touch", "build/deep/made"]]},
            "clustering": {"by": "proximity", "max_files": 2},
        },
    ),
    Shape(
        "tested",
        {"shop/stock.py": _STOCK, "shop/plugins.py": _PLUGINS, "test_shop.py": _TEST, "pytest.ini": _QUICK},
        _RUFF | {"gates": {"lint_enabled": False}},
        weight=1,  # its gates run pytest, so that it takes longer than the others
    ),
)

_WHEN = "@1750000000 +0000"


def make_repository(shape: Shape, folder: Path) -> Path:
    """The repository of a shape in a new folder: byte for byte the same each time, with a file that is not tracked."""
    for name, text in shape.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    _git(folder, "init", "--quiet", "--initial-branch=main")
    _git(folder, "add", "--all")
    _git(folder, "commit", "--quiet", "--message=first")
    (folder / "notes.txt").write_text("not tracked, and nobody's business\n")
    return folder


def _git(folder: Path, *arguments: str) -> None:
    variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    variables |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    for role in ("AUTHOR", "COMMITTER"):
        variables |= {f"GIT_{role}_NAME": "User", f"GIT_{role}_EMAIL": "user@localhost", f"GIT_{role}_DATE": _WHEN}
    subprocess.run(["git", *arguments], cwd=folder, env=variables, check=True, capture_output=True)
