"""Compiles one straight-line function that reads a writer's record as one of ours, for the hot path.

It takes what is common in its stride: strings of up to 63 bytes, optional fields, times of today. Anything else goes
through the functions of `processor.avro_reader`, field by field. Where it is in any doubt (an index that it does not
know, an end that is not the value's end) it gives no answer of its own: the strict reader reads the whole value again
and has the last word. So only two things must hold here: what is taken is right, and nothing is taken past the end.
The second is one check: positions only ever grow, so a slice that was cut short leaves the position behind the end.

The source is made of the lines below and of numbers only; nothing of a foreign schema, not even a name, gets into it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from processor.avro_reader import Read, finish, plan_record, read_bytes, read_int, read_string, resolve
from processor.avro_schema import Enum, Map, Primitive, Record, Type, Union
from processor.avro_types import ENUMS, RECORDS
from processor.varint import HIGH_VALUE, LOW_VALUE, NO_SIX_BYTES, SIX_BYTES, Malformed, read_long

if TYPE_CHECKING:
    from collections.abc import Callable

    from processor.avro_reader import Step

_SHORT: Final[list[int]] = [1 + (byte >> 1) if byte < 128 and byte % 2 == 0 else 0 for byte in range(256)]
"""Bytes of a short string, its length's own byte among them, by that byte; 0 where the length is no such byte."""

_NAMES: Final[dict[str, object]] = {
    "SHORT": _SHORT,
    "LOW": LOW_VALUE,
    "HIGH": HIGH_VALUE,
    "six_bytes": SIX_BYTES,
    "NO_SIX_BYTES": NO_SIX_BYTES,
    "DOUBT": (IndexError, KeyError, UnicodeDecodeError, Malformed),
    "read_bytes": read_bytes,
    "read_int": read_int,
    "read_long": read_long,
    "read_string": read_string,
    "new": tuple.__new__,
}


def compile_reader(writer: Record, reader: Record) -> Callable[[bytes, int], Any]:
    """Return a function that takes bytes and the position where a value begins.

    It returns our record or a DecodeError, and never raises.

    Raises:
        SchemaError: The writer's record cannot be read as ours.
    """
    plan = plan_record(writer, reader)
    source = _Source(reader)
    absent_from = _absent_run(plan, reader)
    for place, step in enumerate(plan):
        if place == absent_from:
            source.add(f"if data[i:] == {bytes(len(plan) - place)!r}:")
            source.add(f"    return {source.record(plan[:place])}")
        source.add_step(step)
    source.add("if i == len(data):")
    source.add(f"    return {source.record(plan)}")
    return source.build(finish(resolve(writer, reader)))


def _absent_run(plan: list[Step], reader: Record) -> int:
    """Return where the run of optional fields and maps begins that ends the record: mostly they are all absent."""
    place = len(plan)
    while place and _is_absent_as_zero(plan[place - 1], reader):
        place -= 1
    return place


def _is_absent_as_zero(step: Step, reader: Record) -> bool:
    """Tell whether a zero byte stands for the field's absence, which is our default or of no interest to us."""
    if step.writer is None or not (isinstance(step.writer, Map) or _optional(step.writer)):
        return False
    if step.slot is None:
        return True
    ours = reader.fields[step.slot]
    return (
        ours.default == {} if isinstance(ours.type, Map) else ours.default is None and _optional(ours.type) is not None
    )


def _optional(type_: Type | None) -> Type | None:
    """Return the type that is optional here: the second branch of a union whose first is null."""
    if isinstance(type_, Union) and len(type_.branches) == 2 and type_.branches[0] == Primitive("null"):
        return type_.branches[1]
    return None


class _Source:
    """The lines of the function under construction. `i` is the position; `v0`, `v1` … are our record's fields."""

    def __init__(self, reader: Record) -> None:
        self._reader = reader
        self._lines: list[str] = []
        self._names: dict[str, object] = {**_NAMES, "Record": RECORDS[reader.short_name]}

    def add(self, *lines: str) -> None:
        self._lines += lines

    def bind(self, thing: object) -> str:
        """Give an object a name in the source."""
        name = f"x{len(self._names)}"
        self._names[name] = thing
        return name

    def record(self, steps: list[Step]) -> str:
        """Return the expression of our record when so many steps have been done and no further byte says anything."""
        done = {step.slot for step in steps if step.slot is not None}
        values = [f"v{slot}" if slot in done else self._default(slot) for slot in range(len(self._reader.fields))]
        return f"new(Record, ({', '.join(values)},))"

    def _default(self, slot: int) -> str:
        return "{}" if isinstance(self._reader.fields[slot].type, Map) else "None"

    def add_step(self, step: Step) -> None:
        """Add the lines of one field."""
        variable = "_" if step.slot is None else f"v{step.slot}"
        ours = None if step.slot is None else self._reader.fields[step.slot].type
        if step.writer is None:
            self.add(f"{variable}, i = {self.bind(step.read)}(data, i)")
            return
        inner = _optional(step.writer)
        if inner is None or (ours is not None and _optional(ours) is None):
            self.add(*self._lines_of(step.writer, _optional(ours) or ours, step.read, variable))
            return
        ours = _optional(ours)
        self.add("n = data[i]", "if not n:", f"    {variable} = None", "    i += 1", "elif n == 2:", "    i += 1")
        self.add(*("    " + line for line in self._lines_of(inner, ours, resolve(inner, ours), variable)))
        self.add("else:", "    raise KeyError")

    def _lines_of(self, writer: Type, ours: Type | None, read: Read, variable: str) -> list[str]:
        """Return the lines that read one value at `i` into a variable and move `i` behind it."""
        if isinstance(writer, Primitive) and isinstance(ours, Primitive | None):
            if writer.kind == (ours or writer).kind and writer.kind in _LINES:
                return [line.replace("VALUE", variable) for line in _LINES[writer.kind]]
        elif isinstance(writer, Map):
            name = self.bind(read)
            return [
                "if data[i]:",
                f"    {variable}, i = {name}(data, i)",
                "else:",
                f"    {variable} = {{}}",
                "    i += 1",
            ]
        elif isinstance(writer, Enum) and writer == ours and len(writer.symbols) <= 64:
            members = {at << 1: ENUMS[ours.name.rpartition(".")[2]](symbol) for at, symbol in enumerate(ours.symbols)}
            return [f"{variable} = {self.bind(members)}[data[i]]", "i += 1"]
        return [f"{variable}, i = {self.bind(read)}(data, i)"]

    def build(self, strictly: Callable[[bytes, int], Any]) -> Callable[[bytes, int], Any]:
        """Compile the lines; `strictly` is asked where they have no answer."""
        body = "\n".join(f"        {line}" for line in self._lines)
        code = f"def read(data, begin):\n    i = begin\n    try:\n{body}\n    except DOUBT:\n        pass\n"
        code += "    return strictly(data, begin)\n"
        scope: dict[str, Any] = {**self._names, "strictly": strictly}
        exec(compile(code, "<avro reader>", "exec"), scope)  # noqa: S102  # of the lines of this module and numbers only
        read: Callable[[bytes, int], Any] = scope["read"]
        return read


def _string_lines(convert: str, otherwise: str) -> list[str]:
    return [
        "n = SHORT[data[i]]",
        "if n:",
        "    j = i + n",
        f"    VALUE = data[i + 1:j]{convert}",
        "    i = j",
        "else:",
        f"    VALUE, i = {otherwise}(data, i)",
    ]


_LINES: Final[dict[str, list[str]]] = {
    "string": _string_lines(".decode()", "read_string"),
    "bytes": _string_lines("", "read_bytes"),
    "boolean": ["n = data[i]", "i += 1", "if n > 1: raise KeyError", "VALUE = n == 1"],
    "int": [
        "n = data[i]",
        "if n & 129:",
        "    VALUE, i = read_int(data, i)",
        "else:",
        "    VALUE = n >> 1",
        "    i += 1",
    ],
    "long": [
        "try:",
        "    low, high = six_bytes(data, i)",
        "    VALUE = HIGH[high] + LOW[low]",
        "    i += 6",
        "except NO_SIX_BYTES:",
        "    VALUE, i = read_long(data, i)",
    ],
}
"""What reads a value of each of these types at `i`."""
