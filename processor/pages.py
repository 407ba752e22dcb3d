"""The worker's HTTP pages: metrics, health checks, and a page for people with the JSON that it shows.

They take no input: a path, GET or HEAD, and nothing else is looked at. Everything shown comes from what the loop has
left in `Telemetry`; a request never touches the loop.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from importlib import resources
from typing import TYPE_CHECKING, Final

import structlog
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder, generate_latest, gzip_accepted

from processor.errors import ExitCode, FatalError
from processor.health import STALL_AFTER_S, Phase, Vitals, not_live, not_ready
from processor.http_server import SECURITY_HEADERS, serving, url_of
from processor.status_json import WorkerFacts, status, verdict
from processor.telemetry import metrics_registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Any
    from wsgiref.types import StartResponse, WSGIEnvironment

    from processor.settings import Settings
    from processor.telemetry import Telemetry

_log = structlog.get_logger(__name__)

_TEXT: Final = "text/plain; charset=utf-8"
_JSON: Final = "application/json"
_HTML: Final = "text/html; charset=utf-8"
_NO_CONTENT: Final = "default-src 'none'; frame-ancestors 'none'"
_CHECKS: Final = frozenset({"/livez", "/readyz"})
"""Always asked anew."""
MOMENT_S: Final = 0.25
"""How long an answer is given again."""
_GZIP_FROM: Final = 1024
"""Bytes from which compressing is worth it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one request gets."""

    status: str
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    policy: str = _NO_CONTENT
    """The content security policy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When a worker is no longer called alive."""

    loop_within_s: float
    """Longest time between two turns of the loop."""
    stall_after_s: float = STALL_AFTER_S


class Pages:
    """Answers requests, from several threads at once; the worker tells how far it is."""

    def __init__(
        self,
        telemetry: Telemetry,
        facts: WorkerFacts,
        limits: Limits,
        clock: Callable[[], float] = time.time,
        tick: Callable[[], float] = time.monotonic,
    ) -> None:
        """Answer for a worker that starts.

        Args:
            telemetry: What the loop has left to be told.
            facts: Which worker it is.
            limits: When it is no longer called alive.
            clock: Seconds since the epoch.
            tick: Seconds that only rise.
        """
        self._telemetry = telemetry
        self._facts = facts
        self._limits = limits
        self._clock = clock
        self._phase = (Phase.STARTING, clock())
        self._count_packs: Callable[[], int | None] = lambda: None
        self._registry = metrics_registry(telemetry)
        self._momentary = _Momentary(tick)
        page = operations_page()
        self._answers: Mapping[str, Callable[[WSGIEnvironment], Answer]] = {
            "/": lambda _: page,
            "/status.json": lambda _: _json("200 OK", self.status()),
            "/metrics": self._metrics,
            "/livez": lambda _: _check(verdict(not_live(self._vitals()))),
            "/readyz": lambda _: _check(verdict(not_ready(self._vitals()))),
        }

    def running(self, group_protocol: str, count_packs: Callable[[], int]) -> None:
        """Take note that the loop begins to turn."""
        self._facts = replace(self._facts, group_protocol=group_protocol)
        self._count_packs = count_packs
        self._phase = (Phase.RUNNING, self._clock())

    def stopping(self) -> None:
        """Take note that the worker leaves the group."""
        self._phase = (Phase.STOPPING, self._clock())

    def status(self) -> dict[str, Any]:
        """Return what the page for people shows."""
        facts = replace(self._facts, packs=self._count_packs())
        return status(self._telemetry, facts, self._vitals())

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request (WSGI)."""
        answer = self._answer(environ)
        headers = [
            *answer.headers,
            *SECURITY_HEADERS,
            ("Content-Security-Policy", answer.policy),
            ("Content-Type", answer.content_type),
            ("Content-Length", str(len(answer.body))),
        ]
        start_response(answer.status, headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [answer.body]

    def _answer(self, environ: WSGIEnvironment) -> Answer:
        if environ["REQUEST_METHOD"] not in {"GET", "HEAD"}:
            text = b"method not allowed: this port takes GET and HEAD\n"
            return Answer("405 Method Not Allowed", _TEXT, text, (("Allow", "GET, HEAD"),))
        path = environ.get("PATH_INFO", "")
        make = self._answers.get(path)
        if make is None:
            paths = ", ".join(self._answers)
            return Answer("404 Not Found", _TEXT, f"not found: there are {paths}\n".encode())
        if path in _CHECKS:
            return make(environ)
        compressed = gzip_accepted(environ.get("HTTP_ACCEPT_ENCODING", ""))
        asked = (environ.get("HTTP_ACCEPT", ""), compressed)
        return self._momentary.get(path, asked, lambda: _encoded(make(environ), compressed=compressed))

    def _vitals(self) -> Vitals:
        phase, since = self._phase
        return Vitals(
            phase,
            since,
            self._telemetry.partitions,
            self._clock(),
            self._limits.loop_within_s,
            self._limits.stall_after_s,
        )

    def _metrics(self, environ: WSGIEnvironment) -> Answer:
        try:
            encoder, content_type = choose_encoder(environ.get("HTTP_ACCEPT", ""))
            return Answer("200 OK", content_type, encoder(self._registry))
        except (TypeError, ValueError):  # A version that is none.
            return Answer("200 OK", CONTENT_TYPE_PLAIN_0_0_4, generate_latest(self._registry))


class _Momentary:
    """Gives the same answer again for a moment, so that whoever asks without a pause costs the loop little.

    An answer is made by one thread at a time: the others wait for it rather than for the interpreter.
    """

    def __init__(self, tick: Callable[[], float]) -> None:
        self._tick = tick
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[tuple[str, bool], float, Answer]] = {}
        """By path, the last one only: to which question, when it was made, and what it is."""

    def get(self, path: str, asked: tuple[str, bool], make: Callable[[], Answer]) -> Answer:
        """Return the answer to what was asked."""
        with self._lock:
            kept = self._kept.get(path)
            if kept is not None and kept[0] == asked and self._tick() - kept[1] < MOMENT_S:
                return kept[2]
            answer = make()
            self._kept[path] = (asked, self._tick(), answer)
            return answer


def operations_page() -> Answer:
    """Return the page for people: one file that brings its own style and script, and may run no other."""
    directory = resources.files("processor") / "page"
    html, style, *scripts = (
        (directory / name).read_text(encoding="utf-8")
        for name in ("operations.html", "operations.css", "words.js", "charts.js", "operations.js")
    )
    script = "\n".join(scripts)
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src '{_hash(script)}'",
            f"style-src '{_hash(style)}'",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )
    whole = html.replace("/*style*/", style).replace("/*script*/", script)
    return Answer("200 OK", _HTML, whole.encode(), policy=policy)


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _encoded(answer: Answer, *, compressed: bool) -> Answer:
    """Return the answer compressed where that is taken and worth it."""
    if len(answer.body) < _GZIP_FROM:
        return answer
    headers = (*answer.headers, ("Vary", "Accept-Encoding"))
    if not compressed:
        return replace(answer, headers=headers)
    body = gzip.compress(answer.body, 1, mtime=0)
    return replace(answer, body=body, headers=(*headers, ("Content-Encoding", "gzip")))


def _json(answer_status: str, value: object) -> Answer:
    return Answer(answer_status, _JSON, json.dumps(value, separators=(",", ":")).encode() + b"\n")


def _check(told: Mapping[str, Any]) -> Answer:
    return _json("200 OK" if told["ok"] else "503 Service Unavailable", told)


@contextmanager
def serving_pages(settings: Settings, telemetry: Telemetry) -> Iterator[Pages]:
    """Serve the pages for as long as the block lasts, where the settings say so.

    Raises:
        FatalError: It is not possible to listen where the settings say.
    """
    facts = WorkerFacts(
        application=settings.application,
        group=settings.group,
        ordinal=settings.ordinal,
        started_at=time.time(),
        partitions=settings.partitions,
        group_protocol=None,
        packs=None,
    )
    limits = Limits(
        loop_within_s=settings.transaction.max_poll_interval_ms / 1000,
        stall_after_s=settings.health.stall_after.total_seconds(),
    )
    pages = Pages(telemetry, facts, limits)
    if not settings.metrics.enabled:
        yield pages
        return
    host, port = settings.metrics.host, settings.metrics.port
    with ExitStack() as closing:
        try:
            server = closing.enter_context(serving(pages, host, port))
        except (OSError, UnicodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "not a host's name"
            raise FatalError(
                f"metrics: cannot listen on {host}:{port} ({why}); set metrics.port to a free one, or 0 for any",
                ExitCode.SETTINGS,
            ) from error
        address = url_of(host, server.port)
        _log.info("serving metrics, health and a page for people", page=f"{address}/", url=f"{address}/metrics")
        yield pages
