"""What a reset of the group changes: where each input goes, and what that means. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from processor.books import Books, encode_books
from processor.state_codec import RESET_KEY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from processor.group_members import Input
    from processor.group_reader import Range

EARLIEST: Final = "earliest"
LATEST: Final = "latest"


@dataclass(frozen=True, slots=True)
class Move:
    """Where one input stands, and where it goes."""

    topic: str
    partition: int
    committed: int | None
    """None where nothing is committed yet."""
    target: int
    low: int
    """First offset that the log still has."""

    @property
    def again(self) -> int:
        """How many offsets are read once more; below zero, how many are never read."""
        return 0 if self.committed is None else self.committed - self.target


@dataclass(frozen=True, slots=True)
class ResetPlan:
    """A reset of one group."""

    group: str
    to: int | str
    """A time in ms, or `earliest` or `latest`."""
    state: str
    state_topic_id: str
    partitions: int
    raw: tuple[Move, ...]
    rekeyed: tuple[Move, ...]
    """Forwarded events that nobody has taken yet go with the state: what is read again is forwarded again."""
    left: tuple[Move, ...] = ()
    """Inputs that the settings no longer name: their offsets stay, their books begin anew as all others do."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Partitions of each topic now, by which one that is added later is known as such."""

    @property
    def read_again(self) -> int:
        """Offsets of raw topics that are read once more."""
        return sum(max(0, move.again) for move in self.raw)

    @property
    def skipped(self) -> int:
        """Offsets of raw topics that are never read."""
        return sum(max(0, -move.again) for move in self.raw)

    @property
    def dropped(self) -> int:
        """Offsets of forwarded events, and of the markers between them, that nobody will take."""
        return sum(max(0, -move.again) for move in self.rekeyed)

    def offsets(self, now_ms: int) -> list[tuple[str, int, int, str]]:
        """Return what is committed: topic, partition, offset, and fresh books as its metadata."""
        fresh = Books(state_topic_id=self.state_topic_id, reset_at=now_ms)
        moves = (*self.raw, *self.rekeyed, *self.left)
        return [
            (move.topic, move.partition, move.target, encode_books(replace(fresh, siblings=self.counts[move.topic])))
            for move in moves
        ]

    def markers(self, now_ms: int, version: str) -> dict[int, list[tuple[bytes, bytes]]]:
        """Return the record of each changelog partition that voids everything before it; its value is for people."""
        value = json.dumps({"reset_at": now_ms, "to": self.to, "version": version}, separators=(",", ":")).encode()
        return {number: [(RESET_KEY, value)] for number in range(self.partitions)}


def moves_to(
    to: int | str, committed: Mapping[Input, int], ranges: Mapping[Input, Range], found: Mapping[Input, int]
) -> tuple[Move, ...]:
    """Say where inputs go.

    Args:
        to: A time in ms, or a word.
        committed: Offsets that there are.
        ranges: Of each input, where its log begins and ends.
        found: Of each input, the first offset that is not older than the time; nothing where all are.
    """
    moves = []
    for (topic, number), span in sorted(ranges.items()):
        at = {EARLIEST: span.low, LATEST: span.high}.get(str(to), found.get((topic, number), span.high))
        target = min(max(at, span.low), span.high)
        moves.append(Move(topic, number, committed.get((topic, number)), target, span.low))
    return tuple(moves)
