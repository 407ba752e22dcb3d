"""The books: cumulative counts of every input partition, durable in the metadata of its committed offset.

They are atomic with the offset and live as long, so the equation

    events = published + repeat + late + conflict + part + ignored + forwarded + dead_lettered

can be checked after any crash. Beside the counts stand the id of the state topic that the offset belongs to, and the
window of the dead-letter limit, so that a restart does not pour another window of bad records into the topic.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from processor.outbox import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from processor.outbox import Tally

METADATA_BYTES_MAX: Final = 4096
"""Kafka's offset.metadata.max.bytes by default."""

_VERSION: Final = 1
_BUCKETS: Final = 10


@dataclass(frozen=True, slots=True)
class DeadLetterLimit:
    """When bad input stops the worker; 0 switches a rule off."""

    share_max: float = 0.5
    """Largest share of records with a dead letter among the last `window_records` of a partition."""
    window_records: int = 1000
    run_max: int = 200
    """Longest run of such records, one after the other, in a partition."""

    @property
    def bucket_records(self) -> int:
        """Records in one of the window's ten buckets."""
        return max(1, self.window_records // _BUCKETS)


@dataclass(frozen=True, slots=True)
class Window:
    """The last records of one partition: how many of them had a dead letter, in ten buckets, and the present run."""

    buckets: tuple[int, ...] = ()
    """Dead letters of the full buckets, oldest first."""
    filled: int = 0
    """Records in the bucket being filled."""
    dead: int = 0
    """Of these, records with a dead letter."""
    run: int = 0

    def after(self, records: int, dead_at: Sequence[int], limit: DeadLetterLimit) -> tuple[Window, str | None]:
        """Return the window after `records` more, and why the limit is crossed, None while it is not.

        `dead_at` are the positions, rising, of those that had a dead letter.
        """
        window, crossed = self, None
        next_position = 0
        for position in dead_at:
            window = window.with_clean(position - next_position, limit).with_dead(limit)
            crossed = crossed or window.crossed(limit)
            next_position = position + 1
        return window.with_clean(records - next_position, limit), crossed

    def with_clean(self, records: int, limit: DeadLetterLimit) -> Window:
        """Return the window after records without a dead letter."""
        if not records:
            return self
        filled, full = self.filled + records, limit.bucket_records
        if filled < full:
            return replace(self, filled=filled, run=0)
        buckets = (*self.buckets, self.dead, *(0,) * min(filled // full - 1, _BUCKETS))
        return Window(buckets[-_BUCKETS:], filled % full, 0, 0)

    def with_dead(self, limit: DeadLetterLimit) -> Window:
        """Return the window after one record with a dead letter."""
        filled, dead, run = self.filled + 1, self.dead + 1, self.run + 1
        if filled < limit.bucket_records:
            return Window(self.buckets, filled, dead, run)
        return Window((*self.buckets, dead)[-_BUCKETS:], 0, 0, run)

    def crossed(self, limit: DeadLetterLimit) -> str | None:
        """Tell why the limit is crossed, None while it is not."""
        if limit.run_max and self.run > limit.run_max:
            return f"more than {limit.run_max} records in a row"
        if limit.share_max and sum(self.buckets) + self.dead > limit.share_max * limit.window_records:
            return f"more than {limit.share_max:.0%} of the last {limit.window_records} records"
        return None


@dataclass(frozen=True, slots=True)
class Books:
    """Cumulative counts of one input partition since its group's first record, or since an operator's reset."""

    records: int = 0
    events: int = 0
    outcomes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))
    window: Window = field(default_factory=Window)
    state_topic_id: str = ""
    siblings: int = 0
    """Partitions of the topic when the group began with this one; 0 where an operator's tool set its first offset."""
    reset_at: int = 0
    """When an operator has reset the group (ms), since which these books count; 0 where nobody has."""

    @property
    def balanced(self) -> bool:
        """Whether every event has exactly one outcome."""
        return self.events == sum(self.outcomes.values())

    def after(self, tally: Tally, offsets: Sequence[int], limit: DeadLetterLimit) -> tuple[Books, str | None]:
        """Return the books after a batch of records with these offsets, and why the dead-letter limit is crossed."""
        outcomes = dict(self.outcomes)
        events = self.events
        for (_, outcome, _), count in tally.outcomes.items():
            outcomes[outcome] += count
            events += count
        dead_at = [bisect_left(offsets, offset) for offset in sorted(tally.dead_offsets)]
        window, crossed = self.window.after(len(offsets), dead_at, limit)
        return replace(
            self, records=self.records + tally.records, events=events, outcomes=outcomes, window=window
        ), crossed


def encode_books(books: Books) -> str:
    """Return the metadata of an offset: JSON, far below Kafka's 4,096 bytes."""
    window = books.window
    return json.dumps(
        {
            "v": _VERSION,
            "state": books.state_topic_id,
            "records": books.records,
            "events": books.events,
            "siblings": books.siblings,
            **{outcome: count for outcome, count in books.outcomes.items() if count},
            "window": [window.filled, window.dead, window.run, *window.buckets],
            **({"reset": books.reset_at} if books.reset_at else {}),
        },
        separators=(",", ":"),
    )


def decode_books(metadata: str | None) -> Books | None:
    """Return the books in an offset's metadata, None where there are none (an offset set by an operator's tool)."""
    if not metadata:
        return None
    try:
        fields = json.loads(metadata)
        filled, dead, run, *buckets = (int(number) for number in fields["window"])
        return Books(
            records=int(fields["records"]),
            events=int(fields["events"]),
            outcomes={outcome: int(fields.get(outcome, 0)) for outcome in Outcome},
            window=Window(tuple(buckets), filled, dead, run),
            state_topic_id=str(fields["state"]),
            siblings=int(fields.get("siblings", 0)),
            reset_at=int(fields.get("reset", 0)),
        )
    except (ValueError, KeyError, TypeError):
        return None
