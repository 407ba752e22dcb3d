"""The Avro schemas that this project owns, their fingerprints and frames, and the check of writers' schemas.

A frame tells which schema the bytes behind it were written with. There are two: Avro single-object encoding
(specification 1.12, "Single-object encoding") and Confluent's wire format.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fastavro.schema import fingerprint, to_parsing_canonical_form

from processor.avro_reader import resolve
from processor.avro_schema import Record, SchemaError, parse_schema

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.resources.abc import Traversable

NAMES: Final = ("raw_status_event", "raw_callback", "status_change", "mapped_status_event")
RAW_NAMES: Final = ("raw_status_event", "raw_callback")
"""What may come in on a raw topic."""

SINGLE_OBJECT_MAGIC: Final = b"\xc3\x01"
"""Before a CRC-64-AVRO fingerprint of 8 bytes, little-endian."""
SINGLE_OBJECT_BYTES: Final = 10
REGISTRY_MAGIC: Final = b"\x00"
"""Before a schema registry's id of 4 bytes, big-endian."""
REGISTRY_BYTES: Final = 5


@cache
def _directory() -> Traversable:
    # A wheel has the schemas inside the package; in a source tree they stand beside it.
    packaged = files("processor") / "schemas"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent / "schemas"


@cache
def schema_text(name: str) -> str:
    """Return the text of one of our schemas, for example of ``status_change``."""
    return (_directory() / f"{name}.avsc").read_text(encoding="utf-8")


@cache
def known_texts() -> tuple[str, ...]:
    """Return every schema that comes with this program: ours, and released versions that a newer one replaced.

    A replaced version stays as a file of its own, named for example ``raw_status_event.v1.avsc``, so that bytes
    written with it can still be read.
    """
    paths = sorted((path for path in _directory().iterdir() if path.name.endswith(".avsc")), key=lambda path: path.name)
    return tuple(path.read_text(encoding="utf-8") for path in paths)


def load_schema(name: str) -> dict[str, Any]:
    """Return one of our schemas as parsed JSON."""
    schema: dict[str, Any] = json.loads(schema_text(name))
    return schema


@cache
def our_record(name: str) -> Record:
    """Return the tree of one of our schemas, whose values we read and write."""
    tree = parse_schema(schema_text(name))
    assert isinstance(tree, Record)  # noqa: S101  # as all of our schemas are
    return tree


def single_object_prefix(schema: object) -> bytes:
    """Return the ten bytes before a value in single-object encoding, for a schema as parsed JSON.

    Raises:
        fastavro.schema.SchemaParseException: Not a schema.
    """
    canonical = to_parsing_canonical_form(schema)  # type: ignore[arg-type]  # JSON, which fastavro checks itself
    # The specification wants the fingerprint little-endian, and that is how fastavro spells it.
    return SINGLE_OBJECT_MAGIC + bytes.fromhex(fingerprint(canonical, "CRC-64-AVRO"))


def registry_prefix(schema_id: int) -> bytes:
    """Return the five bytes before a value in Confluent's wire format."""
    return REGISTRY_MAGIC + schema_id.to_bytes(4, "big")


def match(text: str, names: Sequence[str] = RAW_NAMES) -> tuple[Record, Record]:
    """Return the tree of a writer's schema and the one of ours that it can be read as: the one of the same name.

    Raises:
        SchemaError: It must not or cannot be read; all reasons at once.
    """
    writer = parse_schema(text)
    ours = {our_record(name).short_name: our_record(name) for name in names}
    if not isinstance(writer, Record) or writer.short_name not in ours:
        raise SchemaError(f"no record of the name {' or '.join(ours)}")
    reader = ours[writer.short_name]
    resolve(writer, reader)
    return writer, reader


def lint(text: str, names: Sequence[str] = RAW_NAMES) -> list[str]:
    """Return why a writer's schema cannot be used to read what is wanted; nothing where it can.

    Args:
        text: The schema's JSON.
        names: Which of our schemas its values are wanted as.
    """
    try:
        match(text, names)
    except SchemaError as error:
        return error.problems
    return []
