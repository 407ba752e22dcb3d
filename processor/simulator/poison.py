"""Records that cannot be processed, one kind for each way in which input goes wrong."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from processor.codec import encode_callback, encode_raw_events
from processor.errors import DeadLetterReason
from processor.model import RawCallback, RawStatusEvent
from processor.simulator.addresses import draw_number
from processor.simulator.expected import UNKNOWN_CARRIER, ExpectedEvent
from processor.simulator.shapes import Beat

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    from processor.simulator.voices import Voice

_T = TypeVar("_T")

_FRAME_BYTES: Final = 10  # The single-object magic and a fingerprint.
_UNKNOWN_WORD: Final = "VAPORISED"


class Poison(StrEnum):
    """A way in which a record is wrong."""

    RANDOM_BYTES = "random bytes"
    TRUNCATED = "truncated Avro"
    TRAILING_BYTES = "trailing bytes"
    UNKNOWN_FINGERPRINT = "unknown fingerprint"
    UNKNOWN_CARRIER = "unknown carrier"
    UNKNOWN_STATUS = "unknown status word"
    EMPTY_MESSAGE_ID = "empty message id"
    FOREIGN_STATUS = "status that the channel lacks"
    BAD_JSON = "bad JSON callback"
    BAD_ELEMENT = "bad element in a batch"


class PoisonedRecord(NamedTuple):
    """A wrong record, and what becomes of it."""

    key: bytes
    value: bytes
    expected: ExpectedEvent


class Poisoner:
    """Makes wrong records; `BAD_ELEMENT` is only an element, for the caller to put into a batch."""

    def __init__(self, rng: Random, voices: Sequence[Voice]) -> None:
        self._rng = rng
        self._voices = voices
        self._foreign = [voice for voice in voices if voice.foreign_word]
        self._batching = [voice for voice in voices if voice.callback.batch_max > 1]
        left_out = {Poison.FOREIGN_STATUS} if not self._foreign else set()
        if not self._batching:
            left_out.add(Poison.BAD_ELEMENT)
        self._kinds = [kind for kind in Poison if kind not in left_out]
        self._makers: dict[Poison, Callable[[int], PoisonedRecord]] = {
            Poison.RANDOM_BYTES: self._random_bytes,
            Poison.TRUNCATED: self._truncated,
            Poison.TRAILING_BYTES: self._trailing_bytes,
            Poison.UNKNOWN_FINGERPRINT: self._unknown_fingerprint,
            Poison.UNKNOWN_CARRIER: self._unknown_carrier,
            Poison.UNKNOWN_STATUS: self._unknown_status,
            Poison.EMPTY_MESSAGE_ID: self._empty_message_id,
            Poison.FOREIGN_STATUS: self._foreign_status,
            Poison.BAD_JSON: self._bad_json,
        }

    def draw(self) -> Poison:
        """Draw a kind that the carriers at hand make possible."""
        return self._pick(self._kinds)

    def make(self, kind: Poison, at_ms: int) -> PoisonedRecord:
        """Make a wrong record of any kind but `BAD_ELEMENT`, received at this time."""
        return self._makers[kind](at_ms)

    def element(self, at_ms: int) -> tuple[Voice, RawStatusEvent, ExpectedEvent]:
        """Make an element that is wrong among others that are not."""
        voice = self._pick(self._batching)
        event = self._event(voice, at_ms)
        if self._rng.random() < 0.5:
            return voice, event._replace(message_id=""), _dead(DeadLetterReason.MALFORMED, voice.carrier)
        unknown = event._replace(status=_UNKNOWN_WORD)
        return voice, unknown, _dead(DeadLetterReason.UNKNOWN_STATUS, voice.carrier)

    def _random_bytes(self, _at_ms: int) -> PoisonedRecord:
        # The first byte is never that of a known frame.
        value = b"\xff" + self._rng.randbytes(int(self._rng.random() * 300))
        return PoisonedRecord(self._rng.randbytes(8), value, _dead(DeadLetterReason.UNDECODABLE))

    def _truncated(self, at_ms: int) -> PoisonedRecord:
        key, value = self._good(at_ms)
        return PoisonedRecord(key, value[: self._rng.randrange(len(value))], _dead(DeadLetterReason.UNDECODABLE))

    def _trailing_bytes(self, at_ms: int) -> PoisonedRecord:
        key, value = self._good(at_ms)
        value += self._rng.randbytes(self._rng.randint(1, 20))
        return PoisonedRecord(key, value, _dead(DeadLetterReason.UNDECODABLE))

    def _unknown_fingerprint(self, at_ms: int) -> PoisonedRecord:
        key, value = self._good(at_ms)
        value = value[:2] + self._rng.randbytes(_FRAME_BYTES - 2) + value[_FRAME_BYTES:]
        return PoisonedRecord(key, value, _dead(DeadLetterReason.UNDECODABLE))

    def _unknown_carrier(self, at_ms: int) -> PoisonedRecord:
        event = self._event(self._pick(self._voices), at_ms)
        carrier = f"nobody-knows-{self._rng.randrange(1000)}"
        return _record(event._replace(carrier=carrier), _dead(DeadLetterReason.UNKNOWN_CARRIER))

    def _unknown_status(self, at_ms: int) -> PoisonedRecord:
        voice = self._pick(self._voices)
        event = self._event(voice, at_ms)._replace(status=_UNKNOWN_WORD)
        return _record(event, _dead(DeadLetterReason.UNKNOWN_STATUS, voice.carrier))

    def _empty_message_id(self, at_ms: int) -> PoisonedRecord:
        voice = self._pick(self._voices)
        event = self._event(voice, at_ms)._replace(message_id="")
        return _record(event, _dead(DeadLetterReason.MALFORMED, voice.carrier))

    def _foreign_status(self, at_ms: int) -> PoisonedRecord:
        voice = self._pick(self._foreign)
        event = self._event(voice, at_ms)._replace(status=voice.foreign_word)
        return _record(event, _dead(DeadLetterReason.STATUS_NOT_ON_CHANNEL, voice.carrier))

    def _bad_json(self, at_ms: int) -> PoisonedRecord:
        voice = self._pick(self._voices)
        event = self._event(voice, at_ms)
        body = b'{"results":[{"messageId":"' + event.message_id.encode() + b'","status":'
        content_type = voice.callback.content_type
        callback = RawCallback(
            event.account, voice.carrier, voice.channel, event.received_at, content_type, body, None, {}
        )
        expected = _dead(DeadLetterReason.MALFORMED, voice.carrier)
        return PoisonedRecord(event.message_id.encode(), encode_callback(callback), expected)

    def _good(self, at_ms: int) -> tuple[bytes, bytes]:
        """Make a record that only has to be spoilt."""
        event = self._event(self._pick(self._voices), at_ms)
        return event.message_id.encode(), encode_raw_events([event])[0]

    def _event(self, voice: Voice, at_ms: int) -> RawStatusEvent:
        """Make a good report of a message that no other report is about."""
        word = voice.say(Beat.DELIVERED)[0]
        return RawStatusEvent(
            event_id=None,
            account=voice.accounts[0],
            carrier=voice.carrier,
            channel=voice.channel,
            message_id=voice.new_id(self._rng),
            status=word.raw,
            error_code=None,
            error_text=None,
            recipient=draw_number(self._rng),
            sender=voice.sender,
            occurred_at=None,
            received_at=at_ms,
            parts_total=None,
            part_number=None,
            client_reference=None,
            action=None,
            attributes={},
        )

    def _pick(self, among: Sequence[_T]) -> _T:
        return among[int(self._rng.random() * len(among))]


def _record(event: RawStatusEvent, expected: ExpectedEvent) -> PoisonedRecord:
    return PoisonedRecord(event.message_id.encode(), encode_raw_events([event])[0], expected)


def _dead(reason: DeadLetterReason, carrier: str = UNKNOWN_CARRIER) -> ExpectedEvent:
    return ExpectedEvent(carrier, None, None, None, dead_letter=reason)
