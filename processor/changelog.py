"""Reading the state changelog: where it ends, and a reader that fills stores from it, a bounded chunk at a time."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import OffsetSpec

from processor.errors import ExitCode, FatalError, TransientError
from processor.kafka_errors import DeniedError, describe, is_denied, is_end, is_out_of_range, is_position_lost
from processor.seldom import Seldom
from processor.store import StoreDoubtedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from confluent_kafka import Message
    from confluent_kafka.admin import AdminClient

    from processor.store import StatePartition

CHUNK_RECORDS: Final = 20_000
"""Records of one step: some 60 ms of work."""
_FIRST_MS: Final = 1_293_840_000_000
"""2011-01-01: Kafka's first year."""
_ADMIN_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Watermarks:
    """First offset and end offset of a partition, control records and open transactions included."""

    low: int
    high: int


def watermarks(admin: AdminClient, topic: str, partitions: Iterable[int]) -> dict[int, Watermarks]:
    """Ask for the ends as they are for a reader of uncommitted records.

    The last stable offset would not do: it may lie before committed writes, behind a dead worker's open transaction.

    Raises:
        TransientError: No answer; ask again.
    """
    wanted = [TopicPartition(topic, partition) for partition in partitions]
    ends: list[dict[int, int]] = []
    for spec in (OffsetSpec.earliest(), OffsetSpec.latest()):  # type: ignore[no-untyped-call]  # no stubs there
        answers = admin.list_offsets(
            dict.fromkeys(wanted, spec),
            isolation_level=IsolationLevel.READ_UNCOMMITTED,
            request_timeout=_ADMIN_S,
        )
        try:
            ends.append({tp.partition: future.result(_ADMIN_S).offset for tp, future in answers.items()})
        except (KafkaException, TimeoutError) as error:
            _look_for_leaders(admin, topic)
            raise TransientError(f"cannot read the ends of {topic}: {error}") from error
    return {partition: Watermarks(low, ends[1][partition]) for partition, low in ends[0].items()}


def _look_for_leaders(admin: AdminClient, topic: str) -> None:
    """Let the client learn who leads now.

    It does not by itself: after a change of leader it names the old epoch, and is refused, until its metadata is 15
    minutes old.
    """
    with suppress(KafkaException):
        admin.list_topics(topic, timeout=_ADMIN_S)


def appended_ms(message: Message) -> int:
    """Return when the changelog got a record.

    A broker that tells none, or one before there was a Kafka (librdkafka's mock says 1234 ms), means now: the purge
    would take the entry for ancient.
    """
    told = message.timestamp()[1]
    return told if told > _FIRST_MS else int(time.time() * 1000)


@dataclass(slots=True)
class Restore:
    """One partition on its way from its stored offset to the end."""

    store: StatePartition
    start: int
    end: int | None
    """The high watermark that was asked for after the stable offsets; None where the changelog is followed without
    an end, for a standby."""

    @property
    def share(self) -> float:
        """How far it is, from 0 to 1."""
        span = (self.end or 0) - self.start
        return 1.0 if span <= 0 else min(1.0, (self.store.offset - self.start) / span)

    @property
    def left(self) -> int:
        """Offsets that it has still to read; 0 where it has no end."""
        return max(0, (self.end or 0) - self.store.offset)


class ChangelogReader:
    """Fills stores from their changelog partitions, read_committed, a bounded chunk for each step.

    One that ran into records which retention has deleted meanwhile begins again with an empty store.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        topic: str,
        rebuild: Callable[[int, str], StatePartition],
        make_consumer: Callable[[dict[str, Any]], Consumer] = Consumer,
        on_error: Callable[[], object] = lambda: None,
    ) -> None:
        """Keep what is needed; the client is made when there is something to read.

        Args:
            config: librdkafka's settings for it.
            topic: The changelog.
            rebuild: Sets a partition's store aside, saying why, and returns an empty one.
            make_consumer: Makes the client, so that a simulation can bring its own.
            on_error: Told of each error that came in place of records.
        """
        self._config = dict(config)
        self._on_error_seen = on_error
        self._make_consumer = make_consumer
        self._client: Consumer | None = None
        self._topic = topic
        self._rebuild = rebuild
        self._restores: dict[int, Restore] = {}
        self._doubts: list[StoreDoubtedError] = []
        self._seldom = Seldom()
        self.records_restored = 0

    @property
    def restores(self) -> Mapping[int, Restore]:
        """What is under way, by partition."""
        return self._restores

    def begin(self, store: StatePartition, end: int | None) -> None:
        """Fill a store up to `end`, the high watermark that was asked for after the stable offsets, or without end."""
        partition = store.identity.partition
        self.cancel(partition)
        self._restores[partition] = Restore(store, store.offset, end)
        self._consumer.incremental_assign([TopicPartition(self._topic, partition, store.offset or OFFSET_BEGINNING)])

    def cancel(self, partition: int) -> None:
        """Stop with a partition; what it has read stays in its store."""
        if self._restores.pop(partition, None) is not None:
            self._consumer.incremental_unassign([TopicPartition(self._topic, partition)])

    def step(self, timeout_s: float, records_max: int = CHUNK_RECORDS) -> list[int]:
        """Read and apply one chunk; return the partitions that are complete now.

        A partition is complete when an end-of-partition event, which a read_committed reader gets only once all
        transactions before it have ended, stands at or behind the end.

        Raises:
            FatalError: The changelog cannot be read.
            StoreDoubtedError: A store could not be written in the step before.
        """
        if self._doubts:
            raise self._doubts.pop()
        if not self._restores:
            return []
        complete: list[int] = []
        chunks: dict[int, list[Message]] = {}
        for message in self._consumer.consume(records_max, timeout_s):
            partition = message.partition()
            if partition is None or partition not in self._restores:
                continue
            error = message.error()
            if error is None:
                chunks.setdefault(partition, []).append(message)
            elif is_end(error):
                if self._take(partition, chunks.pop(partition, []), message.offset()):
                    complete.append(partition)
            else:
                chunks.pop(partition, None)
                self._on_error_seen()
                self._on_error(partition, error)
        for partition, messages in chunks.items():
            self._take(partition, messages, None)
        return complete

    def serve(self) -> None:
        """Let a client with nothing to read hand over what it has to tell; it waits for nothing.

        Without this its statistics would pile up in memory between two restores.
        """
        if self._client is not None and not self._restores:
            self._client.consume(1, 0.0)

    def close(self) -> None:
        """Close the client."""
        if self._client is not None:
            self._client.close()

    @property
    def _consumer(self) -> Consumer:
        if self._client is None:
            self._client = self._make_consumer(self._config)
        return self._client

    def _take(self, partition: int, messages: list[Message], end_at: int | None) -> bool:
        """Apply records, and the end that stands behind them, and tell whether the partition is complete.

        What a chunk holds is read only once, so a store that fails must not take from the others what is theirs: its
        own restore ends, and the next step raises the doubt.
        """
        try:
            self._apply(partition, messages)
            complete = end_at is not None and self._reached(partition, end_at)
            if complete:
                self._restores[partition].store.settle()
        except StoreDoubtedError as doubt:
            self._doubts.append(doubt)
            self.cancel(partition)
            return False
        if complete:
            self.cancel(partition)
        return complete

    def _on_error(self, partition: int, error: KafkaError) -> None:
        if is_out_of_range(error):
            end = self._restores[partition].end
            self.cancel(partition)
            self.begin(self._rebuild(partition, "the changelog no longer has what follows it"), end)
        elif is_position_lost(error):
            self.begin(self._restores[partition].store, self._restores[partition].end)
        elif is_denied(error):
            raise DeniedError(f"reading {self._topic} ({describe(error)})")
        elif error.fatal() or error.code() == KafkaError._FATAL:  # noqa: SLF001
            raise FatalError(f"cannot read {self._topic}[{partition}] ({describe(error)})", ExitCode.UNAVAILABLE)
        else:
            # Errors that come as events carry no flags; the client asks again by itself.
            self._seldom.warn(error.name(), "changelog error, it goes on by itself", error=describe(error))

    def _reached(self, partition: int, offset: int) -> bool:
        restore = self._restores[partition]
        if restore.end is None or offset < restore.end:
            return False
        # Behind the last record only control records can be: the store has seen them too.
        restore.store.restore((), offset, restore.store.seen_ms)
        return True

    def _apply(self, partition: int, messages: list[Message]) -> None:
        if not messages:
            return
        last = messages[-1]
        offset = last.offset()
        assert offset is not None  # noqa: S101  # a record that was read has one
        records = [(key, message.value()) for message in messages if (key := message.key()) is not None]
        self._restores[partition].store.restore(records, offset + 1, appended_ms(last))
        self.records_restored += len(messages)
