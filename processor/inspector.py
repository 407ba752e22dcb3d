"""Reads everything that is still there of one message: state, changes, dead letters, forwarded events, raw records."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from processor.books import decode_books
from processor.codec import decode_changes
from processor.errors import DecodeError, InputError
from processor.headers import (
    ERRORS_INDEX,
    ERRORS_MESSAGE,
    ERRORS_OFFSET,
    ERRORS_PARTITION,
    ERRORS_REASON,
    ERRORS_STAGE,
    ERRORS_TIMESTAMP,
    ERRORS_TOPIC,
    headers_of,
    origin_of,
    replay_of,
)
from processor.identity import owner_of
from processor.inspection import Inspected, Letter, Report, reports_in
from processor.known import Choice, Knowledge
from processor.model import Source, StatusChange
from processor.outbox import Outcome
from processor.rekeyed import decode_rekeyed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from confluent_kafka import Message

    from processor.codec import Decoder
    from processor.packs import Packs
    from processor.partition_reader import PartitionReader, Place
    from processor.schema_supply import SchemaSupply
    from processor.settings_model import Topics

_CHUNK = 2_000
"""Raw records that are decoded at once: what is held in memory, whatever the topic's size."""


@dataclass(slots=True)
class Inspector:
    """Looks for one message; each step is a pass over the partitions that may hold something of it."""

    reader: PartitionReader
    topics: Topics
    decoder: Decoder
    schemas: SchemaSupply
    packs: Packs
    message_id: str
    choice: Choice = field(default_factory=Choice)
    since_ms: int | None = None
    """From when on records are read; None for all."""
    found: Inspected = field(default_factory=Inspected)
    read: dict[str, int] = field(default_factory=dict)
    """Records read, by topic."""
    owner: int = 0
    partitions: int = 0
    _committed: dict[Place, int] = field(default_factory=dict)
    _rekeyed_at: dict[Source, int] = field(default_factory=dict)
    """Offsets in the rekeyed topic, by the original event."""

    def locate(self) -> None:
        """Find out which partition owns the message.

        Raises:
            TransientError: No broker answers.
            FatalError: The state topic is missing, or may not be seen.
        """
        self.partitions = self.reader.count(self.topics.state)
        self.owner = owner_of(self.message_id, self.partitions)

    def read_state(self, progress: Callable[[int, int | None], object]) -> Knowledge:
        """Read what is known now, and what was forgotten."""
        knowledge = Knowledge(self.message_id, self.choice)
        for message in self._scan([(self.topics.state, self.owner)], None, progress):
            knowledge.add([message])
        return knowledge

    def read_changes(self, progress: Callable[[int, int | None], object]) -> None:
        """Read what was published."""
        key = self.message_id.encode()
        for message in self._scan([(self.topics.changes, self.owner)], self.since_ms, progress):
            if message.key() != key:
                continue
            (change,) = decode_changes([message.value()])
            if not isinstance(change, StatusChange):
                continue
            meant = self.choice.takes(change.account, change.carrier, change.chain)
            if meant and self.found.has_room(self.found.changes):
                self.found.changes.append(change)

    def read_letters(self, progress: Callable[[int, int | None], object]) -> None:
        """Read the dead letters about the message."""
        topic = self.topics.dead_letter
        places = [(topic, number) for number in range(self.reader.count(topic))]
        for message in self._scan(places, self.since_ms, progress):
            letter = self._letter(message)
            if letter is not None and self.found.has_room(self.found.letters):
                self.found.letters.append(letter)

    def read_forwarded(self, progress: Callable[[int, int | None], object]) -> None:
        """Read what other partitions forwarded to the owner."""
        place = (self.topics.rekeyed, self.owner)
        key = self.message_id.encode()
        for message in self._scan([place], self.since_ms, progress):
            if message.key() != key:
                continue
            try:
                origin = origin_of(headers_of(message))
                event = None if origin is None else decode_rekeyed(message.value())
            except InputError:
                continue
            if origin is None or event is None:
                continue
            source, timestamp = origin
            meant = self.choice.takes(event.report.account, event.meaning.carrier, event.chain)
            if meant and self.found.has_room(self.found.reports):
                self._rekeyed_at[source] = message.offset() or 0
                self.found.reports[source] = Report(source, timestamp, event, "", is_forwarded=True)

    def read_raw(self, progress: Callable[[int, int | None], object]) -> None:
        """Read the raw records that may be about the message."""
        places = self._raw_places()
        chunk: list[Message] = []
        for message in self._scan(places, self.since_ms, progress):
            chunk.append(message)
            if len(chunk) == _CHUNK:
                self._add_raw(chunk)
                chunk = []
        self._add_raw(chunk)

    def is_processed(self, report: Report) -> bool:
        """Tell whether the group has processed a report, wherever it is processed."""
        at = self._rekeyed_at.get(report.source)
        if at is not None:
            return at < self._committed.get((self.topics.rekeyed, self.owner), 0)
        topic, partition, offset, _ = report.source
        return offset < self._committed.get((topic, partition), 0)

    def _raw_places(self) -> list[Place]:
        """Return the raw partitions that may hold something of the message.

        An event whose partition does not own its message is always forwarded. So a partition other than the owner that
        has never forwarded anything, as its books say, holds nothing of it: where input is keyed, one is enough.
        """
        places = [
            (topic, number)
            for topic in self.reader.matching(self.topics.raw)
            if topic not in self.topics.own.values()
            for number in range(self.reader.count(topic))
        ]
        rekeyed = (self.topics.rekeyed, self.owner)
        books = {}
        for place, (offset, metadata) in self.reader.committed([*places, rekeyed]).items():
            self._committed[place] = offset
            books[place] = decode_books(metadata)
        counts = {topic: sum(1 for name, _ in places if name == topic) for topic, _ in places}

        def may_hold(place: Place) -> bool:
            kept = books.get(place)
            if place[1] == self.owner or counts[place[0]] != self.partitions or kept is None:
                return True
            return kept.outcomes[Outcome.FORWARDED] > 0

        return [place for place in places if may_hold(place)]

    def _add_raw(self, messages: Sequence[Message]) -> None:
        values = [message.value() for message in messages]
        self.schemas.supply(values)
        for message, item in zip(messages, self.decoder.decode_batch(values), strict=True):
            if isinstance(item, DecodeError):
                continue
            try:
                replay = replay_of(message)
            except InputError:
                continue
            for index, event, why_not in reports_in(self.packs, item, self.message_id, self.choice, replay.element):
                source = Source(message.topic() or "", message.partition() or 0, message.offset() or 0, index)
                if source not in self.found.reports and not self.found.has_room(self.found.reports):
                    continue
                forwarded = source in self._rekeyed_at
                kind, timestamp = message.timestamp()
                timestamp = replay.timestamp or (timestamp if kind else item.received_at)
                self.found.reports[source] = Report(source, timestamp, event, why_not, forwarded)

    def _letter(self, message: Message) -> Letter | None:
        headers = {name: (value or b"").decode(errors="replace") for name, value in headers_of(message)}
        try:
            place = (headers[ERRORS_TOPIC], int(headers[ERRORS_PARTITION]), int(headers[ERRORS_OFFSET]))
            index, timestamp = int(headers.get(ERRORS_INDEX, -1)), int(headers[ERRORS_TIMESTAMP])
        except (KeyError, ValueError):
            return None  # Not one of ours.
        if not self._is_about(message, index):
            return None
        origin = self._origin(message)
        reason, stage = headers.get(ERRORS_REASON, ""), headers.get(ERRORS_STAGE, "")
        return Letter(origin or Source(*place, index), timestamp, reason, stage, headers.get(ERRORS_MESSAGE, ""))

    def _origin(self, message: Message) -> Source | None:
        """Return the original event of a forwarded one that became a dead letter."""
        try:
            origin = origin_of(headers_of(message))
        except InputError:
            return None
        return None if origin is None else origin[0]

    def _is_about(self, message: Message, index: int) -> bool:
        """Tell whether a dead letter is about the message: by what is in it, else by its key."""
        value = message.value()
        self.schemas.supply([value])
        (item,) = self.decoder.decode_batch([value])
        if isinstance(item, DecodeError):
            return message.key() == self.message_id.encode()
        only = index if index >= 0 else None
        return any(True for _ in reports_in(self.packs, item, self.message_id, self.choice, only)) or (
            message.key() == self.message_id.encode() and index < 0
        )

    def _scan(
        self, places: Iterable[Place], since_ms: int | None, progress: Callable[[int, int | None], object]
    ) -> Iterator[Message]:
        for message in self.reader.scan(self.reader.starts(places, since_ms), progress):
            topic = message.topic() or ""
            self.read[topic] = self.read.get(topic, 0) + 1
            yield message
