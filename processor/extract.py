"""A carrier's verbatim callback to the reports in it, by the shapes of the carrier's pack.

One callback holds none, one or many reports; each gives an event or an error of its own, in order, so that one bad
element costs no other. Nothing is mapped here: the words stay the carrier's.
"""

from __future__ import annotations

import base64
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from processor.bodies import (
    BODY_BYTES_MAX,
    NODES_MIN,
    BodyFormat,
    charset_of,
    decode,
    malformed,
    parse_form,
    parse_form_body,
    parse_json,
    parse_smpp,
    parse_xml,
)
from processor.errors import InputError
from processor.model import Action, RawCallback, RawStatusEvent
from processor.pack_ids import PARTS_MAX
from processor.paths import is_true
from processor.status import Channel, Status
from processor.times import UNREADABLE, is_believable, parse_time

if TYPE_CHECKING:
    from collections.abc import Mapping

    from processor.pack_format import Pack, Row
    from processor.pack_shapes import Fact, Levels, Shape, Unwrap

ELEMENTS_MAX: Final = 2_000
"""Infobip sends 100 reports at a time, Meta at most a thousand."""
_ELEMENTS_MIN: Final = 100
_ELEMENT_BYTES: Final = 80  # An event takes 700 bytes, and a report that comes with hundreds of others has a hundred.
"""So many elements always, more only in a body that has the bytes: a number alone, the shortest element, takes 14."""
_COUNT_DIGITS_MAX: Final = 9
_CHANNELS: Final[dict[str, Channel]] = {str(channel): channel for channel in Channel}


def extract(pack: Pack, callback: RawCallback, implied: Channel | None) -> list[RawStatusEvent | InputError]:
    """Find the reports in a callback; an empty list where it holds none, such as an inbound message.

    Args:
        pack: The carrier's pack.
        callback: As the edge received it.
        implied: The channel that the carrier's name implies, where it does.

    Raises:
        InputError: The callback as a whole is not understandable.
    """
    body = _Body(callback)
    refused: InputError | None = None
    for shape in pack.shapes:
        for body_format in shape.formats:
            try:
                document = body.read(body_format, shape)
            except InputError as error:
                refused = refused or error
                continue
            if document is None or (shape.when is not None and not _holds(shape, document)):
                continue
            if not shape.holds_reports:
                return []
            return _Reports(pack, shape, body, callback, implied).read(document)
    raise refused or malformed(f"no callback of {pack.carrier} looks like this")


def channel_named(text: str) -> Channel | None:
    """Find a channel by its name in any case; None where there is none of that name."""
    return _CHANNELS.get(text) or _CHANNELS.get(text.strip().upper())


def _holds(shape: Shape, document: object) -> bool:
    return shape.when is None or is_true(shape.when(document))


class _Body:
    """A callback's body and query, each parsed at most once for a way of reading it."""

    def __init__(self, callback: RawCallback) -> None:
        if len(callback.body) > BODY_BYTES_MAX:
            raise malformed(f"the body is longer than {BODY_BYTES_MAX} bytes")
        self._callback = callback
        self._charset = charset_of(callback.content_type) if callback.content_type else ""
        self._known: dict[tuple[BodyFormat, int, bool], object] = {}
        """Documents by format, length without the prefix, and folding, so that no two are of the same text; None where
        the body does not look like the format, or why it is not what it looks like."""

    @property
    def attributes(self) -> Mapping[str, str]:
        """The callback's attributes, which need no parsing."""
        return self._callback.attributes

    @cached_property
    def query(self) -> dict[str, object]:
        """The query string."""
        return parse_form((self._callback.query or "").lstrip("?"))

    def read(self, body_format: BodyFormat, shape: Shape) -> object:
        """Give the document, opened as the shape says; None where the body does not look like this format.

        Raises:
            InputError: It looks like this format and is not.
        """
        body = self._bare.removeprefix(shape.prefix)
        if body_format is BodyFormat.FORM and body.lstrip()[:1] == b"{":
            body_format = BodyFormat.JSON  # Web frameworks hand a form over as an object, and edges pass that on.
        key = (body_format, len(body), shape.fold_keys)
        if key not in self._known:
            try:
                self._known[key] = self._parse(body_format, body, fold_keys=shape.fold_keys)
            except InputError as error:
                self._known[key] = error
        document = self._known[key]
        if isinstance(document, InputError):
            raise document
        for unwrap in shape.unwraps:
            _open(document, unwrap)
        return document

    @cached_property
    def _bare(self) -> bytes:
        return self._callback.body.removeprefix(b"\xef\xbb\xbf").strip()

    def _parse(self, body_format: BodyFormat, body: bytes, *, fold_keys: bool) -> object:
        """Look before parsing: the body's first character says more than its Content-Type, which may lie."""
        first = body.lstrip()[:1]
        structured = first in (b"{", b"[", b"<")
        match body_format:
            case BodyFormat.JSON if first in (b"{", b"["):
                return parse_json(decode(body, self._charset), fold_keys=fold_keys)
            case BodyFormat.XML if first == b"<":
                return parse_xml(body, fold_keys=fold_keys)
            case BodyFormat.FORM if b"=" in body and not structured:
                return parse_form_body(body, self._charset or "latin-1", fold_keys=fold_keys)
            case BodyFormat.SMPP if not structured:
                return parse_smpp(decode(body, self._charset or "latin-1"), self._callback.attributes)
            case BodyFormat.QUERY if self._callback.query:
                return parse_form(self._callback.query.lstrip("?"), fold_keys=fold_keys)
        return None


def _open(document: object, unwrap: Unwrap) -> None:
    """Put what a text inside the document holds in its place; one that is missing or open already is left alone.

    In a list, an item whose text does not open becomes its error, and costs no other item.

    Raises:
        InputError: A text that stands in no list does not open, or there are too many.
    """
    found: list[tuple[object, tuple[list[object], int] | None]] = [(document, None)]
    for name in unwrap.at[:-1]:
        below: list[tuple[object, tuple[list[object], int] | None]] = []
        for container, place in found:
            inside = container.get(name.removesuffix("[]")) if isinstance(container, dict) else None
            if isinstance(inside, list):
                below += [(item, (inside, at)) for at, item in enumerate(inside)]
            else:
                below.append((inside, place))
        found = below
        if len(found) > ELEMENTS_MAX:
            raise malformed(f"the callback holds more than {ELEMENTS_MAX} envelopes")
    spare = NODES_MIN // max(len(found), 1)  # However many there are, together they may hold as much as one.
    for container, place in found:
        if isinstance(container, dict) and isinstance(text := container.get(unwrap.at[-1]), str):
            try:
                container[unwrap.at[-1]] = _decoded(text, unwrap, spare)
            except InputError as error:
                if place is None:
                    raise
                items, at = place
                items[at] = error.with_traceback(None)


def _decoded(text: str, unwrap: Unwrap, spare: int) -> Any:  # noqa: ANN401  # whatever the text holds
    value: Any = text
    for decoding in unwrap.decodings:
        inner = decode(value) if isinstance(value, bytes) else value
        if not isinstance(inner, str):
            raise malformed("a wrapped value is no text")
        match decoding:
            case "base64":
                value = _base64(inner)
            case "json":
                value = parse_json(inner, spare=spare)
            case "form":
                value = parse_form(inner)
            case _:
                value = parse_smpp(inner, {})
    return value


def _base64(text: str) -> bytes:
    """Read either alphabet, padded or not, over lines or not, as transports differ."""
    bare = "".join(text.split()).rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except ValueError:
        raise malformed("a wrapped value is not base64") from None


class _Reports:
    """Reads the reports of one document."""

    def __init__(self, pack: Pack, shape: Shape, body: _Body, callback: RawCallback, implied: Channel | None) -> None:
        self._pack = pack
        self._shape = shape
        self._body = body
        self._callback = callback
        self._implied = implied

    def read(self, document: object) -> list[RawStatusEvent | InputError]:
        """Read every element; one that is no report of this carrier gives its error in its place."""
        found: list[RawStatusEvent | InputError] = []
        for levels in self._elements(document):
            try:
                found.append(self._report(levels))
            except InputError as error:
                found.append(error.with_traceback(None))  # Or thousands of frames would stay alive.
        return found

    def _elements(self, document: object) -> list[Levels]:
        """Walk down to the elements, keeping for each what it stands in."""
        most = min(ELEMENTS_MAX, _ELEMENTS_MIN + len(self._callback.body) // _ELEMENT_BYTES)
        elements: list[Levels] = [(document,)]
        for step in self._shape.each:
            below: list[Levels] = []
            for levels in elements:
                value = step(levels[0])
                items = value if isinstance(value, list) else [value]
                if value is None:  # An object may have nothing there; what is no object is a bad element itself.
                    items = [] if isinstance(levels[0], dict) or len(levels) == 1 else [levels[0]]
                if len(below) + len(items) > most:
                    raise malformed(f"the callback holds more than {most} elements")
                below += [(item, *levels) for item in items]
            elements = below
        return elements

    def _report(self, levels: Levels) -> RawStatusEvent:
        if isinstance(levels[0], InputError):
            raise levels[0]
        facts, first = self._shape.facts, self._first
        recipient = first(facts["recipient"], levels)
        sender = first(facts["sender"], levels)
        channel, channel_text = self._channel(levels, recipient, sender)
        status, row = self._status(channel, levels)
        message_id = first(facts["message_id"], levels) or ""
        if not message_id and (row is None or row.status not in (None, Status.REPLY)):
            raise malformed("the message id is missing")
        parts_total, part_number = self._parts(levels)
        return RawStatusEvent(
            event_id=first(facts["event_id"], levels),
            account=self._callback.account or first(facts["account"], levels),
            carrier=self._callback.carrier,
            channel=channel_text,
            message_id=message_id,
            status=status,
            error_code=self._error_code(channel, status, levels),
            error_text=first(facts["error_text"], levels),
            recipient=recipient and bare_address(self._pack, recipient),
            sender=sender and bare_address(self._pack, sender),
            occurred_at=self._time(levels),
            received_at=self._callback.received_at,
            parts_total=parts_total,
            part_number=part_number,
            client_reference=first(facts["client_reference"], levels),
            action=self._action(levels),
            attributes=self._attributes(levels),
        )

    def _first(self, fact: Fact, levels: Levels) -> str | None:
        for candidate in fact:
            if (text := candidate.read(levels, self._body)) is not None:
                return text
        return None

    def _channel(self, levels: Levels, recipient: str | None, sender: str | None) -> tuple[Channel | None, str | None]:
        """Find the channel: what the edge says, then the callback, its addresses, the carrier's name, the default."""
        text = self._callback.channel or self._first(self._shape.facts["channel"], levels)
        if text:
            named = channel_named(text)
            return named, named or text
        channel = (
            self._shape.channel
            or address_channel(self._pack, recipient, sender)
            or self._implied
            or self._pack.default_channel
        )
        return channel, channel

    def _status(self, channel: Channel | None, levels: Levels) -> tuple[str, Row | None]:
        """Take the first candidate that the pack knows, else the first that is there."""
        first = None
        for candidate in self._shape.facts["status"]:
            text = candidate.read(levels, self._body)
            if text is None:
                continue
            if row := self._pack.row(channel, text, None):
                return text, row
            first = first or text
        if first is None:
            raise malformed("the status is missing")
        return first, None

    def _error_code(self, channel: Channel | None, status: str, levels: Levels) -> str | None:
        """Take the first candidate that says something with this status, else the first that is there."""
        fact = self._shape.facts["error_code"]
        if len(fact) <= 1:
            return self._first(fact, levels)
        first = None
        for candidate in fact:
            text = candidate.read(levels, self._body)
            if text is not None and self._pack.knows_code(channel, status, text):
                return text
            first = first or text
        return first

    def _time(self, levels: Levels) -> int | None:
        """Take the first candidate that can be true, else the first that is there: mapping leaves it out and counts."""
        first = None
        for candidate in self._shape.facts["occurred_at"]:
            text = candidate.read(levels, self._body)
            if text is not None and candidate.time is not None:
                name, zone = candidate.time
                time = parse_time(text, name, zone)
                if time is not None and is_believable(time, self._callback.received_at):
                    return time
                if first is None:
                    first = UNREADABLE if time is None else time
        return first

    def _parts(self, levels: Levels) -> tuple[int | None, int | None]:
        """Read the number of parts, and which of them this is about; what is no number is unknown."""
        facts = self._shape.facts
        total = _count(self._first(facts["parts_total"], levels))
        number = _count(self._first(facts["part_number"], levels))
        if number is None and total is not None and total > PARTS_MAX:
            total = None  # It is only told and nothing is counted by it: no reason to lose the status.
        return total, number

    def _action(self, levels: Levels) -> Action | None:
        facts = self._shape.facts
        kind = self._first(facts["action_type"], levels)
        return Action(kind, self._first(facts["action_description"], levels) or "") if kind else None

    def _attributes(self, levels: Levels) -> dict[str, str]:
        found = {}
        for name, fact in self._shape.attributes.items():
            if (text := self._first(fact, levels)) is not None:
                found[name] = text
        return found


def _count(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() and len(text) <= _COUNT_DIGITS_MAX else None


def address_channel(pack: Pack, *addresses: str | None) -> Channel | None:
    """Find the channel that an address's prefix names."""
    for address in addresses:
        for prefix, channel in pack.address_prefixes:
            if address and address.startswith(prefix):
                return channel
    return None


def bare_address(pack: Pack, address: str) -> str:
    """Cut the prefix that names a channel, so that the same number is the same text in every report."""
    for prefix, _ in pack.address_prefixes:
        if address.startswith(prefix):
            return address[len(prefix) :]
    return address
