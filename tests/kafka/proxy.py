"""A proxy that speaks Kafka's frames: loses, holds and slows single requests between real clients and a real broker.

It stands behind an advertised listener, so that clients come to it for everything. A request begins with its length,
its api key, its version and its correlation id (https://kafka.apache.org/protocol#protocol_messages); answers of one
connection come in the order of the requests.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final

from tests.kafka.readiness import HOST, free_port

_LENGTH: Final = struct.Struct(">i")
_REQUEST_HEAD: Final = struct.Struct(">hh")
_FRAME_MAX: Final = 64 * 1024 * 1024
_JOIN_S: Final = 10.0


class Api(IntEnum):
    """Requests by their api key (https://kafka.apache.org/protocol#protocol_api_keys)."""

    PRODUCE = 0
    FETCH = 1
    INIT_PRODUCER_ID = 22
    ADD_PARTITIONS_TO_TXN = 24
    ADD_OFFSETS_TO_TXN = 25
    END_TXN = 26
    TXN_OFFSET_COMMIT = 28


class Fault(StrEnum):
    """What becomes of a request."""

    CUT = "cut"
    """The connection ends before the broker sees it."""
    LOSE_ANSWER = "lose answer"
    """The broker does it, and the connection ends before the client hears so."""
    LATE = "late"
    """The connection ends, and the request stays on the network until `release`."""
    WAIT = "wait"
    """It reaches the broker only at `release`; the connection stays."""


Judge = Callable[[int, int], Fault | None]
"""Says what happens to a request by its api key and how many of these there were before, from 0."""


def _no_fault(_: int, __: int) -> None:
    """Let everything pass."""


@dataclass(slots=True)
class _Link:
    """One client's connection, and its own to the broker."""

    client: socket.socket
    broker: socket.socket
    due: deque[Callable[[], None] | None]
    """For each answer that is due, what happens in its place; None passes it on."""
    deaf: bool = False
    """Whether the client is gone, though the broker does not know."""

    def cut(self) -> None:
        """End both sides at once."""
        for end in (self.client, self.broker):
            _shut(end)


class Proxy:
    """Listens on a port of its own, which the broker has to advertise, and forwards to the broker's listener."""

    def __init__(self) -> None:
        self.port = free_port()
        """Where clients come."""
        self.target = free_port()
        """Where the broker has to listen."""
        self.judge: Judge = _no_fault
        self.chunk = 0
        """Bytes of an answer that are passed on at a time; 0 for all."""
        self.seen: Counter[int] = Counter()
        """Requests by api key."""
        self.faults: Counter[tuple[int, Fault]] = Counter()
        self._held: list[Callable[[], None]] = []
        self._flow = threading.Event()
        self._flow.set()
        self._lock = threading.Lock()
        self._links: list[_Link] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server((HOST, self.port))
        self._start(self._accept)

    @property
    def bootstrap(self) -> str:
        """Where clients connect."""
        return f"{HOST}:{self.port}"

    def broker_config(self) -> dict[str, str]:
        """Return settings of a broker with a second listener, which sends its clients here."""
        return {
            "listeners": (
                f"PLAINTEXT://{HOST}:{{port}},PROXIED://{HOST}:{self.target},CONTROLLER://{HOST}:{{controller_port}}"
            ),
            "advertised.listeners": f"PLAINTEXT://{HOST}:{{port}},PROXIED://{HOST}:{self.port}",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT",
            "inter.broker.listener.name": "PLAINTEXT",
        }

    @property
    def held(self) -> int:
        """How many requests wait for `release`."""
        return len(self._held)

    def release(self, count: int | None = None) -> None:
        """Let held requests arrive, the oldest first; all of them where no count is given."""
        with self._lock:
            count = len(self._held) if count is None else count
            due, self._held = self._held[:count], self._held[count:]
        for arrive in due:
            arrive()

    @contextmanager
    def answers_stopped(self) -> Iterator[None]:
        """Take requests to the broker and bring nothing back: a link that is dead in one direction."""
        self._flow.clear()
        try:
            yield
        finally:
            self._flow.set()

    def close(self) -> None:
        """End all connections."""
        self.judge = _no_fault
        self._flow.set()
        _shut(self._listener)
        for link in self._links:
            link.cut()
        for thread in self._threads:
            thread.join(_JOIN_S)

    def _start(self, run: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=run, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                broker = socket.create_connection((HOST, self.target))
            except OSError:
                _shut(client)
                continue
            for end in (client, broker):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link = _Link(client, broker, due=deque())
            self._links.append(link)
            self._start(self._requests, link)
            self._start(self._answers, link)

    def _requests(self, link: _Link) -> None:
        with suppress(OSError):
            while (frame := _read_frame(link.client)) is not None:
                api, _ = _REQUEST_HEAD.unpack_from(frame, _LENGTH.size)
                with self._lock:
                    fault = self.judge(api, self.seen[api])
                    self.seen[api] += 1
                    if fault is not None:
                        self.faults[api, fault] += 1
                if not self._pass_on(link, frame, fault):
                    return
        link.cut()

    def _pass_on(self, link: _Link, frame: bytes, fault: Fault | None) -> bool:
        """Send a request on its way, and tell whether the connection is still good for another."""
        match fault:
            case Fault.CUT:
                link.cut()
                return False
            case Fault.LATE:
                self._hold(lambda: _send_late(link, frame))
                link.deaf = True
                _shut(link.client)
                return False
            case Fault.WAIT:
                arrived = threading.Event()
                self._hold(arrived.set)
                arrived.wait()
        link.due.append(link.cut if fault is Fault.LOSE_ANSWER else None)
        link.broker.sendall(frame)
        return True

    def _hold(self, arrive: Callable[[], None]) -> None:
        with self._lock:
            self._held.append(arrive)

    def _answers(self, link: _Link) -> None:
        with suppress(OSError):
            while (frame := _read_frame(link.broker)) is not None:
                self._flow.wait()
                instead = link.due.popleft()
                if instead is not None:
                    instead()
                elif not link.deaf:
                    self._answer(link.client, frame)
        link.cut()

    def _answer(self, client: socket.socket, frame: bytes) -> None:
        size = self.chunk or len(frame)
        for start in range(0, len(frame), size):
            client.sendall(frame[start : start + size])


def every(count: int, *faults: Fault, apis: tuple[Api, ...] = tuple(Api)) -> Judge:
    """Hit each so-many-th request of each kind, with the faults in turn."""

    def judge(api: int, before: int) -> Fault | None:
        if api not in apis or before % count != count - 1:
            return None
        return faults[before // count % len(faults)]

    return judge


def first(api: Api, fault: Fault) -> Judge:
    """Hit only the next request of a kind."""
    hit: list[int] = []

    def judge(seen: int, _: int) -> Fault | None:
        if seen != api or hit:
            return None
        hit.append(seen)
        return fault

    return judge


def _send_late(link: _Link, frame: bytes) -> None:
    """Let the broker have a request whose sender is gone, and wait until it has answered, which nobody hears."""
    answered = threading.Event()
    link.due.append(answered.set)
    link.broker.sendall(frame)
    assert answered.wait(_JOIN_S), "the broker does not answer a request that came late"
    link.cut()


def _read_frame(end: socket.socket) -> bytes | None:
    """Read one frame with its length; None at the end of the connection."""
    head = _read(end, _LENGTH.size)
    if head is None:
        return None
    (length,) = _LENGTH.unpack(head)
    assert 0 < length <= _FRAME_MAX, f"a frame of {length} bytes"
    rest = _read(end, length)
    return None if rest is None else head + rest


def _read(end: socket.socket, size: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < size:
        part = end.recv(size - len(parts))
        if not part:
            return None
        parts += part
    return bytes(parts)


def _shut(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
