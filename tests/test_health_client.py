"""The command `health`, against real pages over real sockets."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

import pytest

from processor.cli import main
from processor.errors import ExitCode, FatalError
from processor.health_client import Answer, ask, reachable
from processor.http_server import serving
from processor.pages import Limits, Pages
from processor.settings_model import Metrics
from processor.status_json import WorkerFacts
from processor.telemetry import Telemetry
from tests.kafka.readiness import HOST, free_port

FACTS = WorkerFacts(application="a", group="g", ordinal=0, started_at=0, partitions=6, group_protocol=None, packs=None)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("STATUS_PROCESSOR_")]:
        monkeypatch.delenv(name)


@contextmanager
def worker() -> Iterator[tuple[int, Pages]]:
    """Serve the pages of a worker that is just starting, as they really are."""
    pages = Pages(Telemetry("1"), FACTS, Limits(loop_within_s=90))
    with serving(pages, HOST, 0) as server:
        yield server.port, pages


@contextmanager
def stranger(body: bytes, status: int = 200) -> Iterator[int]:
    """Serve something that is no worker."""

    class Handler(BaseHTTPRequestHandler):
        answer: ClassVar[bytes] = body

        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(self.answer)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer((HOST, 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def run(port: int, *arguments: str) -> int:
    return main(["health", "--set", f"metrics.port={port}", *arguments])


def test_a_worker_that_starts_is_alive_and_not_ready_and_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    with worker() as (port, _):
        assert run(port) == ExitCode.OK
        assert run(port, "--ready") == ExitCode.FAILED

    alive, not_ready = capsys.readouterr().out.splitlines()
    assert alive == "alive"
    assert not_ready == "not ready: waiting for the brokers, the topics and the registry"


def test_for_machines_the_answer_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    with worker() as (port, _):
        assert run(port, "--ready", "--json") == ExitCode.FAILED

    told = json.loads(capsys.readouterr().out)
    assert told == {"ok": False, "reasons": ["waiting for the brokers, the topics and the registry"]}


def test_where_nobody_answers_the_answer_is_no(capsys: pytest.CaptureFixture[str]) -> None:
    port = free_port()

    assert run(port) == ExitCode.FAILED

    assert capsys.readouterr().out == f"not alive: no worker answers on {HOST} port {port} (Connection refused)\n"


def test_waiting_ends_when_the_answer_is_yes() -> None:
    port = free_port()
    pages = Pages(Telemetry("1"), FACTS, Limits(loop_within_s=90))
    started = threading.Event()
    asked_enough = threading.Event()

    def start_late() -> None:
        started.wait(10)
        with serving(pages, HOST, port):
            asked_enough.wait(10)

    thread = threading.Thread(target=start_late)
    thread.start()
    try:
        assert run(port) == ExitCode.FAILED
        started.set()
        assert run(port, "--wait", "10") == ExitCode.OK
    finally:
        asked_enough.set()
        thread.join()


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"ok": true}', b'{"ok": false, "reasons": [{}]}', b""])
def test_what_answers_and_is_no_worker_is_never_a_yes(body: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    with stranger(body) as port:
        assert run(port) == ExitCode.FAILED

    assert "is no worker" in capsys.readouterr().out


def test_a_yes_with_another_status_is_none() -> None:
    with stranger(b'{"ok": true, "reasons": []}', 503) as port:
        assert ask(Metrics(port=port), "/livez") == Answer(ok=False, reasons=())


@pytest.mark.parametrize("metrics", [Metrics(enabled=False), Metrics(port=0)])
def test_settings_that_leave_nobody_to_ask_are_refused(metrics: Metrics) -> None:
    with pytest.raises(FatalError, match=r"metrics\.port a number") as caught:
        ask(metrics, "/livez")

    assert caught.value.exit_code == ExitCode.SETTINGS


@pytest.mark.parametrize(
    ("host", "expected"),
    [("0.0.0.0", HOST), ("::", "::1"), ("10.0.0.7", "10.0.0.7"), ("::1", "::1"), ("worker.local", "worker.local")],
)
def test_who_listens_on_all_addresses_is_asked_on_its_own(host: str, expected: str) -> None:
    assert reachable(host) == expected
