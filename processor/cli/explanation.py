"""What the program makes of one input, for people who ask: the very functions that the worker calls, without Kafka."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from processor.bodies import BODY_BYTES_MAX
from processor.change import change_of
from processor.errors import DeadLetterReason, InputError
from processor.model import Action, Ignored, RawCallback, RawStatusEvent, Source, StatusEvent
from processor.reduce import advance

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import BinaryIO

    from processor.model import MessageState, StatusChange
    from processor.packs import Packs

INPUT_BYTES_MAX: Final = 8 * BODY_BYTES_MAX
"""Longest input, and longest line of many: JSON may take six characters for a byte of a body."""
_CALLBACK_KEYS: Final = frozenset(
    {"carrier", "channel", "content_type", "body", "body_base64", "query", "account", "attributes", "received_at"}
)
_TEXTS: Final = (
    "event_id",
    "account",
    "channel",
    "error_code",
    "error_text",
    "recipient",
    "sender",
    "client_reference",
)
_NUMBERS: Final = ("occurred_at", "parts_total", "part_number")


@dataclass(frozen=True, slots=True)
class Refusal:
    """An element, or the whole input, that would be a dead letter."""

    error: InputError
    index: int | None
    """The element's position; None where the whole input is meant."""


@dataclass(slots=True)
class Explanation:
    """What became of each element of one input, in order."""

    outcomes: list[StatusEvent | Ignored | Refusal] = field(default_factory=list)

    @property
    def events(self) -> list[StatusEvent]:
        """The elements that are status events."""
        return [outcome for outcome in self.outcomes if isinstance(outcome, StatusEvent)]

    @property
    def refusals(self) -> list[Refusal]:
        """The elements that would be dead letters."""
        return [outcome for outcome in self.outcomes if isinstance(outcome, Refusal)]

    @property
    def ignored(self) -> int:
        """How many count as ignored; an input without any element is one."""
        return sum(isinstance(outcome, Ignored) for outcome in self.outcomes) if self.outcomes else 1


def explain_input(packs: Packs, given: RawCallback | RawStatusEvent) -> Explanation:
    """Say what becomes of a callback or of a report."""
    try:
        elements = packs.extract(given) if isinstance(given, RawCallback) else [given]
    except InputError as error:
        return Explanation([Refusal(error, None)])
    return Explanation([_interpreted(packs, element, index) for index, element in enumerate(elements)])


def _interpreted(packs: Packs, element: RawStatusEvent | InputError, index: int) -> StatusEvent | Ignored | Refusal:
    if isinstance(element, InputError):
        return Refusal(element, index)
    try:
        return packs.interpret(element)
    except InputError as error:
        return Refusal(error, index)


def changes_of(explanation: Explanation) -> list[StatusChange]:
    """Return the changes that the events would give if nothing was known before.

    An event that its message cannot take becomes a refusal in the explanation.
    """
    states: dict[str, MessageState] = {}
    changes = []
    for index, event in enumerate(explanation.outcomes):
        if not isinstance(event, StatusEvent):
            continue
        before = states.get(event.identity)
        try:
            after, suppressed = advance(before, event, event.report.received_at)
        except InputError as error:
            explanation.outcomes[index] = Refusal(error, index)
            continue
        states[event.identity] = after
        if suppressed is None:
            changes.append(change_of(event, before, after, Source("", 0, 0, index)))
    return changes


def explanation_as_json(explanation: Explanation) -> dict[str, object]:
    """Return what `--json` and `--jsonl` print; times in ms since the epoch, as in the Avro schemas."""
    return {
        "events": [_event_as_json(event) for event in explanation.events],
        "ignored": explanation.ignored,
        "errors": [refusal_as_json(refusal) for refusal in explanation.refusals],
    }


def refusal_as_json(refusal: Refusal) -> dict[str, object]:
    """Return one error."""
    error: dict[str, object] = {"reason": refusal.error.reason.value, "detail": refusal.error.detail}
    return error if refusal.index is None else {**error, "index": refusal.index}


def _event_as_json(event: StatusEvent) -> dict[str, object]:
    meaning, report = event.meaning, event.report
    return {
        "message_id": event.message_id,
        "status": meaning.status.value,
        "channel": meaning.channel.value,
        "rule": meaning.rule,
        "raw_status": meaning.raw_status,
        "error_code": meaning.error_code,
        "error_text": report.error_text or meaning.words,
        "carrier": meaning.carrier,
        "account": report.account,
        "chain": event.chain,
        "event_id": report.event_id,
        "client_reference": report.client_reference,
        "recipient": report.recipient,
        "sender": report.sender,
        "occurred_at": report.occurred_at,
        "received_at": report.received_at,
        "parts_total": report.parts_total,
        "part_number": report.part_number,
        "action": report.action._asdict() if report.action else None,
    }


def change_as_json(change: StatusChange) -> dict[str, object]:
    """Return a change as in status_change.avsc."""
    return {
        **change._asdict(),
        "previous": change.previous,
        "parts": change.parts._asdict() if change.parts else None,
        "action": change.action._asdict() if change.action else None,
        "source": change.source._asdict(),
    }


# Reading what people hand in.


def lines_of(file: BinaryIO) -> Iterator[bytes]:
    """Return the lines of a file, each cut where it is longer than any input may be, whatever the file holds."""
    while line := file.readline(INPUT_BYTES_MAX + 1):
        rest = line
        while len(rest) > INPUT_BYTES_MAX and not rest.endswith(b"\n"):
            rest = file.readline(INPUT_BYTES_MAX + 1)
        yield line


def input_of_line(line: bytes, now_ms: int) -> RawCallback | RawStatusEvent:
    """Read one line of `--jsonl`.

    Raises:
        InputError: It is no JSON, or not in the form that `--help` shows.
    """
    given = parse_object(line)
    if "event" not in given:
        return _callback_of(given, now_ms)
    event = given["event"]
    if not isinstance(event, dict) or len(given) > 1:
        raise _malformed("event must be an object, alone in its line")
    return event_of(event, now_ms)


def parse_object(text: bytes) -> dict[str, object]:
    """Read a JSON object.

    Raises:
        InputError: It is none.
    """
    if len(text) > INPUT_BYTES_MAX:
        raise _malformed(f"longer than {INPUT_BYTES_MAX} bytes")
    try:
        given = json.loads(text.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise _malformed("not JSON") from None
    if not isinstance(given, dict):
        raise _malformed("not a JSON object")
    return given


def _callback_of(given: Mapping[str, object], now_ms: int) -> RawCallback:
    unknown = sorted(given.keys() - _CALLBACK_KEYS)
    if unknown:
        raise _malformed(f"unknown key {unknown[0][:40]!a}; known are event, {', '.join(sorted(_CALLBACK_KEYS))}")
    body, content_type = _body_of(given)
    return RawCallback(
        _text(given, "account"),
        _needed(given, "carrier"),
        _text(given, "channel"),
        _number(given, "received_at") or now_ms,
        _text(given, "content_type") or content_type,
        body,
        _text(given, "query"),
        _attributes(given),
    )


def _body_of(given: Mapping[str, object]) -> tuple[bytes, str]:
    if ("body" in given) == ("body_base64" in given) and ("body" in given or "query" not in given):
        raise _malformed("one of body and body_base64 is needed")
    body = given.get("body", "")
    if "body_base64" in given:
        try:
            return base64.b64decode(_needed(given, "body_base64"), validate=True), ""
        except (binascii.Error, ValueError):
            raise _malformed("body_base64 is not base64") from None
    if isinstance(body, dict | list):
        return json.dumps(body).encode(), "application/json"
    if not isinstance(body, str):
        raise _malformed("body must be a text, an object or an array")
    return _utf8(body, "body"), ""


def event_of(given: Mapping[str, object], now_ms: int) -> RawStatusEvent:
    """Read a report from JSON in the form of raw_status_event.avsc; what may be absent there may be here.

    Raises:
        InputError: A field is missing, unknown, or not of its type.
    """
    unknown = sorted(given.keys() - set(RawStatusEvent._fields))
    if unknown:
        raise _malformed(f"unknown field {unknown[0][:40]!a}; known are {', '.join(RawStatusEvent._fields)}")
    fields: dict[str, object] = {name: _text(given, name) for name in _TEXTS}
    fields |= {name: _number(given, name) for name in _NUMBERS}
    fields |= {name: _needed(given, name, empty=True) for name in ("carrier", "message_id", "status")}
    return RawStatusEvent(
        **fields,  # type: ignore[arg-type]  # each was read as its type
        received_at=_number(given, "received_at") or now_ms,
        action=_action(given.get("action")),
        attributes=_attributes(given),
    )


def _action(given: object) -> Action | None:
    if given is None:
        return None
    if not isinstance(given, dict):
        raise _malformed("action must be an object of type and description")
    return Action(_needed(given, "type"), _text(given, "description") or "")


def _needed(given: Mapping[str, object], name: str, *, empty: bool = False) -> str:
    text = _text(given, name)
    if text is None or (not text and not empty):
        raise _malformed(f"{name} is missing")
    return text


def _text(given: Mapping[str, object], name: str) -> str | None:
    value = given.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise _malformed(f"{name} must be a text")
    _utf8(value, name)
    return value


def _number(given: Mapping[str, object], name: str) -> int | None:
    value = given.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**63) <= value < 2**63:
        raise _malformed(f"{name} must be a whole number" + (" of ms since the epoch" if name.endswith("_at") else ""))
    return value


def _attributes(given: Mapping[str, object]) -> dict[str, str]:
    value = given.get("attributes")
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise _malformed("attributes must be an object of texts")
    for name, text in value.items():
        _utf8(name + text, "attributes")
    return value


def _utf8(text: str, name: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise _malformed(f"{name} holds half a surrogate pair") from None


def _malformed(detail: str) -> InputError:
    return InputError(DeadLetterReason.MALFORMED, detail)
