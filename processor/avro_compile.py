"""Compiles an Avro record schema into one straight-line Python function that decodes, and one that encodes.

Only the shapes that our own schemas use: records, enums, maps of strings, unions of null and one other type, and the
primitives but float and double. fastavro is the reference: tests hold both to the same bytes and the same values, and
every other writer's schema goes through it. The decoders are strict where fastavro is lenient: an index that is out of
range, an overlong number, a boolean of 7 or bytes left over end in an error, and nothing is allocated on a claim.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from processor.varint import LAST_BITS, PAIR_BITS, THREE_PAIRS, encode_long, read_long

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Schema = Any  # A schema is JSON: a name, a list of branches, or an object.

INT_MIN: Final = -(2**31)
INT_MAX: Final = 2**31 - 1
_CACHE_ENTRIES: Final = 4096


@dataclass(slots=True)
class _Source:
    """Lines of a function under construction, and the objects that they name."""

    lines: list[str] = field(default_factory=list)
    names: dict[str, object] = field(default_factory=dict)
    depth: int = 1
    named: dict[str, Schema] = field(default_factory=dict)
    """Named types met so far: a schema may refer to them by name."""

    def add(self, line: str) -> None:
        self.lines.append("    " * self.depth + line)

    def bind(self, prefix: str, thing: object) -> str:
        name = f"{prefix}{len(self.names)}"
        self.names[name] = thing
        return name

    def resolve(self, schema: Schema) -> Schema:
        """Return the definition behind a name, and remember the names that a definition gives."""
        if isinstance(schema, str) and schema in self.named:
            return self.named[schema]
        if isinstance(schema, dict) and schema["type"] in {"record", "enum"}:
            self.named[schema["name"]] = schema
        return schema

    def build(self, signature: str) -> Callable[..., Any]:
        code = "\n".join([f"def compiled({signature}):", *self.lines])
        scope: dict[str, Any] = dict(self.names)
        exec(compile(code, "<avro schema>", "exec"), scope)  # noqa: S102  # source made above, from our own schemas
        function: Callable[..., Any] = scope["compiled"]
        return function


def kind_of(schema: Schema) -> str:
    """Return a type's own name: ``string``, ``record``, ``enum``, ``map``, or ``union``."""
    if isinstance(schema, list):
        return "union"
    if isinstance(schema, dict):
        return str(schema["type"])
    return str(schema)


# Decoding


def compile_decoder(
    schema: Schema, classes: Mapping[str, Callable[..., Any]], absent: Sequence[Sequence[str]] = ()
) -> Callable[[bytes, int], tuple[Any, int]]:
    """Return a function that takes bytes and a position, and returns the record and the position behind it.

    The caller must hold that position against the length: strings are sliced, and slices do not fail.

    Args:
        schema: A record schema as parsed JSON.
        classes: By the name of each record and enum of the schema, its class: a NamedTuple, or an Enum whose values
            are the symbols.
        absent: Runs of neighbouring optional fields and maps that mostly are all absent: one look passes over them.

    Raises of the function:
        IndexError: The bytes end too early.
        UnicodeDecodeError: A string is not UTF-8.
        ValueError: Anything else that is not Avro of this schema.
    """
    source = _Source()
    source.names |= {"read_long": read_long, "read_map": _read_map, "wrong": _wrong}
    source.names |= {
        "short": _SHORT,
        "three": THREE_PAIRS.unpack_from,
        "pair": PAIR_BITS,
        "last": LAST_BITS,
        "new": tuple.__new__,
    }
    source.add("end = len(b)")
    record = _decode_record(source, schema, classes, {run[0]: list(run) for run in absent})
    source.add(f"return {record}, i")
    return source.build("b, i")


def _decode_record(
    source: _Source,
    schema: Schema,
    classes: Mapping[str, Callable[..., Any]],
    absent: Mapping[str, list[str]] | None = None,
) -> str:
    schema = source.resolve(schema)
    types = {each["name"]: each["type"] for each in schema["fields"]}
    prefix = f"v{len(source.lines)}_"
    names = list(types)
    at = 0
    while at < len(names):
        run = (absent or {}).get(names[at], [names[at]])
        if len(run) > 1:
            source.add(f"if b.startswith({bytes(len(run))!r}, i):")
            for name in run:
                source.add(f"    {prefix}{name} = {'{}' if kind_of(types[name]) == 'map' else None}")
            source.add(f"    i += {len(run)}")
            source.add("else:")
            source.depth += 1
        for name in run:
            _decode(source, types[name], prefix + name, f"{schema['name']}.{name}", classes)
        if len(run) > 1:
            source.depth -= 1
        at += len(run)
    values = ", ".join(prefix + name for name in names)
    return f"new({source.bind('record', classes[schema['name']])}, ({values},))"


def _decode(
    source: _Source, schema: Schema, variable: str, path: str, classes: Mapping[str, Callable[..., Any]]
) -> None:
    """Add the lines that read one value at ``i`` into `variable` and move ``i`` behind it."""
    schema = source.resolve(schema)
    kind = kind_of(schema)
    if kind == "union":
        _decode_optional(source, schema, variable, path, classes)
    elif kind == "record":
        source.add(f"{variable} = {_decode_record(source, schema, classes)}")
    elif kind == "enum":
        members = source.bind("enum", [classes[schema["name"]](symbol) for symbol in schema["symbols"]])
        source.add("n, i = read_long(b, i)")
        source.add(f"if not 0 <= n < {len(schema['symbols'])}: wrong('{path}', 'an enum index that does not exist')")
        source.add(f"{variable} = {members}[n]")
    elif kind == "map":
        source.add("if b[i]:")
        source.add(f"    {variable}, i = read_map(b, i, '{path}')")
        source.add("else:")
        source.add(f"    {variable} = {{}}")
        source.add("    i += 1")
    else:
        for line in _PRIMITIVES[kind](variable, path):
            source.add(line)


def _decode_optional(
    source: _Source, schema: Schema, variable: str, path: str, classes: Mapping[str, Callable[..., Any]]
) -> None:
    null, other = schema
    if null != "null":
        raise TypeError(f"{path}: only unions of null and one other type are compiled")
    source.add("if b[i] == 0:")
    source.add(f"    {variable} = None")
    source.add("    i += 1")
    source.add("elif b[i] == 2:")
    source.depth += 1
    source.add("i += 1")
    _decode(source, other, variable, path, classes)
    source.depth -= 1
    source.add("else:")
    source.add(f"    wrong('{path}', 'a union index that does not exist')")


_SHORT: Final = [1 + (byte >> 1) if byte < 128 and byte % 2 == 0 else 0 for byte in range(256)]
"""Bytes of a string by its first byte, where that is the whole length and not negative; else 0."""


def _string_lines(variable: str, path: str, decode: str = ".decode()") -> list[str]:
    return [
        "n = short[b[i]]",
        "if n:",
        "    j = i + n",
        f"    {variable} = b[i + 1 : j]{decode}",
        "    i = j",
        "else:",
        "    n, i = read_long(b, i)",
        "    j = i + n",
        f"    if n < 0 or j > end: wrong('{path}', 'a length that cannot be')",
        f"    {variable} = b[i:j]{decode}",
        "    i = j",
    ]


def _long_lines(variable: str, _path: str) -> list[str]:
    return [
        "if i + 6 <= end:",
        "    x, y, z = three(b, i)",
        "    n = pair[x] | pair[y] << 14 | last[z] << 28",
        "else:",
        "    n = -1",
        "if n >= 0:",
        f"    {variable} = n >> 1 ^ -(n & 1)",
        "    i += 6",
        "else:",
        f"    {variable}, i = read_long(b, i)",
    ]


def _int_lines(variable: str, path: str) -> list[str]:
    return [
        f"{variable}, i = read_long(b, i)",
        f"if not {INT_MIN} <= {variable} <= {INT_MAX}: wrong('{path}', 'an int of more than 32 bits')",
    ]


def _boolean_lines(variable: str, path: str) -> list[str]:
    return [
        "n = b[i]",
        "i += 1",
        f"if n > 1: wrong('{path}', 'a boolean that is neither 0 nor 1')",
        f"{variable} = n == 1",
    ]


_PRIMITIVES: Final[dict[str, Callable[[str, str], list[str]]]] = {
    "string": _string_lines,
    "bytes": lambda variable, path: _string_lines(variable, path, ""),
    "long": _long_lines,
    "int": _int_lines,
    "boolean": _boolean_lines,
}


def _wrong(path: str, what: str) -> None:
    raise ValueError(f"field {path}: {what}")


def _read_map(data: bytes, at: int, path: str) -> tuple[dict[str, str], int]:
    entries: dict[str, str] = {}
    while True:
        count, at = read_long(data, at)
        if count == 0:
            return entries, at
        if count < 0:
            count = -count
            _, at = read_long(data, at)  # The block's size in bytes: for readers that skip.
        if count > len(data):
            _wrong(path, "more entries than bytes")
        for _ in range(count):
            key, at = _read_string(data, at, path)
            entries[key], at = _read_string(data, at, path)


def _read_string(data: bytes, at: int, path: str) -> tuple[str, int]:
    size, at = read_long(data, at)
    if size < 0 or at + size > len(data):
        _wrong(path, "a length that cannot be")
    return data[at : at + size].decode(), at + size


# Encoding


def compile_encoder(
    schema: Schema, cached: Sequence[Sequence[str]] = (), named: dict[str, Schema] | None = None
) -> Callable[[Any], bytes]:
    """Return a function that takes a record's values, in the order of its fields, and returns its bytes.

    Args:
        schema: A record schema as parsed JSON.
        cached: Runs of neighbouring fields, here or in a record within, whose values come again and again: the bytes
            of each run are kept, for a bounded number of values.
        named: Types that the schema refers to by name only.
    """
    source = _Source(named={} if named is None else named)
    source.names |= {"string": _encode_string, "long": encode_long, "map_": _encode_map, "join": b"".join}
    types = {each["name"]: each["type"] for each in schema["fields"]}
    runs = {run[0]: list(run) for run in cached}
    pieces: list[str] = []
    names = list(types)
    at = 0
    while at < len(names):
        run = runs.get(names[at], [])
        if run:
            part = {"type": "record", "name": "run", "fields": [{"name": name, "type": types[name]} for name in run]}
            encode = source.bind("cached", _Cached(compile_encoder(part, (), source.named)))
            pieces.append(f"{encode}[{', '.join(run)}]")
        else:
            pieces.append(_encode(source, types[names[at]], names[at], cached))
        at += len(run) or 1
    source.add(f"{', '.join(names)}, = record")
    source.add(f"return join(({', '.join(pieces)},))")
    return source.build("record")


class _Cached(dict[Any, bytes]):
    """Bytes by the values they came from, for the values met lately."""

    def __init__(self, encode: Callable[[Any], bytes]) -> None:
        super().__init__()
        self._encode = encode

    def __missing__(self, values: Any) -> bytes:  # noqa: ANN401
        if len(self) >= _CACHE_ENTRIES:
            self.clear()
        encoded = self[values] = self._encode(values)
        return encoded


def _encode(source: _Source, schema: Schema, value: str, cached: Sequence[Sequence[str]]) -> str:
    """Return the expression for the bytes of a value."""
    schema = source.resolve(schema)
    kind = kind_of(schema)
    if kind == "union":
        other = _encode(source, schema[1], value, cached)
        return f"(b'\\0' if {value} is None else b'\\2' + {other})"
    if kind == "record":
        return f"{source.bind('record', compile_encoder(schema, cached, source.named))}({value})"
    if kind == "enum":
        symbols = {symbol: encode_long(at) for at, symbol in enumerate(schema["symbols"])}
        return f"{source.bind('symbols', symbols)}[{value}]"
    return _EXPRESSIONS[kind].format(value)


_EXPRESSIONS: Final = {
    "string": "string({})",
    "bytes": "long(len({0})) + {0}",
    "long": "long({})",
    "int": "long({})",
    "boolean": "(b'\\1' if {} else b'\\0')",
    "map": "(map_({0}) if {0} else b'\\0')",
}

_LENGTHS: Final = [encode_long(length) for length in range(256)]


def _encode_string(text: str) -> bytes:
    data = text.encode()
    size = len(data)
    return (_LENGTHS[size] if size < 256 else encode_long(size)) + data


def _encode_map(entries: Mapping[str, str]) -> bytes:
    parts = [encode_long(len(entries))]
    for key, value in entries.items():
        parts += (_encode_string(key), _encode_string(value))
    parts.append(b"\0")
    return b"".join(parts)
