"""Fills a state changelog with messages as a worker would have written them, for the benches of restore."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from processor.identity import identity_of, owner_of
from processor.model import MessageState
from processor.state_codec import encode_state

if TYPE_CHECKING:
    from collections.abc import Iterator

_BATCH: Final = 20_000
_CARRIERS: Final = ("twilio", "infobip", "vonage", "meta-whatsapp")


def states(messages: int, partitions: int, seed: int) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield (partition, key, value) of so many messages: ids as carriers make them, one state each."""
    draw = random.Random(seed)  # reproducible, no secret
    now = int(time.time() * 1000)
    for number in range(messages):
        message_id = f"SM{draw.getrandbits(128):032x}"
        state = MessageState(draw.randrange(20), draw.randint(1, 4), now - draw.randrange(86_400_000))
        identity = identity_of(None, _CARRIERS[number % len(_CARRIERS)], message_id, "")
        yield owner_of(message_id, partitions), identity.encode(), encode_state(state)


def create(bootstrap: str, topic: str, partitions: int) -> str:
    """Create a changelog topic and return its id."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    config = {"cleanup.policy": "compact,delete", "message.timestamp.type": "LogAppendTime"}
    admin.create_topics([NewTopic(topic, partitions, 1, config=config)])[topic].result(30)
    return topic


def fill(bootstrap: str, topic: str, partitions: int, messages: int, seed: int = 1) -> None:
    """Append so many messages' states, in transactions."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "transactional.id": f"fill-{topic}",
            "linger.ms": 20,
            "batch.size": 1_000_000,
            "queue.buffering.max.messages": 2_000_000,
        }
    )
    producer.init_transactions(30)
    waiting: dict[int, list[dict[str, Any]]] = {number: [] for number in range(partitions)}
    producer.begin_transaction()
    for partition, key, value in states(messages, partitions, seed):
        waiting[partition].append({"key": key, "value": value})
        if len(waiting[partition]) == _BATCH:
            producer.produce_batch(topic, waiting[partition], partition)
            waiting[partition] = []
            producer.commit_transaction(60)
            producer.begin_transaction()
    for partition, rest in waiting.items():
        if rest:
            producer.produce_batch(topic, rest, partition)
    producer.commit_transaction(60)
