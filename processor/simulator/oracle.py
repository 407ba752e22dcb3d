"""A second opinion on what the worker publishes: slow, plain, and independent of the reducer and the packs.

The `Oracle` is fed what each event means (the simulator knows, it made the events up) in the order of the input and
says which changes that gives. `judge` holds against it what was read back from the changes topic.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from processor.errors import DeadLetterReason
from processor.model import IgnoreReason, SuppressReason
from processor.simulator.expected import ChangeKey, ExpectedEvent, Step, status_of_parts
from processor.simulator.verdict import Verdict, judge
from processor.status import Status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from processor.status import Channel

__all__ = ["Expected", "ExpectedChange", "Oracle", "Step", "Verdict", "judge"]

RETENTION_MS: Final = 7 * 24 * 3600 * 1000
REPLIES_MAX: Final = 64


class ExpectedChange(NamedTuple):
    """A change that an event should cause."""

    key: ChangeKey
    sequence: int
    status: Status
    previous: Status | None
    channel: Channel


Expected = ExpectedChange | SuppressReason | IgnoreReason | DeadLetterReason
"""What should become of one event."""


class _Message:
    """What was said of one message since it was last forgotten, and all changes that it should ever have had."""

    __slots__ = ("parts", "replies", "sequence", "since", "status", "steps", "total")

    def __init__(self, since: int, steps: list[Step]) -> None:
        self.since = since
        self.steps = steps
        self.sequence = 0
        self.status: Status | None = None
        self.parts: dict[int, Status] | None = None
        self.total: int | None = None
        self.replies: set[str] | None = None


class Oracle:
    """Says what should become of each event.

    Args:
        retention_ms: How long after a message's last change an event still finds it, by record timestamps.
        replies_max: Distinct replies that a message may have.
    """

    def __init__(self, retention_ms: int = RETENTION_MS, replies_max: int = REPLIES_MAX) -> None:
        self._retention_ms = retention_ms
        self._replies_max = replies_max
        self._messages: dict[ChangeKey, _Message] = {}
        self._steps: dict[Step, Step] = {}  # Few different ones, each kept once.
        self._totals: dict[tuple[str, str, str], int] = {}
        self.forgotten = 0
        """How often a message was forgotten and met again; its sequence then began anew."""

    @property
    def totals(self) -> Counter[tuple[str, str, str]]:
        """Events by (carrier, outcome, reason), in the words of the worker's metrics."""
        return Counter(self._totals)

    @property
    def by_outcome(self) -> Counter[str]:
        """Events by outcome."""
        counts: Counter[str] = Counter()
        for (_, outcome, _), count in self._totals.items():
            counts[outcome] += count
        return counts

    @property
    def final(self) -> dict[ChangeKey, tuple[Status, int]]:
        """The last status and sequence of every message that had a change."""
        return {key: (steps[-1].status, steps[-1].sequence) for key, steps in self.histories().items()}

    def histories(self) -> Mapping[ChangeKey, list[Step]]:
        """Return every message that had a change, with its changes in order."""
        return {key: message.steps for key, message in self._messages.items() if message.steps}

    def feed(self, timestamp_ms: int, event: ExpectedEvent) -> Expected:
        """Take the next event of the input and say what should become of it.

        Args:
            timestamp_ms: The raw record's timestamp.
            event: What the event means.
        """
        outcome = self._outcome(timestamp_ms, event)
        name, reason = _PUBLISHED if type(outcome) is ExpectedChange else _COUNTED[outcome]
        counted = (event.carrier, name, reason)
        self._totals[counted] = self._totals.get(counted, 0) + 1
        return outcome

    def _outcome(self, timestamp_ms: int, event: ExpectedEvent) -> Expected:
        if event.dead_letter is not None:
            return event.dead_letter
        if event.ignored is not None:
            return event.ignored
        key, status = event.key, event.status
        assert key is not None  # noqa: S101  # an event that is neither of the above names its message
        assert status is not None  # noqa: S101  # and its status
        message = self._message(key, timestamp_ms)
        if status is Status.REPLY:
            return self._reply(message, event, timestamp_ms)
        if event.part_number is not None and event.parts_total != 1:
            return self._part(message, event, timestamp_ms)
        return self._raise(message, event, status, timestamp_ms) or _reason(status, message.status)

    def _message(self, key: ChangeKey, timestamp_ms: int) -> _Message:
        message = self._messages.get(key)
        if message is None:
            message = self._messages[key] = _Message(timestamp_ms, [])
        elif timestamp_ms - message.since > self._retention_ms:
            self.forgotten += 1
            message = self._messages[key] = _Message(timestamp_ms, message.steps)
        return message

    def _reply(self, message: _Message, event: ExpectedEvent, timestamp_ms: int) -> Expected:
        replies = message.replies = message.replies or set()
        reply = event.reply or ""
        if reply in replies:
            return SuppressReason.REPEAT
        if len(replies) >= self._replies_max:
            return DeadLetterReason.TOO_MANY_REPLIES
        replies.add(reply)
        return self._change(message, event, Status.REPLY, timestamp_ms)

    def _part(self, message: _Message, event: ExpectedEvent, timestamp_ms: int) -> Expected:
        number, status = event.part_number or 0, event.status or Status.PENDING
        parts = message.parts = message.parts or {}
        known, total = parts.get(number), message.total
        parts[number] = status if known is None or status.rank > known.rank else known
        if event.parts_total is not None and event.parts_total > 1:
            message.total = min(event.parts_total, message.total or event.parts_total)
        if parts[number] is known and message.total == total:
            return _reason(status, known)
        joint = status_of_parts(parts, message.total)
        changed = self._raise(message, event, joint, timestamp_ms) if joint else None
        return changed or SuppressReason.PART

    def _raise(
        self, message: _Message, event: ExpectedEvent, status: Status, timestamp_ms: int
    ) -> ExpectedChange | None:
        """Change the message where the status is above what it has: what was said joins by maximum."""
        if message.status is not None and status.rank <= message.status.rank:
            return None
        return self._change(message, event, status, timestamp_ms)

    def _change(self, message: _Message, event: ExpectedEvent, status: Status, timestamp_ms: int) -> ExpectedChange:
        assert event.key is not None  # noqa: S101  # seen to by the caller
        assert event.channel is not None  # noqa: S101  # who has a status has a channel
        previous = message.status
        message.status, message.since = status, timestamp_ms
        message.sequence += 1
        step = Step(message.sequence, status, previous, event.channel)
        message.steps.append(self._steps.setdefault(step, step))
        return ExpectedChange(event.key, message.sequence, status, previous, event.channel)


_PUBLISHED: Final = ("published", "")
_COUNTED: Final[dict[object, tuple[str, str]]] = {
    **{reason: (str(reason), "") for reason in SuppressReason},
    **{reason: ("ignored", str(reason)) for reason in IgnoreReason},
    **{reason: ("dead_lettered", str(reason)) for reason in DeadLetterReason},
}
"""What an event is counted under, as (outcome, reason) in the words of the worker's metrics."""


def _reason(status: Status, known: Status | None) -> SuppressReason:
    """Say why a status changes nothing where `known`, of the message or of the part, is at least as high."""
    if status is known:
        return SuppressReason.REPEAT
    arrived = known is not None and known.rank >= Status.DELIVERED.rank
    return SuppressReason.CONFLICT if arrived and status.is_failure else SuppressReason.LATE
