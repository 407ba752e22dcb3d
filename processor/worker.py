"""The loop: one batch is consumed, goes through the pure core, and is published in one transaction; then the next.

No transaction is ever open across a poll. Rebalance callbacks run inside poll only, so none meets one.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from itertools import islice
from operator import lt
from typing import TYPE_CHECKING

import structlog
from confluent_kafka import KafkaError, TopicPartition

from processor.assignment import End
from processor.books import encode_books
from processor.errors import AbortCause, ExitCode, FatalError, TransientError
from processor.group_protocol import ProtocolRefusedError, is_refusal
from processor.kafka_errors import DeniedError, describe, is_denied, is_end, is_out_of_range, is_position_lost
from processor.outbox import Outbox
from processor.publisher import RecordsRefusedError
from processor.seldom import Seldom
from processor.store import StoreDoubtedError
from processor.telemetry import StoreCounts
from processor.view import partition_view, went_back, went_through

if TYPE_CHECKING:
    from collections.abc import Callable

    from confluent_kafka import Consumer, Message

    from processor.access import Access
    from processor.assignment import Assignment, Input
    from processor.books import Books, DeadLetterLimit
    from processor.changelog import ChangelogReader
    from processor.pack_reload import PackReload
    from processor.pipeline import Pipeline
    from processor.publisher import Publisher
    from processor.purge import Purge
    from processor.restore_report import RestoreReport
    from processor.schema_supply import SchemaSupply
    from processor.telemetry import Telemetry
    from processor.topic_watch import TopicWatch

_log = structlog.get_logger(__name__)

_VIEW_EVERY_S = 1.0
_CALM_AFTER_ABORT_S = 0.2
_POLL_BESIDE_A_RESTORE_S = 0.01
_METADATA_MAGIC = b"CGMDv2:"

Batch = dict["Input", list["Message"]]
"""Records by input, in order."""


@dataclass(frozen=True, slots=True)
class LoopOptions:
    """How the loop takes its batches."""

    rekeyed: str
    records_max: int
    commit_interval_s: float
    dead_letter_limit: DeadLetterLimit


@dataclass(slots=True)
class Worker:
    """Owns the loop; everything it works with is given to it."""

    consumer: Consumer
    assignment: Assignment
    reader: ChangelogReader
    publisher: Publisher
    pipeline: Pipeline
    packs: PackReload
    schemas: SchemaSupply
    telemetry: Telemetry
    purge: Purge
    report: RestoreReport
    topics: TopicWatch
    access: Access
    options: LoopOptions
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    beat: Callable[[], object] = lambda: None
    """Tells the watchdog that the loop turns."""
    _stopping: bool = False
    _viewed_at: float = 0.0
    _seldom: Seldom = field(default_factory=Seldom)

    def subscribe(self, topics: list[str]) -> None:
        """Join the group for these topics (a regex starts with ^) and the rekeyed topic."""

        def noted(kind: str, act: Callable[[Consumer, list[TopicPartition]], None]) -> Callable[..., None]:
            def callback(consumer: Consumer, partitions: list[TopicPartition]) -> None:
                _log.info(f"partitions {kind}", count=len(partitions))
                self.telemetry.rebalanced(kind)
                self.topics.doubt()
                act(consumer, partitions)

            return callback

        self.consumer.subscribe(
            [*topics, self.options.rekeyed],
            on_assign=noted("assigned", self.assignment.on_assign),
            on_revoke=noted("revoked", self.assignment.on_revoke),
            on_lost=noted("lost", self.assignment.on_lost),
        )

    def stop(self) -> None:
        """Ask the loop to end after the present batch; safe to call from a signal handler."""
        self._stopping = True

    def run(self) -> None:
        """Turn until asked to stop.

        Raises:
            FatalError: The worker cannot go on.
            ProtocolRefusedError: The coordinator does not take members of this group protocol.
        """
        with self.access.naming():
            while not self._stopping:
                self.run_once()

    def run_once(self) -> None:
        """Take one batch through, then bring waiting partitions a step further."""
        self.beat()
        self.packs.step()
        timeout = self.options.commit_interval_s
        if self.reader.restores:
            # With nothing running the poll only serves callbacks, and a restore gets the time; else they share it.
            timeout = 0.0 if self.assignment.is_idle else min(timeout, _POLL_BESIDE_A_RESTORE_S)
        batch, jumped = self._sort(self.consumer.consume(self.options.records_max, timeout))
        if batch:
            self._process(batch, consumed_at=self.clock())
        if jumped:
            _log.warning("the client went back to what was read already, seeking again", inputs=len(jumped))
            self.assignment.rewind(jumped)
        self.assignment.step()
        self.topics.step()
        if self.assignment.unrecorded:
            self._record_starts()
        self._tidy()
        self._view()

    def _sort(self, messages: list[Message]) -> tuple[Batch, list[Input]]:
        """Group records by input, and tell which inputs' positions went back.

        Those of inputs that are not running are left out, and read again later.
        """
        batch: Batch = {}
        for message in messages:
            key = (message.topic(), message.partition())
            records = batch.get(key)  # type: ignore[arg-type]  # a record that was read has both
            if message.error() is not None:
                self._on_event(message, records)
                continue
            if records is None:
                records = batch[key] = []  # type: ignore[index]
            records.append(message)
        jumped: list[Input] = []
        for key, records in [*batch.items()]:
            progress = self.assignment.inputs.get(key)
            if progress is None or not progress.running or progress.next_offset is None:
                del batch[key]
                continue
            batch[key] = new = not_read_yet(records, progress.next_offset)
            if len(new) < len(records):
                jumped.append(key)
        return {key: records for key, records in batch.items() if records}, jumped

    def _on_event(self, message: Message, before: list[Message] | None) -> None:
        """Take what is no record; `before` are the records of its partition that stand before it in this poll."""
        error = message.error()
        assert error is not None  # noqa: S101
        if is_end(error):
            progress = self.assignment.inputs.get((message.topic() or "", message.partition() or 0))
            if progress is not None and progress.next_offset is not None:
                after = _next_offset(before) if before else progress.next_offset
                progress.end = End(after, message.offset() or 0)
            return
        self.telemetry.clients.fetch_failed("consumer")
        if is_position_lost(error) or is_out_of_range(error):
            self._on_position_lost(message, error)
            return
        if is_denied(error):
            raise DeniedError(f"consuming ({describe(error)})")
        # A fatal error that comes as an event has no flag, only this code; what it is stands in its text.
        if error.fatal() or error.code() == KafkaError._FATAL:  # noqa: SLF001
            # One that has been a member is refused where the group went over to the other protocol meanwhile: it stood
            # still for too long, and may well join again.
            if is_refusal(error) and not self.assignment.has_been_assigned:
                raise ProtocolRefusedError(describe(error))
            raise FatalError(f"the consumer cannot go on ({describe(error)}); start again", ExitCode.UNKNOWN_OUTCOME)
        self._seldom.warn(error.name(), "consumer error, it goes on by itself", error=describe(error))

    def _on_position_lost(self, message: Message, error: KafkaError) -> None:
        key = (message.topic() or "", message.partition() or 0)
        progress = self.assignment.inputs.get(key)
        if progress is None or progress.next_offset is None:
            return  # It is of an assignment that is gone.
        if is_out_of_range(error) and (message.offset() or 0) >= progress.next_offset:
            raise FatalError(
                f"the committed offset of {key[0]}[{key[1]}] is no longer in the log: records were deleted before they "
                f"were processed ({describe(error)}); set the group's offset by hand to go on",
                ExitCode.STATE_REFUSED,
            )
        self._seldom.warn(
            "position", "the client lost its place, it is given it again", topic=key[0], error=describe(error)
        )
        self.assignment.begin_anew(key)

    def _process(self, batch: Batch, consumed_at: float, condemned: str | None = None) -> bool:
        """Publish a batch and tell whether that worked; where it did not, its inputs go back.

        Where the broker refuses the records, the batch is taken apart, down to the record, which is then condemned: it
        becomes a dead letter for the reason given.
        """
        try:
            self._transact(batch, consumed_at, condemned)
        except RecordsRefusedError as error:
            self.telemetry.aborted(error.cause)
            if condemned is None:
                _log.warning("the broker refused the batch, taking it apart", error=str(error))
                done = self._take_apart(batch, str(error), consumed_at)
            else:
                self._seldom.warn("letter", "the broker refuses even the dead letter, it goes back", error=str(error))
                done = False
        except TransientError as error:
            self.telemetry.aborted(error.cause)
            self.topics.doubt()
            self._seldom.warn("batch", "the batch goes back", error=str(error))
            done = False
        except StoreDoubtedError as doubt:
            self.telemetry.aborted(AbortCause.STORE)
            self.assignment.rebuild(doubt)
            done = False
        else:
            return True
        if not done:
            now = self.clock()
            for key, records in batch.items():
                went_back(self.assignment.inputs[key], records, now)
            self.assignment.rewind(list(batch))
            self.sleep(_CALM_AFTER_ABORT_S)
        return done

    def _take_apart(self, batch: Batch, why: str, consumed_at: float) -> bool:
        if sum(map(len, batch.values())) == 1:
            return self._process(batch, consumed_at, condemned=why)
        # The second half may only follow the first: its offsets would step over what went back. A store that was
        # doubted after the first half's commit has stopped its inputs.
        return all(self._are_running(half) and self._process(half, consumed_at) for half in _halves(batch))

    def _are_running(self, batch: Batch) -> bool:
        return all(self.assignment.inputs[key].running for key in batch)

    def _transact(self, batch: Batch, consumed_at: float, condemned: str | None) -> None:
        outbox = Outbox()
        try:
            if condemned is None:
                self.schemas.supply(message.value() for records in batch.values() for message in records)
            for (topic, partition), records in batch.items():
                if condemned is None:
                    self._advance(topic, partition, records, outbox)
                else:
                    self.pipeline.condemn(topic, partition, records[0], condemned, outbox)
            self._publish(batch, outbox, consumed_at)
        except BaseException:
            for store in self.assignment.ready.values():
                store.discard()
            raise

    def _advance(self, topic: str, partition: int, records: list[Message], outbox: Outbox) -> None:
        states = self.assignment.states_for(topic, partition)
        if topic == self.options.rekeyed:
            assert states is not None  # noqa: S101  # a rekeyed partition runs only with its state
            self.pipeline.process_rekeyed(topic, partition, records, states, outbox)
        else:
            self.pipeline.process_raw(topic, partition, records, states, outbox)

    def _publish(self, batch: Batch, outbox: Outbox, consumed_at: float) -> None:
        """Commit everything, then let the stores and the books follow; nothing follows an abort."""
        books, offsets = self._close_books(batch, outbox)
        ready = self.assignment.ready
        staged = {number: records for number, store in ready.items() if (records := store.encode_staged())}
        began_at = self.clock()
        reached = self.publisher.publish(outbox, staged, offsets, self._member())
        now = self.clock()
        # What is committed stands, whatever becomes of a store now.
        for key, closed in books.items():
            progress = self.assignment.inputs[key]
            progress.books = closed
            progress.next_offset = _next_offset(batch[key])
            went_through(progress, batch[key], now)
        self.telemetry.committed(outbox, consumed_at=consumed_at, began_at=began_at, now=now)
        _tell_forgotten(outbox)
        for number, records in staged.items():
            try:
                ready[number].apply(records, *reached[number])
            except StoreDoubtedError as doubt:
                self.assignment.rebuild(doubt)

    def _close_books(self, batch: Batch, outbox: Outbox) -> tuple[dict[Input, Books], list[TopicPartition]]:
        books: dict[Input, Books] = {}
        offsets: list[TopicPartition] = []
        for key, records in batch.items():
            limit = self.options.dead_letter_limit
            rows = [message.offset() or 0 for message in records]
            closed, crossed = self.assignment.inputs[key].books.after(outbox.tallies[key], rows, limit)
            if crossed is not None:
                raise FatalError(
                    f"dead-letter limit: {crossed} of {key[0]}[{key[1]}] cannot be processed; nothing of this "
                    "batch was published. Look at the dead letters' reasons, mend the pack or the producer, or raise "
                    "dead_letters.* and start again",
                    ExitCode.DEAD_LETTER_LIMIT,
                )
            books[key] = closed
            topic, partition = key
            offsets.append(TopicPartition(topic, partition, _next_offset(records), encode_books(closed)))
        return books, offsets

    def _member(self) -> object:
        """Return group metadata taken just now: member epochs move without a callback."""
        metadata = self.consumer.consumer_group_metadata()
        if not names_member(metadata):
            raise TransientError("the consumer is in no group just now", AbortCause.STALE_MEMBER)
        return metadata

    def _record_starts(self) -> None:
        """Commit where inputs begin that no committed offset says it of, with the changelog that they go with."""
        inputs = {key: self.assignment.inputs[key] for key in self.assignment.unrecorded}
        offsets = [
            TopicPartition(topic, number, progress.next_offset or 0, encode_books(progress.books))
            for (topic, number), progress in inputs.items()
        ]
        try:
            self.publisher.publish(Outbox(), {}, offsets, self._member())
        except TransientError as error:
            self._seldom.warn("starts", "where inputs begin is committed later", error=str(error))
            return
        self.assignment.unrecorded.clear()
        _log.info("committed where inputs begin", partitions=len(inputs))

    def _tidy(self) -> None:
        try:
            self.purge.step(self.assignment.open_stores(), int(self.clock() * 1000))
        except StoreDoubtedError as doubt:
            self.assignment.rebuild(doubt)

    def _view(self) -> None:
        now = self.clock()
        if 0 <= now - self._viewed_at < _VIEW_EVERY_S:  # A clock that was set back must not stop it.
            return
        self._viewed_at = now
        view = partition_view(self.consumer, self.assignment, self.reader, now)
        view.member = self.assignment.has_been_assigned and names_member(self.consumer.consumer_group_metadata())
        self.report.look(self.reader.restores, self.reader.records_restored)
        self.telemetry.progressed(
            view,
            StoreCounts(
                restored=self.reader.records_restored,
                followed=self.assignment.standbys.records_read,
                purged=self.purge.removed,
                set_aside=self.assignment.stores.set_aside,
            ),
            self.publisher.producers_started,
        )
        # Clients that have nothing to do just now have something to tell all the same.
        for client in (self.publisher, self.reader, self.assignment.standbys):
            client.serve()


def not_read_yet(records: list[Message], next_offset: int) -> list[Message]:
    """Return the records whose offsets only rise, from `next_offset` on.

    Seen with librdkafka 2.16 after a broker's restart: in the middle of a batch a partition went back to its beginning.
    """
    offsets = [record.offset() or 0 for record in records]
    if offsets[0] >= next_offset and all(map(lt, offsets, islice(offsets, 1, None))):
        return records
    new: list[Message] = []
    for offset, record in zip(offsets, records, strict=True):
        if offset >= next_offset:
            new.append(record)
            next_offset = offset + 1
    return new


def names_member(metadata: object) -> bool:
    """Tell whether group metadata names a member of a generation.

    The broker accepts offsets without one unfenced, even from a zombie, and librdkafka hands out exactly that before
    the first join. Its serialised form: ``CGMDv2:``, the generation as a native int32, then the group id, the member
    id and the instance id, each ended by NUL (librdkafka, rd_kafka_consumer_group_metadata_write).
    """
    if not isinstance(metadata, bytes) or not metadata.startswith(_METADATA_MAGIC):
        return False
    at = len(_METADATA_MAGIC)
    generation = int.from_bytes(metadata[at : at + 4], sys.byteorder, signed=True)
    member = metadata[at + 4 :].split(b"\0")[1:2]
    return generation >= 1 and member not in ([], [b""])


def _tell_forgotten(outbox: Outbox) -> None:
    """Log what was forgotten at an operator's request; which message it was stands in the changelog's audit entry."""
    for forget, status, sequence in outbox.forgotten:
        _log.info("a message was forgotten", request=forget.request, status=status, sequence=sequence)


def _next_offset(records: list[Message]) -> int:
    return (records[-1].offset() or 0) + 1


def _halves(batch: Batch) -> tuple[Batch, Batch]:
    """Cut a batch in two with about as many records each, every input's order kept."""
    half = sum(map(len, batch.values())) // 2
    first: Batch = {}
    second: Batch = {}
    for key, records in batch.items():
        taken = records[:half]
        half -= len(taken)
        if taken:
            first[key] = taken
        if len(taken) < len(records):
            second[key] = records[len(taken) :]
    return first, second
