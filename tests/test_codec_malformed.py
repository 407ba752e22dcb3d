"""Any bytes are a value or an error with its reason; what is taken for a value is one to fastavro too."""

from __future__ import annotations

import re
import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.avro_reader import finish, resolve
from processor.codec import Decoder, decode_changes, encode_callback, encode_raw_events
from processor.errors import DeadLetterReason, DecodeError
from processor.model import Action, RawCallback, RawStatusEvent, StatusChange
from processor.schemas import load_schema, our_record, single_object_prefix
from tests.codec_reference import (
    CALLBACKS,
    CHANGES,
    RAW_EVENTS,
    TYPICAL,
    as_dict,
    fastavro_bytes,
    fastavro_value,
    parsed,
)

RAW_FRAME = single_object_prefix(load_schema("raw_status_event"))
CALLBACK_FRAME = single_object_prefix(load_schema("raw_callback"))
CHANGE_FRAME = single_object_prefix(load_schema("status_change"))

DECODER = Decoder()
PURE = Decoder(speedups=None)

OUR_WORDS = re.compile(
    r"(field [a-z_.]+: )?(truncated|a (negative length|number|string|boolean|block|union)[A-Za-z0-9 -]*|an [a-z0-9 -]+"
    r"|null where [a-z0-9 -]+ is needed|\d+ bytes left over)"
)

EDITS = st.lists(
    st.tuples(
        st.sampled_from(["set", "insert", "delete", "cut", "append"]),
        st.integers(0, 10_000),
        st.sampled_from([0, 1, 2, 3, 4, 127, 128, 129, 254, 255]) | st.integers(0, 255),
    ),
    min_size=1,
    max_size=4,
)


def edited(body: bytes, edits: list[tuple[str, int, int]]) -> bytes:
    """Return a body with some bytes other than they were."""
    data = bytearray(body)
    for edit, place, byte in edits:
        at = place % (len(data) + 1)
        if edit == "set" and data:
            data[at % len(data)] = byte
        elif edit == "insert":
            data.insert(at, byte)
        elif edit == "delete":
            del data[at : at + 1]
        elif edit == "cut":
            del data[at:]
        else:
            data.append(byte)
    return bytes(data)


def decode(value: bytes | None) -> object:
    """Return the item of a value, the same one with the C extension and without."""
    (item,), (pure,) = DECODER.decode_batch([value]), PURE.decode_batch([value])
    if isinstance(pure, DecodeError):
        assert isinstance(item, DecodeError)
        assert (item.reason, item.detail) == (pure.reason, pure.detail)
    else:
        assert item == pure
    return item


def check(name: str, body: bytes, item: object) -> None:
    """Hold an item against the strict reader and, where it is a value, against fastavro."""
    strictly = finish(resolve(our_record(name), our_record(name)))(body, 0)
    if isinstance(item, DecodeError):
        assert isinstance(strictly, DecodeError)
        assert item.detail == strictly.detail
        assert item.reason is DeadLetterReason.UNDECODABLE
        assert OUR_WORDS.fullmatch(item.detail)
    else:
        assert item == strictly
        assert as_dict(item) == fastavro_value(body, parsed(name))


@given(RAW_EVENTS, EDITS)
def test_a_damaged_raw_event_is_what_the_strict_reader_and_fastavro_say(
    value: RawStatusEvent, edits: list[tuple[str, int, int]]
) -> None:
    body = edited(encode_raw_events([value], b"")[0], edits)

    check("raw_status_event", body, decode(RAW_FRAME + body))


@given(EDITS)
def test_a_damaged_typical_event_is_what_the_strict_reader_and_fastavro_say(edits: list[tuple[str, int, int]]) -> None:
    body = edited(encode_raw_events([TYPICAL], b"")[0], edits)

    check("raw_status_event", body, decode(RAW_FRAME + body))


@given(CALLBACKS, EDITS)
def test_a_damaged_callback_is_what_the_strict_reader_and_fastavro_say(
    value: RawCallback, edits: list[tuple[str, int, int]]
) -> None:
    body = edited(encode_callback(value, b""), edits)

    check("raw_callback", body, decode(CALLBACK_FRAME + body))


@given(CHANGES, EDITS)
def test_a_damaged_change_is_what_the_strict_reader_and_fastavro_say(
    value: object, edits: list[tuple[str, int, int]]
) -> None:
    body = edited(fastavro_bytes(parsed("status_change"), value), edits)

    check("status_change", body, decode_changes([CHANGE_FRAME + body])[0])


@given(st.sampled_from([b"", RAW_FRAME, CALLBACK_FRAME, b"\0\0\0\0\1"]), st.binary(max_size=300))
def test_any_bytes_are_a_value_or_an_error(frame: bytes, data: bytes) -> None:
    DECODER.missing_schema_ids([frame + data])

    assert isinstance(decode(frame + data), RawStatusEvent | RawCallback | DecodeError)


@given(RAW_EVENTS, st.data())
def test_every_part_of_a_value_is_an_error(value: RawStatusEvent, data: st.DataObject) -> None:
    (encoded,) = encode_raw_events([value])
    cut = data.draw(st.integers(0, len(encoded) - 1))

    assert isinstance(decode(encoded[:cut]), DecodeError)
    assert isinstance(decode(encoded + b"\0"), DecodeError)


def test_every_part_of_a_typical_value_is_an_error() -> None:
    """Each cut, one by one, is told from the record that would have fewer or other fields."""
    (encoded,) = encode_raw_events(
        [TYPICAL._replace(action=Action("REPLY", "yes"), parts_total=3, attributes={"k": "v"})]
    )

    assert all(isinstance(decode(encoded[:cut]), DecodeError) for cut in range(len(encoded)))


SMALLEST = {
    "event_id": b"\0",
    "account": b"\0",
    "carrier": b"\2c",
    "channel": b"\0",
    "message_id": b"\2m",
    "status": b"\2s",
    "error_code": b"\0",
    "error_text": b"\0",
    "recipient": b"\0",
    "sender": b"\0",
    "occurred_at": b"\0",
    "received_at": b"\2",
    "parts_total": b"\0",
    "part_number": b"\0",
    "client_reference": b"\0",
    "action": b"\0",
    "attributes": b"\0",
}
"""The bytes of each field of the smallest raw event."""
UNION = "a union index out of range"
LONGER = "a number written longer than it needs to be"
OVER_64 = "a number of more than 64 bits"


def test_the_smallest_event_is_one() -> None:
    assert isinstance(decode(RAW_FRAME + b"".join(SMALLEST.values())), RawStatusEvent)


@pytest.mark.parametrize(
    ("field", "its_bytes", "what"),
    [
        ("event_id", b"\4", UNION),
        ("event_id", b"\1", UNION),
        ("event_id", b"\3", UNION),
        ("event_id", b"\x80\0", LONGER),
        ("event_id", b"\x82\0\2e", LONGER),
        ("message_id", b"\1", "a negative length"),
        ("message_id", b"\xff" * 9 + b"\1", "a negative length"),
        ("message_id", b"\x82\0m", LONGER),
        ("message_id", b"\xfe\xff\xff\xff\x0f", "truncated"),
        ("message_id", b"\xfe" + b"\xff" * 8 + b"\1", "truncated"),
        ("message_id", b"\xff" * 9 + b"\2", OVER_64),
        ("message_id", b"\xff" * 10 + b"\1", OVER_64),
        ("message_id", b"\x80" * 9 + b"\0", LONGER),
        ("message_id", b"\2\xff", "a string that is not UTF-8"),
        ("recipient", b"\2\6\xed\xa0\x80", "a string that is not UTF-8"),
        ("received_at", b"\x80\x80\x80\x80\x80\0", LONGER),
        ("received_at", b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x7f", OVER_64),
        ("occurred_at", b"\2" + b"\x80" * 10 + b"\1", OVER_64),
        ("parts_total", b"\2\x80\x80\x80\x80\x10", "an int of more than 32 bits"),
        ("parts_total", b"\2\x81\x80\x80\x80\x10", "an int of more than 32 bits"),
        ("action", b"\4", UNION),
        ("attributes", b"\xfe\xff\xff\xff\x0f", "a block of more items than bytes"),
        ("attributes", b"\xff" * 9 + b"\1\0", "a block of more items than bytes"),
        ("attributes", b"\1\4\2k\2v\0", "a block of another size than it claims"),
        ("attributes", b"\1\x0a\2k\2v\0", "a block of another size than it claims"),
        ("attributes", b"\1\x07\2k\2v\0", "a block of another size than it claims"),
        ("attributes", b"\2\2\xff\2v\0", "a string that is not UTF-8"),
        ("attributes", b"\2\1\2v\0", "a negative length"),
        ("attributes", b"\2\2k\2v", "truncated"),
        ("attributes", b"", "truncated"),
    ],
)
def test_each_kind_of_bad_bytes_has_its_reason(field: str, its_bytes: bytes, what: str) -> None:
    item = decode(RAW_FRAME + b"".join((SMALLEST | {field: its_bytes}).values()))

    assert isinstance(item, DecodeError)
    assert (item.reason, item.detail) == (DeadLetterReason.UNDECODABLE, f"field {field}: {what}")


def test_a_field_of_a_record_inside_is_named_with_it() -> None:
    item = decode(RAW_FRAME + b"".join((SMALLEST | {"action": b"\2\2R\2\xff"}).values()))

    assert isinstance(item, DecodeError)
    assert item.detail == "field action.description: a string that is not UTF-8"


@pytest.mark.parametrize(
    ("value", "detail"),
    [
        (None, "no value"),
        (b"", "wrong magic: neither Avro single-object encoding nor a schema registry's frame"),
        (b"\xc3", "wrong magic: neither Avro single-object encoding nor a schema registry's frame"),
        (b'{"message_id": "m"}', "wrong magic: neither Avro single-object encoding nor a schema registry's frame"),
        (b"\xc3\1\1", "truncated in its frame"),
        (b"\0\0\0\1", "truncated in its frame"),
        (b"\xc3\1\1\2\3\4\5\6\7\x08", "unknown schema fingerprint 0102030405060708"),
        (b"\0\0\0\0\7x", "unknown schema id 7"),
        (b"\0\xff\xff\xff\xff", "unknown schema id 4294967295"),
        (RAW_FRAME, "field event_id: truncated"),
        (RAW_FRAME + b"".join(SMALLEST.values()) + b"\0\0", "2 bytes left over"),
    ],
)
def test_each_kind_of_bad_frame_has_its_reason(value: bytes | None, detail: str) -> None:
    item = decode(value)

    assert isinstance(item, DecodeError)
    assert (item.reason, item.detail) == (DeadLetterReason.UNDECODABLE, detail)


SMALLEST_CHANGE = {
    "change_id": b"\2c",
    "message_id": b"\2m",
    "account": b"\0",
    "chain": b"\0",
    "client_reference": b"\0",
    "channel": b"\0",
    "status": b"\0",
    "previous": b"\0",
    "final": b"\1",
    "carrier": b"\2c",
    "raw_status": b"\2r",
    "error_code": b"\0",
    "error_text": b"\0",
    "recipient": b"\0",
    "parts": b"\0",
    "action": b"\0",
    "occurred_at": b"\0",
    "received_at": b"\2",
    "sequence": b"\2",
    "source": b"\2t\0\2\0",
}
"""The bytes of each field of the smallest change."""


def test_the_smallest_change_is_one() -> None:
    (item,) = decode_changes([CHANGE_FRAME + b"".join(SMALLEST_CHANGE.values())])

    assert isinstance(item, StatusChange)


@pytest.mark.parametrize(
    ("field", "its_bytes", "detail"),
    [
        ("channel", b"\6", "field channel: an enum index out of range"),
        ("channel", b"\1", "field channel: an enum index out of range"),
        ("status", b"\x28", "field status: an enum index out of range"),
        ("status", b"\x80\0", f"field status: {LONGER}"),
        ("previous", b"\2\1", "field previous: an enum index out of range"),
        ("final", b"\2", "field final: a boolean that is neither 0 nor 1"),
        ("final", b"\xff", "field final: a boolean that is neither 0 nor 1"),
        ("sequence", b"\x80\x80\x80\x80\x10", "field sequence: an int of more than 32 bits"),
        ("parts", b"\2\4\0\0", f"field parts.total: {UNION}"),
        ("source", b"\2t\0", "field source.offset: truncated"),
        ("source", b"\2t\0\2\0\0", "1 bytes left over"),
    ],
)
def test_enums_booleans_and_records_inside_are_held_to_their_range(field: str, its_bytes: bytes, detail: str) -> None:
    (item,) = decode_changes([CHANGE_FRAME + b"".join((SMALLEST_CHANGE | {field: its_bytes}).values())])

    assert isinstance(item, DecodeError)
    assert item.detail == detail


@pytest.mark.parametrize(
    "bomb",
    [
        SMALLEST | {"message_id": b"\xfe\xff\xff\xff\x0f" + b"x" * 60_000},
        SMALLEST | {"attributes": b"\xfe\xff\xff\xff\x0f" + bytes(60_000)},
        SMALLEST | {"attributes": b"\xfe\xff" + b"\3" + b"\0" * 65_000},
        SMALLEST | {"attributes": b"\2\0\0" * 20_000},
        SMALLEST | {"attributes": b"".join(b"\2\6%03d\0" % (n % 1000) for n in range(10_000)) + b"\0"},
        SMALLEST | {"received_at": b"\xff" * 60_000},
    ],
)
def test_claims_cost_no_more_than_their_bytes(bomb: dict[str, bytes]) -> None:
    value = RAW_FRAME + b"".join(bomb.values())
    assert len(value) < 80_000
    tracemalloc.start()
    began = time.process_time()

    items = Decoder(max_bytes=80_000).decode_batch([value])

    took, (_, peak) = time.process_time() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(items[0], RawStatusEvent | DecodeError)
    assert took < 5.0
    assert peak < 20_000_000
