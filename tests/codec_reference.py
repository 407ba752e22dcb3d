"""What the codec is held against: hypothesis values of its records, and the bytes and values of two other libraries."""

from __future__ import annotations

import io
import json
from functools import cache
from typing import Any

import avro.io
import avro.schema
import fastavro
from hypothesis import strategies as st

from processor.avro_types import MappedFields
from processor.model import Action, Meaning, Parts, RawCallback, RawStatusEvent, Source, StatusChange, StatusEvent
from processor.schemas import load_schema
from processor.status import Channel, Status

TEXT = st.text(max_size=90) | st.sampled_from(["x" * 63, "x" * 64, "é" * 32])
MAYBE = st.none() | TEXT
INT = st.integers(-(2**31), 2**31 - 1) | st.integers(-70, 70)
LONG = (
    st.integers(-(2**63), 2**63 - 1)
    | st.integers(1_500_000_000_000, 2_300_000_000_000)
    | st.sampled_from([sign * (2**bits + off) for bits in range(63) for off in (-1, 0, 1) for sign in (-1, 1)])
)
ACTIONS = st.builds(Action, TEXT, TEXT)
MAPS = st.dictionaries(TEXT, TEXT, max_size=3)

RAW_EVENTS = st.builds(
    RawStatusEvent,
    MAYBE, MAYBE, TEXT, MAYBE, TEXT, TEXT, MAYBE, MAYBE, MAYBE, MAYBE,
    st.none() | LONG, LONG, st.none() | INT, st.none() | INT, MAYBE, st.none() | ACTIONS, MAPS,
)  # fmt: skip
CALLBACKS = st.builds(RawCallback, MAYBE, TEXT, MAYBE, LONG, TEXT, st.binary(max_size=200), MAYBE, MAPS)
CHANGES = st.builds(
    StatusChange,
    st.uuids().map(str), TEXT, MAYBE, TEXT, MAYBE, st.sampled_from(Channel), st.sampled_from(Status),
    st.none() | st.sampled_from(Status), st.booleans(), TEXT, TEXT, MAYBE, MAYBE, MAYBE,
    st.none() | st.builds(Parts, st.none() | INT, INT, INT), st.none() | ACTIONS, st.none() | LONG, LONG, INT,
    st.builds(Source, TEXT, INT, LONG, INT),
)  # fmt: skip
MAPPED_EVENTS = st.builds(
    StatusEvent,
    TEXT, TEXT, TEXT,
    st.builds(Meaning, TEXT, st.sampled_from(Channel), st.sampled_from(Status), TEXT, MAYBE, MAYBE, TEXT),
    RAW_EVENTS,
)  # fmt: skip

TYPICAL = RawStatusEvent(
    None, None, "twilio", "SMS", "SM1342fe1b2c904d1ab04f0fc7a58abca9", "delivered", None, None, "+2348030000000",
    "Acme", 1_795_420_805_000, 1_795_420_806_123, None, None, None, None, {},
)  # fmt: skip


def plain(schema: Any) -> Any:
    """Return a schema without logical types, so that the other libraries leave times as numbers."""
    if isinstance(schema, list):
        return [plain(each) for each in schema]
    if isinstance(schema, dict):
        return {key: plain(value) for key, value in schema.items() if key not in {"logicalType", "doc"}}
    return schema


@cache
def parsed(name: str) -> Any:
    """Return one of our schemas as fastavro wants it."""
    return fastavro.parse_schema(plain(load_schema(name)))


def as_dict(value: Any) -> Any:
    """Return a record as the other libraries have it."""
    if hasattr(value, "_asdict"):
        return {name: as_dict(each) for name, each in value._asdict().items()}
    return str(value) if isinstance(value, Channel | Status) else value


def mapped_fields(event: StatusEvent) -> MappedFields:
    """Return what must travel of a mapped event."""
    meaning, report = event.meaning, event.report
    return MappedFields(
        message_id=event.message_id,
        chain=event.chain,
        carrier=meaning.carrier,
        channel=meaning.channel,
        status=meaning.status,
        raw_status=meaning.raw_status,
        error_code=meaning.error_code,
        error_text=report.error_text or meaning.words,
        event_id=report.event_id,
        account=report.account,
        recipient=report.recipient,
        client_reference=report.client_reference,
        parts_total=report.parts_total,
        part_number=report.part_number,
        action=report.action,
        occurred_at=report.occurred_at,
        received_at=report.received_at,
    )


def fastavro_bytes(schema: Any, value: Any) -> bytes:
    """Return fastavro's body of a value."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema, as_dict(value))
    return out.getvalue()


def fastavro_value(body: bytes, writer: Any, reader: Any = None) -> Any:
    """Return fastavro's value of a body."""
    return fastavro.schemaless_reader(io.BytesIO(body), writer, reader)


@cache
def _apache(name: str) -> Any:
    return avro.schema.parse(json.dumps(plain(load_schema(name))))


def apache_value(name: str, body: bytes) -> Any:
    """Return the Apache library's value of a body."""
    return avro.io.DatumReader(_apache(name)).read(avro.io.BinaryDecoder(io.BytesIO(body)))


def apache_bytes(name: str, value: Any) -> bytes:
    """Return the Apache library's body of a value."""
    out = io.BytesIO()
    avro.io.DatumWriter(_apache(name)).write(as_dict(value), avro.io.BinaryEncoder(out))
    return out.getvalue()
