"""What other packs would make of records that have come: event by event, grouped by the carrier's words. Pure.

Two mappings are held against each other, nothing else: what is reduced from an event depends on its message's state,
which is not looked at.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TYPE_CHECKING, Final, NamedTuple

from processor.errors import DecodeError, InputError
from processor.headers import replay_of
from processor.logs import printable
from processor.model import Ignored, IgnoreReason, RawCallback, RawStatusEvent, StatusEvent
from processor.privacy import masked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from processor.codec import Decoder
    from processor.model import Record
    from processor.packs import Packs

_KINDS_MAX: Final = 10_000
"""Kinds that are told apart: words come from outside. What comes later is counted without them."""
_WORD_CHARS_MAX: Final = 64
_NOTHING: Final = "no event"
_OTHER: Final = "other"


class Words(NamedTuple):
    """What the carrier said; masked and cut, empty where it said nothing."""

    carrier: str
    channel: str
    status: str
    error_code: str


class Kind(NamedTuple):
    """Events that would change in the same way."""

    words: Words
    before: str
    after: str
    facts: tuple[str, ...]
    """Names of what else differs; `identity` where it would be another message."""


@dataclass(slots=True)
class Found:
    """How many events of one kind, and where the first of them stands."""

    events: int
    example: str
    """Topic, partition and offset."""


@dataclass(frozen=True, slots=True)
class _Told:
    """What one mapping makes of one element."""

    report: RawStatusEvent | None
    outcome: StatusEvent | Ignored | InputError | None


@dataclass(slots=True)
class PackDiff:
    """Compares what two sets of packs make of records."""

    decoder: Decoder
    before: Packs
    after: Packs
    records: int = 0
    undecodable: int = 0
    """Records that no pack ever sees."""
    same: int = 0
    different: int = 0
    kinds: dict[Kind, Found] = field(default_factory=dict)

    def ranked(self) -> list[tuple[Kind, Found]]:
        """List the kinds, the most events first."""
        return sorted(self.kinds.items(), key=lambda item: (-item[1].events, item[0]))

    def moves(self) -> Counter[tuple[str, str]]:
        """Count events by what they are before and after alone."""
        counts: Counter[tuple[str, str]] = Counter()
        for kind, found in self.kinds.items():
            counts[kind.before, kind.after] += found.events
        return counts

    def add(self, topic: str, partition: int, records: Sequence[Record]) -> None:
        """Compare records of one partition."""
        decoded = self.decoder.decode_batch([record.value() for record in records])
        for record, item in zip(records, decoded, strict=True):
            self.records += 1
            if isinstance(item, DecodeError):
                self.undecodable += 1
                continue
            try:
                only = replay_of(record).element
            except InputError:
                self.undecodable += 1
                continue
            self._compare(item, only, f"{topic}[{partition}]@{record.offset()}")

    def _compare(self, item: RawStatusEvent | RawCallback, only: int | None, where: str) -> None:
        pairs = zip_longest(_told(self.before, item), _told(self.after, item), fillvalue=_Told(None, None))
        for index, (before, after) in enumerate(pairs):
            if only is not None and index != only:
                continue
            facts = _differing(before, after)
            if _label(before, after) == _label(after, before) and not facts:
                self.same += 1
                continue
            self.different += 1
            kind = Kind(self._words(item, before, after), _label(before, after), _label(after, before), facts)
            if kind not in self.kinds and len(self.kinds) >= _KINDS_MAX:
                kind = kind._replace(words=Words(kind.words.carrier, _OTHER, _OTHER, _OTHER))
            self.kinds.setdefault(kind, Found(0, where)).events += 1

    def _words(self, item: RawStatusEvent | RawCallback, before: _Told, after: _Told) -> Words:
        carrier = self.before.known(item.carrier)
        if carrier not in self.before.carriers:
            carrier = self.after.known(item.carrier)
        if carrier not in self.after.carriers and carrier not in self.before.carriers:
            carrier = _word(item.carrier)
        report = before.report or after.report
        channel = _channel(before) or _channel(after) or (report and report.channel) or item.channel or ""
        status, code = (report.status, report.error_code or "") if report else ("", "")
        return Words(carrier, _word(channel), _word(status), _word(code))


def _told(packs: Packs, item: RawStatusEvent | RawCallback) -> list[_Told]:
    """Say what packs make of each element; of a callback that cannot be read as a whole there is one."""
    if isinstance(item, RawStatusEvent):
        return [_interpreted(packs, item)]
    try:
        elements = packs.extract(item)
    except InputError as error:
        return [_Told(None, error)]
    if not elements:
        return [_Told(None, Ignored(IgnoreReason.EMPTY, packs.known(item.carrier), ""))]
    return [_Told(None, one) if isinstance(one, InputError) else _interpreted(packs, one) for one in elements]


def _interpreted(packs: Packs, report: RawStatusEvent) -> _Told:
    try:
        return _Told(report, packs.interpret(report))
    except InputError as error:
        return _Told(report, error)


def _label(told: _Told, other: _Told) -> str:
    """Say what becomes of an element; with its channel where the other one has another."""
    match told.outcome:
        case StatusEvent(meaning=meaning):
            channels = {_channel(told), _channel(other)} - {""}
            return f"{meaning.channel} {meaning.status}" if len(channels) > 1 else str(meaning.status)
        case Ignored(reason=reason):
            return f"ignored ({reason})"
        case InputError() as error:
            return f"dead letter ({error.reason})"
        case _:
            return _NOTHING


def _channel(told: _Told) -> str:
    return str(told.outcome.meaning.channel) if isinstance(told.outcome, StatusEvent) else ""


def _differing(before: _Told, after: _Told) -> tuple[str, ...]:
    """Name what else differs between two events that both become statuses."""
    one, other = before.outcome, after.outcome
    if not isinstance(one, StatusEvent) or not isinstance(other, StatusEvent):
        return ()
    names = ["identity"] if one.identity != other.identity else []
    pairs = zip(RawStatusEvent._fields, one.report, other.report, strict=True)
    # What an id becomes is a matter of identity, and is named there.
    names += [name for name, mine, theirs in pairs if mine != theirs and name not in {"message_id", "attributes"}]
    if (one.report.error_text or one.meaning.words) != (other.report.error_text or other.meaning.words):
        names.append("error_text")
    if one.meaning.carrier != other.meaning.carrier:
        names.append("carrier")
    return tuple(dict.fromkeys(names))


def _word(text: str) -> str:
    """Make a carrier's word fit to be shown."""
    return printable(masked(text), _WORD_CHARS_MAX)
