"""One transaction at a time: publishes an outbox, the states and the consumed offsets, all of it or nothing."""

from __future__ import annotations

import hashlib
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

from confluent_kafka import KafkaError, KafkaException, Producer

import processor
from processor.bounded import Bounded
from processor.changelog import appended_ms
from processor.errors import AbortCause, ExitCode, FatalError, TransientError
from processor.headers import (
    ERRORS_KEY_BYTES,
    ERRORS_KEY_SHA256,
    ERRORS_VALUE_BYTES,
    ERRORS_VALUE_SHA256,
    dead_letter_headers,
)
from processor.kafka_errors import (
    Kind,
    abort_cause,
    classify,
    describe,
    error_of,
    fatal,
    fenced,
    is_denied,
    is_fenced,
)
from processor.producing import close, forward_record, produce, produce_batch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from confluent_kafka import Message, TopicPartition

    from processor.codec import ChangeEncoder
    from processor.headers import Headers
    from processor.model import StatusChange
    from processor.outbox import DeadLetter, Outbox
    from processor.tracing import Trace

_CALL_S: Final = 1.0
"""Longest single blocking call: they do not see signals."""
_SLOW_S: Final = 3.0
"""From then on records are waited for aloud."""
_LATE_S: Final = 2.0
"""The client looks only once a second whether a record's time is over, which ends with the budget or just after it."""
_RECORD_OVERHEAD_BYTES: Final = 512
"""Room for a record batch's own header and varints, when a size is held against a topic's limit."""
_RECORD_BYTES_MAX: Final = 1_000_000
"""Largest record that the client itself takes, where message.max.bytes says nothing else: librdkafka's default."""
_CUT_HEADERS_BYTES: Final = 256
"""Room for the headers that tell of a cut key or value."""


class RecordsRefusedError(TransientError):
    """The broker refuses something in this batch for good: the batch must be taken apart."""

    def __init__(self, message: str) -> None:
        super().__init__(message, AbortCause.REFUSED)


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
        on_wait: Callable[[str], object] = lambda _: None,
    ) -> None:
        """Keep what is needed; `start` connects.

        Args:
            config: librdkafka's, with a transactional.id.
            topics: Where things go.
            encoder: Makes the bytes of changes.
            budget_s: Longest time for one transaction, below transaction.timeout.ms.
            make_producer: Makes the client, so that tests can bring their own.
            on_wait: Gets what the brokers are waited for, every few seconds while they do not answer.
        """
        self._config = dict(config)
        self._topics = topics
        self._encoder = encoder
        self._budget_s = budget_s
        self._make_producer = make_producer
        self._on_wait = on_wait
        self._doubt = DoubtfulConnection()
        self._producer: Producer | None = None
        self._letter_bytes_max = min(
            topics.dead_letter_bytes_max, int(self._config.get("message.max.bytes", _RECORD_BYTES_MAX))
        )
        self._bounded = Bounded()
        self._initialised = False
        self._commit_asked = False
        self._reached: dict[int, Reached] = {}
        self.producers_started = 0

    def start(self, deadline_s: float = 60.0) -> None:
        """Make a producer and end whatever its transactional id left open.

        Raises:
            FatalError: The id may not be used, or no broker answered in time.
        """
        try:
            self._connect(deadline_s)
        except TransientError as error:
            raise FatalError(
                f"no transaction coordinator within {deadline_s:.0f} s ({error}); "
                "see that the brokers are up and reachable",
                ExitCode.UNAVAILABLE,
            ) from error

    def _connect(self, within_s: float) -> Producer:
        """Return a producer that may begin a transaction: a new one where the one before is in doubt.

        Raises:
            TransientError: No coordinator answered; the next call goes on with the same producer.
            FatalError: The id may not be used.
        """
        if self._producer is not None and self._initialised and not self._doubt.doubted:
            return self._producer
        if self._initialised:
            self.close()
        if self._producer is None:
            logger = logging.Logger("librdkafka.producer")  # noqa: LOG001  # private: only the doubt looks at it
            logger.addHandler(self._doubt)
            self._producer = self._make_producer({**self._config, "error_cb": self._on_error}, logger=logger)
            self.producers_started += 1
        producer = self._producer
        deadline = time.monotonic() + within_s
        while True:
            try:
                producer.init_transactions(_CALL_S * 5)
            except KafkaException as exception:
                error = error_of(exception)
                if classify(error) is not Kind.RETRY:
                    raise fatal("starting the transactional producer", error) from exception
                if time.monotonic() > deadline:
                    raise TransientError(describe(error), abort_cause(error)) from exception
                self._on_wait("to name a transaction coordinator")
            else:
                producer.poll(0)
                self._doubt.doubted = False
                self._initialised = True
                return producer

    def publish(
        self,
        outbox: Outbox,
        staged: Mapping[int, Sequence[tuple[bytes, bytes | None]]],
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
        producer = self._connect(_CALL_S * 5)
        began_at = time.monotonic()
        deadline = began_at + self._budget_s
        self._reached = {}
        self._commit_asked = False
        try:
            producer.begin_transaction()
            self._produce_batches(producer, outbox, staged)
            self._produce_with_headers(producer, outbox)
            self._flush(producer, deadline)
            self._send_offsets(producer, offsets, group_metadata, deadline)
            self._commit(producer)
        except (KafkaException, SystemError) as raised:
            exception = _surfaced(raised)
            self._give_up(producer, exception, time.monotonic() - began_at)
        producer.poll(0)
        return self._reached

    def serve(self) -> None:
        """Let the client hand over what it has to tell, between two transactions; it waits for nothing.

        Without this its statistics would pile up in memory for as long as there is nothing to publish.
        """
        if self._producer is not None:
            self._producer.poll(0)

    def close(self) -> None:
        """Close the client; an open transaction is left to its timeout or to the next start.

        The client of a fenced producer complains once more here; what ended it has been raised already.
        """
        producer, self._producer = self._producer, None
        self._initialised = False
        if producer is not None:
            # The client itself would wait for ever for the abort to be answered; a close that does is left behind.
            self._bounded.call(lambda: close(producer), _CALL_S * 5)
        self._bounded.close()

    def _produce_batches(
        self, producer: Producer, outbox: Outbox, staged: Mapping[int, Sequence[tuple[bytes, bytes | None]]]
    ) -> None:
        for partition, changes in outbox.changes.items():
            if changes:
                self._produce_changes(producer, partition, changes, outbox.traces.get(partition))
        for partition, records in staged.items():
            if records:
                messages: list[dict[str, object]] = [{"key": key, "value": value} for key, value in records]
                # Records of one partition keep their order, so the last one's offset is the highest.
                messages[-1]["callback"] = self._on_changelog_delivery
                produce_batch(producer, self._topics.state, partition, messages)

    def _produce_changes(
        self, producer: Producer, partition: int, changes: list[StatusChange], traces: Mapping[int, Trace] | None
    ) -> None:
        """Queue the changes of one partition in order; only those with a trace context go one by one, with headers."""
        topic, records, begin = self._topics.changes, self._change_records(changes), 0
        for position, trace in sorted((traces or {}).items()):
            if position > begin:
                produce_batch(producer, topic, partition, records[begin:position])
            value = records[position]["value"]
            produce(producer, topic, changes[position].message_id.encode(), value, [*trace], partition)  # type: ignore[arg-type]  # bytes
            begin = position + 1
        if begin < len(records):
            produce_batch(producer, topic, partition, records[begin:])

    def _change_records(self, changes: list[StatusChange]) -> list[dict[str, object]]:
        values = self._encoder.encode_changes(changes)
        return [{"key": change.message_id, "value": value} for change, value in zip(changes, values, strict=True)]

    def _produce_with_headers(self, producer: Producer, outbox: Outbox) -> None:
        for forward in outbox.forwards:
            produce(producer, self._topics.rekeyed, *forward_record(forward), forward.owner)
        for letter in outbox.dead_letters:
            produce(producer, self._topics.dead_letter, *self._letter_record(letter))

    def _letter_record(self, letter: DeadLetter) -> tuple[bytes | None, bytes | None, Headers]:
        headers = dead_letter_headers(letter, processor.__version__)
        room = self._letter_bytes_max - _RECORD_OVERHEAD_BYTES - _CUT_HEADERS_BYTES
        room -= sum(len(name) + len(text or b"") + 8 for name, text in headers)
        # A key that is most of it leaves half to the value.
        key = _cut(letter.record.key(), room // 2, (ERRORS_KEY_BYTES, ERRORS_KEY_SHA256), headers)
        value = _cut(letter.record.value(), room - len(key or b""), (ERRORS_VALUE_BYTES, ERRORS_VALUE_SHA256), headers)
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
            self._reached[partition] = Reached(offset + 1, appended_ms(message))

    def _flush(self, producer: Producer, deadline: float) -> None:
        """Wait until the brokers have every record, or refuse it: the next call then tells why.

        Raises:
            KafkaException: Some are on their way even after their time; offsets may not be sent before them.
        """
        while producer.flush(_CALL_S):
            now = time.monotonic()
            if now > deadline + _LATE_S:
                code = KafkaError._TIMED_OUT  # noqa: SLF001  # so librdkafka's own codes are named
                raise KafkaException(KafkaError(code, "the brokers did not take the records", False, False, True))
            if deadline - now < self._budget_s - _SLOW_S:
                self._on_wait("to take records")

    def _send_offsets(
        self, producer: Producer, offsets: Sequence[TopicPartition], group_metadata: object, deadline: float
    ) -> None:
        """Send the offsets; a call that does not return is left behind, and its producer with it.

        Raises:
            TransientError: It did not return in time; nothing was committed.
        """
        within_s = max(0.0, deadline - time.monotonic()) + _CALL_S * 5
        slow_at = time.monotonic() + _SLOW_S

        def send() -> None:
            _until_answered(
                lambda: producer.send_offsets_to_transaction(list(offsets), group_metadata, _CALL_S), deadline
            )

        def wait() -> None:
            if time.monotonic() > slow_at:
                self._on_wait("to take offsets")

        if not self._bounded.call(send, within_s, wait):
            # The next producer of this id ends the transaction, and fences whatever the call still does.
            self._producer, self._initialised = None, False
            raise TransientError("the group's coordinator did not take the offsets in time", AbortCause.TIMEOUT)

    def _commit(self, producer: Producer) -> None:
        """Ask for the commit until it is answered, however long that takes: before that the outcome is unknown."""
        self._commit_asked = True
        tries = 0
        while True:
            try:
                producer.commit_transaction(_CALL_S * 5)
            except KafkaException as exception:
                if classify(error_of(exception)) is not Kind.RETRY:
                    raise
                tries += 1
                self._on_wait("to commit a transaction")
            else:
                # A commit that needed a second call may still have a first EndTxn on its way.
                self._doubt.doubted = self._doubt.doubted or tries > 0
                return

    def _give_up(self, producer: Producer, cause: KafkaException, age_s: float) -> NoReturn:
        """Abort the transaction where its outcome is known, and say what is to be done."""
        error = error_of(cause)
        kind = classify(error)
        if kind is Kind.FATAL:
            self._lost("publishing a batch", cause, age_s)
        self._doubt.doubted = True
        self._abort(producer, age_s)
        if is_denied(error):
            raise fatal("publishing a batch", error) from cause
        if kind is Kind.TOO_LARGE:
            raise RecordsRefusedError(describe(error)) from cause
        raise TransientError(describe(error), abort_cause(error)) from cause

    def _lost(self, doing: str, cause: KafkaException, age_s: float) -> NoReturn:
        """Tell what a fatal error means.

        The coordinator ends a transaction that has outlived its timeout and fences its producer. Where its commit was
        never asked for, that outcome is known, and a new producer can go on. A younger transaction is fenced only by
        another producer with the same transactional id.
        """
        error = error_of(cause)
        if not is_fenced(error):
            raise fatal(doing, error) from cause
        outlived = age_s * 1000 >= int(self._config.get("transaction.timeout.ms", 60_000))
        if outlived and not self._commit_asked:
            self.close()
            why = "the coordinator has aborted the transaction, which had outlived its time"
            raise TransientError(why, AbortCause.FENCED) from cause
        raise fenced(doing, error, str(self._config.get("transactional.id")), outlived=outlived) from cause

    def _abort(self, producer: Producer, age_s: float) -> None:
        """Abort; where that cannot be done, leave it to the next producer with the same transactional id.

        That is no unknown outcome as long as the commit was never asked for.
        """
        began_at = time.monotonic()
        while True:
            try:
                producer.abort_transaction(_CALL_S * 5)
            except KafkaException as exception:
                now = time.monotonic()
                retriable = classify(error_of(exception)) is Kind.RETRY
                if retriable and now < began_at + self._budget_s:
                    self._on_wait("to abort a transaction")
                    continue
                if is_fenced(error_of(exception)):
                    self._lost("aborting a transaction", exception, age_s + now - began_at)
                if self._commit_asked:
                    raise fatal("aborting a transaction", error_of(exception)) from exception
                self.close()
            return


def _cut(field: bytes | None, room: int, names: tuple[str, str], headers: Headers) -> bytes | None:
    """Return a key or value as far as there is room for it; where it is cut, headers tell its length and SHA-256."""
    if field is None or len(field) <= room:
        return field
    bytes_name, sha256_name = names
    headers.append((bytes_name, str(len(field)).encode()))
    headers.append((sha256_name, hashlib.sha256(field).hexdigest().encode()))
    return field[: max(0, room)]


def _surfaced(raised: KafkaException | SystemError) -> KafkaException:
    """Return the client's error.

    A fatal one is raised out of whatever call serves the client's events; where that call was about to run a delivery
    callback, Python complains of the callback with a SystemError and keeps the client's error as its cause.
    """
    if isinstance(raised, KafkaException):
        return raised
    if isinstance(raised.__cause__, KafkaException):
        return raised.__cause__
    raise raised


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
