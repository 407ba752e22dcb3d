"""What this worker owns: its inputs, the stores behind them, and how a partition comes and goes.

Theory of operation: rebalance callbacks only note what changed; everything else happens in `step`, between two batches,
so a restore never holds up the partitions that work. A partition starts in this order:

1. the stable committed offsets of rekeyed[p] and of p of every raw topic with P partitions: a read_committed reader
   gets them only once a predecessor's open transaction has ended; with them the client is given the inputs, paused;
2. the changelog's high watermark, asked for after that: the other way round, a woken zombie could commit state that
   the new owner never reads;
3. restore up to it; then seek to the committed offset and resume.

Stores stay open over a rebalance and are closed, or followed as standbys, only when everything has settled; a store
that turns out to be broken is set aside, and its partition starts again while the others work.

An offset always means the next record. Positions are this module's own; the client's are never used.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import structlog
from confluent_kafka import KafkaException, TopicPartition

from processor.books import Books
from processor.changelog import watermarks
from processor.errors import ExitCode, FatalError, TransientError
from processor.kafka_errors import describe, error_of, is_unknown_topic
from processor.seldom import Seldom
from processor.starts import Starts
from processor.store import StoreDoubtedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from confluent_kafka import Consumer
    from confluent_kafka.admin import AdminClient

    from processor.changelog import ChangelogReader, Watermarks
    from processor.standby import Standbys
    from processor.store import StatePartition
    from processor.stores import Stores

_log = structlog.get_logger(__name__)

_CALL_S = 5.0
_CHUNK_AT_WORK = 10_000
"""Changelog records of one step while other partitions are at work: some 30 ms."""
_PATIENCE_S = 0.1
"""How long committed offsets are waited for at first while other inputs run."""
_WORK_PER_WAIT = 2.0
"""How much longer than the next wait these run between two of them."""
_COUNT_AGAIN_S = 5.0
"""How often partitions are counted again while an input waits for a state that is not this worker's."""

Input = tuple[str, int]
"""An input partition: topic and number."""


class End(NamedTuple):
    """The end of a partition, as the client told of it."""

    after: int
    """Next offset of whoever has processed everything before it."""
    offset: int
    """Where it is: control and aborted records may lie between."""


@dataclass(slots=True)
class Progress:
    """Where an input stands."""

    next_offset: int | None = None
    """Offset of the next record to process; None until the committed offset is known."""
    books: Books = field(default_factory=Books)
    running: bool = False
    may_move: bool = False
    """Whether it has run since it came, or since its state was lost: before that it waits and does not stand still."""
    seen_offset: int | None = None
    """`next_offset` when somebody last looked whether it moves."""
    moved_at: float = 0.0
    """When it was last seen to have moved, or to have nothing left (s since the epoch); 0 before anybody looked."""
    end: End | None = None
    processed_at: float | None = None
    """Time of the last record processed (s since the epoch)."""
    unprocessed_at: float | None = None
    """Time of the next record to process, where it has been read and went back (s since the epoch)."""
    empty_at: float | None = None
    """When it was last seen with nothing left to process (s since the epoch)."""
    first_seen_at: float | None = None
    """When somebody first looked at it (s since the epoch)."""

    @property
    def position(self) -> int | None:
        """Offset before which nothing is left to process, for those who look; what is committed is `next_offset`.

        Behind the last record of a transaction stands its marker, so that `next_offset` alone never reaches the end.
        """
        if self.end is None or self.next_offset is None or self.next_offset < self.end.after:
            return self.next_offset
        return max(self.next_offset, self.end.offset)


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
    raw: tuple[str, ...] = ()
    """Raw topics as subscribed; one that starts with ^ is a regular expression."""
    tombstones_ms: int = 24 * 3600 * 1000
    """How long the changelog keeps a tombstone: its delete.retention.ms."""


class Assignment:
    """The inputs and stores of this worker. Not thread-safe: the loop owns it."""

    def __init__(
        self,
        consumer: Consumer,
        admin: AdminClient,
        reader: ChangelogReader,
        stores: Stores,
        standbys: Standbys,
        options: AssignmentOptions,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.inputs: dict[Input, Progress] = {}
        self.has_been_assigned = False
        """Whether the group has taken this worker in, be it with no partition."""
        self.unrecorded: set[Input] = set()
        """Inputs whose beginning is to be committed at once: no offset was, or --reset-state accepts that their books
        named another changelog."""
        self.ready: dict[int, StatePartition] = {}
        """Stores that are restored, by partition."""
        self._consumer = consumer
        self._admin = admin
        self._reader = reader
        self.stores = stores
        self.standbys = standbys
        self._options = options
        self._clock = clock
        self._starts = Starts(consumer, options, self._partitions_of)
        self._partition_counts: dict[str, int] = {}
        self._stale_counts = False
        self._counted_at = 0.0
        self._patience_s = _PATIENCE_S
        self._unanswered_at = 0.0
        self._settled = True
        self._seldom = Seldom()
        self._waiting_stores: set[int] = set()
        self._given: set[Input] = set()
        """Inputs that the client has been told to read."""

    # Callbacks: run inside the consumer's poll, never while a transaction is open.

    def on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Note partitions; `step` gives them to the client when it knows where they begin."""
        self.has_been_assigned = True
        self._stale_counts = True
        self._settled = False
        if self._options.incremental:
            consumer.incremental_assign([])
        else:
            consumer.assign([])
            self._given.clear()
        for tp in partitions:
            self.inputs[tp.topic, tp.partition] = Progress()
            if tp.topic == self._options.rekeyed:
                self._waiting_stores.add(tp.partition)

    def on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Let partitions go; their stores stay on disk, so coming back costs only the changelog's tail."""
        self._stale_counts = True
        self._settled = False
        for tp in partitions:
            self.inputs.pop((tp.topic, tp.partition), None)
            self.unrecorded.discard((tp.topic, tp.partition))
            if tp.topic == self._options.rekeyed:
                self._drop_store(tp.partition)
        if self._options.incremental:
            consumer.incremental_unassign([tp for tp in partitions if (tp.topic, tp.partition) in self._given])
        else:
            consumer.unassign()
        self._given.intersection_update(self.inputs)

    def on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """As `on_revoke`: nothing may be committed for them, and nothing ever is in a callback."""
        self.on_revoke(consumer, partitions)

    def _drop_store(self, partition: int) -> None:
        self._waiting_stores.discard(partition)
        self._reader.cancel(partition)
        self.ready.pop(partition, None)
        # Whatever needs no state is resumed by the next step.
        for (topic, number), progress in self.inputs.items():
            if number == partition:
                progress.may_move = False
                if progress.running:
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
        if self._stale_counts or self._is_count_due():
            self._partition_counts.clear()  # A raw topic may have grown.
            self._stale_counts = False
            self._counted_at = self._clock()
        # What was stopped by an abort only comes first: it must not wait for what is new.
        for bring_on in (
            self._resume,
            self._read_committed,
            self._give,
            self._open_stores,
            self._restore,
            self._resume,
            self._settle,
            self.standbys.step,
        ):
            try:
                bring_on()
            except StoreDoubtedError as doubt:
                self.rebuild(doubt)
            except TransientError as error:
                # The next step asks again; what needs no answer goes on.
                self._seldom.warn("broker", "waiting for the broker", error=str(error))

    def rebuild(self, doubt: StoreDoubtedError) -> None:
        """Set a broken store aside and let its partition, or its standby, begin again with an empty one."""
        partition = doubt.partition
        self.standbys.promote(partition)
        self._settled = False  # A standby that broke while it was written is followed no more already.
        self._drop_store(partition)
        self.stores.rebuild(partition, doubt.why)
        if (self._options.rekeyed, partition) in self.inputs:
            self._waiting_stores.add(partition)

    def open_stores(self) -> list[StatePartition]:
        """Return the stores that are restored or followed, so that old entries can be deleted from them."""
        return [*self.ready.values(), *(self.stores.get(partition) for partition in self.standbys.followed)]

    def states_for(self, topic: str, partition: int) -> StatePartition | None:
        """Return the state in which events of an input are reduced in place, None where they must be forwarded.

        Raises:
            TransientError: The input runs, but may not as its topic is now: one that has grown to P partitions needs
                the state, which may not be there yet.
        """
        if not self._may_run(topic, partition):
            raise TransientError(f"{topic}[{partition}] waits for its state")
        in_place = topic == self._options.rekeyed or self._reduces_in_place(topic)
        return self.ready[partition] if in_place else None

    def rewind(self, inputs: Sequence[Input]) -> None:
        """Stop inputs whose batch was aborted; `step` seeks back to their next offset: an abort moves nothing."""
        for topic, partition in inputs:
            progress = self.inputs.get((topic, partition))
            if progress is not None and progress.running:
                progress.running = False
                self._consumer.pause([TopicPartition(topic, partition)])

    def begin_anew(self, key: Input) -> None:
        """Take an input from a client that has lost its place in it and will read no more; `step` gives it again.

        A seek is not enough: the client refuses it once it has given a partition up.
        """
        if self._options.incremental:
            self._consumer.incremental_unassign([TopicPartition(*key)])
            self._given.discard(key)
        else:
            self._given.clear()  # All at once is all that this protocol knows.
        for given in set(self.inputs) - self._given:
            self.inputs[given].running = False

    def _read_committed(self) -> None:
        unknown = [key for key, progress in self.inputs.items() if progress.next_offset is None]
        if not unknown or self._is_held_up():
            return
        raws = {topic for topic in self._raw_topics() if self._reduces_in_place(topic)}
        # Also those that this worker does not own: a predecessor's transaction on them must have ended.
        related = {(topic, number) for _, number in unknown for topic in raws} - set(unknown)
        answers = self._stable([TopicPartition(topic, number) for topic, number in [*unknown, *related]])
        for tp in answers:
            if tp.error is not None:
                raise TransientError(describe(tp.error))
        for tp in answers:
            progress = self.inputs.get((tp.topic, tp.partition))
            if progress is not None and progress.next_offset is None:
                start = self._starts.of(tp)
                progress.next_offset, progress.books = start.offset, start.books
                if start.is_new:
                    self.unrecorded.add((tp.topic, tp.partition))

    @property
    def _is_at_work(self) -> bool:
        """Whether an input runs or is restored."""
        return not self.is_idle or bool(self._reader.restores)

    def _is_held_up(self) -> bool:
        """Tell whether offsets were asked for a moment ago, and what is at work comes first."""
        return self._is_at_work and 0 <= self._clock() - self._unanswered_at < _WORK_PER_WAIT * self._patience_s

    def _stable(self, asked: list[TopicPartition]) -> list[TopicPartition]:
        """Ask for committed offsets; the client waits as long as it may where a predecessor's transaction is open.

        That may be as long as a transaction lasts. What runs meanwhile gets most of the time: the wait begins short,
        and grows slowly, for a coordinator may be slow.
        """
        try:
            answers = self._consumer.committed(asked, timeout=self._patience_s if self._is_at_work else _CALL_S)
        except KafkaException as exception:
            self._patience_s = min(1.25 * self._patience_s, _CALL_S)
            self._unanswered_at = self._clock()
            raise TransientError(describe(error_of(exception))) from exception
        self._patience_s = _PATIENCE_S
        return answers

    def _give(self) -> None:
        """Let the client begin with new inputs, paused, each at the offset that is its next.

        No earlier than that is known, for a client that has to fetch from anywhere else does harm: a word such as
        BEGINNING makes it ask, and the answer may come after `_resume` has sought; an offset that retention has
        deleted makes it give the partition up.
        """
        new = [key for key in self.inputs if key not in self._given]
        if not new or any(self.inputs[key].next_offset is None for key in new):
            return
        begin = [TopicPartition(*key, offset) for key in new if (offset := self.inputs[key].next_offset) is not None]
        try:
            if self._options.incremental:
                self._consumer.incremental_assign(begin)
            else:
                self._consumer.assign(begin)  # Here a rebalance brings all anew.
            self._consumer.pause(begin)
        except KafkaException as exception:
            raise TransientError(describe(error_of(exception))) from exception
        self._given.update(new)

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
        left = sum((restore.end or 0) - restore.start for restore in self._reader.restores.values())
        _log.info("restore begins", partitions=opening, offsets_left=left)

    def _begin_restore(self, partition: int, end: Watermarks) -> None:
        self.standbys.promote(partition)
        store = self.stores.open(partition)
        if store.offset > end.high and not self._options.reset_state:
            raise FatalError(
                f"the local state of partition {partition} has read {self._options.state} up to offset "
                f"{store.offset}, but it ends at {end.high}: records were lost or the topic was re-created; "
                "restore it, or accept that messages begin again with --reset-state",
                ExitCode.STATE_REFUSED,
            )
        why = self._useless(store, end)
        if why is not None:
            store = self.stores.rebuild(partition, why)
        if end.high <= end.low and store.offset == 0:
            self.ready[partition] = store
            return
        self._reader.begin(store, end.high)

    def _useless(self, store: StatePartition, end: Watermarks) -> str | None:
        """Tell why a store cannot be brought up to date from the changelog, None where it can."""
        if store.offset > end.high:
            return "it is ahead of the changelog"
        if 0 < store.offset < end.low:
            return "the changelog no longer has what follows it"
        # One offset more than it holds is the marker of its last transaction: nothing that it could have missed.
        missed_some = 0 < store.offset < end.high - 1
        if missed_some and self._clock() * 1000 - store.seen_ms > self._options.tombstones_ms / 2:
            return "it has slept so long that the changelog may have dropped tombstones"
        return None

    def _restore(self) -> None:
        restored = self._reader.step(0.05) if self.is_idle else self._reader.step(0.0, _CHUNK_AT_WORK)
        for partition in restored:
            self.ready[partition] = self.stores.get(partition)
        if restored:
            _log.info("restore complete", partitions=restored, left=len(self._reader.restores))

    def _settle(self) -> None:
        """When no partition waits for its state, follow the neighbours and close all stores but these."""
        if self._settled or self.is_restoring:
            return
        own = {number for topic, number in self.inputs if topic == self._options.rekeyed}
        self.standbys.settle(own)
        self.stores.close_all_but(own | set(self.standbys.followed))
        self._settled = True

    def _resume(self) -> None:
        for (topic, partition), progress in self.inputs.items():
            if progress.running or (topic, partition) not in self._given or not self._may_run(topic, partition):
                continue
            assert progress.next_offset is not None  # noqa: S101  # nothing is given without
            at = TopicPartition(topic, partition, progress.next_offset)
            try:
                self._consumer.seek(at)
            except KafkaException:
                continue  # The client has not begun with this partition yet: the next step tries again.
            self._consumer.resume([at])
            progress.running = progress.may_move = True

    def _is_count_due(self) -> bool:
        """Tell whether an input waits for a state that this worker will not have, as only a grown topic's need not.

        No callback tells of the growth where it leaves this worker's inputs as they are, and the broker that is asked
        may learn of it later than the group's coordinator.
        """
        if 0 <= self._clock() - self._counted_at < _COUNT_AGAIN_S:
            return False
        rekeyed = self._options.rekeyed
        return any(
            not progress.running and topic != rekeyed and (rekeyed, partition) not in self.inputs
            for (topic, partition), progress in self.inputs.items()
        )

    def _may_run(self, topic: str, partition: int) -> bool:
        if topic == self._options.rekeyed:
            return partition in self.ready
        count = self._partitions_of(topic)
        # Where no broker knows the topic just now, nobody knows whether its events are forwarded.
        return count > 0 and (count != self._options.partitions or partition in self.ready)

    def _reduces_in_place(self, topic: str) -> bool:
        return topic != self._options.rekeyed and self._partitions_of(topic) == self._options.partitions

    def _raw_topics(self) -> set[str]:
        """Return all raw topics, also those of which this worker has no partition just now."""
        topics = {topic for topic in self._options.raw if not topic.startswith("^")}
        topics |= {topic for topic, _ in self.inputs} - {self._options.rekeyed}
        patterns = [re.compile(topic) for topic in self._options.raw if topic.startswith("^")]
        if patterns:
            try:
                known = self._consumer.list_topics(timeout=_CALL_S).topics
            except KafkaException as exception:
                raise TransientError(describe(error_of(exception))) from exception
            topics |= {topic for topic in known if any(pattern.search(topic) for pattern in patterns)}
        return topics

    def _partitions_of(self, topic: str) -> int:
        """Return how many partitions a topic has, 0 where the broker knows no such topic just now."""
        count = self._partition_counts.get(topic)
        if count is None:
            try:
                found = self._consumer.list_topics(topic, timeout=_CALL_S).topics[topic]
            except KafkaException as exception:
                raise TransientError(describe(error_of(exception))) from exception
            if found.error is not None and not is_unknown_topic(found.error):
                # None would mean that its events are forwarded, which is another matter.
                raise TransientError(f"topic {topic}: {describe(found.error)}")
            count = len(found.partitions)
            if count:  # One that has just started may not know every topic yet.
                self._partition_counts[topic] = count
        return count
