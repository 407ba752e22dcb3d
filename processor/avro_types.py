"""Which Python type each named type of our Avro schemas becomes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from processor.model import Action, Parts, RawCallback, RawStatusEvent, Source, StatusChange
from processor.status import Channel, Status

if TYPE_CHECKING:
    from enum import StrEnum


class MappedFields(NamedTuple):
    """A mapped event as it travels on the rekeyed topic. Fields as in mapped_status_event.avsc."""

    message_id: str
    chain: str
    carrier: str
    channel: Channel
    status: Status
    raw_status: str
    error_code: str | None
    error_text: str | None
    event_id: str | None
    account: str | None
    recipient: str | None
    client_reference: str | None
    parts_total: int | None
    part_number: int | None
    action: Action | None
    occurred_at: int | None
    received_at: int


RECORDS: Final[dict[str, type[tuple[object, ...]]]] = {
    "RawStatusEvent": RawStatusEvent,
    "RawCallback": RawCallback,
    "StatusChange": StatusChange,
    "MappedStatusEvent": MappedFields,
    "Action": Action,
    "Parts": Parts,
    "Source": Source,
}
"""By a record's name without its namespace; the fields stand in the schema's order."""

ENUMS: Final[dict[str, type[StrEnum]]] = {"Channel": Channel, "Status": Status}
"""By an enum's name without its namespace; the values are the symbols."""
