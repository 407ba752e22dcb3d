"""The C extension and the pure code give the same, on good input and on bad."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor import identity
from processor.change import CHANGE_NAMESPACE, pure_change_id
from processor.codec import ChangeEncoder, Decoder, encode_raw_events
from processor.errors import DecodeError
from processor.identity import murmur2
from processor.model import RawStatusEvent, Source, StatusChange
from processor.schemas import load_schema, single_object_prefix
from processor.simulator import Simulator
from processor.speedups import SPEEDUPS
from tests.codec_reference import CHANGES, RAW_EVENTS

pytestmark = pytest.mark.skipif(SPEEDUPS is None, reason="the C extension is not built")

PREFIX = single_object_prefix(load_schema("raw_status_event"))


def outcome(item: object) -> object:
    """Make errors comparable."""
    return (item.reason, item.detail) if isinstance(item, DecodeError) else item


def both(values: list[bytes | None], max_bytes: int = 65_536) -> tuple[list[object], list[object]]:
    fast, pure = (Decoder(max_bytes, speedups=speedups).decode_batch(values) for speedups in (SPEEDUPS, None))
    return [outcome(item) for item in fast], [outcome(item) for item in pure]


@given(st.lists(RAW_EVENTS, max_size=5))
def test_good_events_decode_alike(events: list[RawStatusEvent]) -> None:
    fast, pure = both([*encode_raw_events(events)])

    assert fast == pure == events
    assert all(type(item) is RawStatusEvent for item in fast)


@given(RAW_EVENTS, st.data())
def test_damaged_events_decode_alike(event: RawStatusEvent, data: st.DataObject) -> None:
    value = bytearray(encode_raw_events([event])[0])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(value) - 1))
        match data.draw(st.sampled_from(["change", "cut", "insert"])):
            case "change":
                value[at] = data.draw(st.integers(0, 255))
            case "cut":
                del value[at + 1 :]
            case _:
                value.insert(at, data.draw(st.integers(0, 255)))

    fast, pure = both([bytes(value)])

    assert fast == pure


@given(
    st.lists(st.none() | st.binary(max_size=80) | st.binary(max_size=80).map(lambda tail: PREFIX + tail), max_size=5)
)
def test_any_bytes_decode_alike(values: list[bytes | None]) -> None:
    fast, pure = both(values, max_bytes=60)

    assert fast == pure


@given(st.lists(CHANGES, max_size=5))
def test_changes_encode_alike(changes: list[StatusChange]) -> None:
    assert ChangeEncoder(speedups=SPEEDUPS).encode_changes(changes) == ChangeEncoder(speedups=None).encode_changes(
        changes
    )


@given(
    st.text(max_size=200), st.integers(0, 2**62), st.text(max_size=50), st.integers(0, 2**31), st.integers(-1, 2**62)
)
def test_change_ids_are_uuid5s_alike(name: str, sequence: int, topic: str, partition: int, offset: int) -> None:
    assert SPEEDUPS is not None
    source = Source(topic, partition, offset, 3)
    text = f"{name}\0{sequence}\0{topic}\0{partition}\0{offset}\0003"

    fast = SPEEDUPS.ChangeNamer(CHANGE_NAMESPACE.bytes).change_id(name, sequence, source)

    assert fast == pure_change_id(name, sequence, source) == str(uuid.uuid5(CHANGE_NAMESPACE, text))


@given(st.text(max_size=60), st.integers(1, 1000))
def test_owners_are_alike(message_id: str, partitions: int) -> None:
    assert SPEEDUPS is not None
    data = message_id.encode()

    assert SPEEDUPS.murmur2(data) == murmur2(data)
    assert identity.owner_of(message_id, partitions) == (murmur2(data) & 0x7FFFFFFF) % partitions


def test_simulated_traffic_decodes_alike() -> None:
    values: list[bytes | None] = [record.value for record in Simulator(3, events=3_000, poison=0.1, callbacks=0.2)]

    fast, pure = both(values)

    assert fast == pure
