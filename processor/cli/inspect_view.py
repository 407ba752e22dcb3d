"""How `inspect` shows what it found: a timeline for people, an object for machines."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from processor.cli.common import recipient_shown
from processor.cli.explanation import change_as_json
from processor.inspection import traced, without_report
from processor.logs import printable
from processor.privacy import masked
from processor.status import STATUSES_BY_RANK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from processor.inspection import Letter, Report, Traced
    from processor.inspector import Inspector
    from processor.known import Audit, Knowledge, Known
    from processor.model import MessageState, Source, StatusChange


class _Line(NamedTuple):
    """One line of the timeline."""

    at_ms: int
    order: int
    where: str
    what: str
    became: str


def inspected_as_json(inspector: Inspector, knowledge: Knowledge, *, show_recipients: bool) -> dict[str, object]:
    """Return everything for machines; times are ms since the epoch."""
    found = inspector.found

    def change(one: StatusChange) -> dict[str, object]:
        return change_as_json(one._replace(recipient=recipient_shown(one.recipient, full=show_recipients)))

    return {
        "message_id": inspector.message_id,
        "partition": inspector.owner,
        "since": inspector.since_ms,
        "states": [_known_as_json(known) for known in knowledge.known],
        "forgotten": [_audit_as_json(audit) for audit in knowledge.audits.values()],
        "changes": [change(one) for one in found.changes],
        "reports": [_traced_as_json(one, show_recipients=show_recipients) for one in _traced(inspector)],
        "dead_letters": [_letter_as_json(letter) for letter in found.letters],
        "records_read": inspector.read,
        "left_out": found.left_out,
    }


def _traced(inspector: Inspector) -> list[Traced]:
    return traced(inspector.found, inspector.is_processed)


def _known_as_json(known: Known) -> dict[str, object]:
    state = known.state
    return {
        "carrier": known.carrier,
        "account": known.account,
        "chain": known.chain,
        "status": _status(state),
        "sequence": state.sequence,
        "changed_at": state.changed_at,
        "parts_total": state.parts_total,
        "parts": {number: STATUSES_BY_RANK[rank].value for number, rank in state.parts},
        "replies": len(state.replies),
        "written_at": known.appended_ms,
    }


def _audit_as_json(audit: Audit) -> dict[str, object]:
    forget, status, sequence = audit.forgotten
    return {**forget._asdict(), "status": status, "sequence": sequence, "done_at": audit.appended_ms}


def _traced_as_json(one: Traced, *, show_recipients: bool) -> dict[str, object]:
    report, event = one.report, one.report.event
    fields: dict[str, object] = {
        "source": report.source._asdict(),
        "timestamp": report.timestamp_ms,
        "forwarded": report.is_forwarded,
        "outcome": one.outcome,
        "sequence": one.change.sequence if one.change else None,
        "why_not": report.why_not or None,
    }
    if event is None:
        return fields
    return fields | {
        "carrier": event.meaning.carrier,
        "account": event.report.account,
        "chain": event.chain,
        "channel": event.meaning.channel.value,
        "status": event.meaning.status.value,
        "rule": event.meaning.rule or None,
        "raw_status": event.meaning.raw_status,
        "error_code": event.meaning.error_code,
        "part_number": event.report.part_number,
        "parts_total": event.report.parts_total,
        "recipient": recipient_shown(event.report.recipient, full=show_recipients),
        "occurred_at": event.report.occurred_at,
        "received_at": event.report.received_at,
    }


def _letter_as_json(letter: Letter) -> dict[str, object]:
    return {**letter._asdict(), "source": letter.source._asdict()}


def inspected_as_lines(inspector: Inspector, knowledge: Knowledge, *, show_recipients: bool) -> Iterator[str]:
    """Yield what was found for people: what is known now, and how that came about."""
    found = inspector.found
    yield f"message {printable(inspector.message_id)}, partition {inspector.owner} of {inspector.partitions}"
    for known in knowledge.known:
        yield f"  known: {_words_of(known)}"
    if not knowledge.states:
        yield "  nothing is known of it now"
    lines = sorted(_lines(inspector, knowledge, show_recipients=show_recipients))
    if lines:
        yield ""
    widths = [max((len(line.where) for line in lines), default=0), max((len(line.what) for line in lines), default=0)]
    for line in lines:
        when = _time(line.at_ms)
        yield f"{when}  {line.where:<{widths[0]}}  {line.what:<{widths[1]}}  {line.became}".rstrip()
    yield ""
    read = sum(inspector.read.values())
    since = "from the beginning" if inspector.since_ms is None else f"since {_time(inspector.since_ms)}"
    yield f"{read:,} records read, {since}" + (f"; {found.left_out:,} more left out" if found.left_out else "")


def _lines(inspector: Inspector, knowledge: Knowledge, *, show_recipients: bool) -> Iterator[_Line]:
    found = inspector.found
    letters = {letter.source: letter for letter in found.letters}
    for one in _traced(inspector):
        source = one.report.source
        letter = letters.pop(source, None) or letters.pop(source._replace(index=-1), None)
        what = _report_words(one.report, show_recipients=show_recipients)
        yield _Line(one.report.timestamp_ms, 0, _place(source), what, _became(one, letter))
    for change in without_report(found):
        what = f"{change.channel} {change.status}, said {_said(change.raw_status, change.error_code)}"
        yield _Line(change.received_at, 0, _place(change.source), what, f"{_published(change)} (report no longer read)")
    for letter in letters.values():
        yield _Line(letter.timestamp_ms, 0, _place(letter.source), "", _letter_words(letter))
    for audit in knowledge.audits.values():
        yield _Line(audit.appended_ms, 1, "forget", *_audit_words(audit))


def _report_words(report: Report, *, show_recipients: bool) -> str:
    event = report.event
    if event is None:
        return ""
    meaning, facts = event.meaning, event.report
    part = f", part {facts.part_number} of {facts.parts_total or '?'}" if facts.part_number else ""
    rule = f", by {meaning.carrier} {meaning.rule}" if meaning.rule else f", {meaning.carrier}"
    recipient = recipient_shown(facts.recipient, full=show_recipients)
    to = f", to {printable(recipient)}" if recipient else ""
    said = _said(meaning.raw_status, meaning.error_code)
    return f"{meaning.channel} {meaning.status}{part}, said {said}{rule}{to}"


def _became(one: Traced, letter: Letter | None) -> str:
    on_its_way = " (forwarded)" if one.report.is_forwarded else ""
    if one.change is not None:
        return _published(one.change) + on_its_way
    if letter is not None:
        return _letter_words(letter) + on_its_way
    why = f": {one.report.why_not}" if one.report.why_not and one.report.why_not != one.outcome else ""
    return {
        "waiting": "not processed yet",
        "unclear": f"not among what is still there to read{why}",
        "repeat": "suppressed: repeat",
        "late": "suppressed: late",
        "conflict": "suppressed: conflict",
        "part": "suppressed: part",
    }.get(one.outcome, one.outcome + why) + on_its_way


def _published(change: StatusChange) -> str:
    moved = f"{change.previous} -> {change.status}" if change.previous else str(change.status)
    return f"published, sequence {change.sequence}: {moved}"


def _letter_words(letter: Letter) -> str:
    return f"dead letter, {printable(letter.reason)} in {printable(letter.stage)}: {masked(printable(letter.detail))}"


def _audit_words(audit: Audit) -> tuple[str, str]:
    forget, status, sequence = audit.forgotten
    note = f": {masked(printable(forget.note))}" if forget.note else ""
    dropped = f"{status}, sequence {sequence}" if status else "nothing that was published"
    return f"{forget.carrier}, request {forget.request}", f"forgot {dropped}{note}"


def _words_of(known: Known) -> str:
    state = known.state
    account = f", account {printable(known.account)}" if known.account else ""
    chain = f", chain {printable(known.chain)}" if known.chain else ""
    parts = f", {len(state.parts)} of {state.parts_total or '?'} parts heard of" if state.parts else ""
    replies = f", {len(state.replies)} replies" if state.replies else ""
    status = _status(state) or "no status yet"
    changed = f", changed {_time(state.changed_at)}"
    return f"{known.carrier}{account}{chain}: {status}, sequence {state.sequence}{changed}{parts}{replies}"


def _status(state: MessageState) -> str | None:
    return STATUSES_BY_RANK[state.status].value if state.status >= 0 else None


def _said(raw_status: str, error_code: str | None) -> str:
    error = f", error {masked(printable(error_code))}" if error_code else ""
    return f"{masked(printable(raw_status))!r}{error}"


def _place(source: Source) -> str:
    element = f" #{source.index}" if source.index > 0 else ""
    return f"{source.topic}[{source.partition}]@{source.offset}{element}"


def _time(ms: int) -> str:
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    except (OverflowError, ValueError, OSError):
        return f"{ms} ms"
