"""One transaction at a time: publishes an outbox, the states and the consumed offsets, all of it or nothing."""

from __future__ import annotations

import hashlib
import logging
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Producer

import processor
from processor.codec import encode_mapped
from processor.errors import ExitCode, FatalError, TransientError
from processor.headers import (
    ERRORS_VALUE_BYTES,
    ERRORS_VALUE_SHA256,
    dead_letter_headers,
    origin_header,
)
from processor.kafka_errors import Kind, classify, describe, error_of, fatal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from confluent_kafka import Message, TopicPartition

    from processor.codec import ChangeEncoder
    from processor.headers import Headers
    from processor.model import StatusChange
    from processor.outbox import DeadLetter, Forward, Outbox

_CALL_S: Final = 1.0
"""Longest single blocking call: they do not see signals."""
_RECORD_OVERHEAD_BYTES: Final = 512
"""Room for a record batch's own header and varints, when a size is held against a topic's limit."""


class RecordsRefusedError(TransientError):
    """The broker refuses something in this batch for good: the batch must be taken apart."""


@dataclass(frozen=True, slots=True)
class OutputTopics:
    """Where things go, and the largest record that the dead-letter topic takes, in bytes."""

    changes: str
    dead_letter: str
    state: str
    rekeyed: str
    dead_letter_bytes_max: int = 1_000_000


class Reached(NamedTuple):
    """How far a changelog partition reaches after a transaction."""

    next_offset: int
    appended_ms: int
    """When the broker appended the last record."""


class DoubtfulConnection(logging.Handler):
    """Notices in librdkafka's log that a connection of the producer failed.

    librdkafka has no KIP-890 v2, so an EndTxn that was on its way then may arrive late and end the *next*
    transaction. A new producer before the next one bumps the epoch and makes the late request harmless.
    """

    def __init__(self) -> None:
        super().__init__()
        self.doubted = False

    def emit(self, record: logging.LogRecord) -> None:
        """Look at one line of the log."""
        line = record.getMessage()
        if "FAIL" in line or "REQTMOUT" in line or "TIMEOUT" in line:
            self.doubted = True


class Publisher:
    """Owns the transactional producer."""

    def __init__(
        self,
        config: Mapping[str, Any],
        topics: OutputTopics,
        encoder: ChangeEncoder,
        *,
        budget_s: float,
        make_producer: Callable[..., Producer] = Producer,
    ) -> None:
        """Keep what is needed; `start` connects.

        Args:
            config: librdkafka's, with a transactional.id.
            topics: Where things go.
            encoder: Makes the bytes of changes.
            budget_s: Longest time for one transaction, below transaction.timeout.ms.
            make_producer: Makes the client, so that tests can bring their own.
        """
        self._config = dict(config)
        self._topics = topics
        self._encoder = encoder
        self._budget_s = budget_s
        self._make_producer = make_producer
        self._doubt = DoubtfulConnection()
        self._producer: Producer | None = None
        self._reached: dict[int, Reached] = {}
        self.producers_started = 0

    def start(self, deadline_s: float = 60.0) -> None:
        """Make a producer and end whatever its transactional id left open.

        Raises:
            FatalError: The id may not be used, or no broker answered in time.
        """
        if self._producer is not None:
            self._producer.purge()
            self.close()
        logger = logging.Logger("librdkafka.producer")  # noqa: LOG001  # private: only the doubt looks at it
        logger.addHandler(self._doubt)
        self._producer = self._make_producer({**self._config, "error_cb": self._on_error}, logger=logger)
        self.producers_started += 1
        deadline = time.monotonic() + deadline_s
        while True:
            try:
                self._producer.init_transactions(_CALL_S * 5)
            except KafkaException as exception:
                error = error_of(exception)
                if classify(error) is not Kind.RETRY:
                    raise fatal("starting the transactional producer", error) from exception
                if time.monotonic() > deadline:
                    raise FatalError(
                        f"no transaction coordinator within {deadline_s:.0f} s ({describe(error)}); "
                        "see that the brokers are up and reachable",
                        ExitCode.UNAVAILABLE,
                    ) from exception
            else:
                self._producer.poll(0)
                self._doubt.doubted = False
                return

    def publish(
        self,
        outbox: Outbox,
        staged: Mapping[int, Sequence[tuple[bytes, bytes]]],
        offsets: Sequence[TopicPartition],
        group_metadata: object,
    ) -> dict[int, Reached]:
        """Publish everything in one transaction.

        1. A new producer, where a connection failed since the last transaction.
        2. Begin; produce changes, states, forwarded events, dead letters.
        3. Flush: no record may follow the offsets.
        4. Send the offsets, with the books in their metadata, fenced by the group's member.
        5. Commit.

        Args:
            outbox: What the core wants to publish.
            staged: Changelog records (key, value) by partition.
            offsets: Next offsets of the inputs with their metadata.
            group_metadata: The consumer's, taken just now.

        Returns:
            How far the changelog reaches now, by partition.

        Raises:
            TransientError: The transaction was aborted; rewind and try again.
            RecordsRefusedError: Aborted as well, but the same batch would fail again.
            FatalError: The outcome is unknown.
        """
        if self._doubt.doubted or self._producer is None:
            self.start()
        producer = self._producer
        assert producer is not None  # noqa: S101
        deadline = time.monotonic() + self._budget_s
        self._reached = {}
        try:
            producer.begin_transaction()
            self._produce_batches(producer, outbox, staged)
            self._produce_with_headers(producer, outbox)
            _flush(producer, deadline)
            _until_answered(
                lambda: producer.send_offsets_to_transaction(list(offsets), group_metadata, _CALL_S), deadline
            )
            self._commit(producer)
        except KafkaException as exception:
            self._abort(producer, error_of(exception), exception)
        producer.poll(0)
        return self._reached

    def close(self) -> None:
        """Close the client; an open transaction is left to its timeout or to the next start.

        The client of a fenced producer complains once more here; what ended it has been raised already.
        """
        if self._producer is not None:
            with suppress(KafkaException):
                self._producer.close()
            self._producer = None

    def _produce_batches(
        self, producer: Producer, outbox: Outbox, staged: Mapping[int, Sequence[tuple[bytes, bytes]]]
    ) -> None:
        for partition, changes in outbox.changes.items():
            if changes:
                _produce_batch(producer, self._topics.changes, partition, self._change_records(changes))
        for partition, records in staged.items():
            if records:
                messages: list[dict[str, object]] = [{"key": key, "value": value} for key, value in records]
                # Records of one partition keep their order, so the last one's offset is the highest.
                messages[-1]["callback"] = self._on_changelog_delivery
                _produce_batch(producer, self._topics.state, partition, messages)

    def _change_records(self, changes: list[StatusChange]) -> list[dict[str, object]]:
        values = self._encoder.encode_changes(changes)
        return [{"key": change.message_id, "value": value} for change, value in zip(changes, values, strict=True)]

    def _produce_with_headers(self, producer: Producer, outbox: Outbox) -> None:
        for forward in outbox.forwards:
            _produce(producer, self._topics.rekeyed, *_forward_record(forward), forward.owner)
        for letter in outbox.dead_letters:
            _produce(producer, self._topics.dead_letter, *self._letter_record(letter))

    def _letter_record(self, letter: DeadLetter) -> tuple[bytes | None, bytes | None, Headers]:
        headers = dead_letter_headers(letter, processor.__version__)
        key, value = letter.record.key(), letter.record.value()
        room = self._topics.dead_letter_bytes_max - _RECORD_OVERHEAD_BYTES - len(key or b"")
        room -= sum(len(name) + len(text or b"") + 8 for name, text in headers)
        if value is not None and len(value) > room:
            headers.append((ERRORS_VALUE_BYTES, str(len(value)).encode()))
            headers.append((ERRORS_VALUE_SHA256, hashlib.sha256(value).hexdigest().encode()))
            value = value[: max(0, room - 128)]
        return key, value, headers

    def _on_error(self, _: KafkaError) -> None:
        """Take what the client reports between calls; the next transactional call says what it means.

        Without this callback the client raises a fatal error out of whatever call serves its events, in the middle of
        delivery callbacks, and what then surfaces is a SystemError.
        """
        self._doubt.doubted = True

    def _on_changelog_delivery(self, error: KafkaError | None, message: Message) -> None:
        # A callback that raises would hide the result of the commit; a failed delivery fails the commit anyway.
        offset, partition = message.offset(), message.partition()
        if error is None and offset is not None and partition is not None:
            self._reached[partition] = Reached(offset + 1, message.timestamp()[1])

    def _commit(self, producer: Producer) -> None:
        tries = 0
        while True:
            try:
                producer.commit_transaction(_CALL_S * 5)
            except KafkaException as exception:
                if classify(error_of(exception)) is not Kind.RETRY:
                    raise
                tries += 1
            else:
                # A commit that needed a second call may still have a first EndTxn on its way.
                self._doubt.doubted = self._doubt.doubted or tries > 0
                return

    def _abort(self, producer: Producer, error: KafkaError, cause: KafkaException) -> None:
        kind = classify(error)
        if kind is Kind.FATAL:
            raise fatal("publishing a batch", error) from cause
        self._doubt.doubted = True
        deadline = time.monotonic() + self._budget_s
        while True:
            try:
                producer.abort_transaction(_CALL_S * 5)
            except KafkaException as exception:
                if classify(error_of(exception)) is not Kind.RETRY or time.monotonic() > deadline:
                    raise fatal("aborting a transaction", error_of(exception)) from exception
            else:
                break
        if kind is Kind.TOO_LARGE:
            raise RecordsRefusedError(describe(error)) from cause
        raise TransientError(describe(error)) from cause


def _forward_record(forward: Forward) -> tuple[bytes | None, bytes | None, Headers]:
    return (
        forward.event.message_id.encode(),
        encode_mapped(forward.event),
        [origin_header(forward.source, forward.timestamp)],
    )


def _produce_batch(producer: Producer, topic: str, partition: int, messages: list[dict[str, object]]) -> None:
    """Queue records of one partition; a full queue is waited for, anything else refused locally raises."""
    while True:
        producer.produce_batch(topic, messages, partition)
        failed = [message for message in messages if "_error" in message]
        if not failed:
            return
        for message in failed:
            error = message.pop("_error")
            if not isinstance(error, KafkaError) or error.code() != KafkaError._QUEUE_FULL:  # noqa: SLF001
                raise KafkaException(error)
        producer.poll(0.1)
        messages = failed


def _produce(
    producer: Producer,
    topic: str,
    key: bytes | None,
    value: bytes | None,
    headers: Headers,
    partition: int = -1,
) -> None:
    while True:
        try:
            producer.produce(topic, value, key, partition, headers=list(headers))
        except BufferError:
            producer.poll(0.1)
        else:
            return


def _flush(producer: Producer, deadline: float) -> None:
    while producer.flush(_CALL_S):
        if time.monotonic() > deadline:
            # Let the next call tell why: it fails with the reason that keeps the records in the queue.
            return


def _until_answered(call: Callable[[], object], deadline: float) -> None:
    """Repeat a call while its error is retriable: ignoring one would commit outputs without offsets."""
    while True:
        try:
            call()
        except KafkaException as exception:
            if classify(error_of(exception)) is not Kind.RETRY or time.monotonic() > deadline:
                raise
        else:
            return
