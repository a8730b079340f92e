"""Runs that there are not, or that can't go on: one clear sentence, exit 2, and nothing changed."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import Acms
from refusals import number_of_runs, one_sentence, refused

from prefect_acms.dao.store import open_store

from .conftest import Stored


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["show", "nobody"], "there is no run 'nobody'"),
        (["gaps", "nobody"], "there is no run 'nobody'"),
        (["patches", "nobody"], "there is no run 'nobody'"),
        (["diff", "nobody"], "there is no patch 'nobody'"),
        (["execute", "nobody"], "there is no run 'nobody'"),
        (["audit", "verify", "nobody"], "there is no run 'nobody'"),
        (["audit", "export", "nobody"], "there is no run 'nobody'"),
        (["show", "run_"], "a part of one id only, it fits run_"),
        (["gaps", "run_"], "a part of one id only, it fits run_"),
        (["execute", "run_"], "a part of one id only, it fits run_"),
        (["audit", "verify", "run_"], "a part of one id only, it fits run_"),
        (["gaps", "latest", "--state", "lost"], "'lost'"),
        (["patches", "latest", "--state", "lost"], "'lost'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_id_that_means_no_run_or_several(
    acms: Acms, canonical_url: str, acms_home: Path, arguments: list[str], told: str
) -> None:
    """The ids that it fits are named."""
    store = open_store(canonical_url)
    with store.begin() as dao:
        for _ in range(2):
            dao.runs.create(repo_root="/nowhere/shop", base_commit="b" * 40, mode="full", config={})
    store.close()
    assert told in one_sentence(acms(*arguments, "--database-url", canonical_url))
    assert number_of_runs(canonical_url) == 2
    assert not acms_home.exists()


@pytest.mark.parametrize("command", [["show"], ["gaps"], ["patches"], ["execute"], ["audit", "verify"]], ids=" ".join)
def test_the_latest_run_where_there_is_none(acms: Acms, acms_home: Path, tmp_path: Path, command: list[str]) -> None:
    """And no store is made to find that out."""
    assert "there is none yet" in refused(acms, tmp_path, acms_home, *command, "latest")


def test_the_latest_run_of_an_empty_store(acms: Acms, canonical_url: str) -> None:
    """There is none."""
    assert "there is no run 'latest'" in one_sentence(acms("show", "latest", "--database-url", canonical_url))


def test_a_trail_that_does_not_exist_is_not_called_intact(acms: Acms, acms_home: Path, tmp_path: Path) -> None:
    """Else a wrong address, or a database that somebody took away, would look like a good one."""
    assert "there is none yet" in refused(acms, tmp_path, acms_home, "audit", "verify")


def test_a_run_whose_repository_is_gone(acms: Acms, stored: Stored, tmp_path: Path, acms_home: Path) -> None:
    """Its plan can't be executed anywhere."""
    sentence = refused(acms, tmp_path, acms_home, "execute", stored.run, "--database-url", stored.url)
    assert "/nowhere/shop is not a git repository" in sentence


def test_a_run_without_a_plan(acms: Acms, stored: Stored, sample: Path, acms_home: Path) -> None:
    """It stopped before planning."""
    command = ["execute", stored.run, "--repository", str(sample), "--database-url", stored.url]
    assert "a run whose planning has completed" in refused(acms, sample, acms_home, *command)
