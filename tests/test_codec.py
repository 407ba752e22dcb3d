"""The codec has the bytes and values of fastavro and of Apache Avro; frames decide what is read how."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.codec import (
    SCHEMA_IDS_ASKED_MAX,
    SCHEMA_IDS_MAX,
    UNKNOWN_ID_BATCHES,
    ChangeEncoder,
    Decoder,
    decode_changes,
    decode_mapped,
    encode_callback,
    encode_mapped,
    encode_raw_events,
)
from processor.errors import DeadLetterReason, DecodeError
from processor.model import RawCallback, RawStatusEvent, StatusChange, StatusEvent
from processor.schemas import load_schema, registry_prefix, schema_text, single_object_prefix
from processor.status import Channel, Status
from tests.codec_reference import (
    CALLBACKS,
    CHANGES,
    MAPPED_EVENTS,
    RAW_EVENTS,
    TYPICAL,
    apache_bytes,
    apache_value,
    as_dict,
    fastavro_bytes,
    fastavro_value,
    mapped_fields,
    parsed,
)
from tests.strategies import event

RAW_FRAME = single_object_prefix(load_schema("raw_status_event"))
CALLBACK_FRAME = single_object_prefix(load_schema("raw_callback"))
CHANGE_FRAME = single_object_prefix(load_schema("status_change"))
MAPPED_FRAME = single_object_prefix(load_schema("mapped_status_event"))

DECODER = Decoder()
ENCODER = ChangeEncoder()
PURE_DECODER = Decoder(speedups=None)
PURE_ENCODER = ChangeEncoder(speedups=None)


@given(RAW_EVENTS)
def test_raw_events_have_fastavros_bytes_and_come_back(value: RawStatusEvent) -> None:
    (data,) = encode_raw_events([value])

    assert data == RAW_FRAME + fastavro_bytes(parsed("raw_status_event"), value)
    assert DECODER.decode_batch([data]) == [value]
    assert PURE_DECODER.decode_batch([data]) == [value]


@given(CALLBACKS)
def test_callbacks_have_fastavros_bytes_and_come_back(value: RawCallback) -> None:
    data = encode_callback(value)

    assert data == CALLBACK_FRAME + fastavro_bytes(parsed("raw_callback"), value)
    assert DECODER.decode_batch([data]) == [value]


@given(CHANGES)
def test_changes_have_fastavros_bytes_and_come_back(value: StatusChange) -> None:
    (data,) = ENCODER.encode_changes([value])

    assert data == CHANGE_FRAME + fastavro_bytes(parsed("status_change"), value)
    assert PURE_ENCODER.encode_changes([value]) == [data]
    assert decode_changes([data]) == [value]


@given(MAPPED_EVENTS)
def test_mapped_events_have_fastavros_bytes_and_come_back(value: StatusEvent) -> None:
    data = encode_mapped(value)

    assert data == MAPPED_FRAME + fastavro_bytes(parsed("mapped_status_event"), mapped_fields(value))
    assert decode_mapped(data) == mapped_fields(value)


@given(RAW_EVENTS, CALLBACKS, CHANGES)
def test_apache_avro_and_the_codec_read_each_other(
    raw: RawStatusEvent, callback: RawCallback, change: StatusChange
) -> None:
    assert apache_value("raw_status_event", encode_raw_events([raw], b"")[0]) == as_dict(raw)
    assert apache_value("raw_callback", encode_callback(callback, b"")) == as_dict(callback)
    assert apache_value("status_change", ChangeEncoder(b"").encode_changes([change])[0]) == as_dict(change)
    assert DECODER.decode_batch([RAW_FRAME + apache_bytes("raw_status_event", raw)]) == [raw]
    assert decode_changes([CHANGE_FRAME + apache_bytes("status_change", change)]) == [change]


def test_statuses_and_channels_come_back_as_members() -> None:
    mapped = decode_mapped(encode_mapped(event(Status.READ, Channel.WHATSAPP)))

    assert mapped.status is Status.READ
    assert mapped.channel is Channel.WHATSAPP


@pytest.mark.parametrize("bits", range(63))
@pytest.mark.parametrize("sign", [1, -1])
def test_numbers_of_any_length_come_back(bits: int, sign: int) -> None:
    # An explicit 0 behind the time: its two bytes, taken for the time's last one and an absent field, would fit.
    event = TYPICAL._replace(occurred_at=sign * 2**bits, parts_total=0)
    values = [event._replace(received_at=sign * (2**bits + off)) for off in (-1, 0, 1)]

    encoded = encode_raw_events(values)

    assert encoded == [RAW_FRAME + fastavro_bytes(parsed("raw_status_event"), value) for value in values]
    assert DECODER.decode_batch(encoded) == values
    assert PURE_DECODER.decode_batch(encoded) == values


@pytest.mark.parametrize("length", [0, 1, 63, 64, 127, 128, 1023, 1024, 8191, 8192, 60_000])
@pytest.mark.parametrize("letter", ["x", "é"])
def test_texts_of_any_length_come_back(length: int, letter: str) -> None:
    value = TYPICAL._replace(message_id=letter * length, error_text=letter * length, attributes={letter * length: ""})
    decoder = Decoder(max_bytes=1_000_000)

    (data,) = encode_raw_events([value])

    assert data == RAW_FRAME + fastavro_bytes(parsed("raw_status_event"), value)
    assert decoder.decode_batch([data]) == [value]


@given(st.lists(CHANGES, max_size=4))
def test_equal_changes_have_equal_bytes_whatever_was_encoded_before(values: list[StatusChange]) -> None:
    warm = ChangeEncoder(speedups=None)
    warm.encode_changes(values[::-1])

    assert warm.encode_changes(values) == [ChangeEncoder(speedups=None).encode_changes([value])[0] for value in values]


def test_memory_for_what_comes_again_is_bounded() -> None:
    encoder = ChangeEncoder(speedups=None)
    (change,) = decode_changes([CHANGE_FRAME + fastavro_bytes(parsed("status_change"), A_CHANGE)])
    assert isinstance(change, StatusChange)
    tracemalloc.start()
    for n in range(12_000):
        encoder.encode_changes([change._replace(error_text=f"{n:0400}")])

    kept, _ = tracemalloc.get_traced_memory()

    tracemalloc.stop()
    assert kept < 6_000_000


@given(RAW_EVENTS, st.integers(0, 2**31 - 1))
def test_a_registrys_frame_is_read_once_its_schema_is_learned(value: RawStatusEvent, schema_id: int) -> None:
    decoder = Decoder()
    values = encode_raw_events([value], registry_prefix(schema_id))
    assert decoder.missing_schema_ids([*values, None, b"", *encode_raw_events([value])]) == {schema_id}

    decoder.learn(schema_id, schema_text("raw_status_event"))

    assert decoder.missing_schema_ids(values) == set()
    assert decoder.decode_batch(values) == [value]


def test_both_records_and_both_frames_mix_in_one_batch() -> None:
    decoder = Decoder()
    decoder.learn(1, schema_text("raw_status_event"))
    decoder.learn(2, schema_text("raw_callback"))
    callback = RawCallback(None, "acme", None, 1, "", b"{}", None, {})

    items = decoder.decode_batch(
        [
            *encode_raw_events([TYPICAL]),
            encode_callback(callback, registry_prefix(2)),
            b"?",
            encode_callback(callback),
            *encode_raw_events([TYPICAL], registry_prefix(1)),
        ]
    )

    assert [item for item in items if not isinstance(item, DecodeError)] == [TYPICAL, callback, callback, TYPICAL]
    assert isinstance(items[2], DecodeError)


@given(CHANGES, st.integers(0, 2**31 - 1))
def test_changes_behind_a_registrys_frame_are_read_without_it(value: StatusChange, schema_id: int) -> None:
    encoded = ChangeEncoder(registry_prefix(schema_id)).encode_changes([value])

    assert encoded == [registry_prefix(schema_id) + fastavro_bytes(parsed("status_change"), value)]
    assert decode_changes(iter(encoded)) == [value]


def test_a_change_is_no_raw_event() -> None:
    (item,) = Decoder().decode_batch([CHANGE_FRAME + fastavro_bytes(parsed("status_change"), A_CHANGE)])

    assert isinstance(item, DecodeError)
    assert item.detail == f"unknown schema fingerprint {CHANGE_FRAME[2:].hex()}"


def test_an_id_that_was_never_learned_is_named() -> None:
    (item,) = Decoder().decode_batch([registry_prefix(7) + b"x"])

    assert isinstance(item, DecodeError)
    assert item.detail == "unknown schema id 7"


def test_an_id_that_the_registry_does_not_know_is_not_asked_for_again_at_once() -> None:
    decoder = Decoder()
    values = encode_raw_events([TYPICAL], registry_prefix(7))
    assert decoder.missing_schema_ids(values) == {7}
    decoder.learn(7, None)

    asked = [decoder.missing_schema_ids(values) for _ in range(UNKNOWN_ID_BATCHES)]

    assert asked[:-1] == [set()] * (UNKNOWN_ID_BATCHES - 1)
    assert asked[-1] == {7}
    (item,) = decoder.decode_batch(values)
    assert isinstance(item, DecodeError)
    assert item.detail == "schema id 7: the registry does not know it"


def test_an_id_that_was_registered_late_is_read() -> None:
    decoder = Decoder()
    decoder.learn(7, None)
    decoder.learn(7, schema_text("raw_status_event"))

    assert decoder.decode_batch(encode_raw_events([TYPICAL], registry_prefix(7))) == [TYPICAL]


def test_garbage_does_not_flood_the_registry() -> None:
    garbage = [registry_prefix(2**31 - 1 - n) for n in range(5000)]
    impossible = [b"\x00\xff\xff\xff\xffnegative", b"\x00\x01", b"\x00"]

    missing = Decoder().missing_schema_ids([*garbage, registry_prefix(17), *impossible])

    assert len(missing) == SCHEMA_IDS_ASKED_MAX
    assert 17 in missing
    assert Decoder().missing_schema_ids(impossible) == set()


def test_memory_for_ids_is_bounded_and_forgets_the_oldest() -> None:
    decoder = Decoder()
    for schema_id in range(SCHEMA_IDS_MAX + 1):
        decoder.learn(schema_id, None)

    missing = decoder.missing_schema_ids([registry_prefix(schema_id) for schema_id in range(SCHEMA_IDS_MAX + 1)])

    assert missing == {0}


def test_a_value_over_the_limit_is_not_looked_at() -> None:
    (value,) = encode_raw_events([TYPICAL])

    at_limit, over = (Decoder(max_bytes=len(value) - off).decode_batch([value])[0] for off in (0, 1))

    assert at_limit == TYPICAL
    assert isinstance(over, DecodeError)
    assert over.reason is DeadLetterReason.TOO_LARGE
    assert over.detail == f"{len(value)} bytes, the limit is {len(value) - 1}"


@pytest.mark.parametrize("value", [None, b"", CHANGE_FRAME, MAPPED_FRAME, MAPPED_FRAME + b"\xff" * 30])
def test_what_is_no_mapped_event_is_refused(value: bytes | None) -> None:
    with pytest.raises(DecodeError):
        decode_mapped(value)


@pytest.mark.parametrize(
    ("fact", "value"), [("received_at", 2**63), ("received_at", -(2**63) - 1), ("parts_total", 2**31)]
)
def test_a_number_that_its_type_cannot_hold_is_never_written(fact: str, value: int) -> None:
    with pytest.raises(OverflowError):
        encode_raw_events([TYPICAL._replace(**{fact: value})])  # type: ignore[arg-type]  # a field by name


A_CHANGE = {
    "change_id": "6f1ed002-ab5c-5f3c-8a4e-5f1e0d1c2b3a",
    "message_id": "m1",
    "account": None,
    "chain": "",
    "client_reference": None,
    "channel": "SMS",
    "status": "DELIVERED",
    "previous": "SENT",
    "final": True,
    "carrier": "twilio",
    "raw_status": "delivered",
    "error_code": None,
    "error_text": None,
    "recipient": None,
    "parts": None,
    "action": None,
    "occurred_at": None,
    "received_at": 1,
    "sequence": 2,
    "source": {"topic": "t", "partition": 0, "offset": 1, "index": 0},
}


def test_fastavro_reads_what_it_is_held_against() -> None:
    """The reference itself is at work: a body of known bytes."""
    body = fastavro_bytes(parsed("status_change"), A_CHANGE)

    assert fastavro_value(body, parsed("status_change")) == A_CHANGE
