"""The doctor says what is wrong in words, what to do, and never that all is well where nothing is known."""

from __future__ import annotations

import http.server
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from processor import doctor_machine as machine
from processor.cli.doctor import findings_as_json
from processor.doctor import (
    Finding,
    Verdict,
    access_findings,
    clock_finding,
    connection_failed,
    disk_finding,
    files_finding,
    offset_findings,
    topic_findings,
)
from processor.settings import Settings, load_settings
from processor.topics import Problem, Severity

NOW = 1_795_600_000_000
MIB = 1 << 20


def settings(**more: object) -> Settings:
    return load_settings(None, {name.replace("__", "."): value for name, value in more.items()}, {})


@pytest.mark.parametrize(
    ("complaint", "words"),
    [
        (
            "SSL handshake failed: certificate verify failed: broker certificate could not be verified",
            "ssl.ca.location",
        ),
        ("SSL handshake failed: Disconnected: connecting to a PLAINTEXT broker listener?", "speaks no TLS"),
        ("SASL authentication error: Authentication failed: Invalid username or password", "sasl.password"),
        ("SASL SCRAM mechanism handshake failed: Unsupported SASL mechanism: supported: PLAIN", "sasl.mechanism"),
        ("Request not valid in current SASL state: broker's supported mechanisms: ", "asks for no SASL"),
        ("Failed to resolve 'kafka:9092': Name or service not known", "bootstrap.servers"),
        ("Connect to ipv4#127.0.0.1:1 failed: Connection refused", "nobody listens there"),
        ("something new", "no broker answers (something new)"),
    ],
)
def test_a_connection_that_fails_is_explained(complaint: str, words: str) -> None:
    found = connection_failed([complaint], "transport failure")

    assert found.verdict is Verdict.FAIL
    assert words in found.text


def test_a_broker_that_hangs_up_without_a_word_may_ask_for_a_login() -> None:
    assert "security.protocol" in connection_failed([], "Broker transport failure").text


def test_each_access_that_is_missing_is_a_finding_of_its_own() -> None:
    needed = {"topic raw": ["Read"], "topic state": ["Read", "Write"], "group g": ["Read"]}
    allowed = {"topic raw": ["Read", "Describe"], "topic state": ["Read"], "group g": None}

    assert access_findings(needed, allowed, ["topic state"]) == [
        Finding("access", Verdict.OK, "2 accesses to topics and the group are granted"),
        Finding("access", Verdict.FAIL, "Write on topic state is missing: grant it to the worker's principal"),
        Finding("access", Verdict.UNKNOWN, "Read on group g: the brokers do not tell"),
        Finding("access", Verdict.WARNING, "DescribeConfigs on topic state is missing: its settings cannot be checked"),
    ]


def test_a_topic_that_may_not_be_seen_is_not_called_missing() -> None:
    problems = [
        Problem(Severity.ERROR, "state", "missing; make it"),
        Problem(Severity.ERROR, "raw", "missing; make it"),
    ]

    found = topic_findings(problems, {"state"}, created=False)

    assert found == [Finding("topics", Verdict.FAIL, "raw missing; make it")]
    assert topic_findings(problems, {"state"}, created=True)[0].verdict is Verdict.WARNING


def test_offsets_that_would_end_a_worker_are_failures() -> None:
    committed = {("raw", 0): (10, "mine"), ("raw", 1): (3, "other"), ("raw", 2): (9, None)}

    found = offset_findings(committed, {("raw", 0): 15}, "mine")

    assert [(one.verdict, one.text.split(":")[0]) for one in found] == [
        (Verdict.FAIL, "raw[0]"),
        (Verdict.FAIL, "raw[1] belongs to another state topic than the one that is there"),
        (Verdict.WARNING, "1 of 3 have no books"),
    ]
    assert offset_findings({("raw", 0): (10, "mine")}, {("raw", 0): 2}, "mine")[0].verdict is Verdict.OK
    assert offset_findings({}, {}, "mine")[0].verdict is Verdict.OK


@pytest.mark.parametrize(
    ("newest_ms", "registry_ms", "verdict"),
    [
        (NOW - 1_000, None, Verdict.OK),
        (NOW - 60_000, None, Verdict.UNKNOWN),
        (None, None, Verdict.UNKNOWN),
        (NOW + 60_000, None, Verdict.WARNING),
        (NOW + 7_200_000, NOW, Verdict.FAIL),
        (NOW - 60_000, NOW + 500, Verdict.OK),
        (None, NOW - 60_000, Verdict.WARNING),
        (None, NOW + 7_200_000, Verdict.FAIL),
    ],
)
def test_a_clock_is_only_right_where_somebody_elses_time_is_known(
    newest_ms: int | None, registry_ms: int | None, verdict: Verdict
) -> None:
    assert clock_finding(newest_ms, registry_ms, NOW).verdict is verdict


@pytest.mark.parametrize(
    ("free", "used", "expected", "verdict"),
    [
        (10_000, 100, 1_000, Verdict.OK),
        (1_500, 100, 1_000, Verdict.WARNING),
        (100, 0, 0, Verdict.FAIL),
    ],
)
def test_the_disk_has_room_for_a_rebuild_beside_what_is_there(
    free: int, used: int, expected: int, verdict: Verdict
) -> None:
    assert disk_finding("state", free * MIB, used * MIB, expected * MIB).verdict is verdict


def test_a_low_limit_of_open_files_is_told_with_the_number_that_is_needed() -> None:
    assert files_finding(256, 12, 3).verdict is Verdict.WARNING
    assert files_finding(4096, 12, 3).verdict is Verdict.OK


def test_a_directory_that_cannot_be_written_fails(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", "utf-8")

    assert machine.disk(settings(state__directory=tmp_path / "new"), 0).verdict is not Verdict.FAIL
    assert not (tmp_path / "new").exists()
    found = machine.disk(settings(state__directory=tmp_path / "file"), 0)
    assert found.verdict is Verdict.FAIL
    assert "state.directory" in found.text


class _Pages(http.server.BaseHTTPRequestHandler):
    body = b""
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(self.body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@contextmanager
def pages(text: object, status: int = 200) -> Iterator[int]:
    body = text.encode() if isinstance(text, str) else json.dumps(text).encode()
    handler = type("Pages", (_Pages,), {"body": body, "status": status})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def test_a_port_is_free_or_a_workers_own_or_somebody_elses() -> None:
    with pages('status_processor_build_info{version="1"} 1.0') as number:
        assert machine.port(settings(metrics__port=number)) == Finding(
            "http", Verdict.OK, f"a worker serves its pages on 127.0.0.1:{number}"
        )
    with pages("something else") as number:
        assert machine.port(settings(metrics__port=number)).verdict is Verdict.FAIL
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = free.getsockname()[1]
    assert machine.port(settings(metrics__port=number)).text == f"127.0.0.1:{number} is free"
    assert machine.port(settings(metrics__host="192.0.2.1")).verdict is Verdict.FAIL


def test_the_registry_has_the_schema_or_would_take_it_or_not() -> None:
    registered = {"subject": "s", "id": 7, "version": 1, "schema": "{}", "guid": "x"}
    for answer, status, verdict, words in (
        (registered, 200, Verdict.OK, "as id 7"),
        ({"error_code": 40401, "message": "Subject not found"}, 404, Verdict.OK, "the first worker registers"),
        ({"error_code": 401, "message": "no"}, 401, Verdict.FAIL, "check the credentials"),
    ):
        with pages(answer, status) as number:
            url = f"http://127.0.0.1:{number}"
            found = machine.registry(settings(registry__url=url))
            assert (found.verdict, words in found.text) == (verdict, True), found.text
            told = machine.registry_time_ms(settings(registry__url=url))
            assert told is not None
    assert machine.registry(settings(registry__url="http://127.0.0.1:1")).verdict is Verdict.FAIL
    assert machine.registry_time_ms(settings(registry__url="http://127.0.0.1:1")) is None
    assert machine.registry_time_ms(settings()) is None


def test_packs_that_cannot_be_loaded_are_named_and_a_missing_key_is_told(tmp_path: Path) -> None:
    (tmp_path / "acme.toml").write_text('carrier = "acme"\nnonsense = 1\n', "utf-8")

    (broken,) = machine.packs(settings(packs__directory=tmp_path))
    loaded, key = machine.packs(settings())
    (with_key,) = machine.packs(settings(identity_key="a secret"))

    assert broken.verdict is Verdict.FAIL
    assert "acme.toml" in broken.text
    assert (loaded.verdict, with_key.verdict) == (Verdict.OK, Verdict.OK)
    assert key.verdict is Verdict.WARNING
    assert "identity_key" in key.check


def test_findings_are_told_to_machines() -> None:
    found = [Finding("disk", Verdict.FAIL, "two\nlines"), Finding("clock", Verdict.OK, "fine")]

    assert findings_as_json(found) == {
        "failed": True,
        "findings": [
            {"check": "disk", "verdict": "FAIL", "text": "two lines"},
            {"check": "clock", "verdict": "ok", "text": "fine"},
        ],
    }
