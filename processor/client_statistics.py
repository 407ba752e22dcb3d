"""What librdkafka's statistics say of the worker's clients: connections, requests and queues.

Each client hands a text of JSON to its callback now and then, out of whatever call serves its events; so a callback
reads only what is shown, raises nothing and waits for nobody. Counters of librdkafka begin at 0 with each client: what
is served here adds up the differences, so that a new producer does not make a counter go back. Names of hosts stay
inside; brokers are told by their node ids.
"""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from prometheus_client.core import SummaryMetricFamily

from processor.metric import counter, gauge
from processor.metric_table import (
    BROKER_RTT,
    BROKERS_CONNECTED,
    CLIENT_ERRORS,
    CLIENT_ERRORS_SEEN,
    COORDINATOR,
    QUEUE_BYTES,
    QUEUE_MESSAGES,
    REQUESTS_PENDING,
    THROTTLED,
)
from processor.seldom import Seldom

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client.metrics_core import Metric as Family

    from processor.metric_table import Client

BROKERS_MAX: Final = 100
"""Brokers of a client that get rows of their own; each is three time series and more."""
_OTHER: Final = "other"
_INSTANCES_MAX: Final = 4
"""Clients of one name whose counters are remembered: one that was given up may still speak beside its successor."""
_COUNTERS: Final = {
    "send": "txerrs",
    "receive": "rxerrs",
    "request_timeout": "req_timeouts",
    "retry": "txretries",
    "disconnect": "disconnects",
}
_QUANTILES: Final = {"0.5": "p50", "0.99": "p99"}
_DECODER: Final = json.JSONDecoder()
_FETCHED_BYTES: Final = re.compile(r'"fetchq_size":\s*([1-9]\d*)')


class _Window(NamedTuple):
    """What was measured since the statistics before."""

    total: float
    samples: float
    quantiles: dict[str, float]


class _Broker(NamedTuple):
    """One connection of a client."""

    label: str
    """Empty for an address that only led to the cluster."""
    is_up: bool
    pending: float
    errors: dict[str, float]
    rtt_us: _Window
    throttle_ms: float


class Statistics(NamedTuple):
    """What is read of one text."""

    instance: str
    """The client's own name, another for each client of a process."""
    queue_messages: float
    queue_bytes: float
    brokers: dict[str, _Broker]


def read_statistics(text: str) -> Statistics:
    """Read librdkafka's statistics (its STATISTICS.md).

    A text has a few hundred bytes for each partition of each topic, also of those that other workers hold. Only its
    head and its brokers are parsed; of the rest nothing is needed but the bytes fetched.

    Raises:
        ValueError: It is not what it should be.
    """
    head, _, rest = text.partition('"brokers":')
    top = _table(json.loads(head.rstrip().removesuffix(",") + "}"))
    rest = rest.lstrip()
    found, end = _DECODER.raw_decode(rest)
    is_producer = top.get("type") == "producer"
    # All partitions of a consumer share one queue, and each of them tells the size of the whole.
    fetched = None if is_producer else _FETCHED_BYTES.search(rest, end)
    return Statistics(
        instance=str(top.get("name")),
        queue_messages=_number(top, "msg_cnt" if is_producer else "replyq"),
        queue_bytes=_number(top, "msg_size") if is_producer else float(fetched[1] if fetched else 0),
        brokers={name: _broker(_table(broker)) for name, broker in _table(found).items()},
    )


def _broker(said: dict[str, object]) -> _Broker:
    node = int(_number(said, "nodeid", -1))
    label = COORDINATOR if said.get("source") == "logical" else str(node) if node >= 0 else ""
    rtt, throttle = _table(said.get("rtt")), _table(said.get("throttle"))
    return _Broker(
        label=label,
        is_up=said.get("state") in {"UP", "UPDATE"},
        pending=_number(said, "outbuf_cnt") + _number(said, "waitresp_cnt"),
        errors={kind: _number(said, name) for kind, name in _COUNTERS.items()},
        rtt_us=_Window(
            _number(rtt, "sum"), _number(rtt, "cnt"), {told: _number(rtt, name) for told, name in _QUANTILES.items()}
        ),
        throttle_ms=_number(throttle, "sum"),
    )


def _table(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _number(table: dict[str, object], name: str, default: float = 0) -> float:
    value = table.get(name)
    return value if isinstance(value, int | float) else default


@dataclass(slots=True)
class _Rtt:
    """Round trips to one broker since the start, in seconds."""

    sum: float = 0.0
    count: int = 0
    quantiles: dict[str, float] = field(default_factory=dict)
    """Of the last interval; empty where nothing was measured in it."""

    def add(self, window: _Window) -> None:
        self.sum += window.total / 1e6
        self.count += int(window.samples)
        self.quantiles = {told: value / 1e6 for told, value in window.quantiles.items()} if window.samples else {}


@dataclass(slots=True)
class _Totals:
    """What is served of one client."""

    errors: Counter[str] = field(default_factory=Counter)
    throttled_s: float = 0.0
    rtt: dict[str, _Rtt] = field(default_factory=dict)
    latest: Statistics | None = None
    known: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    """Counters last seen, by the client's own name and by connection; the newest client is the last."""

    def take(self, said: Statistics) -> None:
        before = self.known.get(said.instance, {})
        self.known[said.instance] = {name: broker.errors for name, broker in said.brokers.items()}
        if len(self.known) > _INSTANCES_MAX:
            del self.known[next(iter(self.known))]
        for name, broker in said.brokers.items():
            seen = before.get(name, {})
            for kind, count in broker.errors.items():
                self.errors[kind] += int(max(0, count - seen.get(kind, 0)))
            self.throttled_s += broker.throttle_ms / 1000
        if said.instance == next(reversed(self.known)):
            self.latest = said
        self._take_round_trips(said)

    def _take_round_trips(self, said: Statistics) -> None:
        for rtt in self.rtt.values():
            rtt.quantiles = {}
        for broker in said.brokers.values():
            if broker.label and (broker.rtt_us.samples or broker.label in self.rtt):
                label = broker.label if broker.label in self.rtt or len(self.rtt) < BROKERS_MAX else _OTHER
                self.rtt.setdefault(label, _Rtt()).add(broker.rtt_us)


class ClientStatistics:
    """Gathers the statistics of all clients; safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._clients: dict[Client, _Totals] = {}
        self._seldom = Seldom()

    def callback(self, client: Client) -> Callable[[str], None]:
        """Return a `stats_cb`, for one client after another of this name."""

        def take(text: str) -> None:
            try:
                said = read_statistics(text)
            except (ValueError, RecursionError) as error:
                self._seldom.warn("statistics", "a client's statistics cannot be read", error=type(error).__name__)
                return
            with self._lock:
                self._clients.setdefault(client, _Totals()).take(said)

        return take

    def fetch_failed(self, client: Client) -> None:
        """Count an error that a consumer handed out in place of records."""
        with self._lock:
            self._clients.setdefault(client, _Totals()).errors["fetch"] += 1

    def collect(self) -> Iterator[Family]:
        """Make the samples of one scrape."""
        with self._lock:
            clients = sorted(self._clients.items())
            latest = [(client, totals.latest) for client, totals in clients if totals.latest is not None]
            yield _round_trips(clients)
            yield gauge(QUEUE_MESSAGES, [((client,), said.queue_messages) for client, said in latest])
            yield gauge(QUEUE_BYTES, [((client,), said.queue_bytes) for client, said in latest])
            yield gauge(
                REQUESTS_PENDING,
                [((client,), sum(broker.pending for broker in said.brokers.values())) for client, said in latest],
            )
            yield gauge(BROKERS_CONNECTED, [((client,), _connected(said)) for client, said in latest])
            yield counter(
                CLIENT_ERRORS_SEEN,
                [((client, kind), totals.errors[kind]) for client, totals in clients for kind in CLIENT_ERRORS],
            )
            yield counter(THROTTLED, [((client,), totals.throttled_s) for client, totals in clients])


def _connected(said: Statistics) -> int:
    return len({broker.label for broker in said.brokers.values() if broker.is_up} - {"", COORDINATOR})


def _round_trips(clients: list[tuple[Client, _Totals]]) -> SummaryMetricFamily:
    family = SummaryMetricFamily(BROKER_RTT.family, BROKER_RTT.help, labels=list(BROKER_RTT.labels))
    for client, totals in clients:
        for broker, rtt in sorted(totals.rtt.items()):
            labels = {"client": client, "broker": broker}
            for told, value in rtt.quantiles.items():
                family.add_sample(BROKER_RTT.family, {**labels, "quantile": told}, value)
            family.add_metric([client, broker], rtt.count, rtt.sum)
    return family
