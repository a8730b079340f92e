"""What `acms up` starts, once for all tests of a system, and a browser at its UI."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from prefect_ui import PrefectUi
    from system import System


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Told to stop by Ctrl-C in the end, it must end well and leave nothing running."""
    from system import started  # noqa: PLC0415 - Prefect reads its settings when it is imported

    folder = tmp_path_factory.mktemp("system")
    with started(folder) as running:
        yield running
    running.check_left()


@pytest.fixture
def ui(system: System) -> Iterator[PrefectUi]:
    """A browser of its own; skipped, with the reason, where there is none."""
    prefect_ui = pytest.importorskip("prefect_ui", reason="playwright is not installed", exc_type=ImportError)
    if prefect_ui.CHROMIUM is None:
        pytest.skip("chromium is not installed")
    with prefect_ui.opened(system.address) as page:
        yield page
