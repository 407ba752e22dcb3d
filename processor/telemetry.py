"""Every metric of the worker, counted once for each batch and handed to Prometheus when it asks.

prometheus_client's own counters cost about a microsecond an increment, which an event cannot pay. So the loop adds up
plain numbers, and a collector makes the samples at scrape time; rows of a partition that left are simply not there
any more. Labels come from closed lists: a carrier that no pack knows is `unknown`.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Final

import confluent_kafka
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import InfoMetricFamily
from prometheus_client.registry import Collector

from processor import metric_table as table
from processor.client_statistics import ClientStatistics
from processor.health import STALL_AFTER_S, stalled
from processor.histogram import Histogram
from processor.logs import printable
from processor.metric import counter, gauge, histogram
from processor.model import StatusChange
from processor.outbox import Unmapped
from processor.privacy import masked
from processor.recent import Recent
from processor.times import EARLIEST_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from prometheus_client.metrics_core import Metric as Family

    from processor.errors import AbortCause
    from processor.outbox import Outbox

UNMAPPED_MAX: Final = 200
"""Distinct unmapped words that get labels of their own: they come from outside, and each is a time series."""
_OTHER: Final = "other"
_STEP: Final = itemgetter(StatusChange._fields.index("channel"), StatusChange._fields.index("status"))
_OCCURRED_AT: Final = itemgetter(StatusChange._fields.index("occurred_at"))


@dataclass(frozen=True, slots=True)
class InputView:
    """What the loop last saw of one input partition."""

    lag: int | None
    """Records between its end and the next one to process; None while either is not known."""
    running: bool
    """Whether it is being processed; one that waits for its state, or for a batch to go back, is not."""
    moved_at: float
    """When its next offset last moved, or it had nothing left to process, or could be processed at all (s since the
    epoch)."""
    oldest_at: float | None = None
    """When the oldest record that is not processed came, as far as that is known (s since the epoch); None where there
    is none, or nothing is known."""


@dataclass(slots=True)
class PartitionView:
    """What the loop last saw of its partitions; replaced whole, so that a scrape never sees half of it."""

    seen_at: float = 0.0
    """When the loop looked (s since the epoch); 0 before it ever did."""
    inputs: Mapping[tuple[str, int], InputView] = field(default_factory=dict)
    state_entries: Mapping[int, int] = field(default_factory=dict)
    state_bytes: Mapping[int, int] = field(default_factory=dict)
    restore_share: Mapping[int, float] = field(default_factory=dict)
    restore_left: Mapping[int, int] = field(default_factory=dict)
    """Offsets of the changelog that a restore has still to read."""
    running: int = 0
    waiting: int = 0
    standbys: int = 0
    member: bool = False
    """Whether the group has taken this worker in, be it with no partition."""


@dataclass(frozen=True, slots=True)
class StoreCounts:
    """What was done to the local stores since the start."""

    restored: int = 0
    followed: int = 0
    purged: int = 0
    set_aside: int = 0


class Telemetry(Collector):
    """All counts of one worker; the loop writes, whoever scrapes reads."""

    def __init__(
        self, version: str, *, stall_after_s: float = STALL_AFTER_S, clock: Callable[[], float] = time.time
    ) -> None:
        """Count nothing yet.

        Args:
            version: The program's, for `build_info`.
            stall_after_s: How long a partition may stand still in front of records, in seconds.
            clock: Seconds since the epoch, at a scrape.
        """
        self._version = version
        self._stall_after_s = stall_after_s
        self._clock = clock
        self._lock = threading.Lock()
        self._records = 0
        self._outcomes: Counter[tuple[str, str, str]] = Counter()
        self._changes: Counter[tuple[str, str]] = Counter()
        self._transactions: Counter[str] = Counter(dict.fromkeys(table.RESULTS, 0))
        self._rebalances: Counter[str] = Counter(dict.fromkeys(table.REBALANCES, 0))
        self._unmapped: Counter[Unmapped] = Counter()
        self._times_left_out: Counter[str] = Counter()
        self._reloads: Counter[str] = Counter(dict.fromkeys(table.RELOADS, 0))
        self._packs: int | None = None
        self._delay = Histogram(table.END_TO_END.bounds)
        self._age = Histogram(table.EVENT_AGE.bounds)
        self._latency = Histogram(table.PROCESSING.bounds)
        self._transaction_seconds = Histogram(table.TRANSACTION_SECONDS.bounds)
        self._batch_records = Histogram(table.BATCH_RECORDS.bounds)
        self._stores = StoreCounts()
        self._producers = 0
        self.partitions = PartitionView()
        self.recent = Recent()
        """The last minutes, for the operations page."""
        self.clients = ClientStatistics()

    def committed(self, outbox: Outbox, *, consumed_at: float, began_at: float, now: float) -> None:
        """Count a committed batch; times are seconds since the epoch."""
        # All that costs something for each event is done in C, and outside of the lock.
        now_ms = round(now * 1000)
        received = sorted(outbox.received)
        # Some edges' clocks are not set at all: they may not spoil the sum of everyone's ages.
        del received[: bisect_left(received, EARLIEST_MS)]
        changes = [*chain.from_iterable(outbox.changes.values())]
        occurred = sorted(filter(None, map(_OCCURRED_AT, changes)))
        steps = Counter(map(_STEP, changes))
        records = sum(tally.records for tally in outbox.tallies.values())
        with self._lock:
            self._records += records
            for tally in outbox.tallies.values():
                self._outcomes.update(tally.outcomes)
                self._times_left_out.update(tally.times_left_out)
                for words, count in tally.unmapped.items():
                    self._unmapped[self._bounded(words)] += count
            self._changes.update(steps)
            self._age.observe_ages(received, now_ms)
            self._delay.observe_ages(occurred, now_ms)
            self._latency.observe(max(0.0, now - consumed_at), records)
            self._transaction_seconds.observe(max(0.0, now - began_at))
            self._batch_records.observe(records)
            self._transactions[table.COMMITTED] += 1
        self.recent.committed(outbox, received, now)

    def _bounded(self, words: Unmapped) -> Unmapped:
        """Give the labels to count unmapped words under: masked, and `other` once there are as many as may be."""
        told = Unmapped(words.carrier, *(printable(masked(word)) for word in words[1:]))
        known = told in self._unmapped or len(self._unmapped) < UNMAPPED_MAX
        return told if known else Unmapped(words.carrier, _OTHER, _OTHER, _OTHER)

    def packs_in_force(self, carriers: int) -> None:
        """Note how many carriers have a pack."""
        with self._lock:
            self._packs = carriers

    def packs_reloaded(self, result: str) -> None:
        """Count a reload of the carrier packs: `loaded` or `refused`."""
        with self._lock:
            self._reloads[result] += 1

    def outcomes(self) -> Counter[tuple[str, str, str]]:
        """Return the committed events so far by (carrier, outcome, reason)."""
        with self._lock:
            return Counter(self._outcomes)

    def transactions(self) -> Counter[str]:
        """Return the transactions so far by how they ended."""
        with self._lock:
            return Counter(self._transactions)

    def unmapped(self) -> Counter[Unmapped]:
        """Return the events so far whose words no pack has a row for, by those words, masked."""
        with self._lock:
            return Counter(self._unmapped)

    def aborted(self, cause: AbortCause) -> None:
        """Count an aborted transaction, or a batch that went back before one began."""
        with self._lock:
            self._transactions[f"aborted_{cause}"] += 1
        self.recent.aborted()

    def rebalanced(self, kind: str) -> None:
        """Count a rebalance callback: assigned, revoked or lost."""
        with self._lock:
            self._rebalances[kind] += 1

    def progressed(self, view: PartitionView, stores: StoreCounts, producers: int) -> None:
        """Take over what the loop sees of its partitions now."""
        with self._lock:
            self.partitions = view
            self._stores = stores
            self._producers = producers
        self.recent.looked(view)

    def collect(self) -> Iterator[Family]:
        """Make the samples of one scrape."""
        with self._lock:
            found = [*self._counters(), *self._histograms(), *self._gauges()]
        yield from found
        yield from self.clients.collect()

    def _counters(self) -> Iterable[Family]:
        yield counter(table.EVENTS, sorted(self._outcomes.items()))
        yield counter(table.CHANGES, sorted(self._changes.items()))
        yield counter(table.RECORDS_CONSUMED, [((), self._records)])
        yield counter(table.UNMAPPED, sorted(self._unmapped.items()))
        yield counter(table.TIMES_LEFT_OUT, _by_word(self._times_left_out))
        yield counter(table.PACK_RELOADS, _by_word(self._reloads))
        yield counter(table.TRANSACTIONS, _by_word(self._transactions))
        yield counter(table.REBALANCES_SEEN, _by_word(self._rebalances))
        yield counter(table.PRODUCERS, [((), self._producers)])
        yield counter(table.RESTORED, [((), self._stores.restored)])
        yield counter(table.STANDBY_RECORDS, [((), self._stores.followed)])
        yield counter(table.PURGED, [((), self._stores.purged)])
        yield counter(table.SET_ASIDE, [((), self._stores.set_aside)])

    def _histograms(self) -> Iterable[Family]:
        yield histogram(table.END_TO_END, self._delay)
        yield histogram(table.EVENT_AGE, self._age)
        yield histogram(table.PROCESSING, self._latency)
        yield histogram(table.TRANSACTION_SECONDS, self._transaction_seconds)
        yield histogram(table.BATCH_RECORDS, self._batch_records)

    def _gauges(self) -> Iterable[Family]:
        view, now = self.partitions, self._clock()
        inputs = sorted(view.inputs.items())
        yield gauge(table.LAG, [(key, one.lag) for key, one in inputs if one.lag is not None])
        yield gauge(table.OLDEST, [(key, _age_of(one, now)) for key, one in inputs if one.lag is not None])
        yield gauge(table.STALLED, [((), len(stalled(view.inputs, now, self._stall_after_s)))])
        yield gauge(table.ASSIGNED, [(("running",), view.running), (("waiting",), view.waiting)])
        yield gauge(table.STATE_ENTRIES, _by_partition(view.state_entries))
        yield gauge(table.STATE_BYTES, _by_partition(view.state_bytes))
        yield gauge(table.RESTORE_RATIO, _by_partition(view.restore_share))
        yield gauge(table.RESTORE_REMAINING, _by_partition(view.restore_left))
        yield gauge(table.STANDBYS, [((), view.standbys)])
        yield gauge(table.PACKS_LOADED, [] if self._packs is None else [((), self._packs)])
        versions = {"version": self._version, "librdkafka": confluent_kafka.libversion()[0]}
        yield InfoMetricFamily(table.BUILD.family, table.BUILD.help, value=versions)


def metrics_registry(telemetry: Telemetry) -> CollectorRegistry:
    """Return all that a worker serves: its own metrics, and what prometheus_client tells of any process."""
    registry = CollectorRegistry()
    registry.register(telemetry)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return registry


def _by_word(counts: Mapping[str, int]) -> list[tuple[tuple[str], float]]:
    return [((word,), count) for word, count in sorted(counts.items())]


def _by_partition(values: Mapping[int, float]) -> list[tuple[tuple[int], float]]:
    return [((number,), value) for number, value in sorted(values.items())]


def _age_of(one: InputView, now: float) -> float:
    """Return how old the oldest unprocessed record of an input is, in seconds; it rises between two views too."""
    return 0.0 if one.oldest_at is None else max(0.0, now - one.oldest_at)
