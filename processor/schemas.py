"""The Avro schemas that this project owns, their fingerprints and their frames, and the check of foreign ones."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import fastavro
from fastavro.schema import fingerprint, to_parsing_canonical_form

Schema = Any
"""A schema is JSON: a name, a list of branches, or an object."""

NAMES: Final = ("raw_status_event", "raw_callback", "status_change", "mapped_status_event")
SINGLE_OBJECT_MAGIC: Final = b"\xc3\x01"
"""Avro 1.12 specification, "Single-object encoding": this marker, then the fingerprint, little-endian."""
REGISTRY_MAGIC: Final = b"\x00"
"""Confluent's wire format: this byte, then the schema's id in 4 bytes, big-endian."""

SCHEMA_BYTES_MAX: Final = 262_144
DEPTH_MAX: Final = 16
FIXED_BYTES_MAX: Final = 65_536
_ZERO_WIDTH: Final = frozenset({"null"})


@cache
def schema_text(name: str) -> str:
    """Return the text of one of our schemas, for example of ``status_change``."""
    packaged = files("processor") / "schemas" / f"{name}.avsc"
    if packaged.is_file():
        return packaged.read_text(encoding="utf-8")
    # In a source tree the schemas stand at the top; the wheel takes them into the package.
    return (Path(__file__).parent.parent / "schemas" / f"{name}.avsc").read_text(encoding="utf-8")


@cache
def load_schema(name: str) -> Schema:
    """Return one of our schemas as parsed JSON."""
    return json.loads(schema_text(name))


def single_object_prefix(schema: Schema) -> bytes:
    """Return the ten bytes before a value in single-object encoding: marker and CRC-64-AVRO fingerprint."""
    canonical = to_parsing_canonical_form(schema)
    return SINGLE_OBJECT_MAGIC + bytes.fromhex(fingerprint(canonical, "CRC-64-AVRO"))[::-1]


def registry_prefix(schema_id: int) -> bytes:
    """Return the five bytes before a value in Confluent's wire format."""
    return REGISTRY_MAGIC + schema_id.to_bytes(4, "big")


def lint(text: str) -> list[str]:
    """Return why a writer's schema must not be used to decode, nothing where it may.

    fastavro 1.13 crashes the process on a deep value of a recursive schema, and a few bytes can claim millions of
    items that take no bytes each. So such schemas are refused before any value is read with them.
    """
    if len(text) > SCHEMA_BYTES_MAX:
        return [f"the schema is larger than {SCHEMA_BYTES_MAX} bytes"]
    try:
        schema = json.loads(text)
        fastavro.parse_schema(schema)
    except RecursionError:
        return ["the schema is nested too deeply"]
    except Exception as error:  # noqa: BLE001  # fastavro raises many kinds for what is no schema
        return [f"not an Avro schema ({type(error).__name__})"]
    return sorted(set(_Linter().check(schema, 0, ())))


class _Linter:
    """Walks a schema; every named type is remembered under its short name too, the stricter reading."""

    def __init__(self) -> None:
        self._named: dict[str, Schema] = {}

    def check(self, schema: Schema, depth: int, within: tuple[str, ...]) -> list[str]:
        """Return the problems of a schema that stands inside the named types `within`."""
        if depth > DEPTH_MAX:
            return [f"nested deeper than {DEPTH_MAX}"]
        if isinstance(schema, list):
            return [problem for branch in schema for problem in self.check(branch, depth + 1, within)]
        if isinstance(schema, str):
            short = schema.rsplit(".", 1)[-1]
            if short in within:
                return ["recursive"]
            return self.check(self._named[short], depth + 1, within) if short in self._named else []
        return self._check_object(schema, depth, within)

    def _check_object(self, schema: dict[str, Any], depth: int, within: tuple[str, ...]) -> list[str]:
        kind = schema["type"]
        if kind in {"record", "error"}:
            name = str(schema["name"]).rsplit(".", 1)[-1]
            problems = [
                problem
                for field in schema["fields"]
                for problem in self.check(field["type"], depth + 1, (*within, name))
            ]
            self._named[name] = schema
            return problems
        if kind in {"array", "map"}:
            inner = schema["items"] if kind == "array" else schema["values"]
            zero = ["items that take no bytes"] if kind == "array" and self._is_zero_width(inner) else []
            return zero + self.check(inner, depth + 1, within)
        if kind == "fixed" and int(schema["size"]) > FIXED_BYTES_MAX:
            return [f"a fixed of more than {FIXED_BYTES_MAX} bytes"]
        if kind in {"enum", "fixed"}:
            self._named[str(schema["name"]).rsplit(".", 1)[-1]] = schema
            return []
        return self.check(kind, depth + 1, within)

    def _is_zero_width(self, schema: Schema) -> bool:
        if isinstance(schema, str):
            known = self._named.get(schema.rsplit(".", 1)[-1])
            return schema in _ZERO_WIDTH or (known is not None and self._is_zero_width(known))
        if not isinstance(schema, dict):
            return False
        kind = schema["type"]
        if kind == "fixed":
            return int(schema["size"]) == 0
        if kind in {"record", "error"}:
            return all(self._is_zero_width(field["type"]) for field in schema["fields"])
        return isinstance(kind, (str, dict)) and kind not in {"array", "map", "enum"} and self._is_zero_width(kind)
