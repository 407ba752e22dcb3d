"""Records, transactions and offsets as brokers keep them: markers are records too, and come when they come."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.schedules.group import Group

TopicPart = tuple[str, int]
Headers = list[tuple[str, str | bytes | None]]


def failure(code: int, text: str, **flags: bool) -> KafkaException:
    """Return what the client raises; flags are fatal, retriable, txn_requires_abort."""
    return KafkaException(
        KafkaError(
            code,
            text,
            flags.get("fatal", False),
            flags.get("retriable", False),
            flags.get("txn_requires_abort", False),
        )
    )


@dataclass(slots=True, eq=False)
class Transaction:
    """One transaction; `committed` is None as long as its end is not decided."""

    producer: str
    epoch: int
    committed: bool | None = None
    partitions: set[TopicPart] = field(default_factory=set)
    offsets: dict[TopicPart, tuple[int, str]] = field(default_factory=dict)
    unmarked: list[TopicPart | None] = field(default_factory=list)
    """Where its marker has not arrived yet; None is the offsets topic."""


@dataclass(slots=True)
class Entry:
    """A record, or a marker, which has neither key nor value."""

    transaction: Transaction | None
    key: bytes | None = None
    value: bytes | None = None
    headers: Headers = field(default_factory=list)
    timestamp: int = 0
    is_marker: bool = False

    @property
    def readable(self) -> bool:
        """Whether a read_committed reader that got here returns it."""
        return not self.is_marker and (self.transaction is None or bool(self.transaction.committed))


@dataclass(slots=True)
class Log:
    """One partition."""

    entries: list[Entry] = field(default_factory=list)
    open: dict[int, int] = field(default_factory=dict)
    """First offset of each transaction without a marker here, by the transaction's identity in memory."""
    low: int = 0
    """Log start: what stands before it was deleted."""

    @property
    def high(self) -> int:
        """High watermark."""
        return len(self.entries)

    @property
    def stable(self) -> int:
        """Last stable offset."""
        return min(self.open.values(), default=self.high)

    def committed(self) -> Iterator[tuple[int, Entry]]:
        """Yield what a read_committed reader finds."""
        for offset in range(self.stable):
            if self.entries[offset].readable:
                yield offset, self.entries[offset]


@dataclass(slots=True)
class Producer:
    """What the coordinator knows of a transactional id."""

    epoch: int = -1
    now: Transaction | None = None
    last: Transaction | None = None


class Cluster:
    """All partitions, all transactional ids, and one consumer group."""

    def __init__(self, topics: dict[str, int], group: Group, clock: Callable[[], float]) -> None:
        self.topics = topics
        self.group = group
        self.logs = {(name, number): Log() for name, count in topics.items() for number in range(count)}
        self.producers: dict[str, Producer] = defaultdict(Producer)
        self.ending: list[Transaction] = []
        """Decided, with markers on their way."""
        self.offsets: dict[TopicPart, tuple[int, str]] = {}
        self.pending: dict[TopicPart, set[int]] = defaultdict(set)
        """Transactions that may still change an offset."""
        self.grown: set[str] = set()
        """Topics that have more partitions than at first."""
        self._clock = clock

    def add_partition(self, topic: str) -> None:
        """Let a topic grow, which the group is told of."""
        self.logs[topic, self.topics[topic]] = Log()
        self.topics[topic] += 1
        self.group.topics[topic] += 1
        self.grown.add(topic)
        self.group.rebalance()

    def delete_records(self, at: TopicPart, count: int) -> None:
        """Begin a partition as retention leaves one: its first offsets are gone."""
        log = self.logs[at]
        log.entries[:0] = [Entry(None, is_marker=True) for _ in range(count)]
        log.low = count

    def append(self, at: TopicPart, entry: Entry) -> int:
        """Append and return the offset."""
        log = self.logs[at]
        entry.timestamp = entry.timestamp or int(self._clock() * 1000)
        transaction = entry.transaction
        if transaction is not None and not entry.is_marker:
            transaction.partitions.add(at)
            log.open.setdefault(id(transaction), log.high)
        log.entries.append(entry)
        return log.high - 1

    def init(self, name: str) -> int:
        """InitProducerId: ends what is open under this id, and fences whoever had it."""
        producer = self.producers[name]
        if producer.now is not None:
            self._decide(producer, committed=False)
        self.settle(name)
        producer.epoch += 1
        producer.last = None
        return producer.epoch

    def transaction(self, name: str, epoch: int) -> Transaction:
        """Return the transaction that a producer is in, begun by its first request."""
        producer = self._checked(name, epoch)
        if producer.now is None:
            self.settle(name)  # The coordinator answers CONCURRENT_TRANSACTIONS, and the client asks again, until then.
            producer.now = Transaction(name, epoch)
        return producer.now

    def send_offsets(self, name: str, epoch: int, offsets: dict[TopicPart, tuple[int, str]], metadata: bytes) -> None:
        """TxnOffsetCommit, fenced by the group's member."""
        self.group.check(metadata)
        transaction = self.transaction(name, epoch)
        transaction.offsets |= offsets
        for at in offsets:
            self.pending[at].add(id(transaction))

    def end(self, name: str, epoch: int, *, commit: bool) -> None:
        """EndTxn. A request that comes twice is answered as the first was."""
        producer = self._checked(name, epoch)
        if producer.now is None:
            if producer.last is not None and producer.last.committed is commit:
                return
            raise failure(KafkaError.INVALID_TXN_STATE, "no transaction to end", fatal=True)
        self._decide(producer, committed=commit)

    def expire(self, name: str) -> None:
        """End a transaction that has outlived its time, and fence its producer."""
        producer = self.producers[name]
        if producer.now is not None:
            self._decide(producer, committed=False)
            producer.epoch += 1
            producer.last = None

    def deliver_marker(self, transaction: Transaction, number: int = 0) -> None:
        """Let one marker arrive."""
        target = transaction.unmarked.pop(number)
        if target is None:
            for at, offset in transaction.offsets.items():
                self.pending[at].discard(id(transaction))
                if transaction.committed:
                    self.offsets[at] = offset
        else:
            self.append(target, Entry(transaction, is_marker=True))
            self.logs[target].open.pop(id(transaction), None)
        if not transaction.unmarked:
            self.ending.remove(transaction)

    def settle(self, name: str | None = None) -> None:
        """Let all markers arrive, or those of one transactional id."""
        for transaction in [one for one in self.ending if name in {None, one.producer}]:
            while transaction.unmarked:
                self.deliver_marker(transaction)

    def stable_offset(self, at: TopicPart) -> tuple[int, str] | None:
        """OffsetFetch with stable offsets required; None where there is none.

        Raises:
            KafkaException: A transaction that may change it has not ended.
        """
        if self.pending[at]:
            raise failure(KafkaError._TIMED_OUT, "offsets are not stable", retriable=True)
        return self.offsets.get(at)

    def _checked(self, name: str, epoch: int) -> Producer:
        producer = self.producers[name]
        if producer.epoch != epoch:
            raise failure(KafkaError._FENCED, "fenced by a newer producer", fatal=True)
        return producer

    def _decide(self, producer: Producer, *, committed: bool) -> None:
        transaction = producer.now
        assert transaction is not None
        transaction.committed = committed
        transaction.unmarked = [*transaction.partitions, *([None] if transaction.offsets else [])]
        transaction.unmarked.sort(key=str)
        producer.now, producer.last = None, transaction
        if transaction.unmarked:
            self.ending.append(transaction)


def unused(*_: Any) -> None:
    """Take whatever comes and do nothing."""
