"""What the worker should make of an event, said by whoever made the event up; and the plain definition of a status.

The definition is written from the rules alone and shares no line with the reducer, so that the two can disagree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Self

from processor.status import Status

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from processor.errors import DeadLetterReason
    from processor.model import IgnoreReason, StatusChange
    from processor.status import Channel

UNKNOWN_CARRIER: Final = "unknown"
"""What an event is counted under where no carrier is known of it."""


class ChangeKey(NamedTuple):
    """A message's identity, as far as a change shows it."""

    carrier: str
    message_id: str
    account: str
    """Empty where there is none."""
    chain: str

    @classmethod
    def of(cls, change: StatusChange) -> Self:
        """Return the identity that a change names."""
        return cls(change.carrier, change.message_id, change.account or "", change.chain)


class ExpectedEvent(NamedTuple):
    """What one event means: a status of a message, or else why it is ignored or a dead letter."""

    carrier: str
    """The carrier that it is counted under."""
    key: ChangeKey | None
    channel: Channel | None
    status: Status | None
    part_number: int | None = None
    parts_total: int | None = None
    reply: str | None = None
    """What tells this reply from other replies to the same message; only a REPLY has it."""
    ignored: IgnoreReason | None = None
    dead_letter: DeadLetterReason | None = None

    @property
    def part(self) -> int | None:
        """The part that it is about; None where it is about the whole message, as part 1 of 1 is."""
        return None if self.parts_total == 1 else self.part_number


class Step(NamedTuple):
    """One change of a message, without the message."""

    sequence: int
    status: Status
    previous: Status | None
    channel: Channel


def status_of(events: Collection[ExpectedEvent]) -> Status | None:
    """Say a message's status by definition, from all events of it; None while nothing can be said.

    The highest of: what any event said of the whole message, and what the parts say together.
    """
    said = [event.status for event in events if event.part is None and event.status is not None]
    by_parts = status_of_parts(highest_by_part(events), total_of(events))
    return highest(said if by_parts is None else [*said, by_parts])


def highest_by_part(events: Iterable[ExpectedEvent]) -> dict[int, Status]:
    """Give each part the highest status ever said of it."""
    parts: dict[int, Status] = {}
    for event in events:
        if event.part is not None and event.status is not None:
            parts[event.part] = max(parts.get(event.part, event.status), event.status, key=_rank)
    return parts


def total_of(events: Iterable[ExpectedEvent]) -> int | None:
    """Give T: the smallest number of parts above one that an event about a part ever said."""
    totals = [event.parts_total for event in events if event.part is not None and (event.parts_total or 0) > 1]
    return min((total for total in totals if total is not None), default=None)


def status_of_parts(parts: Mapping[int, Status], total: int | None) -> Status | None:
    """Say what the parts known so far make of the whole message; None where they say nothing yet."""
    claims = []
    if any(part.rank >= Status.SENT.rank for part in parts.values()):
        claims.append(Status.PARTIALLYSENT)
    some_arrived = any(part.rank >= Status.PARTIALDELIVERED.rank for part in parts.values())
    if some_arrived:
        claims.append(Status.PARTIALDELIVERED)
    if total is not None and len(parts) >= total:
        joint = sorted(parts.values(), key=_rank, reverse=True)[total - 1]
        if joint.is_failure and not some_arrived:
            claims += [part for part in parts.values() if part.is_failure]
        else:
            claims.append(joint)
    return highest(claims)


def highest(statuses: Collection[Status]) -> Status | None:
    """Return the highest in the one total order, None of none."""
    return max(statuses, key=_rank, default=None)


def _rank(status: Status) -> int:
    return status.rank
