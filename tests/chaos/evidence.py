"""Reads back what a run left in the topics and the books, committed records only."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from processor.codec import decode_changes
from processor.headers import ERRORS_OFFSET, ERRORS_PARTITION, ERRORS_REASON, ERRORS_TOPIC, headers_of, origin_of
from processor.model import StatusChange
from processor.simulator import SimulatedRecord
from processor.state_codec import decode_state
from tests.chaos.judge import Evidence, Input, Landed, Letter, Published, Stored

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from confluent_kafka import Message

    from tests.broker.deployment import Deployment


def gather(deployment: Deployment, sent: Sequence[SimulatedRecord], raw: Sequence[str], *, exact: bool) -> Evidence:
    """Read everything back.

    Args:
        deployment: Whose topics.
        sent: What was sent; where it landed, and whether, the raw topics say.
        raw: Names of the raw topics.
        exact: Whether every event was reduced in place.
    """
    read, topics = deployment.broker.read, deployment.topics
    return Evidence(
        landed=landed([message for topic in raw for message in read(topic)], sent),
        published=_published(read(topics["changes"])),
        letters=[_letter(message, topics["rekeyed"]) for message in read(topics["dead_letter"])],
        stored=_stored(read(topics["state"])),
        forwarded=len(read(topics["rekeyed"])),
        books=deployment.books(),
        offsets=_offsets(read("__consumer_offsets"), deployment.name),
        rekeyed=topics["rekeyed"],
        exact=exact,
    )


def landed(messages: Iterable[Message], sent: Sequence[SimulatedRecord]) -> list[Landed]:
    """Find the meaning of raw records by their bytes and time; equal ones mean the same.

    Raises:
        AssertionError: A record is not one that was sent, or one that was sent is missing: then the test's own
            producer is at fault. One that is there twice is as good as a carrier that repeats itself: even an
            idempotent producer may send again what a broker had taken when it was killed.
    """
    meanings = {(record.value, record.timestamp_ms): record for record in sent}
    missing = Counter((record.value, record.timestamp_ms) for record in sent)
    found = []
    for message in messages:
        what = (message.value() or b"", message.timestamp()[1])
        missing[what] -= 1
        found.append(Landed(_place(message), meanings[what], message.key()))
    lost = (+missing).total()
    assert not lost, f"{lost} raw records are missing"
    return found


def _offsets(messages: Iterable[Message], group: str) -> dict[Input, list[int]]:
    """Return what a group committed, in order, from the coordinator's own log; -1 where an offset was deleted.

    A key is a version (0 or 1 for an offset), the group, the topic and the partition; a value is a version and the
    offset (Kafka, OffsetCommitKey.json and OffsetCommitValue.json).
    """
    history: dict[Input, list[int]] = {}
    for message in messages:
        key, value = message.key() or b"", message.value()
        if int.from_bytes(key[:2]) > 1:
            continue
        whose, rest = _text(key[2:])
        topic, rest = _text(rest)
        if whose == group:
            offset = -1 if value is None else int.from_bytes(value[2:10], signed=True)
            history.setdefault((topic, int.from_bytes(rest[:4])), []).append(offset)
    return history


def _text(data: bytes) -> tuple[str, bytes]:
    end = 2 + int.from_bytes(data[:2])
    return data[2:end].decode(), data[end:]


def _place(message: Message) -> tuple[str, int, int]:
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None
    assert partition is not None
    assert offset is not None
    return topic, partition, offset


def _published(messages: Sequence[Message]) -> list[Published]:
    changes = decode_changes([message.value() for message in messages])
    published = []
    for message, change in zip(messages, changes, strict=True):
        assert isinstance(change, StatusChange), change
        published.append(Published(_place(message)[1], change))
    return published


def _letter(message: Message, rekeyed: str) -> Letter:
    headers = {name: (value or b"").decode() for name, value in headers_of(message)}
    place = (headers[ERRORS_TOPIC], int(headers[ERRORS_PARTITION]), int(headers[ERRORS_OFFSET]))
    is_original = place[0] != rekeyed
    if not is_original:
        origin = origin_of(headers_of(message))
        assert origin is not None, "a dead letter of the rekeyed topic that was not forwarded"
        place = origin[0][:3]
    return Letter(place, headers[ERRORS_REASON], message.key(), message.value(), is_original)


def _stored(messages: Iterable[Message]) -> list[Stored]:
    last: dict[tuple[int, bytes], bytes] = {}
    for message in messages:
        last[_place(message)[1], message.key() or b""] = message.value() or b""
    return [Stored(number, key.decode(), decode_state(value)) for (number, key), value in last.items() if value]
