"""Records that the client itself finds too large: nothing was sent, so no outcome is unknown and nobody has to end."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from confluent_kafka import Producer, TopicPartition

from processor.codec import ChangeEncoder
from processor.errors import DeadLetterReason, TransientError
from processor.model import Source
from processor.outbox import DeadLetter, Outbox
from processor.publisher import OutputTopics, Publisher, RecordsRefusedError
from processor.testing import FakeRecord

CLIENT_MAX = 1_000_000
"""message.max.bytes of librdkafka, by default."""


class LocalProducer:
    """A transaction that always commits, around the real client's own rules for what may be produced at all."""

    def __init__(self) -> None:
        self.client = Producer({"bootstrap.servers": "localhost:1", "log_level": 0})
        self.calls: list[str] = []
        self.produced: list[tuple[str, Any, Any, dict[str, bytes]]] = []
        self.unflushed = 0

    def produce(self, topic: str, value: Any, key: Any, partition: int, headers: Any) -> None:
        self.client.produce(topic, value, key, partition, headers=headers)
        self.produced.append((topic, key, value, dict(headers)))

    def produce_batch(self, topic: str, messages: list[dict[str, Any]], partition: int) -> int:
        return self.client.produce_batch(topic, messages, partition)

    def flush(self, _: float) -> int:
        self.calls.append("flush")
        return self.unflushed

    def poll(self, _: float) -> int:
        return 0

    def purge(self) -> None:
        self.client.purge()

    def close(self) -> None:
        self.client.purge()

    def __getattr__(self, name: str) -> Any:
        return lambda *_: self.calls.append(name)


def make_publisher(
    producer: LocalProducer, dead_letter_bytes_max: int = 10_000_000, budget_s: float = 12.0
) -> Publisher:
    publisher = Publisher(
        {"transactional.id": "app-group-0"},
        OutputTopics("changes", "dead-letter", "state", "rekeyed", dead_letter_bytes_max),
        ChangeEncoder(None),
        budget_s=budget_s,
        make_producer=lambda *_, **__: producer,  # type: ignore[arg-type]  # stands for one
    )
    publisher.start()
    return publisher


def publish(publisher: Publisher, outbox: Outbox, staged: dict[int, list[tuple[bytes, bytes]]] | None = None) -> None:
    publisher.publish(outbox, staged or {}, [TopicPartition("raw", 0, 1)], b"member")


def letter(key: bytes | None, value: bytes) -> Outbox:
    record = FakeRecord(0, 0, value, key)
    outbox = Outbox()
    source = Source("raw", 0, 0, -1)
    outbox.dead_letters.append(DeadLetter(record, source, "decode", DeadLetterReason.TOO_LARGE, "planned"))
    return outbox


@pytest.mark.parametrize("size", [CLIENT_MAX - 700, CLIENT_MAX, 1_040_000, 4_000_000])
def test_a_letter_that_its_topic_would_take_is_cut_to_what_the_client_takes(size: int) -> None:
    producer, value = LocalProducer(), b"v" * size

    publish(make_publisher(producer), letter(b"key", value))

    ((_, key, kept, headers),) = producer.produced
    assert key == b"key"
    assert value.startswith(kept)
    assert CLIENT_MAX - 2_000 < len(kept) < CLIENT_MAX
    assert headers["status.errors.value_bytes"] == str(size).encode()
    assert headers["status.errors.value_sha256"] == hashlib.sha256(value).hexdigest().encode()


def test_a_key_that_fills_a_letter_is_cut_and_told_and_leaves_room_for_the_value() -> None:
    producer, key = LocalProducer(), b"k" * 1_020_000

    publish(make_publisher(producer), letter(key, b"value"))

    ((_, kept, value, headers),) = producer.produced
    assert value == b"value"
    assert key.startswith(kept)
    assert headers["status.errors.key_bytes"] == b"1020000"
    assert headers["status.errors.key_sha256"] == hashlib.sha256(key).hexdigest().encode()


def test_a_record_that_the_client_refuses_is_refused_as_the_broker_would(monkeypatch: pytest.MonkeyPatch) -> None:
    producer = LocalProducer()
    monkeypatch.setattr("processor.publisher.forward_record", lambda _: (b"key", b"v" * 2_000_000, []))
    outbox = Outbox()
    outbox.forwards.append(type("Forward", (), {"owner": 0})())  # only its owner is looked at

    with pytest.raises(RecordsRefusedError):
        publish(make_publisher(producer), outbox)

    assert producer.calls[-1] == "abort_transaction"


def test_a_state_that_the_client_refuses_is_refused_as_the_broker_would() -> None:
    producer = LocalProducer()

    with pytest.raises(RecordsRefusedError):
        publish(make_publisher(producer), Outbox(), {0: [(b"small", b"v"), (b"key", b"v" * 2_000_000)]})

    assert producer.calls[-1] == "abort_transaction"


def test_offsets_are_never_sent_before_records_that_are_still_on_their_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("processor.publisher._LATE_S", 0.0)
    producer = LocalProducer()
    producer.unflushed = 1

    with pytest.raises(TransientError, match="did not take the records"):
        publish(make_publisher(producer, budget_s=0.0), Outbox())

    assert "send_offsets_to_transaction" not in producer.calls
    assert producer.calls[-1] == "abort_transaction"
