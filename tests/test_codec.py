"""The codec gives fastavro's bytes and values, and takes nothing else than that."""

from __future__ import annotations

import io
import json
import time
import tracemalloc
from typing import Any

import avro.io
import avro.schema
import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.codec import (
    ChangeEncoder,
    Decoder,
    decode_changes,
    decode_mapped,
    encode_callback,
    encode_mapped,
    encode_raw_events,
)
from processor.errors import DeadLetterReason, DecodeError
from processor.model import Action, Parts, RawCallback, RawStatusEvent, Source, StatusChange
from processor.schemas import lint, load_schema, registry_prefix, single_object_prefix
from processor.status import Channel, Status
from tests.strategies import event, report

TEXT = st.text(max_size=90)
MAYBE = st.none() | TEXT
LONG = st.integers(-(2**63), 2**63 - 1) | st.integers(1_500_000_000_000, 2_100_000_000_000)
INT = st.integers(-(2**31), 2**31 - 1)
ACTIONS = st.none() | st.builds(Action, TEXT, TEXT)
MAPS = st.dictionaries(TEXT, TEXT, max_size=3)

RAW_EVENTS = st.builds(
    RawStatusEvent,
    MAYBE, MAYBE, TEXT, MAYBE, TEXT, TEXT, MAYBE, MAYBE, MAYBE, MAYBE,
    st.none() | LONG, LONG, st.none() | INT, st.none() | INT, MAYBE, ACTIONS, MAPS,
)  # fmt: skip
CALLBACKS = st.builds(RawCallback, MAYBE, TEXT, MAYBE, LONG, TEXT, st.binary(max_size=200), MAYBE, MAPS)
CHANGES = st.builds(
    StatusChange,
    TEXT, TEXT, MAYBE, TEXT, MAYBE, st.sampled_from(Channel), st.sampled_from(Status),
    st.none() | st.sampled_from(Status), st.booleans(), TEXT, TEXT, MAYBE, MAYBE, MAYBE,
    st.none() | st.builds(Parts, st.none() | INT, INT, INT), ACTIONS, st.none() | LONG, LONG, INT,
    st.builds(Source, TEXT, INT, LONG, INT),
)  # fmt: skip


def plain(schema: Any) -> Any:
    """Return a schema without logical types, so that both libraries leave times as numbers."""
    if isinstance(schema, list):
        return [plain(branch) for branch in schema]
    if isinstance(schema, dict):
        return {key: plain(value) for key, value in schema.items() if key not in {"logicalType", "doc"}}
    return schema


def as_dict(value: Any) -> Any:
    """Return named tuples as the dicts that the other libraries have."""
    if hasattr(value, "_asdict"):
        return {name: as_dict(each) for name, each in value._asdict().items()}
    return str(value) if isinstance(value, Channel | Status) else value


def by_fastavro(schema_name: str, value: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(plain(load_schema(schema_name))), as_dict(value))
    return single_object_prefix(load_schema(schema_name)) + out.getvalue()


def by_apache_avro(schema_name: str, data: bytes) -> Any:
    schema = avro.schema.parse(json.dumps(plain(load_schema(schema_name))))
    return avro.io.DatumReader(schema).read(avro.io.BinaryDecoder(io.BytesIO(data[10:])))


def decode(value: bytes | None, **options: Any) -> Any:
    return Decoder(**options).decode_batch([value])[0]


@given(RAW_EVENTS)
def test_raw_events_have_fastavros_bytes_and_come_back(value: RawStatusEvent) -> None:
    data = encode_raw_events([value])[0]

    assert data == by_fastavro("raw_status_event", value)
    assert decode(data) == value


@given(CALLBACKS)
def test_callbacks_have_fastavros_bytes_and_come_back(value: RawCallback) -> None:
    data = encode_callback(value)

    assert data == by_fastavro("raw_callback", value)
    assert decode(data) == value


@given(CHANGES)
def test_changes_have_fastavros_bytes_and_come_back(value: StatusChange) -> None:
    data = ChangeEncoder().encode_changes([value])[0]

    assert data == by_fastavro("status_change", value)
    assert decode_changes([data]) == [value]


@given(CHANGES)
def test_apache_avro_reads_our_changes(value: StatusChange) -> None:
    data = ChangeEncoder().encode_changes([value])[0]

    assert by_apache_avro("status_change", data) == as_dict(value)


@given(RAW_EVENTS.filter(lambda raw: bool(raw.carrier)))
def test_mapped_events_come_back(raw: RawStatusEvent) -> None:
    mapped = event(Status.DELIVERED)._replace(report=raw)

    fields = decode_mapped(encode_mapped(mapped))

    assert (fields.error_text, fields.parts_total, fields.action) == (
        raw.error_text or None,
        raw.parts_total,
        raw.action,
    )
    assert (fields.status, fields.channel) == (Status.DELIVERED, Channel.RCS)


@given(RAW_EVENTS, st.integers(0, 2**32 - 1))
def test_confluents_wire_format_is_read_once_the_schema_is_learned(value: RawStatusEvent, schema_id: int) -> None:
    decoder = Decoder()
    data = encode_raw_events([value], registry_prefix(schema_id))[0]
    assert decoder.missing_schema_ids([data, None, b""]) == {schema_id}

    decoder.learn(schema_id, json.dumps(load_schema("raw_status_event")))

    assert decoder.missing_schema_ids([data]) == set()
    assert decoder.decode_batch([data]) == [value]


@given(st.binary(max_size=300))
def test_any_bytes_are_a_value_or_an_error(data: bytes) -> None:
    prefix = single_object_prefix(load_schema("raw_status_event"))
    for value in (data, prefix + data, single_object_prefix(load_schema("raw_callback")) + data):
        item = decode(value)
        if not isinstance(item, DecodeError):
            # Whatever is taken for a value must mean the same to fastavro.
            name = "raw_status_event" if isinstance(item, RawStatusEvent) else "raw_callback"
            schema = fastavro.parse_schema(plain(load_schema(name)))
            assert fastavro.schemaless_reader(io.BytesIO(value[10:]), schema, None) == as_dict(item)


@given(RAW_EVENTS, st.data())
def test_a_cut_or_lengthened_value_is_an_error(value: RawStatusEvent, data: st.DataObject) -> None:
    encoded = encode_raw_events([value])[0]
    cut = data.draw(st.integers(0, len(encoded) - 1))

    assert isinstance(decode(encoded[:cut]), DecodeError)
    assert isinstance(decode(encoded + b"\0"), DecodeError)


GOOD = encode_raw_events([report(status="delivered", parts_total=2)])[0]
PREFIX = GOOD[:10]
# event_id, account: absent; carrier: a string of one byte; channel: absent.
HEAD = PREFIX + b"\0\0\2x\0"


@pytest.mark.parametrize(
    ("value", "detail"),
    [
        (None, "no value"),
        (b"", "wrong magic"),
        (b"hello, world", "wrong magic"),
        (b"\xc3\x01\x00", "truncated inside the fingerprint"),
        (b"\xc3\x01" + bytes(8) + b"x", "unknown schema fingerprint 0000000000000000"),
        (b"\x00\x00\x00\x00\x07x", "schema id 7 is not known"),
        (PREFIX, "truncated"),
        (GOOD[:-3], "truncated"),
        (GOOD + b"xx", "2 bytes left over"),
        (PREFIX + b"\4", "event_id: a union index that does not exist"),
        (PREFIX + b"\1", "event_id: a union index that does not exist"),
        (HEAD + b"\2\xff\2x", "not UTF-8"),
        (HEAD + b"\1", "message_id: a length that cannot be"),
        (HEAD + b"\xfe\xff\xff\xff\x0f", "message_id: a length that cannot be"),
        (HEAD + b"\x80" * 11, "more than 64 bits"),
        (HEAD + b"\xff" * 9 + b"\x7f", "more than 64 bits"),
        (
            GOOD.replace(b"\2\4\0\0\0\0", b"\2\x80\x80\x80\x80\x20\0\0\0\0"),
            "parts_total: an int of more than 32 bits",
        ),
        (GOOD[:-1] + b"\x80\x80\x80\x80\x08", "attributes: more entries than bytes"),
        (GOOD[:-1] + b"\2\x80\x80\x80\x80\x08", "attributes: a length that cannot be"),
    ],
)
def test_each_kind_of_bad_bytes_has_its_reason(value: bytes | None, detail: str) -> None:
    item = decode(value)

    assert isinstance(item, DecodeError)
    assert item.reason is DeadLetterReason.UNDECODABLE
    assert detail in item.detail


def test_a_value_over_the_limit_is_not_decoded() -> None:
    item = decode(GOOD, max_bytes=len(GOOD) - 1)

    assert isinstance(item, DecodeError)
    assert item.reason is DeadLetterReason.TOO_LARGE


def writer(**changes: Any) -> dict[str, Any]:
    """Return the schema of another version of our raw event."""
    schema = json.loads(json.dumps(load_schema("raw_status_event")))
    fields = [each for each in schema["fields"] if each["name"] not in changes.get("without", ())]
    return {**schema, "fields": [*changes.get("first", ()), *fields]}


def learned(schema: Any) -> Decoder:
    decoder = Decoder()
    decoder.learn(5, json.dumps(schema))
    return decoder


def test_other_versions_of_the_raw_event_resolve_to_ours() -> None:
    older = writer(
        without=("account", "action", "occurred_at"),
        first=[
            {"name": "retries", "type": "int", "default": 0},
            {"name": "tags", "type": {"type": "array", "items": "string"}},
        ],
    )
    fields = as_dict(report(status="delivered", recipient="r"))
    fields |= {"retries": 3, "tags": ["a", "b"]}
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(plain(older)), fields)

    items = learned(older).decode_batch([registry_prefix(5) + out.getvalue()])

    assert items == [report(status="delivered", recipient="r")]


def test_extra_schemas_are_read_in_single_object_encoding() -> None:
    other = writer(without=("account",))
    out = io.BytesIO()
    fields = as_dict(report(status="sent"))
    fastavro.schemaless_writer(out, fastavro.parse_schema(plain(other)), fields)

    decoder = Decoder(extra_schemas=[json.dumps(other)])

    assert decoder.decode_batch([single_object_prefix(other) + out.getvalue()]) == [report(status="sent")]


@given(st.binary(max_size=200))
def test_any_bytes_of_another_version_are_a_value_or_an_error(data: bytes) -> None:
    decoder = learned(writer(without=("account",), first=[{"name": "n", "type": ["null", "long"]}]))

    item = decoder.decode_batch([registry_prefix(5) + data])[0]

    assert isinstance(item, RawStatusEvent | DecodeError)


NODE = {"type": "record", "name": "Node", "fields": [{"name": "next", "type": ["null", "Node"]}]}
EMPTY = {"type": "record", "name": "Empty", "fields": []}


@pytest.mark.parametrize(
    ("extra", "problem"),
    [
        (NODE, "recursive"),
        ({"type": "array", "items": "null"}, "items that take no bytes"),
        ({"type": "array", "items": EMPTY}, "items that take no bytes"),
        ({"type": "array", "items": {"type": "fixed", "name": "F", "size": 0}}, "items that take no bytes"),
        ({"type": "fixed", "name": "F", "size": 65_537}, "a fixed of more than"),
    ],
)
def test_a_dangerous_writers_schema_is_refused_before_any_value(extra: Any, problem: str) -> None:
    schema = writer(first=[{"name": "extra", "type": extra}])

    assert any(problem in each for each in lint(json.dumps(schema)))
    item = learned(schema).decode_batch([registry_prefix(5) + bytes(100)])[0]
    assert isinstance(item, DecodeError)
    assert problem in item.detail


@pytest.mark.parametrize("text", ["", "{", "7", '"string"', '{"type":"record"}', "[" * 100_000, " " * 300_000])
def test_what_is_no_schema_is_refused(text: str) -> None:
    item = _first(Decoder(), text)

    assert isinstance(item, DecodeError)


def _first(decoder: Decoder, text: str | None) -> Any:
    decoder.learn(5, text)
    return decoder.decode_batch([registry_prefix(5) + bytes(10)])[0]


def test_an_id_that_the_registry_does_not_know_is_named() -> None:
    item = _first(Decoder(), None)

    assert isinstance(item, DecodeError)
    assert "schema 5" in item.detail


def test_deeply_nested_schemas_are_refused() -> None:
    schema: Any = "string"
    for level in range(40):
        schema = {"type": "record", "name": f"R{level}", "fields": [{"name": "f", "type": schema}]}

    assert lint(json.dumps(schema)) == ["nested deeper than 16"]


def test_claims_of_huge_sizes_cost_neither_time_nor_memory() -> None:
    bombs = [HEAD + b"\xfe\xff\xff\xff\x0f" + bytes(60_000), GOOD[:-1] + b"\xfe\xff\xff\xff\x0f" + bytes(60_000)]
    bombs.append(GOOD[:-1] + b"\xfe\xff\x01" + b"\0" * 65_000)
    decoder = Decoder(max_bytes=100_000)
    tracemalloc.start()
    began = time.process_time()

    decoder.decode_batch(bombs)

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.process_time() - began < 1.0
    assert peak < 10_000_000


def test_memory_of_schema_ids_is_bounded() -> None:
    decoder = Decoder()
    for schema_id in range(25_000):
        decoder.learn(schema_id, None)

    assert len(decoder._by_id) <= 10_000
