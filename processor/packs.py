"""Carrier packs: from a carrier's words to canonical statuses.

Theory of operation: what a report means depends on its carrier, channel, status and error code and on nothing else, so
each combination is worked out once and remembered; the next event that has it costs one lookup. The memory is bounded,
since all four texts come from outside. What is not understood is never remembered and never guessed: it raises.
"""

from __future__ import annotations

from enum import IntEnum
from operator import itemgetter
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Self

from processor import extract as extraction
from processor.errors import DeadLetterReason, InputError, PackError
from processor.identity import identity_of
from processor.model import Ignored, IgnoreReason, Meaning, RawStatusEvent, StatusEvent
from processor.pack_format import Pack, read_pack
from processor.pack_ids import PARTS_MAX
from processor.pack_toml import merge, parse_toml
from processor.status import CHANNEL_STATUSES, Channel, Status
from processor.times import AHEAD_MS, EARLIEST_MS, is_believable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from processor.model import RawCallback
    from processor.pack_examples import Example

ID_CHARS_MAX: Final = 256
BUILTIN: Final = "builtin/"
"""What the name of a built-in pack's text begins with; any other pack may take its carrier over."""
_ROWS_MAX: Final = 20_000
_WORDS_MAX: Final = 256  # Longer words are looked up each time rather than kept.
_UNKNOWN: Final = "unknown"

_COMBINATION: Final = itemgetter(
    RawStatusEvent._fields.index("carrier"),
    RawStatusEvent._fields.index("channel"),
    RawStatusEvent._fields.index("status"),
    RawStatusEvent._fields.index("error_code"),
)
_new_event: Final = tuple.__new__  # Makes a named tuple without its Python constructor, in half the time.


class _Care(IntEnum):
    """When an event needs more than its row."""

    NEVER = 0
    WITH_ATTRIBUTES = 1
    """Only attributes can add to the identity."""
    ALWAYS = 2
    """Ids are spelled anew, or something else adds to the identity."""


_Row = tuple[Meaning, str, "tuple[str, ...]", _Care] | Ignored
"""A meaning, what its identities begin with, the address prefixes that name a channel, and the care it needs."""


class Packs:
    """All carrier packs, and what their words mean."""

    def __init__(self, packs: list[Pack], identity_key: bytes) -> None:
        self._carriers = {pack.carrier: pack for pack in packs}
        self._names: dict[str, tuple[Pack, Channel | None]] = {}
        for pack in packs:
            self._names |= {name: (pack, channel) for name, channel in pack.aliases.items()}
            self._names[pack.carrier] = (pack, None)
        self._identity_key = identity_key
        self._rows: dict[tuple[str, str | None, str, str | None], _Row] = {}

    @classmethod
    def load(cls, texts: Mapping[str, str], identity_key: bytes = b"") -> Self:
        """Read packs from their TOML.

        Args:
            texts: By file name, built-in ones under `BUILTIN`. A pack replaces a built-in one of the same carrier.
            identity_key: Keys the hash of a recipient that is part of an identity. It has to stay the same as long
                as state is kept, or the same message becomes another.

        Raises:
            PackError: One or more packs break the rules; every problem of every pack is listed.
        """
        return cls(_Loader(texts).load(), identity_key)

    @property
    def carriers(self) -> Mapping[str, Pack]:
        """The packs by their own names."""
        return MappingProxyType(self._carriers)

    def known(self, carrier: str) -> str:
        """Give the name to count a carrier under: its pack's own, or `unknown`, so that labels stay few."""
        found = self._find(carrier)
        return found[0].carrier if found else _UNKNOWN

    def examples(self) -> list[Example]:
        """List the examples of all packs."""
        return [example for pack in self._carriers.values() for example in pack.examples]

    def extract(self, callback: RawCallback) -> list[RawStatusEvent | InputError]:
        """Find the reports in a verbatim callback: for each element in order its event, or why it is none.

        Raises:
            InputError: No pack for the carrier, or the callback as a whole is not understandable.
        """
        pack, implied = self._pack(callback.carrier)
        return extraction.extract(pack, callback, implied)

    def interpret(self, event: RawStatusEvent) -> StatusEvent | Ignored:
        """Say what a report means and which message it is about.

        Raises:
            InputError: The carrier, its channel or its status is unknown, or a fact is out of its range.
        """
        row = self._rows.get(_COMBINATION(event)) or self._row(event)
        if isinstance(row, Ignored):
            return row
        meaning, head, prefixes, care = row
        message_id = event.message_id
        account = event.account
        total = event.parts_total
        occurred_at = event.occurred_at
        if (
            (care and (care > 1 or event.attributes))
            or not 0 < len(message_id) <= ID_CHARS_MAX
            or "\0" in message_id
            or (account is not None and (not 0 < len(account) <= ID_CHARS_MAX or "\0" in account))
            or (total is not None and not 0 < total <= PARTS_MAX)
            or event.part_number is not None
            or (occurred_at is not None and not EARLIEST_MS <= occurred_at <= event.received_at + AHEAD_MS)
            or (prefixes and _prefixed(event, prefixes))
        ):
            return self._with_care(event, row)
        identity = f"{head}{message_id}\0{account or ''}\0"
        return _new_event(StatusEvent, (identity, message_id, "", meaning, event))

    # Everything below is off the hot path.

    def _with_care(self, event: RawStatusEvent, row: _Row) -> StatusEvent | Ignored:
        """Interpret an event with something to change or to refuse, or of a pack that spells ids its own way."""
        if not event.channel:
            row = self._row(event)  # An address may name another channel than the one that the row is of.
        if isinstance(row, Ignored):
            return row
        meaning = row[0]
        if not event.message_id and meaning.status is Status.REPLY:
            return Ignored(IgnoreReason.UNATTRIBUTED, meaning.carrier, meaning.rule)
        _check_id("message id", event.message_id)
        if event.account is not None:
            _check_id("account", event.account)
        pack = self._carriers[meaning.carrier]
        report = _without_nonsense(_checked_parts(_bare(pack, event)))
        message_id, part = pack.ids.normalise(event.message_id)
        if part is not None and report.part_number is None:
            report = report._replace(part_number=part)
        if report.part_number is not None and Status.PARTIALLYSENT not in CHANNEL_STATUSES[meaning.channel]:
            raise InputError(DeadLetterReason.MALFORMED, f"messages on {meaning.channel} have no parts")
        chain = pack.ids.chain_of(report, meaning.channel, self._identity_key)
        identity = identity_of(event.account, meaning.carrier, message_id, chain)
        return StatusEvent(identity, message_id, chain, meaning, report)

    def _row(self, event: RawStatusEvent) -> _Row:
        """Work out what a combination means, and remember it.

        Without a channel, a combination is remembered as what it means where no address names a channel; an event
        whose address does is found under that channel.
        """
        pack, implied = self._pack(event.carrier)
        by_address = None
        if event.channel:
            channel = extraction.channel_named(event.channel)
        else:
            by_address = extraction.address_channel(pack, event.recipient, event.sender)
            channel = by_address or implied or pack.default_channel
        if channel is None or channel not in pack.channels:
            raise InputError(DeadLetterReason.UNKNOWN_CHANNEL, _no_channel(pack, channel, event.channel))
        named = (event.carrier, channel, event.status, event.error_code)
        row = self._rows.get(named)
        if row is None:
            row = _combined(pack, channel, event)
            self._remember(named, row)
        if not by_address and not (isinstance(row, Ignored) and pack.address_prefixes):
            self._remember(_COMBINATION(event), row)
        return row

    def _remember(self, combination: tuple[str, str | None, str, str | None], row: _Row) -> None:
        if sum(len(word) for word in combination if word) > _WORDS_MAX:
            return
        if len(self._rows) >= _ROWS_MAX:  # Words from outside: starting over costs less than keeping an order.
            self._rows.clear()
        self._rows[combination] = row

    def _pack(self, carrier: str) -> tuple[Pack, Channel | None]:
        found = self._find(carrier)
        if found is None:
            raise InputError(DeadLetterReason.UNKNOWN_CARRIER, "there is no pack for this carrier")
        return found

    def _find(self, carrier: str) -> tuple[Pack, Channel | None] | None:
        return self._names.get(carrier) or self._names.get(carrier.strip().lower().replace("_", "-"))


def _combined(pack: Pack, channel: Channel, event: RawStatusEvent) -> _Row:
    found = pack.row(channel, event.status, event.error_code)
    if found is None:
        raise _unknown_status(pack, channel, event.status)
    if found.status is None:
        return Ignored(IgnoreReason.LISTED, pack.carrier, found.rule)
    meaning = Meaning(
        carrier=pack.carrier,
        channel=channel,
        status=found.status,
        raw_status=event.status,
        error_code=event.error_code,
        words=found.words,
        rule=found.rule,
    )
    prefixes = tuple(prefix for prefix, _ in pack.address_prefixes)
    return meaning, f"{pack.carrier}\0", prefixes, _care(pack)


def _care(pack: Pack) -> _Care:
    if pack.ids.verbatim:
        return _Care.NEVER
    return _Care.WITH_ATTRIBUTES if pack.ids.only_attributes else _Care.ALWAYS


def _prefixed(event: RawStatusEvent, prefixes: tuple[str, ...]) -> bool:
    recipient, sender = event.recipient, event.sender
    return bool((recipient and recipient.startswith(prefixes)) or (sender and sender.startswith(prefixes)))


def _unknown_status(pack: Pack, channel: Channel, status: str) -> InputError:
    """Tell a word that the carrier has only on other channels from one that it has nowhere."""
    for other in pack.channels:
        row = pack.row(other, status, None)
        if row and row.status and row.status not in CHANNEL_STATUSES[channel]:
            detail = f"{pack.carrier} has this status on {other}, and {channel} has no {row.status}"
            return InputError(DeadLetterReason.STATUS_NOT_ON_CHANNEL, detail)
    detail = f"the pack of {pack.carrier} has no row for this status on {channel}"
    return InputError(DeadLetterReason.UNKNOWN_STATUS, detail)


def _no_channel(pack: Pack, channel: Channel | None, named: str | None) -> str:
    if channel is not None:
        return f"the pack of {pack.carrier} has no channel {channel}"
    if named:
        return "the event names a channel that does not exist"
    return f"the event names no channel and the pack of {pack.carrier} has no default"


def _check_id(what: str, text: str) -> None:
    if not text:
        raise InputError(DeadLetterReason.MALFORMED, f"the {what} is empty")
    if len(text) > ID_CHARS_MAX:
        raise InputError(DeadLetterReason.MALFORMED, f"the {what} is longer than {ID_CHARS_MAX} characters")
    if "\0" in text:
        raise InputError(DeadLetterReason.MALFORMED, f"the {what} holds a NUL")


def _checked_parts(event: RawStatusEvent) -> RawStatusEvent:
    """Refuse counts that no message has; a total of 0 is unknown, and part 1 of 1 is the whole message."""
    total, number = event.parts_total, event.part_number
    if total is not None and not 0 <= total <= PARTS_MAX:
        raise InputError(DeadLetterReason.MALFORMED, f"the number of parts is outside 0 to {PARTS_MAX}")
    if number is not None and not 1 <= number <= PARTS_MAX:
        raise InputError(DeadLetterReason.MALFORMED, f"the part's number is outside 1 to {PARTS_MAX}")
    if number == 1 and total == 1:
        return event._replace(parts_total=None, part_number=None)
    return event._replace(parts_total=None) if total == 0 else event


def _bare(pack: Pack, report: RawStatusEvent) -> RawStatusEvent:
    recipient = report.recipient and extraction.bare_address(pack, report.recipient)
    sender = report.sender and extraction.bare_address(pack, report.sender)
    if recipient is report.recipient and sender is report.sender:
        return report
    return report._replace(recipient=recipient, sender=sender)


def _without_nonsense(report: RawStatusEvent) -> RawStatusEvent:
    """Leave out a time that cannot be true; `occurred_at` is for display, so the status counts all the same."""
    time = report.occurred_at
    return report if time is None or is_believable(time, report.received_at) else report._replace(occurred_at=None)


_OWN: Final = ("carrier", "name", "aliases", "sources", "examples")
"""What a pack that extends another does not take from it."""


class _Loader:
    """Reads packs, with all their problems at once."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        files = sorted(texts, key=lambda file: not file.startswith(BUILTIN))  # Built-in ones first, to be replaced.
        self._files = {file: parse_toml(file, texts[file]) for file in files}
        self._problems: list[str] = []

    def load(self) -> list[Pack]:
        """Give the packs that count.

        Raises:
            PackError: With every problem found.
        """
        packs: dict[str, Pack] = {}
        for file, (data, problems) in self._files.items():
            if data is not None:
                pack = read_pack(file, self._extended(file), problems)
                known = packs.get(pack.carrier)
                if known is not None and not known.file.startswith(BUILTIN):
                    problems.add(("carrier",), f"{pack.carrier!r} has a pack already, {known.file}")
                packs[pack.carrier] = pack
            self._problems += problems.found
        self._check_names(list(packs.values()))
        if self._problems:
            raise PackError(self._problems)
        return list(packs.values())

    def _extended(self, file: str, above: tuple[str, ...] = ()) -> dict[str, object]:
        """Lay a pack over the one it extends; with a carrier's own pack extended, that is the built-in one."""
        data, problems = self._files[file]
        own = dict(data or {})
        name = own.pop("extends", None)
        if name is None:
            return own
        above = (*above, file)
        bases = {
            str((base or {}).get("carrier")): other for other, (base, _) in self._files.items() if other not in above
        }
        if not isinstance(name, str) or name not in bases:
            problems.add(("extends",), f"{name!r} is no pack to extend", allowed=bases)
            return own
        base = self._extended(bases[name], above)
        return merge({key: value for key, value in base.items() if key not in _OWN}, own)

    def _check_names(self, packs: list[Pack]) -> None:
        """Refuse a name that two packs claim, or one pack twice."""
        owners: dict[str, Pack] = {}
        for pack in packs:
            for name in (pack.carrier, *pack.aliases):
                if name in owners:
                    other = owners[name]
                    where = f"{pack.file}: aliases"
                    self._problems.append(f"{where}: {name!r} is already a name of {other.carrier}, {other.file}")
                owners.setdefault(name, pack)
