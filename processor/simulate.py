"""Sends simulated traffic to a raw topic, and judges what a worker published of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from confluent_kafka import KafkaError, KafkaException, Producer

from processor.errors import ExitCode, FatalError
from processor.kafka_errors import Heard, describe, error_of, is_denied
from processor.settings import admin_config
from processor.simulator import Oracle, judge
from processor.topic_reader import ChangesReader, partitions_of, silent_logger

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from confluent_kafka import Message

    from processor.model import StatusChange
    from processor.settings import Settings
    from processor.simulator import SimulatedRecord, Simulator, Verdict

_QUEUE_MESSAGES: Final = 100_000
_PACE_RECORDS: Final = 50
"""Records between two looks at the clock."""
_DELIVERY_S: Final = 60

_WRONG_TIMES: Final = frozenset({KafkaError.INVALID_TIMESTAMP, KafkaError.INVALID_RECORD})
"""What brokers say of times to come, by their version."""

Progress = Callable[[int, int], None]
"""Told of records and events, as they are handed to the client."""


@dataclass(slots=True)
class Sent:
    """What was sent."""

    records: int = 0
    events: int = 0
    failed: int = 0
    why: str = ""

    def on_delivery(self, error: KafkaError | None, _message: Message) -> None:
        """Note a record that did not arrive."""
        if error is not None:
            self.failed += 1
            self.why = describe(error)
            if error.code() in _WRONG_TIMES:
                self.why += "; the broker may not take the times of this traffic, see --start-ms"


def send(
    settings: Settings, records: Iterable[SimulatedRecord], topic: str, *, rate: float = 0.0, progress: Progress
) -> Sent:
    """Send records to a topic, each by its key, as a Java producer would spread them.

    Args:
        settings: Where Kafka is.
        records: What to send.
        topic: Where to.
        rate: Events a second; 0 is as fast as it goes.
        progress: Told how far it is.

    Raises:
        TransientError: No broker answers.
        FatalError: The topic is missing, or a record did not arrive.
    """
    heard = Heard()
    own = {
        "partitioner": "murmur2_random",
        "enable.idempotence": True,
        "linger.ms": 20,
        "batch.size": 1_000_000,
        "queue.buffering.max.messages": _QUEUE_MESSAGES,
        "message.timeout.ms": _DELIVERY_S * 1000,
        "error_cb": heard,
    }
    producer = Producer({**admin_config(settings), **own}, logger=silent_logger())
    partitions_of(producer, topic, heard)
    sent = Sent()
    started = time.monotonic()
    try:
        for record in records:
            _produce(producer, topic, record, sent)
            sent.records += 1
            sent.events += len(record.events)
            if sent.records % _PACE_RECORDS == 0:
                progress(sent.records, sent.events)
                producer.poll(_wait_s(sent.events, rate, started))
            if sent.failed:
                break
    finally:
        left = producer.flush(_DELIVERY_S)
    progress(sent.records, sent.events)
    if sent.failed or left:
        why = sent.why or heard.last or "no answer"
        raise FatalError(f"{sent.failed + left} records did not arrive at {topic} ({why})", ExitCode.UNAVAILABLE)
    return sent


def as_it_happens(
    records: Iterable[SimulatedRecord],
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[SimulatedRecord]:
    """Give each record when its time has come, as a carrier would report it.

    Args:
        records: In the order of time.
        clock: Seconds since the epoch.
        sleep: Waits for so many seconds.
    """
    for record in records:
        early_s = record.timestamp_ms / 1000 - clock()
        if early_s > 0:
            sleep(early_s)
        yield record


def _wait_s(events: int, rate: float, started: float) -> float:
    return max(0.0, started + events / rate - time.monotonic()) if rate else 0.0


def _produce(producer: Producer, topic: str, record: SimulatedRecord, sent: Sent) -> None:
    while True:
        try:
            producer.produce(
                topic,
                record.value,
                record.key,
                timestamp=record.timestamp_ms,
                on_delivery=sent.on_delivery,
            )
        except BufferError:
            producer.poll(0.1)
        except KafkaException as exception:
            error = error_of(exception)
            code = ExitCode.NOT_PERMITTED if is_denied(error) else ExitCode.FAILED
            raise FatalError(f"cannot send to {topic} ({describe(error)})", code) from exception
        else:
            return


def verify(settings: Settings, simulator: Simulator, *, wait_s: float, progress: Progress) -> Verdict:
    """Hold every committed change against the oracle.

    Reading ends when every partition is at its end, and nothing has come for `wait_s` where the verdict is not yet
    what it should be: a worker may still be at it.

    Raises:
        TransientError: No broker answers.
        FatalError: The changes topic is missing or may not be read.
    """
    oracle = Oracle(settings.state.retention_ms, settings.limits.replies_max)
    for record in simulator:
        for event in record.events:
            oracle.feed(record.timestamp_ms, event)
    changes: list[StatusChange] = []
    verdict = judge(oracle, changes)
    with ChangesReader(admin_config(settings), settings.topics.changes, from_beginning=True) as reader:
        last_at = time.monotonic()
        judged = 0
        while True:
            new = reader.read()
            changes += new
            if new:
                last_at = time.monotonic()
                progress(len(changes), len(changes))
            if not reader.at_end:
                continue
            if judged != len(changes):
                verdict = judge(oracle, changes)
                judged = len(changes)
                if verdict.equal:
                    return verdict
            if time.monotonic() - last_at >= wait_s:
                return verdict
