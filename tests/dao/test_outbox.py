"""The outbox: `transitions.jsonl` follows the database, whatever happens to the file or to who writes it."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from prefect_acms.canonical.events import Event, Notice
from prefect_acms.dao.audit import export
from prefect_acms.dao.chain import GENESIS, row_hash
from prefect_acms.dao.outbox import Outbox

if TYPE_CHECKING:
    from tests.dao.conftest import World


@pytest.fixture
def run_id(world: World) -> str:
    """A run with a few lines in its trail."""
    run = str(world.run().id)
    note(world, run, 3)
    return run


@pytest.fixture
def path(tmp_path: Path, run_id: str) -> Path:
    """Where the outbox of the run lies."""
    return tmp_path / "repository" / ".acms_runs" / run_id / "transitions.jsonl"


@pytest.fixture
def outbox(world: World, run_id: str, path: Path) -> Iterator[Outbox]:
    """The outbox of the run, not started."""
    box = Outbox(world.store, run_id, path)
    yield box
    box.close()


def note(world: World, run_id: str, times: int = 1, reason: str = 'ünïcode\u2028 "quoted"\nand more') -> None:
    """So many more lines, a commit each."""
    for _ in range(times):
        with world.store.begin() as dao:
            dao.runs.note(run_id, Notice.DRIFT_DETECTED, reason=reason, event_metadata={"a": [1, None, "ü"]})


def expected(world: World, run_id: str) -> bytes:
    """The file as the database would have it."""
    out = io.StringIO()
    export(world.store, run_id, out)
    return out.getvalue().encode()


def test_each_line_is_an_event_with_its_place_and_its_hashes(world: World, outbox: Outbox, run_id: str) -> None:
    """The event as everybody gets it, then chain_seq, prev_hash and hash; lines in chain order."""
    told: list[Event] = []
    stop = world.store.subscribe(told.extend)
    note(world, run_id)
    stop()
    assert outbox.drain() == len(world.trail(run_id))
    lines = [json.loads(text) for text in outbox.path.read_bytes().decode().split("\n")[:-1]]
    trail = world.trail(run_id)
    assert [(x["chain_seq"], x["prev_hash"], x["hash"]) for x in lines] == [
        (row.chain_seq, row.prev_hash, row.hash) for row in trail
    ]
    assert {name: lines[-1][name] for name in lines[-1] if name not in {"chain_seq", "prev_hash", "hash"}} == told[
        -1
    ].as_dict()


def test_lines_are_the_same_from_every_database(any_world: World, tmp_path: Path) -> None:
    """Each hash can be computed anew from its line, whichever database the line comes from."""
    run = any_world.run().id
    note(any_world, run)
    path = tmp_path / "transitions.jsonl"
    with Outbox(any_world.store, run, path):
        note(any_world, run)
    before = GENESIS
    for told in map(json.loads, path.read_text(encoding="utf-8").split("\n")[:-1]):
        row = {**told, **told["context"], "transitioned_at": told["timestamp"]}
        assert row_hash(before, row) == told["hash"]
        before = told["hash"]
    assert path.read_bytes() == expected(any_world, run)


def test_draining_twice_writes_once(world: World, outbox: Outbox, run_id: str) -> None:
    """Each row of the run becomes one line, and rows of other chains become none."""
    other = world.run().id
    assert outbox.drain() == len(world.trail(run_id))
    assert outbox.drain() == 0
    note(world, other)
    assert outbox.drain() == 0
    note(world, run_id, 2)
    assert Outbox(world.store, run_id, outbox.path).drain() == 2
    assert outbox.drain() == 0
    assert outbox.path.read_bytes() == expected(world, run_id)


def test_a_started_outbox_follows_each_commit(world: World, outbox: Outbox, run_id: str) -> None:
    """Its thread is woken by the commit; nobody calls drain."""
    outbox.start()
    assert outbox.path.read_bytes() == expected(world, run_id)
    grown = threading.Event()
    for _ in range(5):
        note(world, run_id)
        for _ in range(500):
            if outbox.path.read_bytes() == expected(world, run_id):
                break
            grown.wait(0.01)
        assert outbox.path.read_bytes() == expected(world, run_id)


def test_what_is_refused_or_undone_is_never_written(world: World, outbox: Outbox, run_id: str) -> None:
    """The file is written after the commit."""
    outbox.start()
    with contextlib.suppress(KeyError), world.store.begin() as dao:
        dao.runs.note(run_id, Notice.DRIFT_DETECTED, reason="undone")
        raise KeyError
    outbox.close()
    assert b"undone" not in outbox.path.read_bytes()
    assert outbox.path.read_bytes() == expected(world, run_id)


def test_closing_writes_what_is_left(world: World, run_id: str, path: Path) -> None:
    """At the end of the block the file is whole, however fast the commits came."""
    with Outbox(world.store, run_id, path):
        note(world, run_id, 30)
    assert path.read_bytes() == expected(world, run_id)


def test_a_closed_outbox_listens_no_more(world: World, run_id: str, path: Path) -> None:
    """Closing twice is safe, and what comes later is left to who starts next."""
    box = Outbox(world.store, run_id, path)
    box.start()
    box.close()
    before = path.read_bytes()
    note(world, run_id)
    assert path.read_bytes() == before
    box.close()
    assert path.read_bytes() == expected(world, run_id)


def test_a_last_line_torn_at_any_byte_is_repaired(
    world: World, outbox: Outbox, run_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever a power cut left of the last line: the lines before it stay, and it is written again."""
    outbox.drain()
    whole = outbox.path.read_bytes()
    last = whole.rstrip(b"\n").rindex(b"\n") + 1
    for size in range(last, len(whole)):
        outbox.path.write_bytes(whole[:size])
        assert Outbox(world.store, run_id, outbox.path).drain() == 1
        assert outbox.path.read_bytes() == whole
    for size in (0, 1, last - 1, last, last + 1, len(whole) - 1):
        outbox.path.write_bytes(whole[:size])
        with Outbox(world.store, run_id, outbox.path):
            assert outbox.path.read_bytes() == whole
    assert not list(outbox.path.parent.glob("*.replaced*"))
    assert caplog.text == ""


def test_a_long_torn_line_is_cut_off_whole(world: World, outbox: Outbox, run_id: str) -> None:
    """A line may be longer than what is read at once."""
    note(world, run_id, reason="x" * 20_000)
    outbox.drain()
    whole = outbox.path.read_bytes()
    for missing in (1, 5_000, 20_000):
        outbox.path.write_bytes(whole[:-missing])
        assert Outbox(world.store, run_id, outbox.path).drain() == 1
        assert outbox.path.read_bytes() == whole


def test_a_deleted_file_is_written_again(world: World, outbox: Outbox, run_id: str) -> None:
    """While the outbox runs, or before it starts."""
    outbox.start()
    outbox.path.unlink()
    note(world, run_id)
    outbox.close()
    assert outbox.path.read_bytes() == expected(world, run_id)
    outbox.path.unlink()
    with Outbox(world.store, run_id, outbox.path):
        pass
    assert outbox.path.read_bytes() == expected(world, run_id)


def _edits(whole: bytes) -> dict[str, bytes]:
    lines = whole.splitlines(keepends=True)
    return {
        "a word changed": whole.replace(b"run_started", b"run_stopped"),
        "a line deleted": b"".join([lines[0], *lines[2:]]),
        "a line twice": b"".join([lines[0], *lines]),
        "two lines exchanged": b"".join([lines[1], lines[0], *lines[2:]]),
        "a line added": whole + lines[-1],
        "a line nobody wrote": whole + b'{"chain_seq": 99}\n',
        "text in front": b"# mine\n" + whole,
        "text behind": whole + b"thanks\n",
        "an empty line": whole + b"\n",
        "zeros behind": whole + b"\0" * 512 + b"\n",
        "no text at all": b"\xff\xfe\n",
    }


@pytest.mark.parametrize("edit", list(_edits(b"a\nb\nc\n")))
def test_an_edited_file_is_found_on_start_and_written_anew(
    edit: str, world: World, outbox: Outbox, run_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The database is the truth; the edited file is kept beside the new one, and a warning says so."""
    outbox.drain()
    whole = outbox.path.read_bytes()
    edited = _edits(whole)[edit]
    assert edited != whole
    outbox.path.write_bytes(edited)
    with Outbox(world.store, run_id, outbox.path):
        pass
    assert outbox.path.read_bytes() == whole
    assert outbox.path.with_name("transitions.jsonl.replaced").read_bytes() == edited
    assert "is written anew, the old one is kept as transitions.jsonl.replaced" in caplog.text


def test_every_edited_file_is_kept(world: World, outbox: Outbox, run_id: str) -> None:
    """The second doesn't replace the first."""
    for number in range(3):
        outbox.path.parent.mkdir(parents=True, exist_ok=True)
        outbox.path.write_bytes(b"mine %d\n" % number)
        with Outbox(world.store, run_id, outbox.path):
            pass
    kept = sorted(path.read_bytes() for path in outbox.path.parent.glob("*.replaced*"))
    assert kept == [b"mine 0\n", b"mine 1\n", b"mine 2\n"]


def test_a_rebuilt_file_equals_the_one_that_grew(world: World, outbox: Outbox, run_id: str) -> None:
    """Byte for byte, from whatever the file was, in one move."""
    outbox.start()
    note(world, run_id, 5)
    outbox.close()
    grown = outbox.path.read_bytes()
    for spoiled in (b"", b"nonsense\n", grown[:50], grown):
        outbox.path.write_bytes(spoiled)
        assert Outbox(world.store, run_id, outbox.path).rebuild() == len(world.trail(run_id))
        assert outbox.path.read_bytes() == grown
    note(world, run_id)
    assert outbox.drain() == 1
    assert not list(outbox.path.parent.glob("*.fresh"))


APPEND = """
import sys
from prefect_acms.canonical.events import Notice
from prefect_acms.dao.outbox import Outbox
from prefect_acms.dao.store import open_store
url, run_id, path, name = sys.argv[1:]
store = open_store(url)
with Outbox(store, run_id, path) as outbox:
    for number in range(25):
        with store.begin() as dao:
            dao.runs.note(run_id, Notice.DRIFT_DETECTED, reason=f"{name} {number}")
"""


def test_two_processes_write_one_file(world: World, run_id: str, path: Path) -> None:
    """Both run the pipeline's outbox at once: each row becomes one line, in chain order, and no line is torn."""
    both = [
        subprocess.Popen([sys.executable, "-c", APPEND, world.store.url, run_id, str(path), name])
        for name in ("one", "two")
    ]
    assert [process.wait() for process in both] == [0, 0]
    assert path.read_bytes() == expected(world, run_id)
    assert len(world.trail(run_id)) >= 53
    assert not list(path.parent.glob("*.replaced*"))


def test_eight_threads_drain_one_file(world: World, run_id: str, path: Path) -> None:
    """Whoever drains, and through whichever outbox: one line a row."""
    boxes = [Outbox(world.store, run_id, path) for _ in range(4)] * 2

    def work(box: Outbox) -> None:
        for _ in range(5):
            note(world, run_id)
            box.drain()

    threads = [threading.Thread(target=work, args=(box,)) for box in boxes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    boxes[0].drain()
    assert path.read_bytes() == expected(world, run_id)


def test_trouble_with_the_file_does_not_stop_the_run(
    world: World, run_id: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A folder in the place of the file: starting, following and closing warn, and go on when it is out of the way."""
    path = tmp_path / "folder" / "transitions.jsonl"
    path.mkdir(parents=True)
    with Outbox(world.store, run_id, path):
        note(world, run_id, 2)
    assert "is behind the database and can be rebuilt from it" in caplog.text
    with pytest.raises(OSError, match="directory"):
        Outbox(world.store, run_id, path).drain()
    path.rmdir()
    Outbox(world.store, run_id, path).drain()
    assert path.read_bytes() == expected(world, run_id)


def test_a_run_without_a_trail_has_no_lines(world: World, tmp_path: Path) -> None:
    """Nothing is made up."""
    with Outbox(world.store, "run_none", tmp_path / "none.jsonl") as box:
        assert box.drain() == 0
    assert not (tmp_path / "none.jsonl").exists() or (tmp_path / "none.jsonl").read_bytes() == b""
