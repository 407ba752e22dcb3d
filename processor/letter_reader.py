"""Reads the dead-letter topic to the end that it has, and single records of other topics."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from processor.changelog import watermarks
from processor.errors import ExitCode, FatalError, TransientError
from processor.kafka_errors import Heard, describe, error_of, is_denied, is_end, is_out_of_range, is_position_lost
from processor.topic_reader import METADATA_S, partitions_of, silent_logger

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from types import TracebackType

    from confluent_kafka import KafkaError, Message

    from processor.letters import Position

_WAIT_S: Final = 60.0
"""Longest wait for open transactions to end."""
_RECORDS_MAX: Final = 10_000
_CALL_S: Final = 0.1
"""How long one call collects records, though fewer may be all there are."""


class Span(NamedTuple):
    """Offsets of a partition that are to be read: from `low` up to, without, `high`."""

    low: int
    high: int


class LetterReader:
    """Reads in no group, committed records only; a context manager.

    An end is the one of uncommitted records, and what is open before it is waited for: behind a dead worker's open
    transaction there may be committed marks.
    """

    def __init__(self, config: Mapping[str, Any], topic: str) -> None:
        """Find the topic.

        Raises:
            TransientError: No broker answers.
            FatalError: The topic is missing, or may not be read.
        """
        heard = Heard()
        own = {
            "group.id": "status-processor-reader",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
        }
        self._topic = topic
        self._config = {**config, **own, "error_cb": heard}
        self._admin = AdminClient({**config}, logger=silent_logger())
        self._consumer = Consumer(self._config, logger=silent_logger())
        self._others: Consumer | None = None
        try:
            self.partitions = partitions_of(self._consumer, topic, heard)
        except BaseException:
            self._consumer.close()
            raise

    def topics(self) -> dict[str, int]:
        """Return how many partitions each topic has that may be seen.

        Raises:
            TransientError: No broker answers.
        """
        try:
            found = self._consumer.list_topics(timeout=METADATA_S).topics
        except KafkaException as exception:
            raise _failed("list the topics", error_of(exception)) from exception
        return {name: len(topic.partitions) for name, topic in found.items() if topic.error is None}

    def spans(self, since_ms: int | None = None) -> dict[int, Span]:
        """Return what is there now, by partition: all of it, or what was written since a time.

        Raises:
            TransientError: No broker answers.
        """
        ends = watermarks(self._admin, self._topic, self.partitions)
        starts = {} if since_ms is None else self._starts(since_ms)
        # Where nothing is that late the answer is a logical offset below 0: the end.
        lows = {number: starts.get(number, end.low) for number, end in ends.items()}
        return {
            number: Span(max(low, ends[number].low), ends[number].high)
            for number, low in lows.items()
            if 0 <= low < ends[number].high
        }

    def _starts(self, since_ms: int) -> dict[int, int]:
        asked = [TopicPartition(self._topic, number, max(0, since_ms)) for number in self.partitions]
        try:
            answers = self._consumer.offsets_for_times(asked, timeout=METADATA_S)
        except KafkaException as exception:
            raise _failed(f"look for a time in {self._topic}", error_of(exception)) from exception
        return {answer.partition: answer.offset for answer in answers}

    def read(self, spans: Mapping[int, Span]) -> Iterator[list[Message]]:
        """Return the records of these spans, in order of each partition; what is open in them is waited for.

        Raises:
            TransientError: No broker answers, or a transaction stays open.
            FatalError: The topic may not be read.
        """
        ends = {number: span.high for number, span in spans.items() if span.high > span.low}
        next_offsets = {number: span.low for number, span in spans.items()}
        self._consumer.assign([TopicPartition(self._topic, number, next_offsets[number]) for number in ends])
        moved_at = time.monotonic()
        while ends:
            records = []
            for message in self._consumer.consume(_RECORDS_MAX, _CALL_S):
                number, offset = message.partition() or 0, message.offset() or 0
                if message.error() is not None:
                    self._on_event(message, ends)
                elif number in ends and next_offsets[number] <= offset < ends[number]:
                    # After a change of leader the client may go back to what was read already.
                    next_offsets[number] = offset + 1
                    records.append(message)
                    if offset + 1 >= ends[number]:
                        del ends[number]
            if records:
                moved_at = time.monotonic()
                yield records
            elif ends and time.monotonic() - moved_at > _WAIT_S:
                raise TransientError(
                    f"{self._topic} cannot be read to its end: a transaction stays open, or no broker answers"
                )
        self._consumer.unassign()

    def _on_event(self, message: Message, ends: dict[int, int]) -> None:
        error, number = message.error(), message.partition() or 0
        assert error is not None  # noqa: S101
        if is_end(error):
            if (message.offset() or 0) >= ends.get(number, 0):
                ends.pop(number, None)
        elif is_denied(error):
            raise _failed(f"read {self._topic}", error)
        elif is_position_lost(error) or is_out_of_range(error):
            raise TransientError(f"records of {self._topic} were deleted while they were read")

    def record(self, topic: str, position: Position) -> Message | None:
        """Return one committed record of any topic; None where it is not there any more.

        Raises:
            TransientError: No broker answers.
            FatalError: The topic may not be read.
        """
        partition, offset = position
        if partition >= self.topics().get(topic, 0):
            return None
        end = watermarks(self._admin, topic, [partition])[partition]
        if not end.low <= offset < end.high:
            return None
        if self._others is None:
            # The first one may be in the middle of reading.
            self._others = Consumer(self._config, logger=silent_logger())
        self._others.assign([TopicPartition(topic, partition, offset)])
        deadline = time.monotonic() + _WAIT_S
        while time.monotonic() < deadline:
            for message in self._others.consume(1, _CALL_S):
                error = message.error()
                if error is None:
                    return message if message.offset() == offset else None
                if is_denied(error):
                    raise _failed(f"read {topic}", error)
                if is_end(error) or is_position_lost(error) or is_out_of_range(error):
                    return None
        raise TransientError(f"{topic}[{partition}] cannot be read: no broker answers")

    def __enter__(self) -> Self:
        """Return the reader."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave."""
        self._consumer.close()
        if self._others is not None:
            self._others.close()


def around(positions: Iterable[Position]) -> dict[int, Span]:
    """Return the smallest spans that hold these positions."""
    spans: dict[int, Span] = {}
    for partition, offset in positions:
        low, high = spans.get(partition, (offset, offset + 1))
        spans[partition] = Span(min(low, offset), max(high, offset + 1))
    return spans


def _failed(doing: str, error: KafkaError) -> TransientError | FatalError:
    if is_denied(error):
        return FatalError(f"not permitted to {doing} ({describe(error)})", ExitCode.NOT_PERMITTED)
    return TransientError(f'cannot {doing} ({describe(error)}); see kafka."bootstrap.servers" and the brokers')
