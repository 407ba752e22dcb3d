"""What this worker owns: its inputs, the stores behind them, and how a partition comes and goes.

Theory of operation: rebalance callbacks only note what changed and pause it; everything else happens in `step`,
between two batches, so a restore never holds up the partitions that work. A partition starts in this order:

1. the stable committed offsets of rekeyed[p] and of p of every raw topic with P partitions: a read_committed reader
   gets them only once a predecessor's open transaction has ended;
2. the changelog's high watermark, asked for after that: the other way round, a woken zombie could commit state that
   the new owner never reads;
3. restore up to it; then seek to the committed offset and resume.

An offset always means the next record. Positions are this module's own; the client's are never used.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog
from confluent_kafka import OFFSET_BEGINNING, KafkaException, TopicPartition

from processor.books import Books, decode_books
from processor.changelog import watermarks
from processor.errors import ExitCode, FatalError, TransientError
from processor.kafka_errors import describe, error_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from confluent_kafka import Consumer
    from confluent_kafka.admin import AdminClient

    from processor.changelog import ChangelogReader, Watermarks
    from processor.store import StatePartition
    from processor.stores import Stores

_log = structlog.get_logger(__name__)

_CALL_S = 5.0

Input = tuple[str, int]
"""An input partition: topic and number."""


@dataclass(slots=True)
class Progress:
    """Where an input stands."""

    next_offset: int | None = None
    """Offset of the next record to process; None until the committed offset is known."""
    books: Books = field(default_factory=Books)
    running: bool = False


@dataclass(frozen=True, slots=True)
class AssignmentOptions:
    """Facts that the assignment works with."""

    rekeyed: str
    state: str
    state_topic_id: str
    partitions: int
    start_earliest: bool
    incremental: bool
    """Whether the group protocol is KIP-848's, which assigns increments."""
    reset_state: bool = False


class Assignment:
    """The inputs and stores of this worker. Not thread-safe: the loop owns it."""

    def __init__(
        self,
        consumer: Consumer,
        admin: AdminClient,
        reader: ChangelogReader,
        stores: Stores,
        options: AssignmentOptions,
    ) -> None:
        self.inputs: dict[Input, Progress] = {}
        self.ready: dict[int, StatePartition] = {}
        """Stores that are restored, by partition."""
        self._consumer = consumer
        self._admin = admin
        self._reader = reader
        self._stores = stores
        self._options = options
        self._partition_counts: dict[str, int] = {}
        self._stale_counts = False
        self._waiting_stores: set[int] = set()

    # Callbacks: run inside the consumer's poll, never while a transaction is open.

    def on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Take partitions over, paused; `step` starts them."""
        self._stale_counts = True
        paused = [TopicPartition(tp.topic, tp.partition, OFFSET_BEGINNING) for tp in partitions]
        if self._options.incremental:
            consumer.incremental_assign(paused)
        else:
            consumer.assign(paused)
        if paused:
            consumer.pause(paused)
        for tp in partitions:
            self.inputs[tp.topic, tp.partition] = Progress()
            if tp.topic == self._options.rekeyed:
                self._waiting_stores.add(tp.partition)
        if not self._options.incremental:
            self._stores.close_all_but(self._waiting_stores)

    def on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Let partitions go; their stores stay on disk, so coming back costs only the changelog's tail."""
        for tp in partitions:
            self.inputs.pop((tp.topic, tp.partition), None)
            if tp.topic == self._options.rekeyed:
                self._drop_store(tp.partition)
        if self._options.incremental:
            consumer.incremental_unassign(partitions)
        else:
            consumer.unassign()

    def on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """As `on_revoke`: nothing may be committed for them, and nothing ever is in a callback."""
        self.on_revoke(consumer, partitions)

    def _drop_store(self, partition: int) -> None:
        self._waiting_stores.discard(partition)
        self._reader.cancel(partition)
        self.ready.pop(partition, None)
        if self._options.incremental:
            self._stores.close(partition)
        for (topic, number), progress in self.inputs.items():
            in_place = self._partition_counts.get(topic) == self._options.partitions
            if number == partition and progress.running and in_place:
                progress.running = False
                self._consumer.pause([TopicPartition(topic, number)])

    # Between batches.

    @property
    def is_restoring(self) -> bool:
        """Whether a partition is waiting for its state."""
        return bool(self._waiting_stores or self._reader.restores)

    @property
    def is_idle(self) -> bool:
        """Whether no input is running, so that a step may take its time."""
        return not any(progress.running for progress in self.inputs.values())

    def step(self) -> None:
        """Bring waiting partitions one step further; bounded in time.

        Raises:
            FatalError: A committed offset, the changelog or a store is not what it must be.
        """
        if self._stale_counts:
            self._partition_counts.clear()  # A raw topic may have grown.
            self._stale_counts = False
        try:
            self._read_committed()
            self._open_stores()
            for partition in self._reader.step(0.05 if self.is_idle else 0.0):
                self.ready[partition] = self._stores.get(partition)
            self._resume()
        except TransientError as error:
            _log.info("waiting for the broker", error=str(error))  # The next step asks again.

    def states_for(self, topic: str, partition: int) -> StatePartition | None:
        """Return the state in which events of an input are reduced in place, None where they must be forwarded."""
        if topic == self._options.rekeyed or self._reduces_in_place(topic):
            return self.ready[partition]
        return None

    def rewind(self, inputs: Sequence[Input]) -> None:
        """Stop inputs whose batch was aborted; `step` seeks back to their next offset: an abort moves nothing."""
        for topic, partition in inputs:
            progress = self.inputs.get((topic, partition))
            if progress is not None and progress.running:
                progress.running = False
                self._consumer.pause([TopicPartition(topic, partition)])

    def _read_committed(self) -> None:
        unknown = [key for key, progress in self.inputs.items() if progress.next_offset is None]
        if not unknown:
            return
        raws = {topic for topic, _ in self.inputs if self._reduces_in_place(topic)}
        # Also those that this worker does not own: a predecessor's transaction on them must have ended.
        related = {(topic, number) for _, number in unknown for topic in raws} - set(unknown)
        try:
            answers = self._consumer.committed(
                [TopicPartition(topic, number) for topic, number in [*unknown, *related]], timeout=_CALL_S
            )
        except KafkaException as exception:
            raise TransientError(describe(error_of(exception))) from exception
        for tp in answers:
            if tp.error is not None:
                raise TransientError(describe(tp.error))
        for tp in answers:
            progress = self.inputs.get((tp.topic, tp.partition))
            if progress is not None and progress.next_offset is None:
                self._start_at(progress, tp)

    def _start_at(self, progress: Progress, committed: TopicPartition) -> None:
        books = decode_books(committed.metadata)
        mine = self._options.state_topic_id
        if books is not None and books.state_topic_id != mine and not self._options.reset_state:
            raise FatalError(
                f"the offsets of {committed.topic}[{committed.partition}] belong to another {self._options.state} than "
                "the one that is there now: it was deleted or re-created, and what is known of messages is gone; "
                "restore it, or accept that messages begin again with --reset-state",
                ExitCode.STATE_REFUSED,
            )
        start = Books() if books is None else books
        progress.books = Books(start.records, start.events, start.outcomes, start.window, mine)
        if committed.offset >= 0:
            progress.next_offset = committed.offset
            return
        try:
            low, high = self._consumer.get_watermark_offsets(committed, timeout=_CALL_S)
        except KafkaException as exception:
            raise TransientError(describe(error_of(exception))) from exception
        earliest = self._options.start_earliest or committed.topic == self._options.rekeyed
        progress.next_offset = low if earliest else high

    def _open_stores(self) -> None:
        opening = [
            partition
            for partition in sorted(self._waiting_stores)
            if self.inputs[self._options.rekeyed, partition].next_offset is not None
        ]
        if not opening:
            return
        ends = watermarks(self._admin, self._options.state, opening)
        for partition in opening:
            self._begin_restore(partition, ends[partition])
            self._waiting_stores.discard(partition)

    def _begin_restore(self, partition: int, end: Watermarks) -> None:
        store = self._stores.open(partition)
        if store.offset > end.high:
            if not self._options.reset_state:
                raise FatalError(
                    f"the local state of partition {partition} has read {self._options.state} up to offset "
                    f"{store.offset}, but it ends at {end.high}: records were lost or the topic was re-created; "
                    "restore it, or accept that messages begin again with --reset-state",
                    ExitCode.STATE_REFUSED,
                )
            store = self._stores.rebuild(partition, "it is ahead of the changelog")
        elif store.offset and store.offset < end.low:
            store = self._stores.rebuild(partition, "the changelog no longer has what follows")
        if end.high <= end.low and store.offset == 0:
            self.ready[partition] = store
            return
        self._reader.begin(store, end.high)

    def _resume(self) -> None:
        for (topic, partition), progress in self.inputs.items():
            if progress.running or progress.next_offset is None or not self._may_run(topic, partition):
                continue
            at = TopicPartition(topic, partition, progress.next_offset)
            try:
                self._consumer.seek(at)
            except KafkaException:
                continue  # The client has not begun with this partition yet: the next step tries again.
            self._consumer.resume([at])
            progress.running = True

    def _may_run(self, topic: str, partition: int) -> bool:
        needs_state = topic == self._options.rekeyed or self._reduces_in_place(topic)
        return not needs_state or partition in self.ready

    def _reduces_in_place(self, topic: str) -> bool:
        return topic != self._options.rekeyed and self._partitions_of(topic) == self._options.partitions

    def _partitions_of(self, topic: str) -> int:
        count = self._partition_counts.get(topic)
        if count is None:
            try:
                count = len(self._consumer.list_topics(topic, timeout=_CALL_S).topics[topic].partitions)
            except KafkaException as exception:
                raise TransientError(describe(error_of(exception))) from exception
            self._partition_counts[topic] = count
        return count
