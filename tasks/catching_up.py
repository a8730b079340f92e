"""Catching up: what channels were not told of runs is told by whoever comes by, a command or a sweep."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

from prefect_acms.blocks.notifications import NotificationSettings
from prefect_acms.canonical.clock import utc_text
from prefect_acms.canonical.errors import AcmsError
from prefect_acms.canonical.outside_errors import ChannelFailed
from prefect_acms.dao.runs import RunRow
from prefect_acms.dao.store import Store
from prefect_acms.dao.untold import runs_changed_since
from prefect_acms.tasks.news import KEPT
from prefect_acms.tasks.standing import Standing, standing_of

PATIENCE_SEC = 10.0
"""Seconds that a command leaves to the channels; the next one, or a sweep, goes on."""

_log = logging.getLogger(__name__)


def tell_news(store: Store, run_ids: Sequence[str] | None = None, within_sec: float = PATIENCE_SEC) -> None:
    """Tell the channels of these runs what they were not told yet, for so many seconds; nothing that fails is raised.

    Without ids, those of every run that was changed within a week and that no living process drives.
    """
    try:
        runs = _chosen(store, run_ids)
    except AcmsError as problem:
        _log.warning("no channel could be told anything: %s", problem)
        return
    if not runs or not _server_is_up():
        return
    waiting: dict[str, list[RunRow]] = {}
    for run in runs:
        for name in run.config["notifications"]["channels"]:
            waiting.setdefault(name, []).append(run)
    until = time.monotonic() + within_sec
    threads = [threading.Thread(target=_tell, args=(store, *item, until), daemon=True) for item in waiting.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))


def _server_is_up() -> bool:
    """Start Prefect's embedded server, where it is the one: started by a thread that is left, it would outlive us."""
    # Prefect is imported only where somebody is to be told something
    from prefect.client.orchestration import get_client  # noqa: PLC0415
    from prefect.settings import PREFECT_API_URL  # noqa: PLC0415

    try:
        if not PREFECT_API_URL.value():
            with get_client(sync_client=True):
                return True
    except (RuntimeError, OSError) as problem:
        _log.warning("no channel could be told anything: Prefect's embedded server does not start: %s", problem)
        return False
    return True


def _chosen(store: Store, run_ids: Sequence[str] | None) -> list[RunRow]:
    with store.begin(read_only=True) as dao:
        if run_ids is not None:
            runs = [dao.runs.get(run_id) for run_id in run_ids]
        else:
            found = runs_changed_since(dao, utc_text(store.clock() - KEPT))
            runs = [run for run in found if standing_of(run, store.clock()) is not Standing.DRIVEN]
    return [run for run in runs if run.config.get("notifications", {}).get("channels")]


def _tell(store: Store, name: str, runs: Sequence[RunRow], until: float) -> None:
    """Tell one channel of all these runs, each message once; when it fails, the rest is left to whoever comes next."""
    from prefect_acms.tasks.notifying import channels_of, tell  # noqa: PLC0415 - as above

    closing = threading.Event()
    closing.set()
    for run in runs:
        if time.monotonic() >= until:
            return
        try:
            has_ended = standing_of(run, store.clock()) is Standing.ENDED
            settings = NotificationSettings.model_validate(run.config["notifications"])
            for channel in channels_of(store, run.id, name, settings):
                tell(store, run.id, channel, closing, at_end=has_ended)
        except ChannelFailed as problem:
            _log.warning("%s; the next sweep tries again", problem)
            return
        except Exception:  # noqa: BLE001 - whatever is wrong with one run, the others and everybody else go on
            _log.exception("%s could not be told of run %s", name, run.id)
