"""A pack's examples: real inputs with what must come of them, run by the tests and by `carriers check`.

Expected outcomes are one closed vocabulary: a canonical status, why an event is ignored, or why it is a dead letter.
"""

from __future__ import annotations

import base64
import html
import json
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Final
from urllib.parse import quote_plus

from processor.bodies import BodyFormat
from processor.errors import DeadLetterReason, InputError
from processor.model import Ignored, IgnoreReason, RawCallback, RawStatusEvent, StatusEvent
from processor.pack_toml import Table
from processor.status import Channel, Status
from processor.times import parse_time

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

RECEIVED_AT: Final = 1_795_435_200_000
"""2026-11-23T12:00:00Z: when every example arrived."""

OUTCOMES: Final = (*Status, *(each for each in IgnoreReason if each != IgnoreReason.FORGOTTEN), *DeadLetterReason)
_CONTENT_TYPES: Final = {
    BodyFormat.JSON: "application/json",
    BodyFormat.FORM: "application/x-www-form-urlencoded",
    BodyFormat.QUERY: "",
    BodyFormat.SMPP: "",
    BodyFormat.XML: "application/xml",
}
_ESCAPES: Final[dict[BodyFormat, Callable[[str], str]]] = {
    BodyFormat.JSON: lambda text: json.dumps(text)[1:-1],
    BodyFormat.FORM: quote_plus,
    BodyFormat.QUERY: quote_plus,
    BodyFormat.SMPP: str,
    BodyFormat.XML: html.escape,
}
_EVENT_FACTS: Final = ("message_id", "status", "error_code", "error_text", "recipient", "sender", "event_id", "account")
EXPECTED_FACTS: Final = (
    "channel",
    "message_id",
    "raw_status",
    "error_code",
    "error_text",
    "recipient",
    "sender",
    "occurred_at",
    "parts_total",
    "part_number",
    "client_reference",
    "event_id",
    "account",
    "action_type",
    "action_description",
    "chained",
)
"""What an example may say of an outcome besides its status; `chained` tells whether the id alone is not the message."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What must come of one event."""

    outcome: str
    facts: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Example:
    """One input and what must come of it."""

    carrier: str
    """The pack's own name."""
    channel: Channel | None
    kind: str
    """`callback` or `event`."""
    place: str
    """Where it stands in the pack, for people."""
    input: RawCallback | RawStatusEvent
    expected: tuple[Expected, ...] | str
    """For each event in order, or why the whole callback is refused."""


Outcome = StatusEvent | Ignored | InputError


def failures(example: Example, outcome: tuple[Outcome, ...] | InputError) -> list[str]:
    """Compare what came of an example with what must; one line for each difference, none where all is well."""
    expected = example.expected
    if isinstance(outcome, InputError) or isinstance(expected, str):
        got = _word(outcome) if isinstance(outcome, InputError) else f"{len(outcome)} events"
        return [] if got == expected else [f"{example.place}: expected {_told(expected)}, got {got}"]
    if len(outcome) != len(expected):
        return [f"{example.place}: expected {len(expected)} events, got {len(outcome)}"]
    return [
        f"{example.place}, event {at}: expected {what} {wanted!r}, got {got!r}"
        for at, (one, want) in enumerate(zip(outcome, expected, strict=True), start=1)
        for what, wanted, got in _differences(one, want)
    ]


def _told(expected: tuple[Expected, ...] | str) -> str:
    return expected if isinstance(expected, str) else f"{len(expected)} events"


def _word(outcome: Outcome) -> str:
    match outcome:
        case StatusEvent():
            return outcome.meaning.status
        case Ignored() | InputError():
            return outcome.reason


def _differences(outcome: Outcome, expected: Expected) -> list[tuple[str, object, object]]:
    word = _word(outcome)
    if word != expected.outcome:
        return [("outcome", expected.outcome, str(word))]
    if not isinstance(outcome, StatusEvent):
        return []
    facts = _facts(outcome)
    return [(name, wanted, facts[name]) for name, wanted in expected.facts.items() if facts[name] != wanted]


def _facts(event: StatusEvent) -> dict[str, object]:
    report, action = event.report, event.report.action
    return {
        **report._asdict(),
        "channel": event.meaning.channel,
        "message_id": event.message_id,
        "raw_status": event.meaning.raw_status,
        "error_text": report.error_text or event.meaning.words,
        "action_type": action.type if action else None,
        "action_description": action.description if action else None,
        "chained": bool(event.chain),
    }


def read_examples(pack: Table, carrier: str, channels: Collection[Channel]) -> tuple[Example, ...]:
    """Read a pack's examples; a table of rows gives one example for each."""
    if not pack.has("examples"):
        pack.add("missing: every channel needs at least one", "examples")
    examples = [example for table in pack.tables("examples") for example in _examples(table, carrier)]
    shown = {example.channel for example in examples}
    for channel in channels:
        if pack.has("examples") and channel not in shown:
            pack.add(f"channel {channel} has none", "examples")
    return tuple(examples)


def _examples(table: Table, carrier: str) -> list[Example]:
    channel = table.text("channel", among=tuple(Channel))
    source = _Template(table, carrier, channel)
    rows = _rows(table)
    expect = None if rows else _expected(table)
    table.done()
    place = ".".join(str(part + 1 if isinstance(part, int) else part) for part in table.path)
    made = []
    for status, code, outcome in rows:
        made.append((f"{place} ({status}, {code})" if code else f"{place} ({status})", status, code, outcome))
    if expect is not None:
        made.append((place, "", "", expect))
    return [
        Example(
            carrier=carrier,
            channel=Channel(channel) if channel else None,
            kind=source.kind,
            place=f"{carrier} {where}",
            input=source.fill(status, code),
            expected=outcome,
        )
        for where, status, code, outcome in made
    ]


def _rows(table: Table) -> list[tuple[str, str, tuple[Expected, ...] | str]]:
    """Read `[status, outcome]` or `[status, error code, outcome]`."""
    value = table.take("rows")
    rows: list[tuple[str, str, tuple[Expected, ...] | str]] = []
    for row in value if isinstance(value, list) else []:
        if isinstance(row, list) and 2 <= len(row) <= 3 and all(isinstance(item, str) for item in row):
            _check_outcome(table, row[-1], "rows")
            rows.append((row[0], row[1] if len(row) == 3 else "", (Expected(row[-1], {}),)))
        else:
            table.add("each has to be [status, outcome] or [status, error code, outcome]", "rows")
    return rows


def _check_outcome(table: Table, outcome: object, key: str) -> None:
    if outcome not in OUTCOMES:
        table.add(f"{outcome!r} is no outcome", key, allowed=OUTCOMES)


def _expected(table: Table) -> tuple[Expected, ...] | str:
    value = table.take("expect")
    if isinstance(value, str):
        _check_outcome(table, value, "expect")
        return value
    if not isinstance(value, list):
        table.add("missing, or neither a list with an outcome for each event nor a reason", "expect")
        return ()
    found = []
    for at, item in enumerate(value):
        one = Table(table.problems, (*table.path, "expect", at), item if isinstance(item, dict) else {"outcome": item})
        outcome = one.take("outcome")
        _check_outcome(one, outcome, "outcome")
        facts = {name: one.take(name) for name in EXPECTED_FACTS if one.has(name)}
        if "occurred_at" in facts:
            facts["occurred_at"] = _instant(str(facts["occurred_at"]))
        one.done()
        found.append(Expected(str(outcome), facts))
    return tuple(found)


def _instant(text: str) -> int | None:
    return parse_time(text, "iso8601", UTC)


class _Template:
    """An example's input, into which the status and the error code of a row are put."""

    def __init__(self, table: Table, carrier: str, channel: str) -> None:
        self._carrier = table.text("as") or carrier
        self._channel = channel or None
        self._given = {key: table.text(key) or None for key in ("account", "callback_channel")}
        name = table.text("format", among=tuple(BodyFormat))
        self._format = BodyFormat(name) if name else None
        content_type = table.take("content_type")
        self._content_type = content_type if isinstance(content_type, str) else None
        self._body = table.text("body")
        self._inner = table.text("base64")
        self._query = table.text("query")
        self._attributes = {key: str(value) for key, value in table.table("attributes").rows()}
        event = table.take("event")
        self._event = event if isinstance(event, dict) else {}
        self.kind = "callback" if self._format else "event"
        if self._format is None and self._body:
            table.add("missing", "format", allowed=tuple(BodyFormat))

    def fill(self, status: str, code: str) -> RawCallback | RawStatusEvent:
        """Make the input for one row."""
        if self._format is None:
            return self._fill_event(status, code)
        escape = _ESCAPES[self._format]
        words = {"$status": status, "$code": code}
        inner = _replaced(self._inner, {key: json.dumps(word)[1:-1] for key, word in words.items()})
        escaped = {key: escape(word) for key, word in words.items()}
        escaped["$base64"] = base64.b64encode(inner.encode()).decode()
        body = _replaced(self._body, escaped)
        query = _replaced(self._query, {key: quote_plus(word) for key, word in words.items()})
        return RawCallback(
            account=self._given["account"],
            carrier=self._carrier,
            channel=self._given["callback_channel"],
            received_at=RECEIVED_AT,
            content_type=_CONTENT_TYPES[self._format] if self._content_type is None else self._content_type,
            body=body.encode(),
            query=query or None,
            attributes={key: _replaced(value, words) for key, value in self._attributes.items()},
        )

    def _fill_event(self, status: str, code: str) -> RawStatusEvent:
        facts = {name: str(self._event[name]) for name in _EVENT_FACTS if name in self._event}
        return RawStatusEvent(
            event_id=facts.get("event_id"),
            account=facts.get("account"),
            carrier=self._carrier,
            channel=self._channel,
            message_id=facts.get("message_id", "message-1"),
            status=status or facts.get("status", ""),
            error_code=code or facts.get("error_code"),
            error_text=facts.get("error_text"),
            recipient=facts.get("recipient"),
            sender=facts.get("sender"),
            occurred_at=None,
            received_at=RECEIVED_AT,
            parts_total=None,
            part_number=None,
            client_reference=None,
            action=None,
            attributes=self._attributes,
        )


def _replaced(text: str, words: Mapping[str, str]) -> str:
    for name, word in words.items():
        text = text.replace(name, word)
    return text
