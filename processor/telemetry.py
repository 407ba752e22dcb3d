"""Every metric of the worker, counted once for each batch and handed to Prometheus when it asks.

prometheus_client's own counters cost about a microsecond an increment, which an event cannot pay. So the loop adds up
plain numbers, and a collector makes the samples at scrape time; rows of a partition that left are simply not there
any more. Labels come from closed lists: a carrier that no pack knows is `unknown`.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.registry import Collector

from processor.logs import masked, printable
from processor.outbox import Unmapped
from processor.times import EARLIEST_MS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from prometheus_client.metrics_core import Metric

    from processor.outbox import Outbox

SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
AGE_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0, 86400.0)
UNMAPPED_MAX: Final = 200
"""Distinct unmapped words that get labels of their own: they come from outside, and each is a time series."""
_OTHER: Final = "other"
RECORDS: Final = (1.0, 10.0, 100.0, 1000.0, 5000.0, 10000.0, 20000.0, 50000.0)


class Histogram:
    """A histogram that takes many observations at once."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = list(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count `value`, `times` times."""
        # A bucket holds what is less than or equal to its bound.
        at = next((i for i, bound in enumerate(self._bounds) if value <= bound), len(self._bounds))
        self._counts[at] += times
        self._sum += value * times

    def observe_sorted(self, values: Sequence[float]) -> None:
        """Count many values, rising."""
        below = 0
        for at, bound in enumerate(self._bounds):
            upto = bisect_right(values, bound)
            self._counts[at] += upto - below
            below = upto
        self._counts[-1] += len(values) - below
        self._sum += sum(values)

    def family(self, name: str, documentation: str) -> HistogramMetricFamily:
        """Return the samples."""
        total = 0
        buckets: list[tuple[str, float]] = []
        for bound, count in zip([*map(str, self._bounds), "+Inf"], self._counts, strict=True):
            total += count
            buckets.append((bound, float(total)))
        return HistogramMetricFamily(name, documentation, buckets=buckets, sum_value=self._sum)


@dataclass(frozen=True, slots=True)
class InputView:
    """What the loop last saw of one input partition."""

    lag: int | None
    """Records between its end and the next one to process; None while either is not known."""
    running: bool
    """Whether it is being processed; one that waits for its state, or for a batch to go back, is not."""
    moved_at: float
    """When its next offset last moved, or it had nothing left to process, or it came to this worker (s since the
    epoch)."""


@dataclass(slots=True)
class PartitionView:
    """What the loop last saw of its partitions; replaced whole, so that a scrape never sees half of it."""

    seen_at: float = 0.0
    """When the loop looked (s since the epoch); 0 before it ever did."""
    inputs: Mapping[tuple[str, int], InputView] = field(default_factory=dict)
    state_entries: Mapping[int, int] = field(default_factory=dict)
    restore_share: Mapping[int, float] = field(default_factory=dict)
    running: int = 0
    waiting: int = 0
    standbys: int = 0


@dataclass(frozen=True, slots=True)
class StoreCounts:
    """What was done to the local stores since the start."""

    restored: int = 0
    followed: int = 0
    purged: int = 0
    set_aside: int = 0


class Telemetry(Collector):
    """All counts of one worker."""

    def __init__(self, version: str) -> None:
        self._version = version
        self._lock = threading.Lock()
        self._records = 0
        self._outcomes: Counter[tuple[str, str, str]] = Counter()
        self._changes: Counter[tuple[str, str]] = Counter()
        self._transactions: Counter[str] = Counter()
        self._rebalances: Counter[str] = Counter()
        self._unmapped: Counter[Unmapped] = Counter()
        self._times_left_out: Counter[str] = Counter()
        self._reloads: Counter[str] = Counter()
        self._age = Histogram(AGE_SECONDS)
        self._latency = Histogram(SECONDS)
        self._transaction_seconds = Histogram(SECONDS)
        self._batch_records = Histogram(RECORDS)
        self._stores = StoreCounts()
        self._producers = 0
        self.partitions = PartitionView()

    def committed(self, outbox: Outbox, *, consumed_at: float, began_at: float, now: float) -> None:
        """Count a committed batch; times are seconds since the epoch."""
        # Edges' clocks run ahead and some are not set at all: neither may spoil the sum of everyone's ages.
        ages = sorted(max(0.0, now - received / 1000) for received in outbox.received if received >= EARLIEST_MS)
        records = sum(tally.records for tally in outbox.tallies.values())
        with self._lock:
            self._records += records
            for tally in outbox.tallies.values():
                self._outcomes.update(tally.outcomes)
                self._times_left_out.update(tally.times_left_out)
                for words, count in tally.unmapped.items():
                    self._unmapped[self._bounded(words)] += count
            for changes in outbox.changes.values():
                self._changes.update((change.channel, change.status) for change in changes)
            self._age.observe_sorted(ages)
            self._latency.observe(max(0.0, now - consumed_at), records)
            self._transaction_seconds.observe(max(0.0, now - began_at))
            self._batch_records.observe(records)
            self._transactions["committed"] += 1

    def _bounded(self, words: Unmapped) -> Unmapped:
        """Give the labels to count unmapped words under: masked, and `other` once there are as many as may be."""
        told = Unmapped(words.carrier, *(printable(masked(word)) for word in words[1:]))
        known = told in self._unmapped or len(self._unmapped) < UNMAPPED_MAX
        return told if known else Unmapped(words.carrier, _OTHER, _OTHER, _OTHER)

    def packs_reloaded(self, result: str) -> None:
        """Count a reload of the carrier packs: `loaded` or `refused`."""
        with self._lock:
            self._reloads[result] += 1

    def outcomes(self) -> Counter[tuple[str, str, str]]:
        """Return the committed events so far by (carrier, outcome, reason)."""
        with self._lock:
            return Counter(self._outcomes)

    def aborted(self, cause: str) -> None:
        """Count an aborted transaction; `cause` is from a closed list."""
        with self._lock:
            self._transactions[f"aborted_{cause}"] += 1

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

    def collect(self) -> Iterator[Metric]:
        """Make the samples of one scrape."""
        with self._lock:
            yield from [*self._counters(), *self._histograms(), *self._gauges()]

    def _counters(self) -> Iterable[Metric]:
        yield _counter(
            "status_processor_events",
            "Events by carrier and outcome; the reason tells why one was ignored or dead-lettered.",
            ("carrier", "outcome", "reason"),
            self._outcomes.items(),
        )
        yield _counter(
            "status_processor_changes",
            "Status changes published, by channel and the status they lead to.",
            ("channel", "status"),
            self._changes.items(),
        )
        yield _counter(
            "status_processor_transactions",
            "Transactions by how they ended.",
            ("result",),
            (((result,), count) for result, count in self._transactions.items()),
        )
        yield _counter(
            "status_processor_rebalances",
            "Rebalance callbacks by kind.",
            ("kind",),
            (((kind,), count) for kind, count in self._rebalances.items()),
        )
        yield _counter(
            "status_processor_unmapped_events",
            "Dead-lettered events whose words no pack has a row for; `other` gathers what came after the first 200.",
            Unmapped._fields,
            self._unmapped.items(),
        )
        yield _counter(
            "status_processor_times_left_out",
            "Events whose time was no time or could not be true, by carrier; they count, without an occurred_at.",
            ("carrier",),
            (((carrier,), count) for carrier, count in self._times_left_out.items()),
        )
        yield _counter(
            "status_processor_pack_reloads",
            "Reloads of the carrier packs by how they ended.",
            ("result",),
            (((result,), count) for result, count in self._reloads.items()),
        )
        yield _counter("status_processor_records", "Records consumed and committed.", (), [((), self._records)])
        for name, documentation, count in (
            ("restored_records", "Changelog records read to restore state.", self._stores.restored),
            ("standby_records", "Changelog records read for replicas of other workers' state.", self._stores.followed),
            ("state_purged", "Entries of the local state deleted because they were too old.", self._stores.purged),
            ("state_set_aside", "Local stores that could not be trusted and were rebuilt.", self._stores.set_aside),
        ):
            yield _counter(f"status_processor_{name}", documentation, (), [((), count)])
        yield _counter(
            "status_processor_producers_started",
            "Transactional producers made: one at start, one after each doubtful connection.",
            (),
            [((), self._producers)],
        )

    def _histograms(self) -> Iterable[Metric]:
        yield self._age.family(
            "status_processor_event_age_seconds",
            "From an event's receipt at the edge to the commit of what became of it.",
        )
        yield self._latency.family(
            "status_processor_processing_seconds",
            "From the end of the poll that returned a record to the commit of its batch.",
        )
        yield self._transaction_seconds.family(
            "status_processor_transaction_seconds", "From the begin of a transaction to its commit."
        )
        yield self._batch_records.family("status_processor_batch_records", "Records in a committed batch.")

    def _gauges(self) -> Iterable[Metric]:
        view = self.partitions
        yield _gauge(
            "status_processor_consumer_lag_records",
            "Records between the end of an assigned partition and the next one to process.",
            ("topic", "partition"),
            (((topic, str(number)), one.lag) for (topic, number), one in view.inputs.items() if one.lag is not None),
        )
        yield _gauge(
            "status_processor_state_entries",
            "Messages in the local state of a partition (RocksDB's estimate).",
            ("partition",),
            (((str(number),), count) for number, count in view.state_entries.items()),
        )
        yield _gauge(
            "status_processor_restore_ratio",
            "How far the restore of a partition is, from 0 to 1; gone when it is complete.",
            ("partition",),
            (((str(number),), share) for number, share in view.restore_share.items()),
        )
        yield _gauge(
            "status_processor_assigned_partitions",
            "Input partitions assigned, by whether they are being processed.",
            ("state",),
            [(("running",), view.running), (("waiting",), view.waiting)],
        )
        yield _gauge(
            "status_processor_standby_partitions", "Partitions of which a replica is kept.", (), [((), view.standbys)]
        )
        yield InfoMetricFamily("status_processor_build", "The version that runs.", value={"version": self._version})


def _counter(
    name: str, documentation: str, labels: Sequence[str], values: Iterable[tuple[Sequence[str], float]]
) -> CounterMetricFamily:
    family = CounterMetricFamily(name, documentation, labels=list(labels))
    for key, value in sorted(values):
        family.add_metric([str(part) for part in key], value)
    return family


def _gauge(
    name: str, documentation: str, labels: Sequence[str], values: Iterable[tuple[Sequence[str], float]]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, documentation, labels=list(labels))
    for key, value in sorted(values):
        family.add_metric(list(key), value)
    return family
