"""`acms publish` as its user meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from commands import Acms
from forges import TOKEN, forge_server
from publishable import Shop

KEYS = (
    *("forge", "forge_url", "repository", "base", "branch", "workstream", "head", "number", "url", "state"),
    *("gaps", "labelled", "sentence"),
)


def test_a_run_is_published_from_the_command_line(acms: Acms, tmp_path: Path, canonical_url: str) -> None:
    """Options go before the run's settings; the table says where to look, the JSON has the keys that are promised."""
    with forge_server("gitea") as forge:
        shop = Shop(tmp_path, canonical_url, forge)
        shop.ended(("gap-a", {"a.py": "A = 2\n"}))
        where = ("--forge", "gitea", "--forge-url", forge.url, "--project", forge.project, "--ready", "--label", "bot")
        called = ("publish", "latest", *where, "--database-url", canonical_url)
        without = acms(*called)
        assert without.returncode == 2
        assert f"there are no credentials for {forge.url}" in without.stderr
        done = acms(*called, ACMS_FORGE_TOKEN=TOKEN, ACMS_FORGE_URL=forge.url)
        assert done.returncode == 0
        assert f"{forge.url}/acme/shop/pulls/1" in done.stdout.replace("\n", "")
        (pull,) = forge.pulls
        assert (pull["title"], pull["labels"]) == ("Fix 1 gap: R1", ["bot"])
        told = json.loads(acms(*called, "--json", ACMS_FORGE_TOKEN=TOKEN, ACMS_FORGE_URL=forge.url).stdout)
        assert tuple(told) == ("run_id", "published")
        assert tuple(told["published"][0]) == KEYS
        assert TOKEN not in str(told)


def test_what_is_not_installed_is_asked_for_in_one_sentence(tmp_path: Path) -> None:
    """The libraries come with an extra; without it everything else works."""
    code = f"""
import sys
sys.modules["github"] = None
from prefect_acms.blocks.publishing import ForgeKind
from prefect_acms.tasks.forge_addresses import ForgeAddress
from prefect_acms.tasks.forges import open_forge
from prefect_acms.tasks.forges.pace import Pace
try:
    open_forge(ForgeAddress(ForgeKind.GITHUB, "https://github.com", "a/b"), "{TOKEN}", Pace(1), 1)
except Exception as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    wanted = "publishing on GitHub needs PyGithub, which is not installed: pip install 'prefect-acms[publish]'"
    assert done.stdout.strip() == wanted
