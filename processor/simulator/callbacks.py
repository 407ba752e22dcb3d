"""Verbatim callbacks as carriers send them, around facts that the simulator made up."""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from processor.model import RawCallback
from processor.simulator.addresses import SENDERS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from processor.model import RawStatusEvent
    from processor.status import Channel

JSON_TYPE: Final = "application/json"
FORM_TYPE: Final = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True, eq=False)
class Form:
    """How a carrier's callbacks are written.

    `write` makes the body of one or more events of the same account. Where `batch_max` is above 1, one callback
    holds several events, of different messages.
    """

    write: Callable[[Sequence[RawStatusEvent]], str]
    content_type: str
    batch_max: int = 1

    def callback(self, events: Sequence[RawStatusEvent], channel: Channel, received_at: int) -> RawCallback:
        """Wrap events, received together at so many ms, as one callback."""
        first = events[0]
        attributes = {}
        if self.write is _smpp:
            attributes = {"source_addr": first.recipient or "", "destination_addr": first.sender or ""}
        body = self.write(events).encode()
        return RawCallback(
            first.account, first.carrier, channel, received_at, self.content_type, body, None, attributes
        )


def _twilio(events: Sequence[RawStatusEvent]) -> str:
    (event,) = events
    prefix = {"RCS": "rcs%3A", "WHATSAPP": "whatsapp%3A"}.get((event.channel or "").upper(), "")
    fields = {
        "AccountSid": event.account or "",
        "ApiVersion": "2010-04-01",
        "From": prefix + _escaped(event.sender),
        "MessageSid": event.message_id,
        "MessageStatus": event.status,
        "SmsSid": event.message_id,
        "SmsStatus": event.status,
        "To": prefix + _escaped(event.recipient),
    }
    if event.error_code:
        fields["ErrorCode"] = event.error_code
    return "&".join([f"{name}={value}" for name, value in fields.items()])


def _vonage(events: Sequence[RawStatusEvent]) -> str:
    (event,) = events
    fields: dict[str, object] = {
        "message_uuid": event.message_id,
        "to": _digits(event.recipient),
        "from": _digits(event.sender),
        "timestamp": _iso(event.received_at, ".000Z"),
        "status": event.status,
        "channel": (event.channel or "").lower(),
        "client_ref": event.client_reference,
    }
    if event.error_code:
        address = f"https://developer.vonage.com/api-errors/messages#{event.error_code}"
        fields["error"] = {"type": address, "title": int(event.error_code), "detail": event.error_text or ""}
    return _json(fields)


def _infobip(events: Sequence[RawStatusEvent]) -> str:
    return _json({"results": [_infobip_result(event) for event in events]})


def _infobip_result(event: RawStatusEvent) -> dict[str, object]:
    group = event.status.partition("_")[0]
    return {
        "bulkId": f"BULK-{event.received_at % 1000}",
        "messageId": event.message_id,
        "to": _digits(event.recipient),
        "sender": event.sender,
        "sentAt": _iso(event.received_at - 4000, ".000+0000"),
        "doneAt": _iso(event.received_at, ".000+0000"),
        "messageCount": 1,
        "price": {"pricePerMessage": 0.01, "currency": "EUR"},
        "status": {"groupName": group, "name": event.status, "description": event.status.replace("_", " ")},
        "error": {"id": int(event.error_code or 0), "name": event.error_text or "NO_ERROR", "permanent": False},
    }


def _smpp(events: Sequence[RawStatusEvent]) -> str:
    (event,) = events
    at = _written(event.received_at // 60_000 * 60, "%y%m%d%H%M")
    arrived = int(event.status == "DELIVRD")
    return (
        f"id:{event.message_id} sub:001 dlvrd:{arrived:03} submit date:{at} done date:{at} "
        f"stat:{event.status} err:{event.error_code or '000'} text:Your code is 48"
    )


def _africas_talking(events: Sequence[RawStatusEvent]) -> str:
    (event,) = events
    reason = f"&failureReason={event.error_code}" if event.error_code else ""
    return (
        f"id={event.message_id}&status={event.status}&phoneNumber={_escaped(event.recipient)}"
        f"&networkCode=62130{reason}&retryCount=0"
    )


def _termii(events: Sequence[RawStatusEvent]) -> str:
    (event,) = events
    return _json(
        {
            "type": "outbound",
            "id": f"fd1e2a1a-8d18-4d8f-9a0e-{event.received_at % 10**12:012}",
            "message_id": event.message_id,
            "receiver": _digits(event.recipient),
            "sender": event.sender,
            "message": "Your code is 481",
            "sent_at": _written(event.received_at // 1000, "%Y-%m-%d %H:%M:%S"),
            "cost": "2.5",
            "status": event.status,
            "channel": "generic",
        }
    )


def _meta(events: Sequence[RawStatusEvent]) -> str:
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": _digits(SENDERS[0]), "phone_number_id": events[0].sender},
        "statuses": [_meta_status(event) for event in events],
    }
    change = {"value": value, "field": "messages"}
    return _json({"object": "whatsapp_business_account", "entry": [{"id": "102290129340398", "changes": [change]}]})


def _meta_status(event: RawStatusEvent) -> dict[str, object]:
    status: dict[str, object] = {
        "id": event.message_id,
        "status": event.status,
        "timestamp": str(event.received_at // 1000),
        "recipient_id": _digits(event.recipient),
    }
    if event.status == "failed":
        title = event.error_text or "Something went wrong"
        status["errors"] = [{"code": int(event.error_code or 131000), "title": title, "message": title}]
    else:
        status["pricing"] = {"billable": True, "pricing_model": "PMP", "category": "utility"}
    return status


def _google_rbm(events: Sequence[RawStatusEvent]) -> str:
    """Write an event of the carrier, or what a user tapped: that has an id of the user's own, and none of ours."""
    (event,) = events
    data: dict[str, object] = {"agentId": event.sender}
    if event.action is not None:
        answer = {"type": event.action.type, "text": event.action.description, "postbackData": "answer"}
        data |= {"senderPhoneNumber": event.recipient, "messageId": f"Ms{event.event_id}", "suggestionResponse": answer}
    else:
        address = "phoneNumber" if event.status.startswith("TTL") else "senderPhoneNumber"
        data |= {address: event.recipient, "messageId": event.message_id, "eventType": event.status}
        data["eventId"] = f"Mx{event.received_at}"
    envelope = {
        "data": b64encode(_json(data).encode()).decode(),
        "messageId": str(event.received_at),
        "publishTime": _iso(event.received_at, ".000Z"),
    }
    return _json({"message": envelope, "subscription": "projects/acme/subscriptions/rbm"})


_json: Final = json.JSONEncoder(separators=(",", ":")).encode


def _digits(address: str | None) -> str | None:
    return address.lstrip("+") if address else None


def _escaped(address: str | None) -> str:
    """Escape an address for a form; a plus is all there is to escape in ours."""
    return (address or "").replace("+", "%2B")


@lru_cache(maxsize=256)
def _written(second: int, pattern: str) -> str:
    """Write a time given in whole seconds."""
    return datetime.fromtimestamp(second, UTC).strftime(pattern)


def _iso(ms: int, tail: str) -> str:
    return _written(ms // 1000, "%Y-%m-%dT%H:%M:%S") + tail


TWILIO: Final = Form(_twilio, FORM_TYPE)
VONAGE: Final = Form(_vonage, JSON_TYPE)
INFOBIP: Final = Form(_infobip, JSON_TYPE, batch_max=5)
SMPP: Final = Form(_smpp, "text/plain")
AFRICAS_TALKING: Final = Form(_africas_talking, FORM_TYPE)
TERMII: Final = Form(_termii, JSON_TYPE)
META: Final = Form(_meta, JSON_TYPE, batch_max=3)
GOOGLE_RBM: Final = Form(_google_rbm, JSON_TYPE)
