"""What traffic looks like: the life stories of messages, and how much carriers repeat and reorder."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from processor.status import Channel


class Beat(Enum):
    """One thing that a carrier tells of a message; each carrier has its own words for it, or none."""

    WAITING = auto()
    SENT = auto()
    DELIVERED = auto()
    READ = auto()
    REPLY = auto()
    EXPIRED = auto()
    FAILED = auto()
    REJECTED = auto()
    DND = auto()
    INVALID_NUMBER = auto()
    DUPLICATE = auto()
    OTHER = auto()
    """No delivery status: the pack ignores it."""
    SILENCE = auto()
    """Nothing for hours, up to days."""


FAILURES: Final = frozenset(
    {Beat.EXPIRED, Beat.FAILED, Beat.REJECTED, Beat.DND, Beat.INVALID_NUMBER, Beat.DUPLICATE},
)
"""A carrier without a word for one of these says its FAILED."""

ALL_CHANNELS: Final = frozenset(Channel)
_RICH: Final = frozenset({Channel.RCS, Channel.WHATSAPP})
_SMS: Final = frozenset({Channel.SMS})
_RCS: Final = frozenset({Channel.RCS})


@dataclass(frozen=True, slots=True)
class Story:
    """One way in which a message's life is told, in the order in which things happen to it."""

    weight: int
    beats: tuple[Beat, ...]
    channels: frozenset[Channel] = ALL_CHANNELS
    parts: bool = False
    """Whether the beats are told of each part of a long message."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How traffic as a whole behaves."""

    stories: tuple[Story, ...]
    repeat: float = 0.0
    """Repetitions of an event, on average: carriers call again until they hear an answer, and after it."""
    swap: float = 0.0
    """Share of neighbouring events that change places."""
    overtake: float = 0.0
    """Share of messages whose last event comes first."""
    all_poison: bool = False


_LIVES: Final = (
    Story(30, (Beat.WAITING, Beat.SENT, Beat.DELIVERED)),
    Story(14, (Beat.SENT, Beat.DELIVERED)),
    Story(4, (Beat.DELIVERED,)),
    Story(8, (Beat.WAITING, Beat.SENT)),
    Story(4, (Beat.SENT, Beat.FAILED)),
    Story(3, (Beat.SENT, Beat.EXPIRED)),
    Story(4, (Beat.WAITING, Beat.SENT, Beat.EXPIRED, Beat.DELIVERED)),
    Story(3, (Beat.SENT, Beat.FAILED, Beat.DELIVERED)),
    Story(3, (Beat.SENT, Beat.DELIVERED, Beat.FAILED)),
    Story(2, (Beat.FAILED, Beat.EXPIRED)),
    Story(4, (Beat.WAITING, Beat.DND)),
    Story(3, (Beat.INVALID_NUMBER,)),
    Story(3, (Beat.WAITING, Beat.REJECTED)),
    Story(1, (Beat.SENT, Beat.DUPLICATE)),
    Story(3, (Beat.SENT, Beat.SILENCE, Beat.DELIVERED)),
    Story(1, (Beat.SENT, Beat.DELIVERED, Beat.SILENCE, Beat.EXPIRED)),
    Story(2, (Beat.SENT, Beat.OTHER, Beat.DELIVERED)),
    Story(5, (Beat.SENT, Beat.DELIVERED), _SMS, parts=True),
    Story(2, (Beat.SENT, Beat.FAILED), _SMS, parts=True),
    Story(1, (Beat.WAITING, Beat.SENT, Beat.SILENCE, Beat.DELIVERED), _SMS, parts=True),
    Story(30, (Beat.WAITING, Beat.SENT, Beat.DELIVERED, Beat.READ), _RICH),
    Story(12, (Beat.SENT, Beat.READ), _RICH),
    Story(5, (Beat.SENT, Beat.DELIVERED, Beat.READ, Beat.FAILED), _RICH),
    Story(3, (Beat.DELIVERED, Beat.SILENCE, Beat.READ), _RICH),
    Story(14, (Beat.SENT, Beat.DELIVERED, Beat.READ, Beat.REPLY), _RCS),
    Story(8, (Beat.DELIVERED, Beat.REPLY, Beat.READ, Beat.REPLY, Beat.REPLY), _RCS),
    Story(2, (Beat.REPLY, Beat.FAILED), _RCS),
)

_ONE_EVENT: Final = (
    Story(3, (Beat.SENT,)),
    Story(5, (Beat.DELIVERED,)),
    Story(1, (Beat.FAILED,)),
    Story(1, (Beat.READ,), _RICH),
)

SHAPES: Final[dict[str, Shape]] = {
    "realistic": Shape(_LIVES, repeat=0.75, swap=0.1, overtake=0.05),
    "few-repeats": Shape(_LIVES, repeat=0.05, swap=0.05, overtake=0.02),
    "many-repeats": Shape(_LIVES, repeat=3.0, swap=0.2, overtake=0.1),
    "all-new": Shape(_ONE_EVENT),
    "flood": Shape((), all_poison=True),
}
"""By name: about four events a message and half of them no change; fewer and more of them; every event a new message
(the worst case for the state); and nothing but records that cannot be processed."""
