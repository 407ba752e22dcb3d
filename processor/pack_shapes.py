"""The callback shapes of a pack: how a body is written, where the reports are in it, where the facts of each sit.

Compiled from TOML once; `processor.extract` walks a callback with them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from processor.bodies import DEPTH_MAX, BodyFormat, malformed
from processor.pack_toml import Table, merge
from processor.paths import compile_path
from processor.status import Channel
from processor.times import FORMATS, is_format, zone_of

if TYPE_CHECKING:
    from processor.paths import Getter

FACTS: Final = (
    "event_id",
    "account",
    "channel",
    "message_id",
    "status",
    "error_code",
    "error_text",
    "recipient",
    "sender",
    "occurred_at",
    "parts_total",
    "part_number",
    "client_reference",
    "action_type",
    "action_description",
)
"""What a shape may look up: the fields of a RawStatusEvent. `attributes` holds further ones by name."""

PLACES: Final = ("element", "attributes", "query")
DECODINGS: Final = ("base64", "json", "form", "smpp")
_STEPS_MAX: Final = 4
_PATTERN_TEXT_MAX: Final = 1_000  # Keeps a careless pattern from running away on a long text.
_ANY: Final = "*"


class Outside(Protocol):
    """What a fact may be looked up in besides the document."""

    @property
    def attributes(self) -> Mapping[str, str]:
        """The callback's attributes."""

    @property
    def query(self) -> Mapping[str, object]:
        """The request's query string."""


Levels = tuple[object, ...]
"""An element and what it stands in: the element first, the document last."""
Reader = Callable[[Levels, Outside], "str | None"]


class Candidate(NamedTuple):
    """One place where a fact may sit: how to read its text, and for times in what format and zone it is."""

    read: Reader
    time: tuple[str, tzinfo] | None


Fact = tuple[Candidate, ...]
"""The first candidate that has a text counts."""


def _reader(get: Getter, up: int, place: str, replaced: Callable[[str], str] | None) -> Reader:
    """Make what reads one place; a text that needs nothing more is taken the short way."""

    def read_element(levels: Levels, _outside: Outside) -> str | None:
        value = get(levels[up])
        if replaced is None and type(value) is str and value.isascii():
            return value or None
        return _text(value, replaced)

    def read_outside(_levels: Levels, outside: Outside) -> str | None:
        return _text(get(outside.attributes if place == "attributes" else outside.query), replaced)

    return read_element if place == "element" else read_outside


def _text(value: object, replaced: Callable[[str], str] | None) -> str | None:
    """Give a value as a text; None for nothing, false, or something with values of its own.

    Raises:
        InputError: It is no text that UTF-8 can write.
    """
    if value is True:
        value = "true"
    if not isinstance(value, str) or not value:
        return None
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise malformed("a fact holds half of a surrogate pair, which is no text") from None
    return (replaced(value) if replaced else value) or None


def _replacer(pattern: re.Pattern[str] | None, words: Mapping[str, str]) -> Callable[[str], str] | None:
    """Make what takes a pattern's group out of a text and puts a listed word in its place; `*` lists all others."""
    if pattern is None and not words:
        return None

    def replaced(text: str) -> str:
        if pattern is not None:
            match = pattern.search(text[:_PATTERN_TEXT_MAX])
            text = (match[1] or "") if match else ""
        return words.get(text, words.get(_ANY, text)) if text else text

    return replaced


@dataclass(frozen=True, slots=True)
class Unwrap:
    """A text inside a document that is a document itself, and how to open it, from the outside in."""

    at: tuple[str, ...]
    decodings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shape:
    """One form that a carrier's callbacks take."""

    formats: tuple[BodyFormat, ...]
    when: Getter | None
    holds_reports: bool
    prefix: bytes
    fold_keys: bool
    unwraps: tuple[Unwrap, ...]
    each: tuple[Getter, ...]
    """From the document down to the element; each step may give a list, one thing, or nothing."""
    channel: Channel | None
    facts: Mapping[str, Fact]
    """Every name of `FACTS`, the missing ones without a candidate."""
    attributes: Mapping[str, Fact]


def read_shapes(pack: Table, zone: tzinfo) -> tuple[Shape, ...]:
    """Read the callbacks of a pack; `fields` of the pack are laid under those of each callback."""
    defaults = pack.take("fields")
    if defaults is not None and not isinstance(defaults, dict):
        pack.add("has to be a table", "fields")
    common = defaults if isinstance(defaults, dict) else {}
    return tuple(_shape(table, common, zone) for table in pack.tables("callbacks"))


def _shape(table: Table, common: Mapping[str, object], zone: tzinfo) -> Shape:
    holds_reports = table.text("holds", among=("reports", "nothing")) != "nothing"
    each = tuple(_getter(table, path, "each") for path in table.texts("each"))
    if len(each) > _STEPS_MAX:
        table.add(f"has more than {_STEPS_MAX} steps", "each")
    own = table.take("fields")
    if own is not None and not isinstance(own, dict):
        table.add("has to be a table", "fields")
    merged = merge(common, own if isinstance(own, dict) else {})
    fields = Table(table.problems, (*table.path, "fields"), merged)
    facts, attributes = _fields(fields, zone, len(each)) if holds_reports else ({}, {})
    if holds_reports:
        for name in ("message_id", "status"):
            if not facts[name]:
                table.add("missing", "fields", name)
    channel = table.text("channel", among=tuple(Channel))
    when = table.text("when")
    shape = Shape(
        formats=_formats(table),
        when=_getter(table, when, "when") if when else None,
        holds_reports=holds_reports,
        prefix=table.text("prefix").encode(),
        fold_keys=table.flag("fold_keys"),
        unwraps=tuple(_unwrap(step) for step in table.tables("unwrap")),
        each=each,
        channel=Channel(channel) if channel else None,
        facts=facts,
        attributes=attributes,
    )
    table.done()
    return shape


def _formats(table: Table) -> tuple[BodyFormat, ...]:
    value = table.take("format")
    names = value if isinstance(value, list) else [value]
    found = []
    for name in names:
        if name in tuple(BodyFormat):
            found.append(BodyFormat(str(name)))
        else:
            table.add("missing" if name is None else f"{name!r} is unknown", "format", allowed=tuple(BodyFormat))
    return tuple(found)


def _unwrap(table: Table) -> Unwrap:
    at = tuple(table.text("at", required=True).split("."))
    if not all(at) or len(at) > DEPTH_MAX:
        table.add("has to be names joined by dots", "at")
    decodings = tuple(table.texts("as", required=True))
    for name in decodings:
        if name not in DECODINGS:
            table.add(f"{name!r} is unknown", "as", allowed=DECODINGS)
    table.done()
    return Unwrap(at, decodings)


def _fields(fields: Table, zone: tzinfo, steps: int) -> tuple[dict[str, Fact], dict[str, Fact]]:
    facts = {name: _fact(fields, name, zone if name == "occurred_at" else None, steps) for name in FACTS}
    table = fields.table("attributes")
    attributes = {name: _fact(table, name, None, steps) for name, _ in list(table.rows())}
    fields.done()
    return facts, attributes


def _fact(fields: Table, name: str, zone: tzinfo | None, steps: int) -> Fact:
    """Read a fact: an expression, a table with one, or a list of these, the first of which that has a value counts."""
    value = fields.take(name)
    if value is None or value is False:  # false takes a common field away.
        return ()
    found = []
    for item in value if isinstance(value, list) else [value]:
        candidate = {"path": item} if isinstance(item, str) else item
        if isinstance(candidate, dict):
            found.append(_candidate(Table(fields.problems, (*fields.path, name), candidate), zone, steps))
        else:
            fields.add("has to be an expression, a table, or a list of them", name)
    return tuple(found)


def _candidate(table: Table, zone: tzinfo | None, steps: int) -> Candidate:
    get = _getter(table, table.text("path", required=True), "path")
    place = table.text("in", among=PLACES) or "element"
    replaced = _replacer(_pattern(table), _words(table.table("map")))
    reader = _reader(get, table.integer("up", most=steps), place, replaced)
    candidate = Candidate(reader, _time(table, zone) if zone else None)
    table.done()
    return candidate


def _time(table: Table, zone: tzinfo) -> tuple[str, tzinfo]:
    name = table.text("format") or "iso8601"
    if not is_format(name):
        table.add(f"{name!r} is unknown", "format", allowed=(*FORMATS, "a strptime pattern"))
    own = table.text("zone")
    return name, read_zone(table, own) if own else zone


def read_zone(table: Table, name: str) -> tzinfo:
    """Find a zone by the name that stands under `zone`, or note that there is none and go on in UTC."""
    zone = zone_of(name)
    if zone is None:
        table.add(f"{name!r} is no known zone", "zone", allowed=("UTC", "+01:00", "a name such as Africa/Lagos"))
    return zone or UTC


def _words(table: Table) -> dict[str, str]:
    words = {}
    for key, value in table.rows():
        if isinstance(value, str):
            words[key] = value
        else:
            table.add("has to be a text", key)
    return words


def _getter(table: Table, expression: str, key: str) -> Getter:
    try:
        return compile_path(expression) if expression else _nothing
    except ValueError as error:
        table.add(f"not a JMESPath expression: {error}", key)
        return _nothing


def _nothing(_value: object) -> object:
    return None


def _pattern(table: Table) -> re.Pattern[str] | None:
    pattern = read_pattern(table, "pattern")
    if pattern is not None and pattern.groups == 0:
        table.add("needs a group for the part that counts", "pattern")
        return None
    return pattern


def read_pattern(table: Table, key: str) -> re.Pattern[str] | None:
    """Compile a regular expression, or note what is wrong with it."""
    text = table.text(key)
    try:
        return re.compile(text) if text else None
    except re.error as error:
        table.add(f"not a regular expression: {error}", key)
        return None
