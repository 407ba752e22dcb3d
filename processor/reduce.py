"""The reducer: what one more report makes of what is known of its message. Pure and total.

Theory of operation: a message's status is the maximum, in the one total order of `processor.status`, of all that was
ever said of it. A maximum is commutative, associative and idempotent, so any order and any repetition of the same
events ends in the same status. Three kinds of events join it:

* a report about the whole message: its own rank;
* a report about one part of a long message: each part keeps its own maximum, and what all parts say together
  (`rank_of_parts`) rises whenever a part rises or the total shrinks, so it joins the same maximum;
* a reply: REPLY is the top of the order, and each distinct reply is published once.

Because what was published is itself such a maximum, nothing else need be remembered of whole reports.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from processor.errors import DeadLetterReason, InputError
from processor.model import MessageState, Parts, SuppressReason
from processor.status import Status

if TYPE_CHECKING:
    from collections.abc import Iterable

    from processor.model import RawStatusEvent, StatusEvent

_PARTIALLYSENT: Final = Status.PARTIALLYSENT.rank
_SENT: Final = Status.SENT.rank
_PARTIALDELIVERED: Final = Status.PARTIALDELIVERED.rank
_DELIVERED: Final = Status.DELIVERED.rank
_REPLY: Final = Status.REPLY.rank
_FIRST_FAILURE: Final = Status.FAILED.rank
_LAST_FAILURE: Final = Status.DUPLICATE.rank

_new: Final = tuple.__new__  # Makes a named tuple without its Python constructor, in a third of the time.

REPLIES_MAX: Final = 64
"""Distinct replies that one message keeps, unless a setting says otherwise."""


def advance(
    state: MessageState | None,
    event: StatusEvent,
    timestamp: int,
    replies_max: int = REPLIES_MAX,
) -> tuple[MessageState, SuppressReason | None]:
    """Join one event to what is known; `timestamp` (ms) is its raw record's.

    Returns the state after and None where the status changed, or the reason why nothing is published. Only a change
    and `PART` return another state than they were given.

    Raises:
        InputError: The message already holds `replies_max` distinct replies.
    """
    rank = event[3].status.rank
    report = event[4]
    if rank == _REPLY:
        return _advance_reply(state, report, timestamp, replies_max)
    if report.part_number is not None:
        return _advance_part(state, report.part_number, rank, report.parts_total, timestamp)
    if state is None:
        return _new(MessageState, (rank, 1, timestamp, None, (), ())), None
    status = state[0]
    if rank > status:
        return _new(MessageState, (rank, state[1] + 1, timestamp, *state[3:])), None
    return state, SuppressReason.REPEAT if rank == status else _why_not(rank, status)


def _why_not(rank: int, known: int) -> SuppressReason:
    """Name the reason why `rank` does not raise `known`."""
    if rank == known:
        return SuppressReason.REPEAT
    if known >= _DELIVERED and _FIRST_FAILURE <= rank <= _LAST_FAILURE:
        return SuppressReason.CONFLICT
    return SuppressReason.LATE


def _advance_part(
    state: MessageState | None, number: int, rank: int, total: int | None, timestamp: int
) -> tuple[MessageState, SuppressReason | None]:
    if state is None:
        state = MessageState(-1, 0, timestamp)
    parts = dict(state.parts)
    known = parts.get(number, -1)
    totals = [t for t in (state.parts_total, total) if t is not None and t > 1]
    parts_total = min(totals, default=None)
    if rank <= known and parts_total == state.parts_total:
        return state, _why_not(rank, known)
    parts[number] = max(rank, known)
    status = rank_of_parts(parts.values(), parts_total)
    moved = state._replace(parts=tuple(sorted(parts.items())), parts_total=parts_total)
    if status > state.status:
        return moved._replace(status=status, sequence=state.sequence + 1, changed_at=timestamp), None
    return moved, SuppressReason.PART


def rank_of_parts(ranks: Iterable[int], total: int | None) -> int:
    """Return the rank that the parts known so far give the whole message, -1 for none yet.

    Every clause only rises when a part rises, another part becomes known or the total shrinks.
    """
    falling = sorted(ranks, reverse=True)
    highest = falling[0]
    result = -1
    if highest >= _SENT:
        result = _PARTIALLYSENT
    if highest >= _PARTIALDELIVERED:
        result = _PARTIALDELIVERED
    if total is not None and len(falling) >= total:
        joint = falling[total - 1]
        if _FIRST_FAILURE <= joint <= _LAST_FAILURE and highest <= _LAST_FAILURE:
            joint = highest
        result = max(result, joint)
    return result


def _advance_reply(
    state: MessageState | None, report: RawStatusEvent, timestamp: int, replies_max: int
) -> tuple[MessageState, SuppressReason | None]:
    reply = _reply_digest(report)
    if state is None:
        state = MessageState(-1, 0, timestamp)
    if reply in state.replies:
        return state, SuppressReason.REPEAT
    if len(state.replies) >= replies_max:
        raise InputError(DeadLetterReason.TOO_MANY_REPLIES, f"the message already holds {replies_max} distinct replies")
    return (
        state._replace(
            status=_REPLY, sequence=state.sequence + 1, changed_at=timestamp, replies=(*state.replies, reply)
        ),
        None,
    )


def _reply_digest(report: RawStatusEvent) -> str:
    """Tell replies apart by the carrier's event id, else by the action and its time."""
    if report.event_id:
        name = f"id\0{report.event_id}"
    else:
        kind, description = report.action or ("", "")
        name = f"action\0{kind}\0{description}\0{report.occurred_at}"
    return blake2b(name.encode(), digest_size=8).hexdigest()


def parts_of(state: MessageState) -> Parts | None:
    """Count the parts for a change; None where no report was about a part."""
    if not state.parts:
        return None
    ranks = [rank for _, rank in state.parts]
    return Parts(
        total=state.parts_total,
        delivered=sum(rank >= _DELIVERED for rank in ranks),
        failed=sum(_FIRST_FAILURE <= rank <= _LAST_FAILURE for rank in ranks),
    )


def is_forgotten(state: MessageState, timestamp: int, retention_ms: int) -> bool:
    """Tell whether an event of this record timestamp (ms) no longer finds the state.

    Only the message's own last change decides: a duplicate keeps nothing alive, and one absurd timestamp harms only
    the message that has it.
    """
    return timestamp - state.changed_at > retention_ms
