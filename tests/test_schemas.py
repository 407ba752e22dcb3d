"""Our schemas: released versions stay readable, fingerprints are the specification's, enums are the canonical ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import avro.schema
import fastavro
import pytest
from fastavro.utils import generate_many

from processor import schemas
from processor.avro_reader import finish, resolve
from processor.avro_schema import Record, parse_schema
from processor.avro_types import ENUMS, RECORDS
from processor.codec import Decoder, decode_changes, decode_mapped
from processor.errors import DecodeError
from processor.model import RawStatusEvent
from processor.schemas import NAMES, lint, load_schema, our_record, registry_prefix, schema_text, single_object_prefix
from processor.status import Channel, Status
from tests.codec_reference import as_dict, fastavro_bytes, fastavro_value, parsed, plain

RELEASED = Path(__file__).parent / "fixtures" / "schemas"

FINGERPRINTS = {
    ("v1", "raw_status_event"): "92c0532914ad6832",
    ("v1", "raw_callback"): "925da33e262ab032",
    ("v1", "status_change"): "456b0b21ca6c6df3",
    ("v1", "mapped_status_event"): "6275e51e269dcbb6",
}
"""Of every released schema, as it stands in the frame: a producer that was released with it writes this for ever."""


def released(version: str, name: str) -> Any:
    return json.loads((RELEASED / version / f"{name}.avsc").read_text(encoding="utf-8"))


def a_value(schema: Any) -> Any:
    return next(iter(generate_many(fastavro.parse_schema(plain(schema)), 1)))


def test_every_released_schema_is_pinned() -> None:
    assert {(path.parent.name, path.stem) for path in RELEASED.glob("*/*.avsc")} == set(FINGERPRINTS)


@pytest.mark.parametrize(("version", "name"), FINGERPRINTS)
def test_fingerprints_of_released_schemas_stay(version: str, name: str) -> None:
    assert single_object_prefix(released(version, name)).hex() == "c301" + FINGERPRINTS[version, name]


@pytest.mark.parametrize(("version", "name"), FINGERPRINTS)
def test_values_of_released_schemas_stay_readable_by_their_frame_alone(version: str, name: str) -> None:
    schema = released(version, name)
    body = fastavro_bytes(fastavro.parse_schema(plain(schema)), a_value(schema))
    frame = bytes.fromhex("c301" + FINGERPRINTS[version, name])

    item: object
    if name == "status_change":
        (item,) = decode_changes([frame + body])
    elif name == "mapped_status_event":
        item = decode_mapped(frame + body)
    else:
        (item,) = Decoder().decode_batch([frame + body])

    assert as_dict(item) == fastavro_value(body, fastavro.parse_schema(plain(schema)), parsed(name))


@pytest.mark.parametrize(("version", "name"), FINGERPRINTS)
def test_readers_of_released_schemas_can_read_what_we_write(version: str, name: str) -> None:
    theirs, value = fastavro.parse_schema(plain(released(version, name))), a_value(load_schema(name))

    body = fastavro_bytes(parsed(name), value)

    assert fastavro_value(body, parsed(name), theirs) is not None
    assert isinstance(finish(resolve(our_record(name), _record(released(version, name))))(body, 0), tuple)


def _record(schema: Any) -> Record:
    tree = parse_schema(json.dumps(schema))
    assert isinstance(tree, Record)
    return tree


def test_a_replaced_version_in_the_directory_stays_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    older = load_schema("raw_status_event")
    older["fields"] = [field for field in older["fields"] if field["name"] != "account"]
    for name in NAMES:
        (tmp_path / f"{name}.avsc").write_text(schema_text(name), encoding="utf-8")
    (tmp_path / "raw_status_event.v0.avsc").write_text(json.dumps(older), encoding="utf-8")
    monkeypatch.setattr(schemas, "known_texts", lambda: tuple(path.read_text() for path in sorted(tmp_path.iterdir())))
    monkeypatch.setattr("processor.codec.known_texts", schemas.known_texts)
    value = a_value(older)

    (item,) = Decoder().decode_batch(
        [single_object_prefix(older) + fastavro_bytes(fastavro.parse_schema(plain(older)), value)]
    )

    assert isinstance(item, RawStatusEvent)
    assert as_dict(item) == {**value, "account": None}


def test_the_fingerprint_is_the_specifications_in_little_endian() -> None:
    """The fingerprint of ``"null"`` is 63dd24e7cc258f8a in Apache's own test data, a number."""
    assert single_object_prefix("null") == b"\xc3\x01" + bytes.fromhex("63dd24e7cc258f8a")[::-1]


@pytest.mark.parametrize("name", NAMES)
def test_apache_avro_has_the_same_fingerprints(name: str) -> None:
    """Without logical types, which its canonical form does not reduce to the plain names."""
    theirs = avro.schema.parse(json.dumps(plain(load_schema(name)))).fingerprint("CRC-64-AVRO")

    assert single_object_prefix(load_schema(name)) == b"\xc3\x01" + theirs


def test_a_registrys_frame_is_a_zero_and_the_id_in_big_endian() -> None:
    assert registry_prefix(0x01020304) == b"\x00\x01\x02\x03\x04"


@pytest.mark.parametrize("name", NAMES)
def test_our_schemas_pass_our_own_check(name: str) -> None:
    assert lint(schema_text(name), [name]) == []


@pytest.mark.parametrize("name", ["status_change", "mapped_status_event"])
def test_what_comes_out_is_not_taken_for_what_comes_in(name: str) -> None:
    assert lint(schema_text(name)) == ["no record of the name RawStatusEvent or RawCallback"]


@pytest.mark.parametrize("name", NAMES)
def test_our_records_have_the_fields_of_their_types_in_order(name: str) -> None:
    def check(record: Record) -> None:
        fields = getattr(RECORDS[record.short_name], "_fields")  # noqa: B009  # a NamedTuple's, which tuple does not have
        assert tuple(each.name for each in record.fields) == fields
        for each in record.fields:
            for inner in getattr(each.type, "branches", (each.type,)):
                if isinstance(inner, Record):
                    check(inner)

    check(our_record(name))


@pytest.mark.parametrize("name", NAMES)
def test_every_field_and_type_is_documented(name: str) -> None:
    def check(schema: Any) -> None:
        if isinstance(schema, list):
            for branch in schema:
                check(branch)
        elif isinstance(schema, dict):
            if schema["type"] in {"record", "enum"}:
                assert schema["doc"], schema["name"]
            for field in schema.get("fields", ()):
                assert field["doc"], field["name"]
                check(field["type"])

    check(load_schema(name))


@pytest.mark.parametrize("name", ["status_change", "mapped_status_event"])
def test_the_enums_are_the_canonical_ones(name: str) -> None:
    """Symbols stand by code, so that a new status is appended wherever it stands in the order."""
    types = {field["name"]: field["type"] for field in load_schema(name)["fields"]}

    assert types["channel"]["symbols"] == [str(channel) for channel in Channel]
    assert types["status"]["symbols"] == [str(s) for s in sorted(Status, key=lambda status: status.code)]
    assert [ENUMS["Channel"], ENUMS["Status"]] == [Channel, Status]


@pytest.mark.parametrize("name", NAMES)
def test_optional_fields_have_defaults_so_that_versions_mix(name: str) -> None:
    for field in load_schema(name)["fields"]:
        if isinstance(field["type"], list):
            assert field["type"][0] == "null"
            assert field["default"] is None


def test_a_change_with_a_status_that_an_older_reader_does_not_have_is_an_error_there() -> None:
    """What a newer version may publish, an older reader must not mistake."""
    newer = json.loads(schema_text("status_change").replace('"REPLY"]', '"REPLY", "RECALLED"]'))
    reads = finish(resolve(_record(newer), our_record("status_change")))
    value = {**a_value(newer), "status": "RECALLED"}

    item = reads(fastavro_bytes(fastavro.parse_schema(plain(newer)), value), 0)

    assert isinstance(item, DecodeError)
    assert item.detail == "field status: an enum symbol that our schema does not have"
