"""What goes out: builds the change that an event caused. The same input always gives the same change."""

from __future__ import annotations

from hashlib import sha1
from typing import TYPE_CHECKING, Final
from uuid import UUID

from processor.model import Source, StatusChange, StatusEvent
from processor.reduce import parts_of
from processor.speedups import SPEEDUPS
from processor.status import STATUSES_BY_RANK, Channel, is_final

if TYPE_CHECKING:
    from collections.abc import Callable

    from processor.model import MessageState

CHANGE_NAMESPACE: Final = UUID("6f1d7c0e-5d0b-5c6a-9a53-1b9a3a4f2c11")
"""Namespace of the changes' UUIDv5s. Fixed for ever: subscribers may compare ids across versions."""

_NAMESPACE_BYTES: Final = CHANGE_NAMESPACE.bytes
_VARIANT: Final = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))
_FINAL: Final = {channel: [is_final(channel, status) for status in STATUSES_BY_RANK] for channel in Channel}
_new: Final = tuple.__new__  # Makes a named tuple without its Python constructor, in a third of the time.


def pure_change_id(identity: str, sequence: int, source: Source) -> str:
    """Return the UUIDv5 (RFC 9562, section 5.5) of a change, as text.

    Written out because `uuid.uuid5` costs twice as much, and every change needs one.
    """
    topic, partition, offset, index = source
    name = f"{identity}\0{sequence}\0{topic}\0{partition}\0{offset}\0{index}"
    text = sha1(_NAMESPACE_BYTES + name.encode(), usedforsecurity=False).hexdigest()
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{_VARIANT[text[16]]}{text[17:20]}-{text[20:32]}"


change_id: Final[Callable[[str, int, Source], str]] = (
    pure_change_id if SPEEDUPS is None else SPEEDUPS.ChangeNamer(_NAMESPACE_BYTES).change_id
)
"""`pure_change_id`, by the C extension where it is there."""


def change_of(event: StatusEvent, before: MessageState | None, after: MessageState, source: Source) -> StatusChange:
    """Return the change from `before` to `after` that `event` caused; both states are those of its message."""
    identity, message_id, chain, meaning, report = event
    rank, sequence = after[0], after[1]
    # The report's fields by position: names cost a tenth of a microsecond together, for every change.
    _, account, _, _, _, _, _, error_text, recipient, _, occurred_at, received_at, _, _, reference, action, _ = report
    channel = meaning.channel
    return _new(
        StatusChange,
        (
            change_id(identity, sequence, source),
            message_id,
            account,
            chain,
            reference,
            channel,
            STATUSES_BY_RANK[rank],
            STATUSES_BY_RANK[before[0]] if before is not None and before[1] else None,
            _FINAL[channel][rank],
            meaning.carrier,
            meaning.raw_status,
            meaning.error_code,
            error_text or meaning.words,
            recipient,
            parts_of(after) if after[4] else None,
            action,
            occurred_at,
            received_at,
            sequence,
            source,
        ),
    )
