"""Records of a dead-letter topic that never saw a broker."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from processor.codec import Decoder
from processor.headers import Headers, dead_letter_headers
from processor.letter_marks import mark_of
from processor.letters import LetterReading
from processor.packs import Packs
from processor.testing import REKEYED_TOPIC, FakeRecord, PipelineDriver

PARTITION = 3
"""Where letters lie unless a test says otherwise."""


@dataclass(frozen=True, slots=True)
class PlacedFake(FakeRecord):
    """A record that knows its partition."""

    at_partition: int = PARTITION

    def partition(self) -> int:
        """Partition that it lies in."""
        return self.at_partition


def letters_of(driver: PipelineDriver, first: int = 0) -> list[PlacedFake]:
    """Return what the publisher would write of a driver's dead letters, from an offset on."""
    return [
        PlacedFake(
            at,
            letter.record.timestamp()[1] + 1000,
            letter.record.value(),
            letter.record.key(),
            dead_letter_headers(letter, "test"),
        )
        for at, letter in enumerate(driver.dead_letters, start=first)
    ]


def mark(at: int, offsets: Iterable[int], *, partition: int = PARTITION) -> PlacedFake:
    """Return a mark."""
    value, headers = mark_of(offsets, "alice@ops")
    return PlacedFake(at, 0, value, None, headers, partition)


def letter_record(
    at: int, value: bytes | None, headers: Headers, *, time_ms: int = 0, partition: int = PARTITION
) -> PlacedFake:
    """Return a record of the dead-letter topic."""
    return PlacedFake(at, time_ms, value, b"key", headers, partition)


def reading_of(packs: Packs) -> LetterReading:
    """Return what reads letters with these packs."""
    return LetterReading(Decoder(), packs, REKEYED_TOPIC)
