"""`acms metrics` over HTTP, asked as Prometheus and a supervisor ask it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest
from commands import Acms
from refusals import one_sentence

from prefect_acms.dao import migration
from prefect_acms.deployments.exporter import Exporter, listening

Ask = Callable[..., tuple[HTTPResponse, bytes]]


def asking(port: int, path: str, method: str = "GET", **headers: str) -> tuple[HTTPResponse, bytes]:
    """One request."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    return answer, answer.read()


@contextmanager
def serving(url: str, within_sec: float = 5.0) -> Iterator[Ask]:
    """An exporter of that store on a free port."""
    with listening("127.0.0.1", 0, Exporter(url, within_sec)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield lambda path, method="GET", **headers: asking(server.server_port, path, method, **headers)
        finally:
            server.shutdown()
            thread.join()


def waiting(listener: socket.socket) -> Iterator[str]:
    """Who has called and was not answered."""
    listener.settimeout(0)
    with suppress(BlockingIOError):
        while True:
            connection, caller = listener.accept()
            connection.close()
            yield str(caller)


@pytest.fixture
def ask(canonical_url: str) -> Iterator[Ask]:
    with serving(canonical_url) as ask:
        yield ask


def test_metrics_are_text_or_openmetrics_as_is_asked_for(ask: Ask) -> None:
    """The library negotiates; an OpenMetrics answer ends as one."""
    plain, text = ask("/metrics")
    assert plain.status == 200
    assert plain.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert b"\nacms_up 1.0\n" in text
    open_, text = ask("/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert open_.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert text.endswith(b"# EOF\n")
    _, some = ask("/metrics?name[]=acms_up")
    assert [line for line in some.splitlines() if not line.startswith(b"#")] == [b"acms_up 1.0"]


def test_health_and_readiness_are_json(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Prefect server that is away is told as a detail, and who it is about is still ready."""
    answer, body = ask("/health")
    assert (answer.status, json.loads(body)) == (200, {"status": "alive"})
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{nobody.getsockname()[1]}/api")
        answer, body = ask("/ready")
    found = json.loads(body)
    assert (answer.status, found["ready"], found["store"]["ok"]) == (200, True, True)
    assert found["store"]["found"].endswith(f"at {migration.head()}")
    assert found["prefect_server"]["ok"] is False
    assert "refused" in found["prefect_server"]["found"]


def test_a_prefect_server_that_hangs_is_told_in_time(canonical_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It decides nothing: the store is there."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{silent.getsockname()[1]}/api")
        with serving(canonical_url, within_sec=1) as ask:
            answer, body = ask("/ready")
            assert (answer.status, json.loads(body)["store"]["ok"]) == (200, True)
            assert json.loads(body)["prefect_server"] == {"ok": False, "found": "no answer within 1 s"}


def test_what_is_not_there_is_said(ask: Ask) -> None:
    """Another path, another method."""
    answer, body = ask("/nowhere")
    assert answer.status == 404
    assert json.loads(body)["error"] == "there is no /nowhere, only /metrics, /health, /ready"
    assert ask("/ready", "POST")[0].status == 405
    assert ask("/metrics", "POST")[0].status == 405


def test_an_old_or_missing_store_is_not_ready(canonical_url: str, tmp_path: Path) -> None:
    """503 with the sentence that helps; the metrics say so by a 0."""
    migration.downgrade(canonical_url, "008")
    for url, problem in (
        (canonical_url, "run `acms db upgrade`"),
        (f"sqlite:///{tmp_path / 'none.db'}", "there is none yet"),
    ):
        with serving(url) as ask:
            answer, body = ask("/ready")
            assert answer.status == 503
            assert problem in json.loads(body)["store"]["found"]
            answer, body = ask("/metrics")
            assert answer.status == 200
            assert body.endswith(b"\nacms_up 0.0\n")
            assert ask("/health")[0].status == 200
    assert not (tmp_path / "none.db").exists()


def test_a_database_that_never_answers_holds_nobody_up() -> None:
    """A server that takes the connection and says nothing: both answers come in time, and no call is made twice."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://ada:hush@127.0.0.1:{silent.getsockname()[1]}/acms"
        with serving(url, within_sec=0.3) as ask:
            started = time.monotonic()
            for _ in range(3):
                assert ask("/metrics")[1].endswith(b"\nacms_up 0.0\n")
                answer, body = ask("/ready")
                assert answer.status == 503
                assert "no answer within 0.3 s" in json.loads(body)["store"]["found"]
                assert b"hush" not in body
            assert ask("/health")[0].status == 200
            assert time.monotonic() - started < 10
        assert len(list(waiting(silent))) == 2


def test_the_command_serves_until_it_is_interrupted(canonical_url: str) -> None:
    """On a free port that it tells."""
    command = [str(Path(sys.executable).with_name("acms")), "metrics", "--port", "0", "--database-url", canonical_url]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    ) as acms:
        try:
            assert acms.stdout is not None
            line = acms.stdout.readline()
            port = int(line.split("http://127.0.0.1:")[1].split("/")[0])
            assert b"acms_up 1.0" in asking(port, "/metrics")[1]
            acms.send_signal(signal.SIGINT)
            assert acms.wait(20) == 130
            assert acms.stderr is not None
            assert acms.stderr.read() == "acms: cancelled\n"
        finally:
            acms.kill()


def test_an_address_that_is_taken_is_one_sentence(acms: Acms, canonical_url: str) -> None:
    """So are one that is not ours and a database that is none."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        sentence = one_sentence(acms("metrics", "--port", port, "--database-url", canonical_url))
        assert f"127.0.0.1:{port}" in sentence
    assert "192.0.2.1" in one_sentence(acms("metrics", "--host", "192.0.2.1", "--database-url", canonical_url))
    assert "mysql" in one_sentence(acms("metrics", "--database-url", "mysql://x/y"))
