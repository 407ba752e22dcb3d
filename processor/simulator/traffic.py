"""The traffic simulator: a seed and a shape to raw records that know what the worker must make of them.

An event-driven simulation. Messages are sent at a steady rate, each has its reports planned when it is sent, and a heap
brings the reports of all live messages into the order of time, so that conversations overlap as they do in life. The
same seed and arguments give the same bytes in the same order; time is data and begins where `start_ms` says.
"""

from __future__ import annotations

import sys
from heapq import heappop, heappush
from random import Random
from typing import TYPE_CHECKING, Final, NamedTuple

from processor.codec import encode_callback, encode_raw_events
from processor.model import IgnoreReason
from processor.simulator.expected import ExpectedEvent
from processor.simulator.messages import EDGE_MS, Planner, Telling
from processor.simulator.poison import Poison, Poisoner
from processor.simulator.shapes import SHAPES
from processor.simulator.voices import CARRIERS, VOICES
from processor.status import Status

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from processor.model import RawStatusEvent
    from processor.simulator.voices import Voice

START_MS: Final = 1_767_225_600_000
"""Where a simulation's time begins unless it is told: 2026-01-01T00:00:00Z."""
MESSAGE_EVERY_MS: Final = 250
"""Four messages a second: a few hundred are live at a time, and a million events take about 17 hours."""
_CHUNK: Final = 1_000
_WITHOUT_END: Final = sys.maxsize

_new: Final = tuple.__new__  # Makes a named tuple without its Python constructor, in half the time.


class SimulatedRecord(NamedTuple):
    """A record for a raw topic, and what the worker must make of it."""

    key: bytes
    """The message id; of a callback with several messages, the id of one of them."""
    value: bytes
    timestamp_ms: int
    events: tuple[ExpectedEvent, ...]
    """In the order in which they stand in the record, at least one."""
    poison: Poison | None = None
    """In which way it is wrong."""


class Simulator:
    """Traffic of one seed; each iteration over it gives the same records again.

    Args:
        seed: Draws everything.
        messages: So many messages are sent, and everything told of them; in a flood, so many records.
        events: Ends with the record that brings the number of events to this.
        shape: A name of `SHAPES`.
        poison: Share of records that cannot be processed, or not wholly.
        callbacks: Share of records that are verbatim callbacks, about.
        carriers: Only these; all of `CARRIERS` by default.
        start_ms: When the first message is sent.

    With neither `messages` nor `events` it never ends; with both, whichever comes first.

    Raises:
        ValueError: A name is unknown or a share is outside 0 to 1.
    """

    def __init__(  # noqa: PLR0913, PLR0917  # all but the seed have defaults
        self,
        seed: int,
        messages: int | None = None,
        events: int | None = None,
        shape: str = "realistic",
        poison: float = 0.01,
        callbacks: float = 0.1,
        carriers: Sequence[str] | None = None,
        start_ms: int = START_MS,
    ) -> None:
        if shape not in SHAPES:
            raise ValueError(f"no shape {shape!r}, there are {', '.join(SHAPES)}")
        wanted = tuple(CARRIERS if carriers is None else carriers)
        if not wanted or not set(wanted) <= set(CARRIERS):
            raise ValueError(f"carriers have to be some of {', '.join(CARRIERS)}")
        if not 0 <= poison < 1 or not 0 <= callbacks <= 1:
            raise ValueError("poison has to be in [0, 1) and callbacks in [0, 1]")
        self.seed = seed
        self.messages = messages
        self.events = events
        self.shape = SHAPES[shape]
        self.poison = 1.0 if self.shape.all_poison else poison
        self.callbacks = callbacks
        self.voices = tuple(voice for voice in VOICES if voice.carrier in wanted)
        self.start_ms = start_ms

    def __iter__(self) -> Iterator[SimulatedRecord]:
        """Give the records, in order of time."""
        run = _Run(self)
        while records := run.chunk():
            yield from records


class _Run:
    """One iteration over a simulation."""

    def __init__(self, simulator: Simulator) -> None:
        self._rng = Random(simulator.seed)  # noqa: S311  # repeatable on purpose, and no secret
        self._planner = Planner(self._rng, simulator.shape, simulator.voices)
        self._poisoner = Poisoner(self._rng, simulator.voices)
        self._poison = simulator.poison
        self._by_callback = _share_of_events(simulator.callbacks, simulator.voices)
        self._messages_left = simulator.messages
        self._events_left = _WITHOUT_END if simulator.events is None else simulator.events
        self._now = simulator.start_ms
        self._next_message_ms = simulator.start_ms
        self._heap: list[Telling] = []
        self._batches: dict[Voice, _Batch] = {}
        self._pending: list[_Pending] = []

    def chunk(self) -> list[SimulatedRecord]:
        """Give the next records, none at the end."""
        while len(self._pending) < _CHUNK and self._advance():
            pass
        pending, self._pending = self._pending, []
        encoded = iter(encode_raw_events([one.event for one in pending if one.event is not None]))
        return [
            _new(SimulatedRecord, (key, next(encoded) if event is not None else value, at_ms, expected, poison))
            for key, value, at_ms, expected, poison, event in pending
        ]

    def _advance(self) -> bool:
        """Make the next record, and now and then a wrong one behind it; false at the end."""
        if self._events_left <= 0:
            return False
        if self._poison >= 1:
            return self._advance_flood()
        heap = self._heap
        if not heap or self._next_message_ms <= heap[0].at_ms:
            self._send_messages()
        if heap:
            telling = heappop(heap)
            self._now = telling.at_ms
            self._tell(telling)
        elif self._batches:
            self._flush(next(iter(self._batches)))
        else:
            return False
        while self._events_left > 0 and self._rng.random() < self._poison:
            self._spoil()
        return True

    def _advance_flood(self) -> bool:
        if self._messages_left is not None:
            if not self._messages_left:
                return False
            self._messages_left -= 1
        self._now += MESSAGE_EVERY_MS
        self._spoil()
        return True

    def _send_messages(self) -> None:
        """Send all messages that are due before the next report of one that is live."""
        heap = self._heap
        while self._messages_left != 0 and (not heap or self._next_message_ms <= heap[0].at_ms):
            for telling in self._planner.plan(self._next_message_ms):
                heappush(heap, telling)
            self._next_message_ms += MESSAGE_EVERY_MS
            if self._messages_left is not None:
                self._messages_left -= 1

    def _tell(self, telling: Telling) -> None:
        at_ms, _, voice, event, expected = telling
        if event.part_number is not None or self._rng.random() >= self._by_callback:  # No callback names a part.
            self._pending.append(_new(_Pending, (event.message_id.encode(), b"", at_ms, (expected,), None, event)))
            self._events_left -= 1
            return
        if voice.callback.batch_max > 1:
            self._join_batch(voice, event, expected)
            return
        if expected.status is Status.REPLY:  # Its callback names no message of ours.
            expected = _UNATTRIBUTED._replace(carrier=expected.carrier)
        value = encode_callback(voice.callback.callback([event], voice.channel, at_ms - EDGE_MS))
        self._emit(_Pending(event.message_id.encode(), value, at_ms, (expected,)))

    def _join_batch(self, voice: Voice, event: RawStatusEvent, expected: ExpectedEvent) -> None:
        """Hold a report back until the carrier has enough for a callback, as carriers do that send several at once."""
        batch = self._batches.get(voice)
        if batch is None:
            size = 1 + int(voice.callback.batch_max * self._rng.random())
            batch = self._batches[voice] = _Batch(size, [], [])
        batch.events.append(event)
        batch.expected.append(expected)
        if len(batch.events) >= batch.size:
            self._flush(voice)

    def _flush(self, voice: Voice, poison: Poison | None = None) -> None:
        batch = self._batches.pop(voice)
        callback = voice.callback.callback(batch.events, voice.channel, self._now - EDGE_MS)
        key = batch.events[0].message_id.encode()
        self._emit(_Pending(key, encode_callback(callback), self._now, tuple(batch.expected), poison))

    def _spoil(self) -> None:
        """Make a wrong record, or put a wrong element into the batch that is being gathered and send it."""
        kind = self._poisoner.draw()
        if kind is not Poison.BAD_ELEMENT:
            key, value, expected = self._poisoner.make(kind, self._now)
            self._emit(_Pending(key, value, self._now, (expected,), kind))
            return
        voice, event, expected = self._poisoner.element(self._now)
        batch = self._batches.setdefault(voice, _Batch(1, [], []))
        at = int(self._rng.random() * (len(batch.events) + 1))
        batch.events.insert(at, event)
        batch.expected.insert(at, expected)
        self._flush(voice, kind)

    def _emit(self, pending: _Pending) -> None:
        self._pending.append(pending)
        self._events_left -= len(pending.events)


class _Pending(NamedTuple):
    """A record whose value may still have to be encoded, which is cheaper for many at once."""

    key: bytes
    value: bytes
    timestamp_ms: int
    events: tuple[ExpectedEvent, ...]
    poison: Poison | None = None
    event: RawStatusEvent | None = None


class _Batch(NamedTuple):
    """Reports that wait for others to share a callback with."""

    size: int
    events: list[RawStatusEvent]
    expected: list[ExpectedEvent]


_UNATTRIBUTED: Final = ExpectedEvent("", None, None, None, ignored=IgnoreReason.UNATTRIBUTED)


def _share_of_events(share: float, voices: Sequence[Voice]) -> float:
    """Give the share of events that have to go by callback so that this share of records are callbacks.

    A callback holds 1 to `batch_max` events, each number as likely, so there are fewer callbacks than events in them.
    """
    weights = sum(voice.weight for voice in voices)
    callbacks = sum(voice.weight * 2 / (1 + voice.callback.batch_max) for voice in voices) / weights
    return share / (callbacks + share - share * callbacks)
