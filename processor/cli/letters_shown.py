"""Dead letters as people and machines see them. Nobody's number is shown, unless the original bytes are asked for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_plus

from processor.cli.common import time_in_words
from processor.errors import InputError
from processor.headers import (
    ERRORS_MESSAGE,
    ERRORS_OFFSET,
    ERRORS_TIMESTAMP,
    ERRORS_VALUE_SHA256,
    ERRORS_VERSION,
    headers_of,
)
from processor.logs import printable
from processor.model import RawCallback, RawStatusEvent, StatusEvent
from processor.pipeline import WHOLE_RECORD
from processor.privacy import masked

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from processor.letter_summary import Found, Kind, LetterSummary
    from processor.letters import Content, Letter
    from processor.model import Record
    from processor.replay import Planned, ReplayReport

_COLUMNS: Final = (
    *("letters", "understood now", "reason", "carrier", "channel", "status", "error code"),
    *("first", "last"),
)
_HIDDEN: Final = frozenset({"recipient", "sender"})
_IDS: Final = frozenset({"message_id", "event_id", "client_reference", "status", "error_code", "channel", "carrier"})
"""What names a message, or is a carrier's own word, and nobody's number."""
_OWN_NUMBERS: Final = frozenset({ERRORS_TIMESTAMP, ERRORS_OFFSET, ERRORS_VALUE_SHA256})
"""Headers of ours that may look like a phone number."""
_BODY_CHARS_MAX: Final = 16_384


def letter_as_json(letter: Letter, *, replayed: bool = False) -> dict[str, object]:
    """Return a letter for machines; times are ms since the epoch, what is not known is null."""
    source = letter.source
    return {
        "partition": letter.partition,
        "offset": letter.offset,
        "written_at": letter.written_at,
        "reason": letter.reason,
        "stage": letter.stage,
        "carrier": letter.carrier,
        "channel": letter.channel or None,
        "status": letter.status or None,
        "error_code": letter.error_code or None,
        "source": {**source._asdict(), "index": None if source.index == WHOLE_RECORD else source.index},
        "happened_at": None if letter.happened_at < 0 else letter.happened_at,
        "first_failed_at": letter.first_failed_at,
        "attempt": letter.attempt,
        "understood": letter.understood,
        "cut": bool(letter.sha256),
        "replayed": replayed,
    }


def letter_as_line(letter: Letter, *, replayed: bool = False) -> str:
    """Return a letter as one line: where it lies, when, why, whose, what was said, where from."""
    said = [part for part in (letter.channel, letter.status and f"'{letter.status}'") if part]
    if letter.error_code:
        said.append(f"error {letter.error_code}")
    notes = [
        *(["understood now"] if letter.understood else []),
        *([f"replayed {letter.attempt} times before"] if letter.attempt else []),
        *(["cut"] if letter.sha256 else []),
        *(["replayed"] if replayed else []),
    ]
    place = f"{letter.partition}:{letter.offset}"
    words = " ".join([letter.carrier, *said])
    more = f" ({', '.join(notes)})" if notes else ""
    return (
        f"{place:<9} {_time(letter.written_at)}  {letter.reason} ({letter.stage})  {words}  from {_from(letter)}{more}"
    )


def _from(letter: Letter) -> str:
    topic, partition, offset, index = letter.source
    element = "" if index == WHOLE_RECORD else f" element {index}"
    return f"{printable(topic) or 'nowhere'}[{partition}]@{offset}{element}"


def letter_in_full(letter: Letter, record: Record, content: Content, replayed_by: str | None) -> dict[str, object]:
    """Return everything about a letter, numbers and recipients masked."""
    headers = [(name, (value or b"").decode(errors="replace")) for name, value in headers_of(record)]
    facts = dict(headers)
    key, value = record.key(), record.value()
    return {
        **letter_as_json(letter, replayed=replayed_by is not None),
        "replayed_by": replayed_by,
        "message": masked(facts.get(ERRORS_MESSAGE, "")),
        "version": facts.get(ERRORS_VERSION),
        "key": None if key is None else masked(key.decode(errors="replace")),
        "value_bytes": None if value is None else len(value),
        "headers": [[name, text if name in _OWN_NUMBERS else masked(text)] for name, text in headers],
        "value": _item(content),
        "elements": [_element(element) for element in content.elements],
    }


def full_as_lines(full: dict[str, object]) -> Iterator[str]:
    """Return what `letter_in_full` tells, a fact a line."""
    for name, value in full.items():
        if name in {"headers", "elements", "value"} or value in (None, ""):
            continue
        yield f"{name:<15} {_as_text(value)}"
    headers = full["headers"]
    for name, text in headers if isinstance(headers, list) else []:
        yield f"header          {printable(name)} = {printable(text)}"
    yield from _section("value", full["value"])
    elements = full["elements"]
    for element in elements if isinstance(elements, list) else []:
        yield from _section("element", element)


def _section(name: str, value: object) -> Iterator[str]:
    facts = value.items() if isinstance(value, dict) else [("", value)]
    for key, fact in facts:
        if fact not in (None, "", {}):
            yield f"{name:<15} {printable(key)} = {_as_text(fact)}"


def _as_text(value: object) -> str:
    if isinstance(value, str):
        return printable(value, _BODY_CHARS_MAX)
    return printable(json.dumps(value, ensure_ascii=False), _BODY_CHARS_MAX)


def _item(content: Content) -> dict[str, object]:
    match content.item:
        case RawStatusEvent():
            return _report(content.item)
        case RawCallback():
            return _callback(content)
        case StatusEvent():
            event = content.item
            meaning = {"canonical_status": str(event.meaning.status), "chain": masked(event.chain)}
            return {**_report(event.report), "message_id": event.message_id, **meaning}
        case error:
            return {"undecodable": error.detail}


def _element(element: RawStatusEvent | InputError) -> dict[str, object]:
    if isinstance(element, InputError):
        return {"reason": element.reason.value, "detail": element.detail}
    return _report(element)


def _report(report: RawStatusEvent) -> dict[str, object]:
    facts: dict[str, object] = {name: _fact(name, value) for name, value in report._asdict().items()}
    facts["action"] = None if report.action is None else {"type": masked(report.action.type), "description": "***"}
    facts["attributes"] = {masked(name): masked(text) for name, text in report.attributes.items()}
    return facts


def _fact(name: str, value: object) -> object:
    if name in _HIDDEN and isinstance(value, str):
        return hidden(value)
    return masked(value) if isinstance(value, str) and name not in _IDS else value


def hidden(recipient: str) -> str:
    """Hide a recipient, whatever it looks like: it may be a number, a user name or an address."""
    if not recipient:
        return ""
    return f"***{recipient[-2:]}" if len(recipient) > 4 else "***"


def _callback(content: Content) -> dict[str, object]:
    callback = content.item
    assert isinstance(callback, RawCallback)  # noqa: S101
    people = {
        text
        for element in content.elements
        if isinstance(element, RawStatusEvent)
        for text in (element.recipient, element.sender)
        if text
    }
    return {
        **callback._asdict(),
        "body": _masked_body(callback.body.decode(errors="replace"), people),
        "query": None if callback.query is None else _masked_text(callback.query, people),
        "attributes": {masked(name): _masked_text(text, people) for name, text in callback.attributes.items()},
    }


def _masked_body(body: str, people: set[str]) -> object:
    """Return a body without numbers: JSON as values, since an escape could hide a digit, all else as text."""
    try:
        document: object = json.loads(body, parse_int=str, parse_float=str, parse_constant=str)
        return _masked_values(document, people)
    except (ValueError, RecursionError):
        return _masked_text(body, people)


def _masked_values(value: object, people: set[str]) -> object:
    match value:
        case str():
            return _masked_text(value, people)
        case dict():
            return {masked(str(name)): _masked_values(item, people) for name, item in value.items()}
        case list():
            return [_masked_values(item, people) for item in value]
        case _:
            return value


def _masked_text(text: str, people: set[str]) -> str:
    """Mask numbers, escaped ones of forms too, and whoever the packs find to be meant."""
    for person in sorted(people, key=len, reverse=True):
        text = text.replace(person, hidden(person))
    return masked(unquote_plus(text)) if "%" in text else masked(text)


# Summaries


def summary_as_json(found: LetterSummary, ranked: Sequence[tuple[Kind, Found]], replayed: int) -> dict[str, object]:
    """Return a summary for machines; times are ms since the epoch."""
    return {
        "letters": found.letters,
        "replayed": replayed,
        "reasons": dict(found.reasons().most_common()),
        "kinds": [
            {
                **kind._asdict(),
                "letters": count.letters,
                "understood": count.understood,
                "first_ms": count.first_ms,
                "last_ms": count.last_ms,
            }
            for kind, count in ranked
        ],
    }


def summary_as_lines(found: LetterSummary, most: int, replayed: int) -> list[str]:
    """Return a summary for people: a table of so many kinds, and what it leaves out."""
    ranked = found.ranked()
    before = f"; {replayed:,} more were replayed" if replayed else ""
    if not ranked:
        return [f"no dead letters{before}"]
    rows = [_COLUMNS, *(_cells(kind, count) for kind, count in ranked[:most])]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    lines = ["  ".join(_aligned(row, widths)).rstrip() for row in rows]
    lines.append(f"{found.letters:,} dead letters: {counted(found.reasons())}{before}")
    if len(ranked) > most:
        lines.append(f"{len(ranked) - most} more kinds: --top shows more")
    return lines


def _cells(kind: Kind, count: Found) -> tuple[str, ...]:
    numbers = (f"{count.letters:,}", f"{count.understood:,}")
    words = (kind.reason, kind.carrier, kind.channel or "·", kind.status or "·", kind.error_code or "·")
    return (*numbers, *words, _time(count.first_ms)[:16], _time(count.last_ms)[:16])


def _aligned(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    numbers = 2
    return [
        cell.rjust(width) if column < numbers else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]


def counted(counts: dict[str, int]) -> str:
    """Return counts as words, the most first."""
    return ", ".join(
        f"{name} {count:,}" for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    )


# Replays


def planned_as_text(planned: Planned) -> str:
    """Return what is about to be replayed, in one line."""
    text = f"{planned.letters.total():,} dead letters ({counted(planned.letters)})"
    if planned.not_understood:
        text += f", {planned.not_understood:,} of which the present packs do not understand"
    return text


def report_as_json(report: ReplayReport, *, dry_run: bool) -> dict[str, object]:
    """Return what a replay did for machines."""
    return {
        "dry_run": dry_run,
        "replayed": report.letters,
        "reasons": dict(report.sent.most_common()),
        "skipped": {skip.value: count for skip, count in report.skipped.most_common()},
        "left": report.left,
    }


def report_as_lines(report: ReplayReport, *, dry_run: bool) -> Iterator[str]:
    """Return what a replay did, for people."""
    reasons = f": {counted(report.sent)}" if report.letters else ""
    yield f"{'would replay' if dry_run else 'replayed'} {report.letters:,} dead letters{reasons}"
    for skip, count in report.skipped.most_common():
        yield f"skipped {count:,} ({skip.value}): {skip.words}"
    if report.left:
        yield f"{report.left:,} more are left by --limit"


def _time(ms: int) -> str:
    return time_in_words(ms, "%Y-%m-%d %H:%M:%S")
