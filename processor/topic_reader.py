"""Reads a topic of ours as a subscriber would: read_committed, every partition, in no group."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Self

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaException, TopicPartition

from processor.codec import decode_changes
from processor.errors import ExitCode, FatalError, TransientError
from processor.kafka_errors import Heard, describe, error_of, is_denied, is_end
from processor.model import StatusChange

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from confluent_kafka import Message, Producer

CALL_S: Final = 0.5
"""Longest single blocking call: they do not see signals."""
METADATA_S: Final = 10.0
_RECORDS_MAX: Final = 10_000


def silent_logger() -> logging.Logger:
    """Return a logger that drops librdkafka's own lines: a command says in one line of its own what went wrong."""
    return logging.Logger("librdkafka.silent", logging.CRITICAL + 1)  # noqa: LOG001  # private, nobody configures it


def partitions_of(client: Consumer | Producer, topic: str, heard: Heard) -> list[int]:
    """Return the numbers of a topic's partitions.

    Raises:
        TransientError: No broker answers.
        FatalError: The topic is missing, or may not be seen; login or certificate are refused.
    """
    try:
        found = client.list_topics(topic, timeout=METADATA_S).topics[topic]
    except KafkaException as exception:
        heard.raise_refusal()
        why = heard.last or describe(error_of(exception))
        raise TransientError(f"no broker answers ({why}); see kafka.bootstrap.servers and kafka.security.*") from None
    error = found.error
    if error is not None and is_denied(error):
        raise FatalError(f"topic {topic}: not permitted ({describe(error)})", ExitCode.NOT_PERMITTED)
    if error is not None or not found.partitions:
        raise FatalError(
            f"topic {topic}: not there; create it, or name another (--set topics.…=NAME)", ExitCode.UNAVAILABLE
        )
    return sorted(found.partitions)


class TopicReader:
    """Reads records until told otherwise; a context manager."""

    def __init__(self, config: Mapping[str, object], topic: str, *, from_beginning: bool) -> None:
        """Find the topic and start at its beginning or its end.

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
        }
        self._consumer = Consumer({**config, **own, "error_cb": heard}, logger=silent_logger())
        self._topic = topic
        try:
            numbers = partitions_of(self._consumer, topic, heard)
        except BaseException:
            self._consumer.close()
            raise
        start = OFFSET_BEGINNING if from_beginning else OFFSET_END
        self._reading = set(numbers)
        self._consumer.assign([TopicPartition(topic, number, start) for number in numbers])

    @property
    def at_end(self) -> bool:
        """Whether every partition has been read to its end."""
        return not self._reading

    def records(self) -> list[Message]:
        """Return what comes within half a second, in order of each partition.

        Raises:
            FatalError: The topic may not be read.
        """
        records = []
        for message in self._consumer.consume(_RECORDS_MAX, CALL_S):
            if message.error() is None:
                self._reading.add(message.partition() or 0)
                records.append(message)
            else:
                self._on_error(message)
        return records

    def _on_error(self, message: Message) -> None:
        error = message.error()
        if error is None:
            return
        if is_end(error):
            self._reading.discard(message.partition() or 0)
        elif is_denied(error):
            raise FatalError(f"topic {self._topic}: not permitted ({describe(error)})", ExitCode.NOT_PERMITTED)

    def __enter__(self) -> Self:
        """Return the reader."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave."""
        self._consumer.close()


class ChangesReader(TopicReader):
    """Reads status changes."""

    undecodable = 0
    """Records so far that are no change of ours."""

    def read(self) -> list[StatusChange]:
        """Return the changes that come within half a second, in order of each partition.

        Raises:
            FatalError: The topic may not be read.
        """
        changes = decode_changes([message.value() for message in self.records()])
        self.undecodable += sum(not isinstance(change, StatusChange) for change in changes)
        return [change for change in changes if isinstance(change, StatusChange)]
