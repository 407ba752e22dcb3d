"""The nouns: what comes in, what a report means, what is remembered of a message, what goes out.

Values are named tuples: immutable, comparable and the cheapest records Python has (one event has a budget of a few
microseconds). Times are integer milliseconds since 1970-01-01T00:00:00Z. "Record" is Kafka's word; a "message" is
only what people send each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from processor.status import Channel, Status


class Record(Protocol):
    """One record of a topic, in the shape of `confluent_kafka.Message`, which goes into the core as it is."""

    def offset(self) -> int | None:
        """Position in the partition."""

    def timestamp(self) -> tuple[int, int]:
        """Type and time in ms; the type is 0 where the record has none."""

    def key(self) -> bytes | None:
        """Key as received."""

    def value(self) -> bytes | None:
        """Value as received."""

    def headers(self) -> dict[str, str | bytes | None] | list[tuple[str, str | bytes | None]] | None:
        """Headers as received, in order: a list of names and bytes; the other types are the client's annotations."""


class Action(NamedTuple):
    """An engagement action: what the recipient did with the message."""

    type: str
    description: str


class RawStatusEvent(NamedTuple):
    """A carrier's report: its facts picked out, its words untouched. Fields as in raw_status_event.avsc."""

    event_id: str | None
    account: str | None
    carrier: str
    channel: str | None
    message_id: str
    status: str
    error_code: str | None
    error_text: str | None
    recipient: str | None
    sender: str | None
    occurred_at: int | None
    received_at: int
    parts_total: int | None
    part_number: int | None
    client_reference: str | None
    action: Action | None
    attributes: Mapping[str, str]


class RawCallback(NamedTuple):
    """A carrier's callback, verbatim. Fields as in raw_callback.avsc."""

    account: str | None
    carrier: str
    channel: str | None
    received_at: int
    content_type: str
    body: bytes
    query: str | None
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class Meaning:
    """What a pack makes of one combination of channel, status and error code.

    Made once for a combination and shared by all events that have it, so it is compared by identity
    and may be counted cheaply.
    """

    carrier: str
    """The pack's own name, also where the event used an alias."""
    channel: Channel
    status: Status
    raw_status: str
    error_code: str | None
    words: str | None
    """Becomes the change's error_text where the event has none: what a carrier said of an outcome it does not know."""
    rule: str
    """The row that hit, for people: for example ``SMS statuses.delivered``."""


class IgnoreReason(StrEnum):
    """Why an event or a record has no effect, by rule rather than by mistake."""

    LISTED = "listed"
    """The pack's ignore list names it: no delivery status (typing, inbound, subscribe)."""
    UNATTRIBUTED = "unattributed"
    """A reply that names no message of ours."""
    EMPTY = "empty"
    """A callback that holds no event at all."""
    FORGOTTEN = "forgotten"
    """A control record: an operator asked for what is known of a message to be dropped."""


class Ignored(NamedTuple):
    """An event that is no delivery status."""

    reason: IgnoreReason
    carrier: str
    rule: str


class StatusEvent(NamedTuple):
    """A report after mapping: nothing of the carrier's format is left but its words."""

    identity: str
    """What makes the message one: see `processor.packs.identity_of`."""
    message_id: str
    """Normalised as the pack says; the key of what goes out."""
    chain: str
    """What the pack adds to the id where an id alone is not enough; opaque, empty where it suffices."""
    meaning: Meaning
    report: RawStatusEvent
    """The facts that go along: texts, times, parts, action, reference."""


class SuppressReason(StrEnum):
    """Why an event did not become a change."""

    REPEAT = "repeat"
    """The same status again."""
    LATE = "late"
    """A lower status than is known."""
    CONFLICT = "conflict"
    """A failure after DELIVERED, READ or REPLY."""
    PART = "part"
    """Its part moved on, the message did not; the only one that writes state."""


class Source(NamedTuple):
    """Where an event came from: its original raw record, and its index among the events of that record."""

    topic: str
    partition: int
    offset: int
    index: int  # type: ignore[assignment]  # the Avro field's name; shadows tuple.index, which nobody calls


class Parts(NamedTuple):
    """How far the parts of a long message are."""

    total: int | None
    delivered: int
    failed: int


class MessageState(NamedTuple):
    """What is known of one message. Ranks are positions in the total order, -1 where nothing is known."""

    status: int
    """Rank of the published status; -1 before the first change."""
    sequence: int
    """Number of the last change, 1, 2, 3 …; 0 before the first."""
    changed_at: int
    """Timestamp (ms) of the raw record of the last change, or of the first event while there is none."""
    parts_total: int | None = None
    """Smallest total above one that any part event ever said."""
    parts: tuple[tuple[int, int], ...] = ()
    """Highest rank of each part, as (part number, rank), by number."""
    replies: tuple[str, ...] = ()
    """Digests of the replies published (16 hex digits each), in the order they came."""


class StatusChange(NamedTuple):
    """A change of a message's status, as published. Fields as in status_change.avsc."""

    change_id: str
    message_id: str
    account: str | None
    chain: str
    client_reference: str | None
    channel: Channel
    status: Status
    previous: Status | None
    final: bool
    carrier: str
    raw_status: str
    error_code: str | None
    error_text: str | None
    recipient: str | None
    parts: Parts | None
    action: Action | None
    occurred_at: int | None
    received_at: int
    sequence: int
    source: Source
