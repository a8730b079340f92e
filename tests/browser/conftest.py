"""What `acms up` starts, once for all tests with a browser, and a browser at its UI."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from prefect_ui import PrefectUi
    from system import System


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Skipped, with the reason, where there is no browser to look at it."""
    prefect_ui = pytest.importorskip("prefect_ui", reason="playwright is not installed", exc_type=ImportError)
    if prefect_ui.CHROMIUM is None:
        pytest.skip("chromium is not installed")
    from system import started  # noqa: PLC0415 - Prefect reads its settings when it is imported

    with started(tmp_path_factory.mktemp("system")) as running:
        yield running


@pytest.fixture
def ui(system: System) -> Iterator[PrefectUi]:
    """A browser of its own."""
    from prefect_ui import opened  # noqa: PLC0415 - it may be missing

    with opened(system.address) as page:
        yield page
