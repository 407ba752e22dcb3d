"""Serves pages over HTTP to whoever asks, and lets no client hold anything up: neither the loop nor another client.

One connection is one request and one answer, and has ten seconds for both. That leaves nothing to a client that sends
a byte now and then, reads nothing, or pipelines a thousand requests: a thread of waitress only ever works on a request
that came whole, and its answer goes into memory, never to the socket of a slow reader. Where all connections are
taken, the older ones get only a second.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask, Task, ThreadedTaskDispatcher, WSGITask

from processor.seldom import ClientLines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from wsgiref.types import WSGIApplication

CONNECTIONS_MAX: Final = 64
EXCHANGE_S: Final = 10.0
CROWDED_S: Final = 1.0
"""Time for an exchange where every connection is taken."""
_THREADS: Final = 2
_HEADER_BYTES_MAX: Final = 8192
_ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024
_SWEEP_S: Final = 0.25
_JOIN_S: Final = 5.0

SECURITY_HEADERS: Final = (
    ("Cache-Control", "no-store"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
)
"""On every answer."""


class _OneAnswer(Task):
    """Closes the connection after the answer, and says so."""

    def build_response_header(self) -> bytes:
        self.set_close_on_finish()
        return super().build_response_header()


class _Answer(_OneAnswer, WSGITask):
    """What the application answers."""


class _Refusal(_OneAnswer, ErrorTask):
    """What is answered where the request is none."""

    def execute(self) -> None:
        error: Any = self.request.error  # type: ignore[attr-defined]  # the stubs take the request for its error
        body = f"{error.reason}: this port takes GET and HEAD, without a body\n".encode()
        self.status = f"{error.code} {error.reason}"
        self.response_headers = [
            *SECURITY_HEADERS,
            ("Content-Security-Policy", "default-src 'none'"),
            ("Content-Type", "text/plain; charset=utf-8"),
        ]
        self.content_length = len(body)
        self.write(body)


class _Channel(HTTPChannel):
    """One connection."""

    task_class = _Answer
    error_task_class = _Refusal

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # waitress makes it
        self.opened_at = time.monotonic()
        super().__init__(*args, **kwargs)


class _Listener(TcpWSGIServer):
    channel_class = _Channel


class HttpServer:
    """A server in a thread of its own."""

    def __init__(self, application: WSGIApplication, host: str, port: int) -> None:
        """Listen; nothing is answered before `start`.

        Raises:
            OSError: It is not possible to listen there.
        """
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        adjustments = Adjustments(
            threads=_THREADS,
            connection_limit=CONNECTIONS_MAX,
            max_request_header_size=_HEADER_BYTES_MAX,
            max_request_body_size=1,  # As much is refused already: no body at all.
            # No temporary files: the root file system may be read-only.
            outbuf_overflow=_ANSWER_BYTES_MAX,
            outbuf_high_watermark=_ANSWER_BYTES_MAX,
            inbuf_overflow=_HEADER_BYTES_MAX,
            log_socket_errors=False,
            ident=None,
        )
        self._map: dict[int, Any] = {}
        self._dispatcher = ThreadedTaskDispatcher()
        try:
            self._listener = _Listener(
                application,
                self._map,
                dispatcher=self._dispatcher,
                adj=adjustments,
                sockinfo=(family, kind, protocol, address),
            )
        except BaseException:
            wasyncore.close_all(self._map)
            raise
        self._dispatcher.set_thread_count(_THREADS)
        self.port = int(self._listener.getsockname()[1])
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="http", daemon=True)

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def close(self) -> None:
        """Answer no longer; what is being answered just now may be cut off."""
        self._over.set()
        self._listener.pull_trigger()
        self._thread.join(_JOIN_S)
        self._dispatcher.shutdown(timeout=1)
        wasyncore.close_all(self._map)

    def _serve(self) -> None:
        # poll, not select: the local store may well have more than 1,024 files open.
        while not self._over.is_set():
            wasyncore.poll2(_SWEEP_S, self._map)
            self._sweep(time.monotonic())

    def _sweep(self, now: float) -> None:
        """Close what takes too long. Waitress only closes what is idle, and never a reader whose buffer is full."""
        channels = [one for one in self._map.values() if isinstance(one, _Channel)]
        allowed_s = CROWDED_S if len(self._map) >= CONNECTIONS_MAX else EXCHANGE_S
        for channel in channels:
            if now - channel.opened_at > allowed_s:
                channel.handle_close()


@contextmanager
def serving(application: WSGIApplication, host: str, port: int) -> Iterator[HttpServer]:
    """Serve an application for as long as the block lasts.

    Raises:
        OSError: It is not possible to listen there.
    """
    lines, logger = ClientLines(), logging.getLogger("waitress")
    logger.setLevel(logging.WARNING)
    logger.addFilter(lines)
    # Two requests at once are nothing to tell.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    server = HttpServer(application, host, port)
    server.start()
    try:
        yield server
    finally:
        server.close()
        logger.removeFilter(lines)


def url_of(host: str, port: int) -> str:
    """Return where a server is, for people: an IPv6 address stands in brackets."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
