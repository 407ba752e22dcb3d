"""Values of other writers' schemas are resolved to ours as fastavro does it; dangerous schemas are never read with."""

from __future__ import annotations

import json
import time
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.codec import Decoder, encode_raw_events
from processor.errors import DecodeError, ExitCode, FatalError
from processor.model import Action, RawStatusEvent
from processor.schemas import lint, load_schema, registry_prefix, schema_text, single_object_prefix
from tests.codec_reference import (
    INT,
    LONG,
    RAW_EVENTS,
    TEXT,
    TYPICAL,
    as_dict,
    fastavro_bytes,
    fastavro_value,
    parsed,
    plain,
)

FRAME = registry_prefix(5)


def writer(*, without: tuple[str, ...] = (), first: tuple[Any, ...] = (), **types: Any) -> dict[str, Any]:
    """Return another version of our raw event's schema: fewer fields, more fields, other types."""
    schema = load_schema("raw_status_event")
    kept = [each for each in schema["fields"] if each["name"] not in without]
    fields = [{**each, "type": types.get(each["name"], each["type"])} for each in kept]
    return {**schema, "fields": [*first, *fields]}


def learned(schema: Any) -> Decoder:
    decoder = Decoder()
    decoder.learn(5, json.dumps(schema))
    return decoder


def read_with(schema: Any, fields: dict[str, Any]) -> object:
    """Write fields with a schema, by fastavro, and return what our decoder makes of them."""
    body = fastavro_bytes(fastavro.parse_schema(plain(schema)), fields)
    (item,) = learned(schema).decode_batch([FRAME + body])
    return item


# Evolution

EXTRA_TYPES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    ("string", TEXT),
    ("bytes", st.binary(max_size=80)),
    ("int", INT),
    ("long", LONG),
    ("boolean", st.booleans()),
    ("double", st.floats(allow_nan=False)),
    ("float", st.just(0.5)),
    ("null", st.none()),
    (["null", "string"], st.none() | TEXT),
    (["string", "null"], st.none() | TEXT),
    (["null", "long", "string"], st.none() | LONG | TEXT),
    ({"type": "array", "items": "string"}, st.lists(TEXT, max_size=3)),
    ({"type": "array", "items": {"type": "array", "items": "int"}}, st.lists(st.lists(INT, max_size=2), max_size=2)),
    ({"type": "map", "values": ["null", "int"]}, st.dictionaries(TEXT, st.none() | INT, max_size=2)),
    ({"type": "enum", "name": "Colour", "symbols": ["RED", "BLUE"]}, st.sampled_from(["RED", "BLUE"])),
    ({"type": "fixed", "name": "Digest", "size": 3}, st.binary(min_size=3, max_size=3)),
    (
        {"type": "record", "name": "Place", "fields": [{"name": "x", "type": "int"}, {"name": "y", "type": "string"}]},
        st.fixed_dictionaries({"x": INT, "y": TEXT}),
    ),
]
OPTIONAL = [each["name"] for each in load_schema("raw_status_event")["fields"] if "default" in each]
BACKWARDS = ["string", "null"]


@st.composite
def versions(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return another writer's schema, and the fields of a value of it."""
    extras = draw(st.lists(st.sampled_from(EXTRA_TYPES), max_size=3, unique_by=lambda each: json.dumps(each[0])))
    values = as_dict(draw(RAW_EVENTS))
    types: dict[str, Any] = {"error_code": draw(st.sampled_from([["null", "string"], BACKWARDS]))}
    if draw(st.booleans()):
        types["received_at"] = "int"
        values["received_at"] = draw(INT)
    if draw(st.booleans()):
        types["recipient"] = "string"
        values["recipient"] = draw(TEXT)
    if draw(st.booleans()):
        types["sender"] = "bytes"
        values["sender"] = draw(TEXT).encode()
    schema = writer(without=tuple(draw(st.sets(st.sampled_from(OPTIONAL)))), **types)
    for number, (type_, strategy) in enumerate(extras):
        schema["fields"].append({"name": f"extra{number}", "type": type_})
        values[f"extra{number}"] = draw(strategy)
    schema["fields"] = [
        {k: v for k, v in each.items() if k != "default"} for each in draw(st.permutations(schema["fields"]))
    ]
    if draw(st.booleans()):
        schema["namespace"] = "com.example.edge"
    return schema, values


@given(versions())
def test_other_versions_are_resolved_as_fastavro_does_it(version: tuple[dict[str, Any], dict[str, Any]]) -> None:
    schema, values = version
    theirs = fastavro.parse_schema(plain(schema))
    body = fastavro_bytes(theirs, values)

    (item,) = learned(schema).decode_batch([FRAME + body])

    assert as_dict(item) == fastavro_value(body, theirs, parsed("raw_status_event"))


@given(versions(), st.binary(max_size=200))
def test_any_bytes_of_another_version_are_a_value_or_an_error(version: tuple[dict[str, Any], Any], data: bytes) -> None:
    (item,) = learned(version[0]).decode_batch([FRAME + data])

    assert isinstance(item, RawStatusEvent | DecodeError)


def test_a_field_that_we_do_not_know_is_passed_over() -> None:
    schema = writer(first=({"name": "retries", "type": "int", "default": 0},))

    assert read_with(schema, {**as_dict(TYPICAL), "retries": 3}) == TYPICAL


def test_an_optional_field_that_a_writer_does_not_have_is_absent() -> None:
    assert read_with(writer(without=("sender", "attributes")), as_dict(TYPICAL)) == TYPICAL._replace(sender=None)


def test_an_enum_may_stand_for_a_string() -> None:
    """By the letter of the specification it may not; producers that list their statuses do it all the same."""
    words = {"type": "enum", "name": "Word", "symbols": ["queued", "delivered"]}

    assert read_with(
        writer(status=words, channel=["null", {**words, "name": "W2"}]), {**as_dict(TYPICAL), "channel": None}
    ) == (TYPICAL._replace(channel=None))


def test_a_text_that_may_be_absent_there_but_not_here_is_an_error_only_where_it_is() -> None:
    schema = writer(message_id=["null", "string"])

    assert read_with(schema, as_dict(TYPICAL)) == TYPICAL
    item = read_with(schema, {**as_dict(TYPICAL), "message_id": None})
    assert isinstance(item, DecodeError)
    assert item.detail == "field message_id: null where string is needed"


def test_maps_and_arrays_of_several_blocks_are_read() -> None:
    schema = writer(first=({"name": "tags", "type": {"type": "array", "items": "string"}},))
    blocks = b"\2\2a\3\x08\2b\2c\0"  # One item; two items in four bytes; the end.
    (body,) = encode_raw_events([TYPICAL], b"")
    attributes = b"\1\x08\2k\2v\2\2l\2w\0"  # One entry in four bytes; one entry; the end.

    (item,) = learned(schema).decode_batch([FRAME + blocks + body[:-1] + attributes])

    assert item == TYPICAL._replace(attributes={"k": "v", "l": "w"})


def test_annotations_do_not_matter() -> None:
    """As Java writes its schemas."""
    schema = json.loads(
        schema_text("raw_status_event").replace('"string"', '{"type": "string", "avro.java.string": "String"}')
    )

    assert read_with(schema, as_dict(TYPICAL)) == TYPICAL


def test_a_record_inside_is_resolved_too() -> None:
    action = {
        "type": "record",
        "name": "Action",
        "fields": [
            {"name": "weight", "type": "double"},
            {"name": "description", "type": "string"},
            {"name": "type", "type": "string"},
        ],
    }

    item = read_with(
        writer(action=["null", action]),
        {**as_dict(TYPICAL), "action": {"type": "REPLY", "description": "yes", "weight": 0.5}},
    )

    assert item == TYPICAL._replace(action=Action("REPLY", "yes"))


def test_extra_schemas_are_read_in_single_object_encoding() -> None:
    schema = writer(without=("account",))
    body = fastavro_bytes(fastavro.parse_schema(plain(schema)), as_dict(TYPICAL))

    decoder = Decoder(extra_schemas=[json.dumps(schema)])

    assert decoder.decode_batch([single_object_prefix(schema) + body]) == [TYPICAL]


def test_an_extra_schema_that_cannot_be_used_ends_the_worker() -> None:
    with pytest.raises(FatalError, match="extra schema 2 cannot be used: not JSON") as caught:
        Decoder(extra_schemas=[schema_text("raw_callback"), "{"])

    assert caught.value.exit_code is ExitCode.SETTINGS


# What cannot be resolved


@pytest.mark.parametrize(
    ("schema", "problems"),
    [
        (
            writer(without=("message_id", "carrier")),
            ["carrier is missing, and has no", "message_id is missing, and has no"],
        ),
        (
            writer(status="long", sender="double"),
            ["status: long cannot be read as string", "sender: double cannot be read"],
        ),
        (
            writer(received_at={"type": "long", "logicalType": "timestamp-micros"}),
            ["received_at: timestamp-micros cannot be"],
        ),
        (writer(occurred_at=["null", {"type": "int", "logicalType": "date"}]), ["occurred_at: date cannot be read as"]),
        (writer(parts_total=["null", "long"], part_number="long"), ["part_number: long cannot be read as null or int"]),
        (
            writer(action={"type": "record", "name": "Deed", "fields": []}),
            ["record Deed cannot be read as null or record"],
        ),
        (writer(attributes={"type": "map", "values": "int"}), ["attributes: int cannot be read as string"]),
        (writer(message_id="null"), ["message_id: null cannot be read as string"]),
        ({**load_schema("raw_status_event"), "name": "Other"}, ["no record of the name RawStatusEvent or RawCallback"]),
        ("string", ["no record of the name RawStatusEvent or RawCallback"]),
    ],
)
def test_what_cannot_be_resolved_is_refused_with_every_reason(schema: Any, problems: list[str]) -> None:
    found = lint(json.dumps(schema))

    for problem in problems:
        assert any(problem in each for each in found), found
    (item,) = learned(schema).decode_batch([FRAME + bytes(50)])
    assert isinstance(item, DecodeError)
    assert item.detail == f"schema id 5: {found[0]}"


# Dangerous schemas


def record(name: str, *types: Any) -> dict[str, Any]:
    return {
        "type": "record",
        "name": name,
        "fields": [{"name": f"f{n}", "type": type_} for n, type_ in enumerate(types)],
    }


def nested(levels: int) -> Any:
    schema: Any = "string"
    for level in range(levels):
        schema = record(f"R{level}", schema)
    return schema


def multiplied(levels: int, by: int) -> Any:
    """Return a schema of few words that names many types: each level names the one below so often."""
    schema = record("R0", "null")
    for level in range(1, levels):
        schema = record(f"R{level}", schema, *[f"R{level - 1}"] * (by - 1))
    return schema


EMPTY = "array items or map values that take no bytes, or hold something that takes none"


@pytest.mark.parametrize(
    ("extra", "problem"),
    [
        (record("Node", ["null", "Node"]), "recursive type processor.status.v1.Node"),
        ({"type": "array", "items": record("Node", {"type": "map", "values": "Node"})}, "recursive type"),
        ({"type": "array", "items": "null"}, EMPTY),
        ({"type": "map", "values": "null"}, EMPTY),
        ({"type": "array", "items": record("Empty")}, EMPTY),
        ({"type": "array", "items": record("Nulls", "null", record("Empty"))}, EMPTY),
        ({"type": "array", "items": record("MostlyNulls", "boolean", *["null"] * 500)}, EMPTY),
        ({"type": "array", "items": ["null", record("Nulls", "null", "null")]}, EMPTY),
        ({"type": "array", "items": {"type": "fixed", "name": "F", "size": 0}}, EMPTY),
        ({"type": "fixed", "name": "F", "size": 65_537}, "fixed processor.status.v1.F is not of 0 to 65536 bytes"),
        ({"type": "fixed", "name": "F", "size": -1}, "fixed processor.status.v1.F is not of"),
        ({"type": "fixed", "name": "F", "size": True}, "fixed processor.status.v1.F is not of"),
        ({"type": "bytes", "logicalType": "decimal"}, "a decimal without a precision"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 10**6}, "a decimal without a precision"),
        ({"type": "fixed", "name": "F", "size": 9, "logicalType": "decimal"}, "a decimal without a precision"),
        (nested(40), "nested deeper than 16"),
        (multiplied(11, 2), "more than 1000 types once named types are written out"),
        (multiplied(8, 40), "more than 1000 types once named types are written out"),
        (["null", ["string"]], "a union that is empty or holds a union"),
        ([], "a union that is empty or holds a union"),
        ("Unheard", "unknown type processor.status.v1.Unheard: references"),
        (7, "a type that is no name, list or object"),
        ({"type": "enum", "name": "E", "symbols": []}, "has no symbols"),
        ({"type": "enum", "name": "E", "symbols": ["A", "A"]}, "one twice"),
        ({"type": "enum", "name": "E", "symbols": ["no symbol"]}, "has no list of valid symbols"),
        ({"type": "record", "name": "R", "fields": 7}, "has no list of fields"),
        ({"type": "record", "name": "R", "fields": [7]}, "has a field without a valid name"),
        (
            {"type": "record", "name": "R", "fields": [{"name": "a\nb", "type": "int"}]},
            "has a field without a valid name",
        ),
        ({"type": "record", "name": "R", "fields": [{"name": "a", "type": "int"}] * 2}, "has two fields of one name"),
        ({"type": "record", "name": "a b", "fields": []}, "a named type without a valid name"),
        ({"type": "record", "fields": []}, "a named type without a name"),
        (record("Action", "int"), "type processor.status.v1.Action is defined twice"),
    ],
)
def test_a_dangerous_or_broken_schema_is_refused_before_any_value(extra: Any, problem: str) -> None:
    schema = writer(first=({"name": "extra", "type": extra},))
    began = time.process_time()

    assert any(problem in each for each in lint(json.dumps(schema)))

    assert time.process_time() - began < 2.0
    (item,) = learned(schema).decode_batch([FRAME + bytes(1000)])
    assert isinstance(item, DecodeError)
    assert item.detail.startswith("schema id 5: ")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("\ud800", "not JSON"),
        ('{"type": "fixed", "size": ' + "9" * 5000 + "}", "not JSON"),
        ("7", "a type that is no name, list or object"),
        ("null", "a type that is no name, list or object"),
        ("[" * 100_000, "nested deeper than 16"),
        ("[" * 17 + "]" * 17, "nested deeper than 16"),
        (" " * 262_145, "longer than 262144 characters"),
        ('{"type": {"type": {"type": "int"}}}', "no record of the name RawStatusEvent or RawCallback"),
        ('{"type":"record"}', "a named type without a name"),
    ],
)
def test_what_is_no_schema_is_refused(text: str, problem: str) -> None:
    assert lint(text) == [problem]
    decoder = Decoder()
    decoder.learn(5, text)
    (item,) = decoder.decode_batch([FRAME + bytes(10)])
    assert isinstance(item, DecodeError)
    assert item.detail == f"schema id 5: {problem}"


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.sampled_from(
        ["null", "string", "int", "record", "array", "map", "enum", "fixed", "RawStatusEvent", "A", "a b", ""]
    ),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "name", "fields", "items", "values", "symbols", "size", "namespace", "logicalType"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_any_json_is_a_schema_or_has_a_problem(schema: Any) -> None:
    problems = lint(json.dumps(schema))

    assert problems
    assert all("\n" not in problem and len(problem) < 2000 for problem in problems)


@given(st.binary(max_size=3000))
def test_a_wide_schema_of_deep_items_takes_no_more_time_than_its_bytes(data: bytes) -> None:
    deep = {"type": "array", "items": nested(7)}
    nulls = [{"name": f"x{n}", "type": "null"} for n in range(300)]
    decoder = learned(writer(first=(*nulls, {"name": "deep", "type": deep})))
    began = time.process_time()

    decoder.decode_batch([FRAME + data, FRAME + b"\xfe\x0f" + b"\0" * 3000])

    assert time.process_time() - began < 5.0
