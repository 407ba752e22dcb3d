"""The pure core as one machine: records in, an outbox out. Start reading here.

One batch goes decode → extract → map → reduce, and what it wants to publish is left in an `Outbox`. The core knows
nothing of Kafka, clocks, disks or HTTP; state reaches it as `States`, one for each partition that the worker owns.

An event is reduced in place only where its raw partition is the owner of its message (`owner_of`) and the worker
holds that partition's state; every other event is forwarded, mapped, to the rekeyed topic. A state that is found
proves the owner, so only messages that are new pay for the hash.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from processor.change import change_of
from processor.control import decode_control, encode_audit, forgotten_of
from processor.errors import DeadLetterReason, DecodeError, InputError
from processor.headers import headers_of, is_replayed, is_replayed_forward, origin_of, replay_of
from processor.identity import owner_of
from processor.model import Ignored, IgnoreReason, RawCallback, RawStatusEvent, Source, StatusEvent
from processor.outbox import UNMAPPED_CHARS_MAX, DeadLetter, Forward, Outcome, Tally, Unmapped
from processor.reduce import REPLIES_MAX, advance, is_forgotten
from processor.rekeyed import decode_rekeyed
from processor.tracing import NO_TRACE, trace_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from processor.codec import Decoder
    from processor.headers import Headers
    from processor.model import MessageState, Record, StatusChange
    from processor.outbox import Outbox, States
    from processor.packs import Packs
    from processor.tracing import Trace

RETENTION_MS: Final = 7 * 24 * 3600 * 1000
"""State retention: carriers report up to 72 hours late, and read receipts later still."""

WHOLE_RECORD: Final = -1
"""Index of a dead letter that is about the whole record."""

_NO_CARRIER: Final = "unknown"
_UNMAPPED: Final = frozenset(
    {
        DeadLetterReason.UNKNOWN_STATUS,
        DeadLetterReason.STATUS_NOT_ON_CHANNEL,
        DeadLetterReason.UNKNOWN_CHANNEL,
        DeadLetterReason.UNKNOWN_CARRIER,
    }
)
"""Reasons that a row or a pack would mend."""

Observer = Callable[[StatusEvent, str], None]
"""Takes an event and its outcome: `published` or the reason why it was suppressed."""


@dataclass(slots=True)
class Pipeline:
    """Decodes, maps and reduces; holds the tables and the limits, nothing else."""

    decoder: Decoder
    packs: Packs
    partitions: int
    """P: partitions of state, rekeyed and changes."""
    retention_ms: int = RETENTION_MS
    replies_max: int = REPLIES_MAX
    observe: Observer | None = None
    """Told of each reduced event what became of it; for people who look, the worker leaves it out."""
    recipients: Callable[[StatusChange], StatusChange] | None = None
    """Hides the recipient in a change (`processor.privacy`); None where it is kept."""
    tracing: bool = False
    """Whether a raw record's trace context goes on to its changes."""

    def process_raw(
        self, topic: str, partition: int, records: Sequence[Record], states: States | None, outbox: Outbox
    ) -> None:
        """Process records of one raw partition, in order.

        `states` is the state of the same partition number where events may be reduced in place, None where every
        event must be forwarded.
        """
        run = _Run(self, topic, partition, states, outbox)
        decoded = self.decoder.decode_batch([record.value() for record in records])
        for record, item in zip(records, decoded, strict=True):
            if type(item) is RawStatusEvent and not record.headers():
                run.report(record, item, 0)
            else:
                run.unusual(record, item)
        run.close(len(records))
        outbox.received += [item.received_at for item in decoded if not isinstance(item, DecodeError)]

    def process_rekeyed(
        self, topic: str, partition: int, records: Sequence[Record], states: States, outbox: Outbox
    ) -> None:
        """Process mapped events that other partitions forwarded to this one, and control records, in order."""
        run = _Run(self, topic, partition, states, outbox)
        for record in records:
            headers = headers_of(record)
            try:
                origin = origin_of(headers)
                if origin is None:
                    run.control(record, headers, states)
                    continue
                event = decode_rekeyed(record.value())
            except InputError as error:
                run.sent_again(record, _NO_CARRIER)
                run.dead_letter(record, WHOLE_RECORD, "decode", error, _NO_CARRIER)
            else:
                source, timestamp = origin
                run.sent_again(record, event.meaning.carrier)
                if self.tracing:
                    run.trace = trace_of(headers)
                run.reduce(record, event, states.get(event.identity), timestamp, WHOLE_RECORD, source)
        run.close(len(records))

    def condemn(self, topic: str, partition: int, record: Record, detail: str, outbox: Outbox) -> None:
        """Dead-letter a record whose outputs the broker refuses, however small the transaction."""
        run = _Run(self, topic, partition, None, outbox)
        error = InputError(DeadLetterReason.UNPROCESSABLE, detail)
        run.sent_again(record, _NO_CARRIER)
        run.dead_letter(record, WHOLE_RECORD, "publish", error, _NO_CARRIER)
        run.close(1)


class _Run:
    """One partition's records on their way through the core. What every event needs stands in a slot of its own."""

    __slots__ = (
        "_changes",
        "_dead",
        "_interpret",
        "_observe",
        "_outbox",
        "_outcomes",
        "_partition",
        "_pipeline",
        "_recipients",
        "_replies_max",
        "_retention_ms",
        "_states",
        "_times_left_out",
        "_topic",
        "_unmapped",
        "trace",
    )

    def __init__(self, pipeline: Pipeline, topic: str, partition: int, states: States | None, outbox: Outbox) -> None:
        self._pipeline = pipeline
        self._interpret = pipeline.packs.interpret
        self._observe = pipeline.observe
        self._recipients = pipeline.recipients
        self._replies_max = pipeline.replies_max
        self._retention_ms = pipeline.retention_ms
        self._topic = topic
        self._partition = partition
        self._states = states
        self._outbox = outbox
        self._changes = outbox.changes.setdefault(partition, []) if states is not None else []
        self._outcomes: dict[tuple[str, str, str], int] = {}
        self._dead: set[int] = set()
        self._unmapped: list[Unmapped] = []
        self._times_left_out: list[str] = []
        self.trace: Trace = NO_TRACE
        """The trace context of the record at hand; only records with headers can have one."""

    def unusual(self, record: Record, item: RawStatusEvent | RawCallback | DecodeError) -> None:
        """Process a record that is not one plain report: a callback, a replayed letter, or not decodable."""
        if isinstance(item, DecodeError):
            self.dead_letter(record, WHOLE_RECORD, "decode", item, _NO_CARRIER)
            return
        carrier = self._pipeline.packs.known(item.carrier)
        try:
            only, timestamp = replay_of(record)
            elements = self._pipeline.packs.extract(item) if isinstance(item, RawCallback) else [item]
        except InputError as error:
            self.dead_letter(record, WHOLE_RECORD, "extract", error, carrier)
            return
        if self._pipeline.tracing:
            self.trace = trace_of(headers_of(record))
        if not elements:
            self.count(carrier, Outcome.IGNORED, IgnoreReason.EMPTY)
        for index, element in enumerate(elements):
            if only is not None and index != only:
                continue
            if isinstance(element, InputError):
                self.dead_letter(record, index, "extract", element, carrier)
            else:
                self.report(record, element, index, timestamp)
        self.trace = NO_TRACE
        if only is not None and only >= len(elements) > 0:
            missing = InputError(DeadLetterReason.MALFORMED, f"no element {only} to replay, there are {len(elements)}")
            self.dead_letter(record, WHOLE_RECORD, "extract", missing, carrier)

    def report(self, record: Record, report: RawStatusEvent, index: int, timestamp: int | None = None) -> None:
        """Map one report, then reduce it here or forward it; `timestamp` is the record's where it is not its own."""
        try:
            event = self._interpret(report)
        except InputError as error:
            self._not_mapped(record, report, index, error)
            return
        if isinstance(event, Ignored):
            self.count(event.carrier, Outcome.IGNORED, event.reason)
            return
        if event[4] is not report and report.occurred_at is not None and event.report.occurred_at is None:
            self._times_left_out.append(event.meaning.carrier)
        states = self._states
        state = None if states is None else states.get(event[0])
        if timestamp is None:
            kind, timestamp = record.timestamp()
            if not kind:
                timestamp = report.received_at
        if state is None:
            owner = owner_of(event.message_id, self._pipeline.partitions)
            if states is None or owner != self._partition:
                source = Source(self._topic, self._partition, record.offset() or 0, index)
                self._outbox.forwards.append(Forward(owner, event, source, timestamp, self.trace))
                self.count(event.meaning.carrier, Outcome.FORWARDED)
                return
        self.reduce(record, event, state, timestamp, index)

    def control(self, record: Record, headers: Headers, states: States) -> None:
        """Carry out what a control record asks for, unless that has been done.

        Raises:
            InputError: It is no control record, or not one for this partition.
        """
        forget = decode_control(record, headers)
        if owner_of(forget.message_id, self._pipeline.partitions) != self._partition:
            raise InputError(
                DeadLetterReason.MALFORMED, "a control record on a partition that does not own its message"
            )
        if not states.audited(forget.request):
            forgotten = forgotten_of(forget, states.get(forget.identity))
            states.drop(forget.identity)
            states.audit(forget.request, encode_audit(forgotten))
            self._outbox.forgotten.append(forgotten)
        self.count(self._pipeline.packs.known(forget.carrier), Outcome.IGNORED, IgnoreReason.FORGOTTEN)

    def reduce(
        self,
        record: Record,
        event: StatusEvent,
        state: MessageState | None,
        timestamp: int,
        index: int,
        origin: Source | None = None,
    ) -> None:
        """Join the event to its message's state and stage what follows from it.

        `origin` is where a forwarded event came from; any other's source is the record, with `index`.
        """
        carrier = event.meaning.carrier
        if state is not None and is_forgotten(state, timestamp, self._retention_ms):
            state = None
        try:
            after, suppressed = advance(state, event, timestamp, self._replies_max)
        except InputError as error:
            self.dead_letter(record, index, "reduce", error, carrier)
            return
        if self._observe is not None:
            self._observe(event, suppressed or Outcome.PUBLISHED)
        if suppressed is not None:
            self.count(carrier, suppressed)
            if after is state:
                return
        assert self._states is not None  # noqa: S101  # where there is no state the event was forwarded
        self._states.put(event[0], after)
        if suppressed is None:
            source = origin or Source(self._topic, self._partition, record.offset() or 0, index)
            if self.trace:
                self._outbox.traces.setdefault(self._partition, {})[len(self._changes)] = self.trace
            change = change_of(event, state, after, source)
            self._changes.append(change if self._recipients is None else self._recipients(change))
            self.count(carrier, Outcome.PUBLISHED)

    def _not_mapped(self, record: Record, report: RawStatusEvent, index: int, error: InputError) -> None:
        carrier = self._pipeline.packs.known(report.carrier)
        if error.reason in _UNMAPPED:
            words = (report.channel or "", report.status, report.error_code or "")
            self._unmapped.append(Unmapped(carrier, *(word[:UNMAPPED_CHARS_MAX] for word in words)))
        self.dead_letter(record, index, "map", error, carrier)

    def dead_letter(self, record: Record, index: int, stage: str, error: InputError, carrier: str) -> None:
        """Stage a dead letter of the record that was read, with the index of the event that failed.

        The limit on bad input is about what comes in: a replay that fails again must not stop the worker.
        """
        offset = record.offset() or 0
        source = Source(self._topic, self._partition, offset, index)
        self._outbox.dead_letters.append(DeadLetter(record, source, stage, error.reason, error.detail, carrier))
        if not is_replayed(record):
            self._dead.add(offset)
        self.count(carrier, Outcome.DEAD_LETTERED, error.reason)

    def close(self, records: int) -> None:
        """Hand the counts over."""
        tally = self._outbox.tallies.setdefault((self._topic, self._partition), Tally())
        tally.records += records
        tally.dead_offsets |= self._dead
        tally.outcomes.update(self._outcomes)
        tally.unmapped.update(self._unmapped)
        tally.times_left_out.update(self._times_left_out)

    def sent_again(self, record: Record, carrier: str) -> None:
        """Count a replayed dead letter of the rekeyed topic as forwarded by its replay.

        So what was forwarded and what was taken stay equal, though no raw partition sent it.
        """
        if is_replayed_forward(record):
            self.count(carrier, Outcome.FORWARDED)

    def count(self, carrier: str, outcome: str, reason: str = "") -> None:
        """Count one outcome of an event."""
        outcomes = self._outcomes
        key = (carrier, outcome, reason)
        outcomes[key] = outcomes.get(key, 0) + 1
