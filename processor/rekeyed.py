"""Forwarded events: a mapped event as a record of the rekeyed topic, and back."""

from __future__ import annotations

from processor.codec import decode_mapped
from processor.identity import identity_of
from processor.model import Meaning, RawStatusEvent, StatusEvent


def decode_rekeyed(value: bytes | None) -> StatusEvent:
    """Return the mapped event in a record of the rekeyed topic; `codec.encode_mapped` wrote it.

    Raises:
        DecodeError: The bytes are not a mapped event.
    """
    mapped = decode_mapped(value)
    return StatusEvent(
        identity_of(mapped.account, mapped.carrier, mapped.message_id, mapped.chain),
        mapped.message_id,
        mapped.chain,
        Meaning(
            carrier=mapped.carrier,
            channel=mapped.channel,
            status=mapped.status,
            raw_status=mapped.raw_status,
            error_code=mapped.error_code,
            words=None,
            rule="",
        ),
        RawStatusEvent(
            event_id=mapped.event_id,
            account=mapped.account,
            carrier=mapped.carrier,
            channel=mapped.channel,
            message_id=mapped.message_id,
            status=mapped.raw_status,
            error_code=mapped.error_code,
            error_text=mapped.error_text,
            recipient=mapped.recipient,
            sender=None,
            occurred_at=mapped.occurred_at,
            received_at=mapped.received_at,
            parts_total=mapped.parts_total,
            part_number=mapped.part_number,
            client_reference=mapped.client_reference,
            action=mapped.action,
            attributes={},
        ),
    )
