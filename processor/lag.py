"""How far a group is behind, partition by partition, as an operator asks for it from outside. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class First:
    """What a reader of committed records meets first behind a committed offset."""

    timestamp_ms: int | None = None
    """The record's; None where nothing but control and aborted records is left."""
    blocked: bool = False
    """Whether an open transaction stands before it, so that nobody can read on."""


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """One input partition."""

    topic: str
    partition: int
    committed: int | None
    """None where nothing is committed: `starts_at` says where a worker would begin."""
    starts_at: int
    low: int
    end: int
    first: First
    owner: str | None
    """Who holds it; None where nobody does, or that cannot be seen."""

    @property
    def lag(self) -> int:
        """Offsets that are left; 0 where only control and aborted records are.

        Where the topic is written in transactions, as the rekeyed one is, the markers between records count too.
        """
        if self.first.timestamp_ms is None and not self.first.blocked:
            return 0
        return max(0, self.end - max(self.starts_at, self.low))

    @property
    def lost(self) -> int:
        """Offsets that were deleted before they were processed; a worker ends there."""
        return 0 if self.committed is None else max(0, self.low - self.committed)

    def seconds_behind(self, now_ms: int) -> float | None:
        """Return the age of the first record that is not processed, 0.0 where none is left, None if it is not seen."""
        if self.first.timestamp_ms is None:
            return None if self.first.blocked else 0.0
        return max(0, now_ms - self.first.timestamp_ms) / 1000


@dataclass(frozen=True, slots=True)
class GroupLag:
    """All inputs of a group."""

    group: str
    partitions: tuple[PartitionLag, ...]
    members: int | None
    """None where that cannot be seen."""

    @property
    def total(self) -> int:
        """The sum of all lags."""
        return sum(one.lag for one in self.partitions)

    @property
    def unowned(self) -> int:
        """Partitions that nobody holds."""
        return 0 if self.members is None else sum(one.owner is None for one in self.partitions)

    def seconds_behind(self, now_ms: int) -> float | None:
        """Return the largest of all ages, None where none is seen."""
        ages = [age for one in self.partitions if (age := one.seconds_behind(now_ms)) is not None]
        return max(ages, default=None)
