"""Avro schemas as a checked tree; knows nothing of bytes.

Writers' schemas come from outside, so a schema is refused here if reading its values could take more time, memory or
stack than the bytes of a value are worth: recursion, items without width, types that multiply when they are written
out, fixed and decimals without measure.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Final

SCHEMA_CHARACTERS_MAX: Final = 262_144
DEPTH_MAX: Final = 16
TYPES_MAX: Final = 1000
"""Types in a schema once every named type is written out: two fields of a type of two fields, and so on, multiply."""
FIXED_BYTES_MAX: Final = 65_536
DECIMAL_DIGITS_MAX: Final = 100

PRIMITIVES: Final = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_FULL_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,255}")


class SchemaError(ValueError):
    """A schema that cannot be used; `problems` has one line for each reason."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = list(problems)


@dataclass(frozen=True, slots=True)
class Shape:
    """How large a type is once every named type is written out."""

    depth: int = 1
    types: int = 1
    empties: int = 0
    """Values in it that take no bytes."""


@dataclass(frozen=True, slots=True)
class Primitive:
    """A type without parts, with its logical type where it has one."""

    kind: str
    logical: str | None = None
    shape: Shape = field(default=Shape(), compare=False)


@dataclass(frozen=True, slots=True)
class Fixed:
    """So many bytes."""

    name: str
    size: int
    shape: Shape = field(default=Shape(), compare=False)


@dataclass(frozen=True, slots=True)
class Enum:
    """One of a list of symbols."""

    name: str
    symbols: tuple[str, ...]
    default: str | None = field(default=None, compare=False)
    shape: Shape = field(default=Shape(), compare=False)


@dataclass(frozen=True, slots=True)
class Array:
    """Items in order."""

    items: Type
    shape: Shape = field(default=Shape(), compare=False)


@dataclass(frozen=True, slots=True)
class Map:
    """Values by text."""

    values: Type
    shape: Shape = field(default=Shape(), compare=False)


@dataclass(frozen=True, slots=True)
class Union:
    """One of several types, by index."""

    branches: tuple[Type, ...]
    shape: Shape = field(default=Shape(), compare=False)


@dataclass(frozen=True, slots=True)
class Field:
    """A record's field."""

    name: str
    type: Type
    has_default: bool = field(default=False, compare=False)
    default: object = field(default=None, compare=False)
    """As JSON has it."""


@dataclass(frozen=True, slots=True)
class Record:
    """Named fields in order."""

    name: str
    fields: tuple[Field, ...]
    shape: Shape = field(default=Shape(), compare=False)

    @property
    def short_name(self) -> str:
        """The name without its namespace, which is what has to match between two versions."""
        return short_name(self.name)


Type = Primitive | Fixed | Enum | Array | Map | Union | Record


def is_null(type_: Type) -> bool:
    """Tell whether a type is null itself."""
    return isinstance(type_, Primitive) and type_.kind == "null"


def short_name(name: str) -> str:
    """Return a name without its namespace."""
    return name.rpartition(".")[2]


def parse_schema(text: str) -> Type:
    """Return the tree of a schema's JSON text.

    Raises:
        SchemaError: Not an Avro schema, or one that must not be read with.
    """
    if len(text) > SCHEMA_CHARACTERS_MAX:
        raise SchemaError(f"longer than {SCHEMA_CHARACTERS_MAX} characters")
    try:
        schema: object = json.loads(text)
    except RecursionError:
        raise SchemaError(f"nested deeper than {DEPTH_MAX}") from None
    except ValueError:
        raise SchemaError("not JSON") from None
    parser = _Parser()
    tree = parser.parse(schema, "", 1)
    if parser.problems:
        raise SchemaError(*dict.fromkeys(parser.problems))
    return tree


class _Parser:
    """Goes through the JSON once; what can be passed over is noted in `problems`, the rest is raised."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._named: dict[str, Type | None] = {}
        """By full name; None while the definition is being read."""

    def parse(self, schema: object, namespace: str, depth: int) -> Type:
        if depth > DEPTH_MAX:
            raise SchemaError(f"nested deeper than {DEPTH_MAX}")
        if isinstance(schema, str):
            return (
                Primitive(schema, shape=_PRIMITIVE_SHAPES[schema])
                if schema in PRIMITIVES
                else self._known(schema, namespace)
            )
        if isinstance(schema, list):
            return self._union(schema, namespace, depth)
        if isinstance(schema, dict):
            return self._object(schema, namespace, depth)
        raise SchemaError("a type that is no name, list or object")

    def _known(self, name: str, namespace: str) -> Type:
        if not _FULL_NAME.fullmatch(name):
            raise SchemaError("a type without a valid name")
        full = name if "." in name or not namespace else f"{namespace}.{name}"
        if full not in self._named:
            hint = ": references to other schemas are not supported" if "." in full else ""
            raise SchemaError(f"unknown type {full}{hint}")
        known = self._named[full]
        if known is None:
            raise SchemaError(f"recursive type {full}")
        return known

    def _union(self, schemas: list[object], namespace: str, depth: int) -> Type:
        branches = tuple(self.parse(each, namespace, depth + 1) for each in schemas)
        if not branches or any(isinstance(branch, Union) for branch in branches):
            raise SchemaError("a union that is empty or holds a union")
        # The index takes a byte, so a null in a union is not empty.
        empties = max(0 if is_null(branch) else branch.shape.empties for branch in branches)
        return Union(branches, _around([branch.shape for branch in branches], empties))

    def _object(self, schema: dict[str, object], namespace: str, depth: int) -> Type:
        kind = schema.get("type")
        if kind == "record":
            return self._record(schema, namespace, depth)
        if kind in ("enum", "fixed"):
            name = self._define(schema, namespace)
            self._named[name] = named = self._enum(name, schema) if kind == "enum" else self._fixed(name, schema)
            return named
        if kind == "array":
            items = self._items(schema.get("items"), namespace, depth)
            return Array(items, _around([items.shape], 0))
        if kind == "map":
            values = self._items(schema.get("values"), namespace, depth)
            return Map(values, _around([values.shape], 0))
        inner = self.parse(kind, namespace, depth + 1)
        if isinstance(inner, Primitive):
            logical = schema.get("logicalType")
            self._check_decimal(schema)
            return Primitive(inner.kind, logical if isinstance(logical, str) else None, inner.shape)
        return inner

    def _items(self, schema: object, namespace: str, depth: int) -> Type:
        items = self.parse(schema, namespace, depth + 1)
        if items.shape.empties:
            self.problems.append("array items or map values that take no bytes, or hold something that takes none")
        return items

    def _record(self, schema: dict[str, object], namespace: str, depth: int) -> Record:
        name = self._define(schema, namespace)
        inner_namespace = name.rpartition(".")[0]
        raw_fields = schema.get("fields")
        if not isinstance(raw_fields, list):
            raise SchemaError(f"record {name} has no list of fields")
        fields = tuple(self._field(each, name, inner_namespace, depth) for each in raw_fields)
        if len({each.name for each in fields}) < len(fields):
            raise SchemaError(f"record {name} has two fields of one name")
        empties = sum(each.type.shape.empties for each in fields) if fields else 1
        self._named[name] = record = Record(name, fields, _around([each.type.shape for each in fields], empties))
        return record

    def _field(self, schema: object, record: str, namespace: str, depth: int) -> Field:
        name = schema.get("name") if isinstance(schema, dict) else None
        if not isinstance(schema, dict) or not isinstance(name, str) or not _NAME.fullmatch(name):
            raise SchemaError(f"record {record} has a field without a valid name")
        return Field(
            name, self.parse(schema.get("type"), namespace, depth + 1), "default" in schema, schema.get("default")
        )

    def _define(self, schema: dict[str, object], namespace: str) -> str:
        name, space = schema.get("name"), schema.get("namespace", namespace)
        if not isinstance(name, str) or not isinstance(space, str):
            raise SchemaError("a named type without a name")
        full = name if "." in name or not space else f"{space}.{name}"
        if not _FULL_NAME.fullmatch(full):
            raise SchemaError("a named type without a valid name")
        if full in self._named or full in PRIMITIVES:
            raise SchemaError(f"type {full} is defined twice")
        self._named[full] = None
        return full

    def _enum(self, name: str, schema: dict[str, object]) -> Enum:
        symbols, default = schema.get("symbols"), schema.get("default")
        if not isinstance(symbols, list) or not all(
            isinstance(each, str) and _NAME.fullmatch(each) for each in symbols
        ):
            raise SchemaError(f"enum {name} has no list of valid symbols")
        if not symbols or len(set(symbols)) < len(symbols):
            raise SchemaError(f"enum {name} has no symbols, or one twice")
        return Enum(name, tuple(symbols), default if isinstance(default, str) else None)

    def _fixed(self, name: str, schema: dict[str, object]) -> Fixed:
        size = schema.get("size")
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= FIXED_BYTES_MAX:
            raise SchemaError(f"fixed {name} is not of 0 to {FIXED_BYTES_MAX} bytes")
        self._check_decimal(schema)
        return Fixed(name, size, Shape(empties=0 if size else 1))

    def _check_decimal(self, schema: dict[str, object]) -> None:
        precision = schema.get("precision")
        if schema.get("logicalType") == "decimal" and not (
            isinstance(precision, int) and 0 < precision <= DECIMAL_DIGITS_MAX
        ):
            self.problems.append(f"a decimal without a precision of 1 to {DECIMAL_DIGITS_MAX} digits")


_PRIMITIVE_SHAPES: Final = {kind: Shape(empties=1 if kind == "null" else 0) for kind in PRIMITIVES}


def _around(inner: list[Shape], empties: int) -> Shape:
    shape = Shape(1 + max((each.depth for each in inner), default=0), 1 + sum(each.types for each in inner), empties)
    if shape.depth > DEPTH_MAX:
        raise SchemaError(f"nested deeper than {DEPTH_MAX}")
    if shape.types > TYPES_MAX:
        raise SchemaError(f"more than {TYPES_MAX} types once named types are written out")
    return shape
