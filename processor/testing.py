"""A test driver: the whole pipeline without a broker, threads or sleeping.

Pipe reports in, let time pass, read changes, dead letters and state out. It runs the very code that the worker runs;
only Kafka and the disk are missing. For the tests of your own packs::

    driver = PipelineDriver(Packs.load({**builtin_texts(), "acme.toml": text}))
    driver.pipe(callback("acme", b'{"id": "1", "state": "done"}'))
    assert [change.status for change in driver.changes] == ["DELIVERED"]
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Final

from processor.codec import Decoder, encode_callback, encode_mapped, encode_raw_events
from processor.control import FORGET, encode_forget
from processor.headers import CONTROL, origin_header
from processor.identity import identity_of, owner_of
from processor.model import RawCallback, RawStatusEvent
from processor.outbox import Outbox
from processor.pack_files import builtin_texts
from processor.packs import Packs
from processor.pipeline import RETENTION_MS, Pipeline
from processor.reduce import REPLIES_MAX
from processor.tracing import NO_TRACE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from processor.control import Forget, Forgotten
    from processor.model import MessageState, StatusChange
    from processor.outbox import DeadLetter, Unmapped
    from processor.tracing import Trace

RAW_TOPIC: Final = "carrier.status.raw"
REKEYED_TOPIC: Final = "status-processor.rekeyed"
START_MS: Final = 1_767_225_600_000
"""Where a driver's time begins: 2026-01-01T00:00:00Z."""

_Headers = list[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True)
class FakeRecord:
    """A record that never saw a broker."""

    at: int
    time_ms: int
    payload: bytes | None
    record_key: bytes | None = None
    record_headers: _Headers = field(default_factory=list)

    def offset(self) -> int:
        """Position in the partition."""
        return self.at

    def timestamp(self) -> tuple[int, int]:
        """CreateTime, and the time in ms."""
        return 1, self.time_ms

    def key(self) -> bytes | None:
        """Key as given."""
        return self.record_key

    def value(self) -> bytes | None:
        """Value as given."""
        return self.payload

    def headers(self) -> list[tuple[str, str | bytes | None]]:
        """Headers as given."""
        return [*self.record_headers]


class MemoryStates(dict[str, "MessageState"]):
    """The state of one partition, in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.audits: dict[str, bytes] = {}
        """Requests of control records that were carried out, and what they did."""

    def put(self, identity: str, state: MessageState) -> None:
        """Remember what is known."""
        self[identity] = state

    def drop(self, identity: str) -> None:
        """Forget what is known."""
        self.pop(identity, None)

    def audited(self, request: str) -> bool:
        """Tell whether a request has been carried out."""
        return request in self.audits

    def audit(self, request: str, entry: bytes) -> None:
        """Remember that it has been."""
        self.audits[request] = entry


@cache
def _builtin_packs() -> Packs:
    """Load the built-in packs once for all drivers: they take 30 ms, and nothing changes them."""
    return Packs.load(builtin_texts())


class PipelineDriver:
    """Pipes records through decode, extract, map and reduce, one at a time."""

    def __init__(
        self,
        packs: Packs | None = None,
        *,
        partitions: int = 6,
        retention_ms: int = RETENTION_MS,
        replies_max: int = REPLIES_MAX,
        tracing: bool = False,
    ) -> None:
        self.packs = packs or _builtin_packs()
        self.pipeline = Pipeline(Decoder(), self.packs, partitions, retention_ms, replies_max, tracing=tracing)
        self.now_ms = START_MS
        self.changes: list[StatusChange] = []
        self.traces: list[Trace] = []
        """The trace context of each change, empty where it has none."""
        self.forgotten: list[Forgotten] = []
        """Requests of control records that were carried out."""
        self.dead_letters: list[DeadLetter] = []
        self.outcomes: Counter[tuple[str, str, str]] = Counter()
        """Events by (carrier, outcome, reason)."""
        self.unmapped: Counter[Unmapped] = Counter()
        self.times_left_out: Counter[str] = Counter()
        """Events by carrier whose time could not be true."""
        self.records = 0
        self._states = [MemoryStates() for _ in range(partitions)]
        self._offsets: Counter[tuple[str, int]] = Counter()

    def advance_time(self, ms: int) -> None:
        """Let time pass for the records that follow."""
        self.now_ms += ms

    def pipe(
        self,
        value: RawStatusEvent | RawCallback | bytes | None,
        *,
        partition: int | None = None,
        key: bytes | None = None,
        headers: Iterable[tuple[str, bytes | None]] = (),
        timestamp_ms: int | None = None,
    ) -> list[StatusChange]:
        """Pipe one record in and return the changes that it caused.

        Without a partition the record goes where its message's owner is, as keyed input would; a callback and raw
        bytes go to partition 0. A partition that state does not have is one of a raw topic with more of them: its
        events are forwarded to their owners.
        """
        if partition is None:
            partition = self._owner(value)
        at = self._offsets[RAW_TOPIC, partition]
        self._offsets[RAW_TOPIC, partition] += 1
        time_ms = self.now_ms if timestamp_ms is None else timestamp_ms
        record = FakeRecord(at, time_ms, _encode(value), key, list(headers))
        outbox = Outbox()
        states = self._states[partition] if partition < len(self._states) else None
        self.pipeline.process_raw(RAW_TOPIC, partition, [record], states, outbox)
        return self._settle(outbox)

    def pipe_rekeyed(
        self, partition: int, value: bytes | None, headers: Iterable[tuple[str, bytes | None]]
    ) -> list[StatusChange]:
        """Pipe one record of the rekeyed topic in and return the changes that it caused."""
        at = self._offsets[REKEYED_TOPIC, partition]
        self._offsets[REKEYED_TOPIC, partition] += 1
        record = FakeRecord(at, self.now_ms, value, None, list(headers))
        outbox = Outbox()
        self.pipeline.process_rekeyed(REKEYED_TOPIC, partition, [record], self._states[partition], outbox)
        return self._settle(outbox)

    def forget(self, forget: Forget) -> None:
        """Pipe in the control record that asks for a message to be forgotten."""
        owner = owner_of(forget.message_id, len(self._states))
        self.pipe_rekeyed(owner, encode_forget(forget), [(CONTROL, FORGET)])

    def state(
        self, carrier: str, message_id: str, *, account: str | None = None, chain: str = ""
    ) -> MessageState | None:
        """Return what is known of a message; the id as the pack normalises it."""
        owner = owner_of(message_id, len(self._states))
        return self._states[owner].get(identity_of(account, carrier, message_id, chain))

    def timeline(self, message_id: str) -> list[str]:
        """Return the statuses published of a message, in order."""
        return [str(change.status) for change in self.changes if change.message_id == message_id]

    def _owner(self, value: object) -> int:
        if not isinstance(value, RawStatusEvent):
            return 0
        return owner_of(value.message_id, len(self._states))

    def _settle(self, outbox: Outbox) -> list[StatusChange]:
        changes = [change for per_partition in outbox.changes.values() for change in per_partition]
        for partition, per_partition in outbox.changes.items():
            traces = outbox.traces.get(partition, {})
            self.traces += [traces.get(position, NO_TRACE) for position in range(len(per_partition))]
        self.forgotten += outbox.forgotten
        self.dead_letters += outbox.dead_letters
        for tally in outbox.tallies.values():
            self.outcomes.update(tally.outcomes)
            self.unmapped.update(tally.unmapped)
            self.times_left_out.update(tally.times_left_out)
            self.records += tally.records
        self.changes += changes
        for forward in outbox.forwards:
            headers = [origin_header(forward.source, forward.timestamp), *forward.trace]
            changes += self.pipe_rekeyed(forward.owner, encode_mapped(forward.event), headers)
        return changes


def raw_event(carrier: str, message_id: str, status: str, **facts: object) -> RawStatusEvent:
    """Make a report; what is not said is absent, and it was received when a driver's time begins."""
    fields: dict[str, object] = dict.fromkeys(RawStatusEvent._fields)
    fields |= {"received_at": START_MS, "attributes": {}}
    fields |= {"carrier": carrier, "message_id": message_id, "status": status, **facts}
    return RawStatusEvent(**fields)  # type: ignore[arg-type]  # by name, from a test


def callback(
    carrier: str,
    body: bytes,
    content_type: str = "",
    *,
    channel: str | None = None,
    query: str | None = None,
    account: str | None = None,
    attributes: Mapping[str, str] | None = None,
) -> RawCallback:
    """Make a verbatim callback, received when a driver's time begins."""
    return RawCallback(account, carrier, channel, START_MS, content_type, body, query, attributes or {})


def _encode(value: RawStatusEvent | RawCallback | bytes | None) -> bytes | None:
    if isinstance(value, RawStatusEvent):
        return encode_raw_events([value])[0]
    if isinstance(value, RawCallback):
        return encode_callback(value)
    return value
