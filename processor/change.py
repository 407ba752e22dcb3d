"""What goes out: builds the change that an event caused. The same input always gives the same change."""

from __future__ import annotations

from hashlib import sha1
from typing import TYPE_CHECKING, Final
from uuid import UUID

from processor.model import Source, StatusChange, StatusEvent
from processor.reduce import parts_of
from processor.status import STATUSES_BY_RANK, Channel, is_final

if TYPE_CHECKING:
    from processor.model import MessageState

CHANGE_NAMESPACE: Final = UUID("6f1d7c0e-5d0b-5c6a-9a53-1b9a3a4f2c11")
"""Namespace of the changes' UUIDv5s. Fixed for ever: subscribers may compare ids across versions."""

_NAMESPACE_BYTES: Final = CHANGE_NAMESPACE.bytes
_VARIANT: Final = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))
_FINAL: Final = {(channel, status): is_final(channel, status) for channel in Channel for status in STATUSES_BY_RANK}


def change_id(identity: str, sequence: int, source: Source) -> str:
    """Return the UUIDv5 (RFC 9562, section 5.5) of a change, as text.

    Written out because `uuid.uuid5` costs four times as much, and every change needs one.
    """
    topic, partition, offset, index = source
    name = f"{identity}\0{sequence}\0{topic}\0{partition}\0{offset}\0{index}"
    text = sha1(_NAMESPACE_BYTES + name.encode(), usedforsecurity=False).hexdigest()
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{_VARIANT[text[16]]}{text[17:20]}-{text[20:32]}"


def change_of(event: StatusEvent, before: MessageState | None, after: MessageState, source: Source) -> StatusChange:
    """Return the change from `before` to `after` that `event` caused; both states are those of its message."""
    meaning = event.meaning
    report = event.report
    status = STATUSES_BY_RANK[after[0]]
    channel = meaning.channel
    return tuple.__new__(
        StatusChange,
        (
            change_id(event.identity, after[1], source),
            event.message_id,
            report.account,
            event.chain,
            report.client_reference,
            channel,
            status,
            STATUSES_BY_RANK[before[0]] if before is not None and before[1] else None,
            _FINAL[channel, status],
            meaning.carrier,
            meaning.raw_status,
            meaning.error_code,
            report.error_text or meaning.words,
            report.recipient,
            parts_of(after) if after[4] else None,
            report.action,
            report.occurred_at,
            report.received_at,
            after[1],
            source,
        ),
    )
