"""Plans messages: picks a carrier and a life story for each, and says when which report of it arrives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from processor.model import Action, IgnoreReason, RawStatusEvent
from processor.simulator.addresses import draw_number
from processor.simulator.expected import ChangeKey, ExpectedEvent
from processor.simulator.shapes import Beat
from processor.status import Status

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from processor.simulator.shapes import Shape
    from processor.simulator.voices import Voice, Word

EDGE_MS: Final = 7
"""How long the platform's edge takes from receiving a report to making a record of it."""

_SECOND: Final = 1000
_HOUR: Final = 3600 * _SECOND
_AFTER: Final[dict[Beat, tuple[int, int]]] = dict.fromkeys(Beat, (500, 60 * _SECOND)) | {
    Beat.WAITING: (100, _SECOND),
    Beat.SENT: (300, 8 * _SECOND),
    Beat.READ: (2 * _SECOND, 600 * _SECOND),
    Beat.REPLY: (2 * _SECOND, 600 * _SECOND),
    Beat.EXPIRED: (60 * _SECOND, 600 * _SECOND),
    Beat.SILENCE: (_HOUR, 60 * _HOUR),
}
"""How long after what went before it a beat comes, in ms: at least, and at most so much more."""
_AGAIN: Final = (1 * _SECOND, 600 * _SECOND)
"""The same for a repetition after the event."""
_ANSWERS: Final = ("Yes", "No", "Stop", "Call me")
_PARTS_MAX: Final = 6
_ALIASED: Final = 0.1
"""Share of messages whose carrier is reported under another of its names."""

_new: Final = tuple.__new__  # Makes a named tuple without its Python constructor, in half the time.


class Telling(NamedTuple):
    """One report, and when it arrives. Sorts by time."""

    at_ms: int
    order: int
    """Tells reports of the same millisecond apart."""
    voice: Voice
    event: RawStatusEvent
    expected: ExpectedEvent


class _Moment(NamedTuple):
    """A report before it is told."""

    at_ms: int
    word: Word
    part_number: int | None = None
    parts_total: int | None = None
    action: Action | None = None
    event_id: str | None = None


class _Message(NamedTuple):
    """What all reports of a message have in common."""

    voice: Voice
    key: ChangeKey
    name: str
    """The name under which the carrier is reported."""
    account: str | None
    channel_text: str | None
    recipient: str
    reference: str | None


class _Plot(NamedTuple):
    """A story in a carrier's own words."""

    parts: bool
    beats: tuple[tuple[int, int, tuple[Word, ...]], ...]
    """Delay, further delay, and the words that fit; none for silence."""


class Planner:
    """Plans one message after another."""

    def __init__(self, rng: Random, shape: Shape, voices: Sequence[Voice]) -> None:
        self._rng = rng
        self._shape = shape
        self._voices = [voice for voice in voices for _ in range(voice.weight)]
        self._plots = {voice: _plots(shape, voice) for voice in voices}
        self._repeat_again = shape.repeat / (1 + shape.repeat)
        self._orders = 0

    def plan(self, at_ms: int) -> list[Telling]:
        """Plan the message that is sent at this time: its reports in no order, at least one."""
        random = self._rng.random
        voice = self._voices[int(random() * len(self._voices))]
        plots = self._plots[voice]
        plot = plots[int(random() * len(plots))]
        message = self._message(voice)
        moments = self._moments_of_parts(plot, at_ms) if plot.parts else self._moments(plot, at_ms)
        if len(moments) > 1:
            self._disturb(moments)
        return self._tell(message, moments)

    def _message(self, voice: Voice) -> _Message:
        random = self._rng.random
        account = voice.accounts[int(random() * len(voice.accounts))]
        return _Message(
            voice=voice,
            key=ChangeKey(voice.carrier, voice.new_id(self._rng), account or "", ""),
            name=voice.names[int(random() * len(voice.names))]
            if voice.names and random() < _ALIASED
            else voice.carrier,
            account=account,
            channel_text=voice.channel_texts[int(random() * len(voice.channel_texts))],
            recipient=draw_number(self._rng),
            reference=f"order-{int(random() * 100_000)}" if random() < 0.2 else None,
        )

    def _moments(self, plot: _Plot, at_ms: int) -> list[_Moment]:
        random = self._rng.random
        part_number, parts_total = self._told_parts() if plot.parts is False and random() < 0.04 else (None, None)
        moments = []
        for least, more, words in plot.beats:
            at_ms += least + int(more * random())
            if not words:
                continue
            word = words[int(random() * len(words))]
            if word.status is Status.REPLY:
                moments.append(self._reply(at_ms, word))
            else:
                moments.append(_Moment(at_ms, word, part_number, parts_total))
        return moments

    def _told_parts(self) -> tuple[int | None, int | None]:
        """Choose counts that are told beside reports about the whole message: part 1 of 1, or only how many."""
        if self._rng.random() < 0.5:
            return 1, 1
        return None, 1 + int(_PARTS_MAX * self._rng.random())

    def _reply(self, at_ms: int, word: Word) -> _Moment:
        action = Action("REPLY", _ANSWERS[int(self._rng.random() * len(_ANSWERS))])
        event_id = f"ev-{self._rng.getrandbits(64):016x}" if self._rng.random() < 0.7 else None
        return _Moment(at_ms, word, action=action, event_id=event_id)

    def _moments_of_parts(self, plot: _Plot, at_ms: int) -> list[_Moment]:
        """Tell the story of each part on its own; some stories lack a part, its total, or end in one for the whole."""
        random = self._rng.random
        total = 2 + int((_PARTS_MAX - 1) * random() * random())
        told = None if random() < 0.1 else total
        moments = []
        for number in range(1, total + 1):
            if random() < 0.06:
                continue  # Some receipts never come.
            own = self._moments(plot, at_ms)
            if random() < 0.15:
                own = own[:-1] or own
            moments += [moment._replace(part_number=number, parts_total=told) for moment in own]
        if random() < 0.1 or not moments:
            moments += self._moments(plot, at_ms)
        return moments

    def _disturb(self, moments: list[_Moment]) -> None:
        """Let reports overtake each other: their times change places."""
        random = self._rng.random
        if random() < self._shape.overtake:
            last = moments.pop()
            moments.insert(0, last._replace(at_ms=moments[0].at_ms - 1))
        if self._shape.swap:
            for at in range(1, len(moments)):
                if random() < self._shape.swap:
                    before, after = moments[at - 1], moments[at]
                    moments[at - 1] = after._replace(at_ms=before.at_ms)
                    moments[at] = before._replace(at_ms=after.at_ms)

    def _tell(self, message: _Message, moments: list[_Moment]) -> list[Telling]:
        random = self._rng.random
        again = self._repeat_again
        voice, key, name, account, channel_text, recipient, reference = message
        tellings = []
        for moment in moments:
            at_ms, (_, raw, error_code, words), part_number, parts_total, action, event_id = moment
            # The carrier's clock has seconds only, and does not change when it tells the same again.
            occurred_at = at_ms - at_ms % 1000 if voice.tells_time else None
            expected = _expected(message, moment, occurred_at)
            error_text = words
            while True:
                self._orders += 1
                facts = (event_id, account, name, channel_text, key[1], raw, error_code, error_text, recipient)
                times = (voice.sender, occurred_at, at_ms - EDGE_MS)
                rest = (parts_total, part_number, reference, action, _NO_ATTRIBUTES)
                event = _new(RawStatusEvent, facts + times + rest)
                tellings.append(_new(Telling, (at_ms, self._orders, voice, event, expected)))
                if random() >= again:
                    break
                at_ms += _AGAIN[0] + int(_AGAIN[1] * random() ** 3)
                if words:
                    error_text = f"{words} (told again)"
        return tellings


def _plots(shape: Shape, voice: Voice) -> list[_Plot]:
    """Put the stories in a carrier's words, each as often as its weight; those that it cannot tell are left out."""
    plots = []
    for story in shape.stories:
        if voice.channel not in story.channels or (story.parts and not voice.has_parts):
            continue
        beats = [(*_AFTER[beat], voice.say(beat)) for beat in story.beats if beat is Beat.SILENCE or voice.say(beat)]
        if any(words for _, _, words in beats):
            plots += [_Plot(story.parts, tuple(beats))] * story.weight
    return plots


_NO_ATTRIBUTES: Final[dict[str, str]] = {}


def _expected(message: _Message, moment: _Moment, occurred_at: int | None) -> ExpectedEvent:
    voice = message.voice
    _, (status, *_), part_number, parts_total, action, event_id = moment
    reply = None if action is None else event_id or f"{action.description} at {occurred_at}"
    ignored = IgnoreReason.LISTED if status is None else None
    said = (voice.carrier, message.key, voice.channel, status, part_number, parts_total, reply, ignored, None)
    return _new(ExpectedEvent, said)
