"""What one batch wants to do, all of it or nothing: the hand-over from the pure core to the shell."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from processor.tracing import NO_TRACE

if TYPE_CHECKING:
    from processor.control import Forgotten
    from processor.errors import DeadLetterReason
    from processor.model import MessageState, Record, Source, StatusChange, StatusEvent
    from processor.tracing import Trace


class Outcome(StrEnum):
    """What became of one event. Every event has exactly one, so the books balance."""

    PUBLISHED = "published"
    REPEAT = "repeat"
    LATE = "late"
    CONFLICT = "conflict"
    PART = "part"
    IGNORED = "ignored"
    FORWARDED = "forwarded"
    DEAD_LETTERED = "dead_lettered"


class States(Protocol):
    """The state of one partition, as the core sees it."""

    def get(self, identity: str) -> MessageState | None:
        """Return what is known of a message, None for nothing."""

    def put(self, identity: str, state: MessageState) -> None:
        """Stage what is known from now on; it counts at once for later events of the batch."""

    def drop(self, identity: str) -> None:
        """Stage that nothing is known of a message any more, at once as well."""

    def audited(self, request: str) -> bool:
        """Tell whether a control record's request has been carried out."""

    def audit(self, request: str, entry: bytes) -> None:
        """Stage that it has been, and what it did."""


class DeadLetter(NamedTuple):
    """A record, or one event of it, that could not be processed."""

    record: Record
    source: Source
    """Where the record was read; `index` is the event's, -1 where the whole record is meant."""
    stage: str
    reason: DeadLetterReason
    detail: str
    carrier: str = "unknown"
    """The pack's name, `unknown` where there is none."""


class Forward(NamedTuple):
    """A mapped event on its way to the partition that owns its message."""

    owner: int
    event: StatusEvent
    source: Source
    timestamp: int
    trace: Trace = NO_TRACE


class Unmapped(NamedTuple):
    """What a carrier said that no pack has a row for; words as they came, cut to `UNMAPPED_CHARS_MAX`."""

    carrier: str
    """The pack's name, `unknown` where there is none."""
    channel: str
    status: str
    error_code: str


UNMAPPED_CHARS_MAX: Final = 64


@dataclass(slots=True)
class Tally:
    """The counts of one input partition in one batch."""

    records: int = 0
    outcomes: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """Events by (carrier, outcome, reason); the reason is empty where the outcome says it all."""
    dead_offsets: set[int] = field(default_factory=set)
    """Offsets of the records that had a dead letter."""
    unmapped: Counter[Unmapped] = field(default_factory=Counter)
    """Events whose words no pack has a row for."""
    times_left_out: Counter[str] = field(default_factory=Counter)
    """By carrier, events whose time could not be true."""


@dataclass(slots=True)
class Outbox:
    """Everything that one transaction publishes, but for the states, which stay with their partition's overlay."""

    changes: dict[int, list[StatusChange]] = field(default_factory=dict)
    """By the partition of the changes topic."""
    traces: dict[int, dict[int, Trace]] = field(default_factory=dict)
    """By partition and position among its changes, the trace context of those that have one."""
    forgotten: list[Forgotten] = field(default_factory=list)
    forwards: list[Forward] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    tallies: dict[tuple[str, int], Tally] = field(default_factory=dict)
    received: list[int] = field(default_factory=list)
    """received_at (ms) of the events read from raw topics, for the age histogram."""
