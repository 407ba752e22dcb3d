"""Dead letters as their topic holds them: what headers and value say, and which of them have been replayed.

A letter is read again by the packs of now, so it also tells whether they would understand what was not understood.
Words of carriers are masked and cut as they are read; nothing here keeps a payload.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from sys import intern
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from processor.errors import DeadLetterReason, DecodeError, InputError
from processor.headers import (
    ERRORS_INDEX,
    ERRORS_OFFSET,
    ERRORS_PARTITION,
    ERRORS_REASON,
    ERRORS_STAGE,
    ERRORS_TIMESTAMP,
    ERRORS_TOPIC,
    ERRORS_VALUE_SHA256,
    REPLAY_ATTEMPT,
    REPLAY_FIRST_FAILED,
    REPLAY_INDEX,
    REPLAY_TIMESTAMP,
    headers_of,
    origin_of,
)
from processor.letter_marks import marked_offsets
from processor.logs import printable
from processor.model import RawCallback, RawStatusEvent, Record, Source, StatusEvent
from processor.pipeline import WHOLE_RECORD
from processor.privacy import masked
from processor.rekeyed import decode_rekeyed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from processor.codec import Decoder
    from processor.packs import Packs

UNKNOWN: Final = "unknown"
NOWHERE: Final = ""
"""Source topic of a letter whose headers do not say it."""
_WORD_CHARS_MAX: Final = 64
_NUMBER: Final = re.compile(r"-?\d{1,18}")
_UNDERSTANDING: Final = frozenset({"decode", "extract", "map"})
"""Stages at which a letter is not understood; what fails later is of another kind."""

Position = tuple[int, int]
"""Where a letter lies: partition and offset of the dead-letter topic."""


class PlacedRecord(Record, Protocol):
    """A record that knows its partition."""

    def partition(self) -> int | None:
        """Partition that it lies in."""


class Letter(NamedTuple):
    """One dead letter: where it lies, why, where from, and what its carrier said."""

    partition: int
    offset: int
    written_at: int
    """When it was written (ms)."""
    reason: str
    stage: str
    source: Source
    """The record that was read; the index is the failed element's, -1 where the whole record is meant."""
    happened_at: int
    """Timestamp (ms) of the original raw record, over all rounds; -1 where it is not known."""
    attempt: int
    """How often it has been replayed before it came here; 0 the first time."""
    first_failed_at: int
    """When the first letter of it was written (ms)."""
    sha256: str
    """Of the original value, where that was too large and was cut; else empty."""
    carrier: str
    channel: str
    status: str
    error_code: str
    understood: bool
    """Whether the present packs understand what was not understood."""

    @property
    def position(self) -> Position:
        """Where it lies."""
        return self.partition, self.offset


class Content(NamedTuple):
    """What a letter's value holds, read by the packs of now."""

    item: RawStatusEvent | RawCallback | StatusEvent | DecodeError
    """A mapped event where it was forwarded."""
    elements: tuple[RawStatusEvent | InputError, ...] = ()
    """What a replay would process: the failed element, or all where the whole record failed."""


@dataclass(frozen=True, slots=True)
class LetterReading:
    """Reads records of the dead-letter topic."""

    decoder: Decoder
    packs: Packs
    rekeyed: str
    """Letters from this topic hold mapped events."""

    def read(self, records: Sequence[PlacedRecord]) -> list[Letter]:
        """Read letters; none of the records is a mark."""
        return [self._letter(record) for record in records]

    def content(self, record: Record) -> Content:
        """Open a letter's value."""
        headers = _texts(record)
        if headers.get(ERRORS_TOPIC) == self.rekeyed:
            try:
                return Content(decode_rekeyed(record.value()))
            except DecodeError as error:
                return Content(error)
        item = self.decoder.decode(record.value())
        if isinstance(item, DecodeError):
            return Content(item)
        return Content(item, self._elements(item, _index(headers)))

    def _elements(self, item: RawStatusEvent | RawCallback, index: int) -> tuple[RawStatusEvent | InputError, ...]:
        try:
            elements = [item] if isinstance(item, RawStatusEvent) else self.packs.extract(item)
        except InputError as error:
            return (error,)
        if index == WHOLE_RECORD:
            return tuple(elements)
        if index >= len(elements):
            return (InputError(DeadLetterReason.MALFORMED, f"no element {index}, there are {len(elements)}"),)
        return (elements[index],)

    def _letter(self, record: PlacedRecord) -> Letter:
        headers = _texts(record)
        content = self.content(record)
        item = content.item
        stage = _word(headers.get(ERRORS_STAGE, UNKNOWN))
        partition, written_at = record.partition() or 0, record.timestamp()[1]
        return Letter(
            partition,
            record.offset() or 0,
            written_at,
            _word(headers.get(ERRORS_REASON, UNKNOWN)),
            stage,
            Source(
                intern(headers.get(ERRORS_TOPIC, NOWHERE)),
                _int(headers.get(ERRORS_PARTITION), -1),
                _int(headers.get(ERRORS_OFFSET), -1),
                _index(headers),
            ),
            self._happened_at(record, headers),
            max(0, _int(headers.get(REPLAY_ATTEMPT), 0)),
            _int(headers.get(REPLAY_FIRST_FAILED), written_at),
            headers.get(ERRORS_VALUE_SHA256, ""),
            self._carrier(item),
            *_words_of(content),
            stage in _UNDERSTANDING and self._is_understood(content),
        )

    def _happened_at(self, record: Record, headers: dict[str, str]) -> int:
        if headers.get(ERRORS_TOPIC) == self.rekeyed:
            try:
                origin = origin_of(headers_of(record))
            except InputError:
                return -1
            return -1 if origin is None else origin[1]
        return _int(headers.get(REPLAY_TIMESTAMP, headers.get(ERRORS_TIMESTAMP)), -1)

    def _carrier(self, item: RawStatusEvent | RawCallback | StatusEvent | DecodeError) -> str:
        match item:
            case DecodeError():
                return UNKNOWN
            case StatusEvent():
                return item.meaning.carrier
            case _:
                known = self.packs.known(item.carrier)
                return known if known != UNKNOWN else _word(item.carrier)

    def _is_understood(self, content: Content) -> bool:
        if isinstance(content.item, DecodeError):
            return False
        try:
            for element in content.elements:
                if isinstance(element, InputError):
                    return False
                self.packs.interpret(element)
        except InputError:
            return False
        return True


@dataclass(slots=True)
class LetterBox:
    """Letters as a reader of the whole topic collects them; a mark takes those out that it says have been replayed.

    A mark stands behind its letters in the same partition, so one pass in order is enough.
    """

    reading: LetterReading
    wanted: LetterFilter
    seen: int = 0
    """All letters that were read, wanted or not."""
    open: dict[Position, Letter] = field(default_factory=dict)
    """Wanted letters that have not been replayed."""
    replayed: dict[Position, Letter] = field(default_factory=dict)
    """Wanted letters that have been."""

    def add(self, records: Iterable[PlacedRecord]) -> None:
        """Take records, in order of each partition.

        Raises:
            FatalError: A mark cannot be read.
        """
        letters: list[PlacedRecord] = []
        for record in records:
            marked = marked_offsets(record)
            if marked is None:
                letters.append(record)
                continue
            self._take(letters)
            letters.clear()
            self._mark(record.partition() or 0, marked)
        self._take(letters)

    def _take(self, records: Sequence[PlacedRecord]) -> None:
        self.seen += len(records)
        for letter in self.reading.read(records):
            if self.wanted.takes(letter):
                self.open[letter.position] = letter

    def _mark(self, partition: int, offsets: Iterable[int]) -> None:
        for offset in offsets:
            letter = self.open.pop((partition, offset), None)
            if letter is not None:
                self.replayed[letter.position] = letter


def in_order(letters: Iterable[Letter]) -> list[Letter]:
    """List letters, the oldest first."""
    return sorted(letters, key=lambda letter: (letter.written_at, letter.partition, letter.offset))


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterFilter:
    """Which letters are wanted; what is empty or None asks for nothing. Words are compared as they are shown."""

    reasons: frozenset[str] = frozenset()
    stages: frozenset[str] = frozenset()
    carriers: frozenset[str] = frozenset()
    channels: frozenset[str] = frozenset()
    statuses: frozenset[str] = frozenset()
    since_ms: int | None = None
    """Written at this time or later."""
    until_ms: int | None = None
    """Written before this time."""
    positions: frozenset[Position] = frozenset()
    source_topic: str | None = None
    source_partition: int | None = None
    source_offset: int | None = None
    understood: bool = False
    """Only those that the present packs understand."""

    def takes(self, letter: Letter) -> bool:
        """Tell whether a letter is wanted."""
        sets = (
            (self.reasons, letter.reason),
            (self.stages, letter.stage),
            (self.carriers, letter.carrier),
            (self.channels, letter.channel),
            (self.statuses, letter.status),
            (self.positions, letter.position),
        )
        if any(allowed and found not in allowed for allowed, found in sets):
            return False
        if self.since_ms is not None and letter.written_at < self.since_ms:
            return False
        if self.until_ms is not None and letter.written_at >= self.until_ms:
            return False
        return self._takes_source(letter.source) and (letter.understood or not self.understood)

    def _takes_source(self, source: Source) -> bool:
        topic, partition, offset, _ = source
        pairs = ((self.source_topic, topic), (self.source_partition, partition), (self.source_offset, offset))
        return all(asked in (None, found) for asked, found in pairs)


def _texts(record: Record) -> dict[str, str]:
    return {name: (value or b"").decode(errors="replace") for name, value in headers_of(record)}


def _index(headers: dict[str, str]) -> int:
    """Return the failed element; of a replay that failed as a whole, the one that it was about."""
    return max(WHOLE_RECORD, _int(headers.get(ERRORS_INDEX, headers.get(REPLAY_INDEX)), WHOLE_RECORD))


def _int(text: str | None, otherwise: int) -> int:
    return int(text) if text is not None and _NUMBER.fullmatch(text) else otherwise


def _words_of(content: Content) -> tuple[str, str, str]:
    """Return channel, status and error code; empty where they are not those of one event."""
    if isinstance(content.item, StatusEvent):
        meaning = content.item.meaning
        return _word(meaning.channel), _word(meaning.raw_status), _word(meaning.error_code or "")
    if len(content.elements) == 1 and isinstance(content.elements[0], RawStatusEvent):
        report = content.elements[0]
        return _word(report.channel or ""), _word(report.status), _word(report.error_code or "")
    return "", "", ""


def _word(text: str) -> str:
    """Make a word fit to be shown, once for all letters that have it."""
    return intern(printable(masked(text), _WORD_CHARS_MAX))
