"""Our schemas: released versions stay readable, and their enums are those of the canonical statuses."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import fastavro
import pytest
from fastavro.read import SchemaResolutionError
from fastavro.utils import generate_many

from processor.schemas import NAMES, lint, load_schema, schema_text, single_object_prefix
from processor.status import Channel, Status

RELEASED = Path(__file__).parent / "fixtures" / "schemas"


def released(name: str) -> list[Any]:
    return [json.loads(path.read_text()) for path in sorted(RELEASED.glob(f"*/{name}.avsc"))]


FINGERPRINTS = {
    "raw_status_event": "c3013268ad142953c092",
    "raw_callback": "c30132b02a263ea35d92",
    "status_change": "c301f36d6cca210b6b45",
    "mapped_status_event": "c301b6cb9d261ee57562",
}


@pytest.mark.parametrize("name", NAMES)
def test_fingerprints_of_version_1_stay(name: str) -> None:
    """A producer that was released with this schema writes this frame for ever."""
    (first, *_) = released(name)

    assert single_object_prefix(first).hex() == FINGERPRINTS[name]


@pytest.mark.parametrize("name", NAMES)
def test_released_versions_and_ours_read_each_other(name: str) -> None:
    ours = load_schema(name)
    for theirs in released(name):
        for writer, reader in ((theirs, ours), (ours, theirs)):
            value = next(iter(generate_many(fastavro.parse_schema(writer), 1)))
            try:
                assert read_back(writer, reader, value) is not None
            except SchemaResolutionError as error:
                pytest.fail(f"{name}: {error}")


def read_back(writer: Any, reader: Any, value: Any) -> Any:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(writer), value)
    out.seek(0)
    return fastavro.schemaless_reader(out, fastavro.parse_schema(writer), fastavro.parse_schema(reader))


@pytest.mark.parametrize("name", NAMES)
def test_our_schemas_pass_our_own_check(name: str) -> None:
    assert lint(schema_text(name)) == []


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


@pytest.mark.parametrize("name", NAMES)
def test_optional_fields_have_defaults_so_that_versions_mix(name: str) -> None:
    for field in load_schema(name)["fields"]:
        if isinstance(field["type"], list):
            assert field["type"][0] == "null"
            assert field["default"] is None
