"""The shop, and a scan of it that reads SARIF files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sarif_shop import write_shop

from prefect_acms.blocks.config import DiscoverySettings, EnvironmentSettings
from prefect_acms.tasks.environment import environment_for
from prefect_acms.tasks.sources import Scan


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """The files of the shop."""
    return write_shop(tmp_path / "shop")


@pytest.fixture
def scan_of(shop: Path) -> Callable[..., Scan]:
    """Asks the source `sarif` about the shop; keywords are discovery settings."""

    def scan(*files: Path, sources: tuple[str, ...] = ("sarif",)) -> Scan:
        environment = environment_for(shop, shop, EnvironmentSettings())
        settings = DiscoverySettings(sarif=files, sources=sources)
        return Scan(shop, environment, settings, timeout_sec=60)

    return scan
