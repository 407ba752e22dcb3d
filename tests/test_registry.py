"""A registry's answers become a value, a wait or an end, and never tell a secret."""

from __future__ import annotations

import io
import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import structlog

from processor.codec import Decoder, encode_raw_events
from processor.errors import AbortCause, DecodeError, ExitCode, FatalError, TransientError
from processor.logs import configure_logging
from processor.registry import Registry
from processor.schema_supply import SchemaSupply
from processor.schemas import registry_prefix, schema_text
from tests.strategies import report

SCHEMA = schema_text("raw_status_event")
QUICK = {"max.retries": 0, "timeout": 5.0}


class FakeServer(ThreadingHTTPServer):
    """Speaks the paths of a schema registry that the client uses."""

    daemon_threads = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.schemas: dict[int, dict[str, Any]] = {}
        self.subjects: dict[str, dict[str, int]] = {}
        self.requests: list[str] = []
        self.fail_with: tuple[int, bytes] | None = None
        self.hold: threading.Event | None = None
        self.password: str | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Return status and JSON of one request."""
        parts = path.partition("?")[0].strip("/").split("/")
        if method == "GET" and parts[:2] == ["schemas", "ids"]:
            schema = self.schemas.get(int(parts[2]))
            return (200, schema) if schema else (404, {"error_code": 40403, "message": "Schema not found"})
        if method == "POST" and parts[0] == "subjects" and parts[2] == "versions":
            versions = self.subjects.setdefault(parts[1], {})
            schema_id = versions.setdefault(body["schema"], len(self.schemas) + 1)
            self.schemas[schema_id] = body
            return 200, {"id": schema_id}
        return 404, {"error_code": 404, "message": "HTTP 404 Not Found"}


class _Handler(BaseHTTPRequestHandler):
    server: FakeServer

    def do_GET(self) -> None:
        self._answer("GET", {})

    def do_POST(self) -> None:
        self._answer("POST", json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _answer(self, method: str, body: dict[str, Any]) -> None:
        self.server.requests.append(f"{method} {self.path.partition('?')[0]}")
        if self.server.hold is not None:
            self.server.hold.wait(20)
        if self.server.fail_with is not None:
            status, content = self.server.fail_with
        else:
            status, answer = self.server.answer(method, self.path, body)
            content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@contextmanager
def serving() -> Iterator[FakeServer]:
    with FakeServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            if server.hold is not None:
                server.hold.set()
            server.shutdown()
            thread.join()


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with serving() as server:
        yield server


@pytest.fixture
def registry(server: FakeServer) -> Iterator[Registry]:
    with Registry({"url": server.url, **QUICK}) as registry:
        yield registry


def test_a_registered_schema_is_fetched_by_its_id(registry: Registry) -> None:
    schema_id = registry.register("carrier.status.raw-value", SCHEMA)

    assert registry.fetch(schema_id) == SCHEMA
    assert registry.register("carrier.status.raw-value", SCHEMA) == schema_id


def test_a_schema_is_asked_for_once(server: FakeServer, registry: Registry) -> None:
    server.schemas[7] = {"schema": SCHEMA}

    assert [registry.fetch(7), registry.fetch(7)] == [SCHEMA, SCHEMA]
    assert server.requests == ["GET /schemas/ids/7"]


def test_the_frame_names_the_id(registry: Registry) -> None:
    assert registry.frame("message.status.changes-value", SCHEMA) == registry_prefix(1)


def test_the_clients_own_mock_will_do_where_there_is_no_server() -> None:
    with Registry({"url": "mock://anywhere"}) as registry:
        schema_id = registry.register("subject", SCHEMA)

        assert registry.fetch(schema_id) == SCHEMA
        assert registry.fetch(schema_id + 1) is None


def test_an_id_that_the_registry_does_not_have_is_none(registry: Registry) -> None:
    assert registry.fetch(404) is None


@pytest.mark.parametrize(
    ("status", "content"),
    [
        (500, b'{"error_code": 50001, "message": "Error in the backend data store"}'),
        (502, b"<html>Bad Gateway</html>"),
        (429, b""),
        (404, b'{"error_code": 404, "message": "HTTP 404 Not Found"}'),
        (404, b"<html>Not Found</html>"),
        (301, b""),
        (200, b"<html>Welcome</html>"),
        (200, b"[]"),
        (200, b"{}"),
    ],
)
def test_what_is_no_answer_of_a_registry_is_waited_out(
    server: FakeServer, registry: Registry, status: int, content: bytes
) -> None:
    server.fail_with = (status, content)

    with pytest.raises(TransientError) as caught:
        registry.fetch(1)

    assert str(caught.value).startswith(f"fetching schema 1: the schema registry {server.url}")
    assert "\n" not in str(caught.value)


def test_a_registry_that_comes_back_answers(server: FakeServer, registry: Registry) -> None:
    server.schemas[1] = {"schema": SCHEMA}
    server.fail_with = (503, b"")
    with pytest.raises(TransientError):
        registry.fetch(1)

    server.fail_with = None

    assert registry.fetch(1) == SCHEMA


def test_a_closed_port_is_waited_out() -> None:
    with serving() as server:
        url = server.url
    with Registry({"url": url, **QUICK}) as registry, pytest.raises(TransientError, match="not reachable") as caught:
        registry.fetch(1)
    assert caught.value.cause is AbortCause.REGISTRY


def test_a_slow_answer_is_waited_for_as_long_as_the_timeout(server: FakeServer) -> None:
    server.hold = threading.Event()
    conf = {"url": server.url, "max.retries": 0, "timeout": 0.2}

    with Registry(conf) as registry, pytest.raises(TransientError, match="not reachable"):
        registry.fetch(1)


def test_nobody_waits_long_for_a_registry_that_hangs(server: FakeServer) -> None:
    server.hold = threading.Event()
    began = time.monotonic()

    with Registry({"url": server.url}) as registry, pytest.raises(TransientError, match="not reachable"):
        registry.fetch(1)

    assert time.monotonic() - began < 4


def test_a_slow_registry_holds_a_batch_up_for_a_second_and_the_next_try_goes_on(
    server: FakeServer, registry: Registry
) -> None:
    values = [registry_prefix(schema_id) + b"x" for schema_id in (1, 2, 3, 4)]
    decoder = Decoder()
    ticks = iter([0.0, 0.6, 1.2, 1.2, 1.8])
    supply = SchemaSupply(decoder, registry, clock=lambda: next(ticks))

    with pytest.raises(TransientError, match="slow: 2 of 4 schemas"):
        supply.supply(values)
    supply.supply(values)

    assert server.requests == [f"GET /schemas/ids/{schema_id}" for schema_id in (1, 2, 3, 4)]
    assert decoder.missing_schema_ids(values) == set()


@pytest.mark.parametrize("status", [401, 403])
def test_a_denial_ends_the_worker(server: FakeServer, registry: Registry, status: int) -> None:
    server.fail_with = (status, b'{"error_code": 40301, "message": "no"}')

    for ask in (lambda: registry.fetch(1), lambda: registry.register("subject", SCHEMA)):
        with pytest.raises(FatalError) as caught:
            ask()
        assert caught.value.exit_code is ExitCode.NOT_PERMITTED


def test_an_incompatible_schema_ends_the_worker_in_the_registrys_words(server: FakeServer, registry: Registry) -> None:
    server.fail_with = (409, b'{"error_code": 409, "message": "Schema being registered\\nis incompatible"}')

    with pytest.raises(FatalError, match="answered 409: Schema being registered is incompatible"):
        registry.register("subject", SCHEMA)


def test_a_registry_that_is_down_while_registering_is_waited_out(server: FakeServer, registry: Registry) -> None:
    server.fail_with = (500, b"")

    with pytest.raises(TransientError):
        registry.register("subject", SCHEMA)


def test_a_register_that_gives_no_id_is_waited_out(server: FakeServer, registry: Registry) -> None:
    server.fail_with = (200, b"{}")

    with pytest.raises(TransientError, match="without an id"):
        registry.register("subject", SCHEMA)


@pytest.mark.parametrize(
    "conf",
    [
        {},
        {"url": "ftp://jo:hunter2@registry"},
        {"url": "jo:hunter2@registry:8081"},
        {"url": "http://jo:hunter2@registry:port"},
        {"url": "http://registry", "bearer.auth.credentials.source": "hunter2"},
        {"url": "http://registry", "basic.auth.user.info": "hunter2"},
        {"url": "http://registry", "ssl.ca.location": "/nowhere/hunter2"},
        {"url": "http://registry", "surprise": "hunter2"},
    ],
)
def test_settings_that_cannot_be_used_end_the_worker_without_telling_them(conf: dict[str, object]) -> None:
    with pytest.raises(FatalError) as caught:
        Registry({**conf, **QUICK})

    assert caught.value.exit_code is ExitCode.SETTINGS
    assert "hunter2" not in str(caught.value)


def test_credentials_are_never_told(server: FakeServer) -> None:
    server.fail_with = (500, b'{"error_code": 500, "message": "hunter2"}')
    url = server.url.replace("://", "://jo:hunter2@")

    with Registry({"url": url, **QUICK}) as registry, pytest.raises(TransientError) as caught:
        registry.fetch(1)

    assert "hunter2" not in str(caught.value)
    assert server.url in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"schema": 'syntax = "proto3"; message M {}', "schemaType": "PROTOBUF"}, "not JSON"),
        ({"schema": '{"type": "object"}', "schemaType": "JSON"}, "unknown type object"),
        (
            {
                "schema": SCHEMA.replace('["null", "int"]', '["null", "com.example.Count"]'),
                "references": [{"name": "com.example.Count", "subject": "count", "version": 1}],
            },
            "unknown type com.example.Count: references to other schemas are not supported",
        ),
    ],
)
def test_a_schema_that_cannot_be_used_makes_its_values_undecodable(
    server: FakeServer, registry: Registry, answer: dict[str, Any], reason: str
) -> None:
    server.schemas[3] = answer
    decoder = Decoder()
    value = encode_raw_events([report()], registry_prefix(3))[0]
    for schema_id in decoder.missing_schema_ids([value]):
        decoder.learn(schema_id, registry.fetch(schema_id))

    item = decoder.decode_batch([value])[0]

    assert isinstance(item, DecodeError)
    assert item.detail == f"schema id 3: {reason}"


def test_requests_leave_no_line_in_a_workers_log(server: FakeServer, registry: Registry) -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    server.schemas[7] = {"schema": SCHEMA}
    stream = io.StringIO()
    try:
        configure_logging("info", "json", stream)
        registry.fetch(7)
        registry.fetch(8)
    finally:
        root.handlers[:] = before
        root.setLevel(level)
        structlog.reset_defaults()

    assert stream.getvalue() == ""
