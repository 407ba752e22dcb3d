"""Hands records to a producer; a full queue is waited for."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING
from warnings import catch_warnings, simplefilter

from confluent_kafka import KafkaError, KafkaException

from processor.codec import encode_mapped
from processor.headers import origin_header

if TYPE_CHECKING:
    from confluent_kafka import Producer

    from processor.headers import Headers
    from processor.outbox import Forward


def forward_record(forward: Forward) -> tuple[bytes | None, bytes | None, Headers]:
    """Return key, value and headers of a forwarded event."""
    return (
        forward.event.message_id.encode(),
        encode_mapped(forward.event),
        [origin_header(forward.source, forward.timestamp), *forward.trace],
    )


def produce_batch(producer: Producer, topic: str, partition: int, messages: list[dict[str, object]]) -> None:
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


def produce(
    producer: Producer,
    topic: str,
    key: bytes | None,
    value: bytes | None,
    headers: Headers,
    partition: int = -1,
) -> None:
    """Queue a record with headers.

    Raises:
        KafkaException: The client refuses it.
    """
    while True:
        try:
            producer.produce(topic, value, key, partition, headers=list(headers))
        except BufferError:
            producer.poll(0.1)
        else:
            return


def close(producer: Producer) -> None:
    """Close the client and forget what it still holds."""
    with suppress(KafkaException), catch_warnings():
        # What cannot be aborted any more ends with the next producer of this id, or by its timeout.
        simplefilter("ignore", RuntimeWarning)
        producer.purge()
        producer.close()
