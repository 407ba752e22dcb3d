"""What a client may do to the HTTP port: ask one thing, in time. Real sockets on both ends."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest

from processor import http_server
from processor.http_server import CONNECTIONS_MAX, HttpServer, serving, url_of

LARGE = b"x" * 20_000_000
"""More than the buffers of both sockets take."""


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    body = LARGE if environ["PATH_INFO"] == "/large" else b"answered\n"
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with serving(application, "127.0.0.1", 0) as running:
        yield running


def connect(server: HttpServer, timeout_s: float = 10) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout_s)


def everything(client: socket.socket) -> bytes:
    """Read until the other end closes, however it does."""
    said = b""
    try:
        while part := client.recv(65_536):
            said += part
    except ConnectionResetError:
        pass
    return said


def exchange(server: HttpServer, request: bytes) -> bytes:
    with connect(server) as client:
        client.sendall(request)
        return everything(client)


def status_of(answer: bytes) -> str:
    return answer.split(b"\r\n", 1)[0].decode()


def dribble(client: socket.socket, until: float) -> None:
    while time.monotonic() < until:
        client.sendall(b"G")
        time.sleep(0.05)  # The client's own slowness.


def ask(server: HttpServer) -> float:
    """Ask for a page, and return how many seconds that took."""
    began = time.monotonic()
    assert exchange(server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").endswith(b"answered\n")
    return time.monotonic() - began


def test_a_connection_gets_one_answer_and_ends(server: HttpServer) -> None:
    answer = exchange(server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 500)

    assert status_of(answer) == "HTTP/1.1 200 OK"
    assert answer.count(b"answered") == 1
    assert b"Connection: close" in answer
    assert b"Server:" not in answer


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        pytest.param(b"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx", "413 Request Entity Too Large", id="body"),
        pytest.param(
            b"GET / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", "413 Request Entity Too Large", id="huge"
        ),
        pytest.param(
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
            "413 Request Entity Too Large",
            id="chunked",
        ),
        pytest.param(
            b"GET / HTTP/1.1\r\nCookie: " + b"c" * 9000 + b"\r\n\r\n",
            "431 Request Header Fields Too Large",
            id="header",
        ),
        pytest.param(b"GET /" + b"a" * 9000, "431 Request Header Fields Too Large", id="endless line"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", "400 Bad Request", id="TLS"),
        pytest.param(b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", "400 Bad Request", id="no length"),
    ],
)
def test_what_is_no_plain_question_is_refused_with_a_word(
    server: HttpServer, request_bytes: bytes, status: str
) -> None:
    answer = exchange(server, request_bytes)

    assert status_of(answer).split(" ", 1)[1] == status
    assert b"this port takes GET and HEAD" in answer
    assert b"X-Content-Type-Options: nosniff" in answer
    assert b"Server:" not in answer


def test_a_client_that_sends_a_byte_now_and_then_is_cut_off(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "EXCHANGE_S", 0.5)
    with connect(server) as client, pytest.raises((BrokenPipeError, ConnectionResetError)):
        dribble(client, time.monotonic() + 10)


def test_a_client_that_reads_too_slowly_is_cut_off_and_holds_nobody_up(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as open_ones:
        stuck = open_ones.enter_context(connect(server))
        for client in (stuck, *(open_ones.enter_context(connect(server)) for _ in range(4))):
            client.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")

        # In less time than any of them is given.
        assert ask(server) < http_server.EXCHANGE_S / 2

        monkeypatch.setattr(http_server, "EXCHANGE_S", 0.5)
        got = b""
        began = time.monotonic()
        while time.monotonic() - began < 1.0:
            got += stuck.recv(100)
            time.sleep(0.05)  # The client's own slowness.
        # What was under way is all that ever comes: the answer was cut off.
        assert len(got + everything(stuck)) < len(LARGE)


def test_as_many_idle_clients_as_there_are_connections_lock_nobody_out(server: HttpServer) -> None:
    with ExitStack() as open_ones:
        for _ in range(CONNECTIONS_MAX + 20):
            open_ones.enter_context(connect(server)).sendall(b"GET / HT")

        assert ask(server) < 5.0


def test_many_at_once_are_all_answered(server: HttpServer) -> None:
    failed: list[BaseException] = []

    def client() -> None:
        try:
            for _ in range(10):
                ask(server)
        except BaseException as error:  # noqa: BLE001  # told by the thread that waits
            failed.append(error)

    threads = [threading.Thread(target=client) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not failed


def test_the_port_is_free_again_once_the_server_is_closed() -> None:
    with serving(application, "127.0.0.1", 0) as first:
        port = first.port
        with pytest.raises(OSError, match="in use"), serving(application, "127.0.0.1", port):
            pass
    with serving(application, "127.0.0.1", port) as second:
        ask(second)


def test_closing_waits_for_no_client() -> None:
    with ExitStack() as open_ones:
        with serving(application, "127.0.0.1", 0) as server:
            open_ones.enter_context(connect(server)).sendall(b"GET /large HTTP/1.1\r\n\r\n")
            open_ones.enter_context(connect(server)).sendall(b"GET")
            ask(server)
            began = time.monotonic()
        assert time.monotonic() - began < 3.0


def test_an_ipv6_address_stands_in_brackets() -> None:
    assert url_of("::1", 9464) == "http://[::1]:9464"
    assert url_of("127.0.0.1", 9464) == "http://127.0.0.1:9464"
