"""Raw traffic of one seed, produced in a thread of its own while faults strike."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final, Self

from confluent_kafka import Producer

from processor.simulator import Simulator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from confluent_kafka import KafkaError, Message

    from processor.simulator import SimulatedRecord
    from tests.kafka.broker import Broker

_DELIVERY_S: Final = 120.0
_PACE_RECORDS: Final = 20
_POISON: Final = 0.01
_CALLBACKS: Final = 0.3
_AGE_MS: Final = 5 * 24 * 3600 * 1000
_HOUR_MS: Final = 3600 * 1000


class Traffic:
    """Sends until told to stop; what arrived is read back from the topics, which alone know.

    The producer is idempotent and outlives every fault of the broker, so each record arrives once, in order.

    Args:
        broker: Where to.
        seed: Draws the traffic.
        keyed: The topic that takes records by message id.
        unkeyed: The topic that takes every other record without a key, and callbacks; without it all are keyed.
        rate: Events a second.
    """

    def __init__(self, broker: Broker, seed: int, keyed: str, unkeyed: str | None, rate: float) -> None:
        # Brokers refuse records from the future and delete those older than a week.
        start_ms = (int(time.time() * 1000) - _AGE_MS) // _HOUR_MS * _HOUR_MS
        callbacks = 0.0 if unkeyed is None else _CALLBACKS
        self._records = Simulator(seed, poison=_POISON, callbacks=callbacks, start_ms=start_ms)
        self._producer = Producer(
            broker.client(
                partitioner="murmur2_random",
                enable_idempotence=True,
                linger_ms=5,
                message_timeout_ms=int(_DELIVERY_S * 1000),
                log_level=0,
            )
        )
        self._keyed = keyed
        self._unkeyed = unkeyed
        self._rate = rate
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic")
        self._sent: list[SimulatedRecord] = []
        self._failed: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def stop(self) -> Sequence[SimulatedRecord]:
        """Stop, wait until everything has arrived, and return what was sent, as it stands in the topics.

        Raises:
            AssertionError: A record did not arrive.
        """
        self._stopping.set()
        self._thread.join()
        left = self._producer.flush(_DELIVERY_S)
        assert not left, f"{left} raw records did not arrive in time"
        assert not self._failed, f"{len(self._failed)} raw records failed: {self._failed[0]}"
        return self._sent

    def _run(self) -> None:
        began, events = time.monotonic(), 0
        for number, record in enumerate(self._records):
            unkeyed = self._unkeyed if number % 2 else None
            self._produce(record, unkeyed or self._keyed, None if unkeyed else record.key)
            events += len(record.events)
            if number % _PACE_RECORDS == 0:
                ahead_s = began + events / self._rate - time.monotonic()
                if self._stopping.wait(max(0.0, ahead_s)):
                    return
                self._producer.poll(0)

    def _produce(self, record: SimulatedRecord, topic: str, key: bytes | None) -> None:
        while True:
            try:
                self._producer.produce(
                    topic, record.value, key, timestamp=record.timestamp_ms, on_delivery=self._on_delivery
                )
            except BufferError:
                self._producer.poll(0.1)
            else:
                self._sent.append(record)
                return

    def _on_delivery(self, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            self._failed.append(error.str())
