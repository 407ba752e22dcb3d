"""Reading the state changelog: where it ends, and a reader that restores several partitions a chunk at a time."""

from __future__ import annotations

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
from processor.kafka_errors import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from confluent_kafka import Message
    from confluent_kafka.admin import AdminClient

    from processor.store import StatePartition

CHUNK_RECORDS: Final = 20_000
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
            raise TransientError(f"cannot read the ends of {topic}: {error}") from error
    return {partition: Watermarks(low, ends[1][partition]) for partition, low in ends[0].items()}


@dataclass(slots=True)
class Restore:
    """One partition on its way from its stored offset to the end."""

    store: StatePartition
    start: int
    end: int

    @property
    def share(self) -> float:
        """How far it is, from 0 to 1."""
        span = self.end - self.start
        return 1.0 if span <= 0 else min(1.0, (self.store.offset - self.start) / span)


class ChangelogReader:
    """Restores stores from their changelog partitions, read_committed, a bounded chunk for each step."""

    def __init__(
        self, config: Mapping[str, Any], topic: str, make_consumer: Callable[[dict[str, Any]], Consumer] = Consumer
    ) -> None:
        self._consumer = make_consumer(dict(config))
        self._topic = topic
        self._restores: dict[int, Restore] = {}
        self.records_restored = 0

    @property
    def restores(self) -> Mapping[int, Restore]:
        """What is under way, by partition."""
        return self._restores

    def begin(self, store: StatePartition, end: int) -> None:
        """Restore a store up to `end`, the high watermark that was asked for after the stable offsets."""
        self._restores[store.identity.partition] = Restore(store, store.offset, end)
        self._reassign()

    def cancel(self, partition: int) -> None:
        """Stop restoring a partition that was revoked."""
        if self._restores.pop(partition, None) is not None:
            self._reassign()

    def step(self, timeout_s: float) -> list[int]:
        """Read and apply one chunk; return the partitions that are complete now.

        A partition is complete when an end-of-partition event, which a read_committed reader gets only once all
        transactions before it have ended, stands at or behind the end.

        Raises:
            FatalError: The changelog cannot be read.
        """
        if not self._restores:
            return []
        complete: list[int] = []
        chunks: dict[int, list[Message]] = {}
        for message in self._consumer.consume(CHUNK_RECORDS, timeout_s):
            partition = message.partition()
            if partition is None or partition not in self._restores:
                continue
            if message.error() is None:
                chunks.setdefault(partition, []).append(message)
            elif self._is_end(message):
                self._apply(partition, chunks.pop(partition, []))
                if self._reached(partition, message.offset() or 0):
                    complete.append(partition)
        for partition, messages in chunks.items():
            self._apply(partition, messages)
        for partition in complete:
            del self._restores[partition]
        if complete:
            self._reassign()
        return complete

    def _is_end(self, message: Message) -> bool:
        error = message.error()
        if error is None or error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
            return error is not None
        if error.retriable():
            return False
        raise FatalError(f"cannot read {self._topic}[{message.partition()}] ({describe(error)})", ExitCode.UNAVAILABLE)

    def _reached(self, partition: int, offset: int) -> bool:
        restore = self._restores[partition]
        if offset < restore.end:
            return False
        # Behind the last record only control records can be: the store has seen them too.
        restore.store.restore((), offset)
        return True

    def close(self) -> None:
        """Close the client."""
        self._consumer.close()

    def _apply(self, partition: int, messages: list[Message]) -> None:
        if not messages:
            return
        offset = messages[-1].offset()
        assert offset is not None  # noqa: S101  # a record that was read has one
        records = [(key, message.value()) for message in messages if (key := message.key()) is not None]
        self._restores[partition].store.restore(records, offset + 1)
        self.records_restored += len(messages)

    def _reassign(self) -> None:
        self._consumer.assign(
            [
                TopicPartition(self._topic, partition, restore.store.offset or OFFSET_BEGINNING)
                for partition, restore in self._restores.items()
            ]
        )
