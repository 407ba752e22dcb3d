"""Reads Avro strictly, written with any schema, into the types of ours: slowly, but with a reason for every mistake.

A schema becomes a tree of functions, one for each type in it, which hold each byte to the specification (1.12,
"Binary Encoding"): indexes in range, booleans 0 or 1, ints of 32 bits, numbers no longer than needed, UTF-8, blocks of
the size that they claim. Where the writer's schema is another than ours it is resolved to ours when the tree is made
("Schema Resolution"): by the names of fields, with our defaults, with promotions. An enum may also be read as a
string. Aliases are not looked at: our schemas have none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from processor.avro_schema import (
    Array,
    Enum,
    Field,
    Fixed,
    Map,
    Primitive,
    Record,
    SchemaError,
    Type,
    Union,
    is_null,
    short_name,
)
from processor.avro_types import ENUMS, RECORDS
from processor.errors import DecodeError
from processor.varint import Malformed, read_long

Read = Callable[[bytes, int], tuple[Any, int]]
"""Takes bytes and a position, returns the value there and the position behind it; raises Malformed."""

_INT_BITS: Final = 31


def resolve(writer: Type, reader: Type | None) -> Read:
    """Return what reads values of the writer's type as the reader's; without one they are read and thrown away.

    Raises:
        SchemaError: The one cannot be read as the other; each problem names the field.
    """
    if isinstance(reader, Union) and not isinstance(writer, Union):
        return _first_that_fits(writer, reader)
    return _RESOLVERS[type(writer)](writer, reader)


def finish(read: Read) -> Callable[[bytes, int], Any]:
    """Return what reads a whole value that begins at a position: the value or a DecodeError, never an exception."""

    def read_all(data: bytes, at: int) -> Any:  # noqa: ANN401  # whatever the schema says
        try:
            value, end = read(data, at)
        except Malformed as mistake:
            return DecodeError(str(mistake))
        return value if end == len(data) else DecodeError(f"{len(data) - end} bytes left over")

    return read_all


def _unreadable(writer: Type, reader: Type | None) -> SchemaError:
    return SchemaError(f"{_describe(writer)} cannot be read as {_describe(reader)}")


def _describe(type_: Type | None) -> str:
    if isinstance(type_, Primitive):
        return type_.logical or type_.kind
    if isinstance(type_, Union):
        return " or ".join(_describe(branch) for branch in type_.branches)
    if isinstance(type_, (Record, Enum, Fixed)):
        return f"{type(type_).__name__.lower()} {short_name(type_.name)}"
    return type(type_).__name__.lower()


# Primitives


def _read_null(_: bytes, at: int) -> tuple[None, int]:
    return None, at


def _read_boolean(data: bytes, at: int) -> tuple[bool, int]:
    if at >= len(data):
        raise Malformed("truncated")
    if data[at] > 1:
        raise Malformed("a boolean that is neither 0 nor 1")
    return data[at] == 1, at + 1


def read_int(data: bytes, at: int) -> tuple[int, int]:
    """Return the int that begins at `at`, and the position behind it."""
    value, at = read_long(data, at)
    if value >> _INT_BITS not in (0, -1):
        raise Malformed("an int of more than 32 bits")
    return value, at


def read_bytes(data: bytes, at: int) -> tuple[bytes, int]:
    """Return the bytes whose length begins at `at`, and the position behind them."""
    size, at = read_long(data, at)
    end = at + size
    if size < 0:
        raise Malformed("a negative length")
    if end > len(data):
        raise Malformed("truncated")
    return data[at:end], end


def read_string(data: bytes, at: int) -> tuple[str, int]:
    """Return the string whose length begins at `at`, and the position behind it."""
    text, at = read_bytes(data, at)
    try:
        return text.decode(), at
    except UnicodeDecodeError:
        raise Malformed("a string that is not UTF-8") from None


def _bytes_of(size: int) -> Read:
    def read(data: bytes, at: int) -> tuple[bytes, int]:
        if at + size > len(data):
            raise Malformed("truncated")
        return data[at : at + size], at + size

    return read


_PRIMITIVES: Final[dict[str, Read]] = {
    "null": _read_null,
    "boolean": _read_boolean,
    "int": read_int,
    "long": read_long,
    "float": _bytes_of(4),  # Our schemas have no floats, so these are only ever skipped.
    "double": _bytes_of(8),
    "bytes": read_bytes,
    "string": read_string,
}
_PROMOTIONS: Final[dict[tuple[str, str], Read]] = {
    ("int", "long"): read_int,
    ("string", "bytes"): read_bytes,
    ("bytes", "string"): read_string,
}


def _resolve_primitive(writer: Primitive, reader: Type | None) -> Read:
    if reader is None:
        return _PRIMITIVES[writer.kind]
    if isinstance(reader, Primitive) and not _is_other_time(writer, reader):
        if writer.kind == reader.kind:
            return _PRIMITIVES[writer.kind]
        if (writer.kind, reader.kind) in _PROMOTIONS:
            return _PROMOTIONS[writer.kind, reader.kind]
    raise _unreadable(writer, reader)


def _is_other_time(writer: Primitive, reader: Primitive) -> bool:
    """Tell whether numbers would be taken for times in units that they are not in."""
    return (reader.logical or "").startswith("timestamp") and writer.logical not in (None, reader.logical)


def _skip_fixed(writer: Fixed, reader: Type | None) -> Read:
    if reader is not None:
        raise _unreadable(writer, reader)
    return _bytes_of(writer.size)


def _resolve_enum(writer: Enum, reader: Type | None) -> Read:
    values: list[str | None]
    if isinstance(reader, Enum) and short_name(writer.name) == short_name(reader.name):
        members = {symbol: ENUMS[short_name(reader.name)](symbol) for symbol in reader.symbols}
        values = [members.get(symbol, members.get(reader.default or "")) for symbol in writer.symbols]
    elif reader is None or (isinstance(reader, Primitive) and reader.kind == "string"):
        values = list(writer.symbols)
    else:
        raise _unreadable(writer, reader)

    def read(data: bytes, at: int) -> tuple[str, int]:
        index, at = read_int(data, at)
        if not 0 <= index < len(values):
            raise Malformed("an enum index out of range")
        value = values[index]
        if value is None:
            raise Malformed("an enum symbol that our schema does not have")
        return value, at

    return read


# Unions


def _resolve_branches(writer: Union, reader: Type | None) -> Read:
    """Resolve each branch; one that cannot be read is a mistake only where a value has it, if another can."""
    reads: list[Read] = []
    problems: list[str] = []
    readable = False
    for branch in writer.branches:
        try:
            reads.append(resolve(branch, reader))
            readable = readable or not is_null(branch)
        except SchemaError as error:
            problems += error.problems
            reads.append(partial(_refuse, f"{_describe(branch)} where {_describe(reader)} is needed"))
    if problems and not readable:
        raise SchemaError(*problems)

    def read(data: bytes, at: int) -> tuple[Any, int]:
        index, at = read_int(data, at)
        if not 0 <= index < len(reads):
            raise Malformed("a union index out of range")
        return reads[index](data, at)

    return read


def _refuse(what: str, _data: bytes, _at: int) -> tuple[None, int]:
    raise Malformed(what)


def _first_that_fits(writer: Type, reader: Union) -> Read:
    for branch in reader.branches:
        try:
            return resolve(writer, branch)
        except SchemaError:
            continue
    raise _unreadable(writer, reader)


# Blocks


def _read_block(data: bytes, at: int) -> tuple[int, int | None, int]:
    """Return how many items follow, where they end if that is said, and where they begin."""
    count, at = read_long(data, at)
    end = None
    if count < 0:
        count = -count
        size, at = read_long(data, at)
        end = at + size
    # Each item takes a byte at least, so no claim makes more work than there are bytes.
    if count > len(data) - at:
        raise Malformed("a block of more items than bytes")
    return count, end, at


def _check_end(at: int, end: int | None) -> None:
    if end is not None and end != at:
        raise Malformed("a block of another size than it claims")


def _resolve_map(writer: Map, reader: Type | None) -> Read:
    if not isinstance(reader, Map | None):
        raise _unreadable(writer, reader)
    read_value = resolve(writer.values, None if reader is None else reader.values)

    def read(data: bytes, at: int) -> tuple[dict[str, Any], int]:
        entries: dict[str, Any] = {}
        while True:
            count, end, at = _read_block(data, at)
            if not count:
                return entries, at
            for _ in range(count):
                key, at = read_string(data, at)
                entries[key], at = read_value(data, at)
            _check_end(at, end)

    return read


def _skip_array(writer: Array, reader: Type | None) -> Read:
    if reader is not None:
        raise _unreadable(writer, reader)
    read_item = resolve(writer.items, None)

    def read(data: bytes, at: int) -> tuple[None, int]:
        while True:
            count, end, at = _read_block(data, at)
            if not count:
                return None, at
            for _ in range(count):
                _, at = read_item(data, at)
            _check_end(at, end)

    return read


# Records


def _skip_record(writer: Record) -> Read:
    steps = [(each.name, resolve(each.type, None)) for each in writer.fields]

    def read(data: bytes, at: int) -> tuple[None, int]:
        for name, step in steps:
            _, at = _read_field(name, step, data, at)
        return None, at

    return read


def _resolve_record(writer: Record, reader: Type | None) -> Read:
    if reader is None:
        return _skip_record(writer)
    if not isinstance(reader, Record) or writer.short_name != reader.short_name:
        raise _unreadable(writer, reader)
    plan = plan_record(writer, reader)
    make = partial(tuple.__new__, RECORDS[reader.short_name])
    width = len(reader.fields)

    def read(data: bytes, at: int) -> tuple[Any, int]:
        values: list[Any] = [None] * width
        for step in plan:
            value, at = _read_field(step.name, step.read, data, at)
            if step.slot is not None:
                values[step.slot] = value
        return make(values), at

    return read


def _read_field(name: str, read: Read, data: bytes, at: int) -> tuple[Any, int]:
    try:
        return read(data, at)
    except Malformed as mistake:
        raise mistake.within(name) from None


@dataclass(frozen=True, slots=True)
class Step:
    """What to do for one field of a record. Our defaults come first, then the fields in the order of the bytes."""

    name: str
    read: Read
    slot: int | None
    """Where the value goes in our record; None where it is thrown away."""
    writer: Type | None
    """None where the field is not in the bytes and our default stands."""


def plan_record(writer: Record, reader: Record) -> list[Step]:
    """Return the steps that read the writer's record as ours.

    Raises:
        SchemaError: It cannot be; all reasons at once.
    """
    written = {each.name: each.type for each in writer.fields}
    slots = {each.name: slot for slot, each in enumerate(reader.fields)}
    steps: list[Step] = []
    problems: list[str] = []
    for slot, ours in enumerate(reader.fields):
        if ours.name not in written:
            if ours.has_default:
                steps.append(Step(ours.name, _default_of(ours), slot, None))
            else:
                problems.append(f"field {ours.name} is missing, and has no default")
    for each in writer.fields:
        wanted = slots.get(each.name)
        try:
            read = resolve(each.type, None if wanted is None else reader.fields[wanted].type)
            steps.append(Step(each.name, read, wanted, each.type))
        except SchemaError as error:
            problems += [f"field {each.name}: {problem}" for problem in error.problems]
    if problems:
        raise SchemaError(*problems)
    return steps


def _default_of(ours: Field) -> Read:
    """Return what gives a field's default; a map is made anew each time, as it may be changed."""
    default: Any = ours.default
    if isinstance(ours.type, Map):
        return lambda _, at: (dict(default), at)
    if isinstance(ours.type, Enum):
        default = ENUMS[short_name(ours.type.name)](default)
    return lambda _, at: (default, at)


_RESOLVERS: Final[dict[type, Callable[[Any, Type | None], Read]]] = {
    Primitive: _resolve_primitive,
    Fixed: _skip_fixed,
    Enum: _resolve_enum,
    Array: _skip_array,
    Map: _resolve_map,
    Union: _resolve_branches,
    Record: _resolve_record,
}
"""By the writer's type; our schemas have no array and no fixed, so these are only ever skipped."""
