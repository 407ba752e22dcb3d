"""What became of each report of one message, worked out from what is still there to read. Pure.

The changes say for certain what was published: each names the event that caused it. The dead letters say what could
not be processed. What is left was suppressed, and why the reducer itself says, when it is led through the reports in
the order of their times; in another order another of the reasons would stand there, and nothing else would differ.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from processor.errors import InputError
from processor.model import MessageState, RawCallback, RawStatusEvent, StatusEvent, SuppressReason
from processor.reduce import REPLIES_MAX, advance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from processor.known import Choice
    from processor.model import Source, StatusChange
    from processor.packs import Packs

EVENTS_MAX: Final = 10_000
"""Reports of one message that are kept; the rest is only counted."""

WAITING: Final = "waiting"
"""Not processed yet."""
UNCLEAR: Final = "unclear"
"""Neither among the changes nor suppressed: its change is no longer there, or the packs have changed since."""


class Letter(NamedTuple):
    """A dead letter about the message."""

    source: Source
    """Its original record, and the event that failed: -1 where all of it did."""
    timestamp_ms: int
    reason: str
    stage: str
    detail: str


class Report(NamedTuple):
    """One report of the message, as the packs of now read it."""

    source: Source
    timestamp_ms: int
    event: StatusEvent | None
    """None where the packs of now make no event of it."""
    why_not: str
    """Why there is none: ignored, or refused; empty where there is one."""
    is_forwarded: bool
    """Whether it went through the rekeyed topic."""


class Traced(NamedTuple):
    """A report, and what became of it."""

    report: Report
    outcome: str
    """`published`, a reason why it was suppressed, `ignored`, `dead_lettered`, `waiting` or `unclear`."""
    change: StatusChange | None
    """What it caused, where it was published."""


@dataclass(slots=True)
class Inspected:
    """Everything that was found of one message, besides its state."""

    reports: dict[Source, Report] = field(default_factory=dict)
    changes: list[StatusChange] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)
    left_out: int = 0
    """Reports, changes and letters beyond `EVENTS_MAX`."""

    def has_room(self, kept: Mapping[Source, object] | list[StatusChange] | list[Letter]) -> bool:
        """Tell whether one more is kept; where not, it is counted."""
        if len(kept) < EVENTS_MAX:
            return True
        self.left_out += 1
        return False


def reports_in(
    packs: Packs,
    item: RawStatusEvent | RawCallback,
    message_id: str,
    choice: Choice,
    only: int | None = None,
) -> Iterator[tuple[int, StatusEvent | None, str]]:
    """Yield the elements of a raw record that are about a message: index, event, and why there is none.

    `only` is the one element that a replayed record is about.
    """
    try:
        elements = packs.extract(item) if isinstance(item, RawCallback) else [item]
    except InputError:
        return
    for index, element in enumerate(elements):
        if isinstance(element, InputError) or (only is not None and index != only):
            continue
        try:
            meaning = packs.interpret(element)
        except InputError as error:
            if element.message_id == message_id and choice.takes(element.account, packs.known(element.carrier), ""):
                yield index, None, str(error.reason)
            continue
        if not isinstance(meaning, StatusEvent):
            if element.message_id == message_id and choice.takes(element.account, meaning.carrier, ""):
                yield index, None, "ignored"
        elif meaning.message_id == message_id and _is_meant(meaning, choice):
            yield index, meaning, ""


def _is_meant(event: StatusEvent, choice: Choice) -> bool:
    return choice.takes(event.report.account, event.meaning.carrier, event.chain)


def traced(found: Inspected, is_processed: Callable[[Report], bool], replies_max: int = REPLIES_MAX) -> list[Traced]:
    """Say what became of each report, in the order of their times."""
    published = {change.source: change for change in found.changes}
    lettered = {letter.source for letter in found.letters}
    states: dict[str, MessageState | None] = {}
    highest = _highest(found, published)
    lines: list[Traced] = []
    for report in sorted(found.reports.values(), key=lambda one: (one.timestamp_ms, one.source)):
        change = published.get(report.source)
        whole = report.source._replace(index=-1)
        if change is not None:
            outcome = "published"
        elif report.source in lettered or whole in lettered:
            outcome = "dead_lettered"
        elif not is_processed(report):
            outcome = WAITING
        else:
            outcome = "ignored" if report.why_not == "ignored" else UNCLEAR
        if report.event is not None and outcome in {"published", UNCLEAR}:
            outcome = _reduced(report.event, report.timestamp_ms, change, states, highest, replies_max)
        lines.append(Traced(report, outcome, change))
    return lines


def _reduced(
    event: StatusEvent,
    timestamp_ms: int,
    change: StatusChange | None,
    states: dict[str, MessageState | None],
    highest: Mapping[str, int],
    replies_max: int,
) -> str:
    """Join an event to what is known, and return what became of it; the changes decide, whatever the packs say now."""
    identity = event.identity
    before = None if change is not None and change.sequence == 1 else states.get(identity)
    try:
        after, suppressed = advance(before, event, timestamp_ms, replies_max)
    except InputError:
        return UNCLEAR
    if change is not None:
        states[identity] = after._replace(status=change.status.rank, sequence=change.sequence)
        return "published"
    if suppressed is not None:
        states[identity] = after
        return str(suppressed)
    # It would have been a change, in the order of the times; so a higher status had come before it.
    rank = event.meaning.status.rank
    if identity in highest and rank <= highest[identity]:
        return str(SuppressReason.REPEAT if rank == highest[identity] else SuppressReason.LATE)
    return UNCLEAR


def _highest(found: Inspected, published: Mapping[Source, StatusChange]) -> dict[str, int]:
    """Return the highest status that was published of each identity among the reports."""
    highest: dict[str, int] = {}
    for source, change in published.items():
        report = found.reports.get(source)
        if report is not None and report.event is not None:
            identity = report.event.identity
            highest[identity] = max(change.status.rank, highest.get(identity, -1))
    return highest


def without_report(found: Inspected) -> Iterable[StatusChange]:
    """Yield the changes whose reports are no longer there."""
    return (change for change in found.changes if change.source not in found.reports)
