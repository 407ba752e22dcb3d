"""Compiles one straight-line function that writes a record of ours, for the hot path.

It composes the value as text in which each character stands for one byte (see `processor.varint`) and encodes it once.
Runs of neighbouring fields whose values come again and again (a carrier, its statuses, its codes) are remembered as a
whole. The source is made of the lines below and of our own schemas' shape.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from processor.avro_schema import Enum, Map, Primitive, Record, Type, Union
from processor.varint import HIGH_TEXT, LOW_BITS, LOW_MASK, LOW_TEXT, SMALL, text_of_int, text_of_long

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_REMEMBERED: Final = 4096
_REMEMBERED_CHARACTERS_MAX: Final = 512
"""A longer run is not remembered: it does not come again, and memory stays bounded."""


class _Lengths(dict[int, str]):
    """The text of a length, by the length."""

    def __missing__(self, length: int) -> str:
        return text_of_long(length)


def text_of_string(text: str) -> str:
    """Return the text that stands for a string's bytes.

    Raises:
        UnicodeEncodeError: Half of a surrogate pair, which is no text; callers refuse it when it comes in.
    """
    return text_of_bytes(text.encode())


def text_of_bytes(data: bytes) -> str:
    """Return the text that stands for these bytes behind their length."""
    return text_of_long(len(data)) + data.decode("latin-1")


def text_of_map(entries: Mapping[str, str]) -> str:
    """Return the text of a map of strings that is not empty, in the order of its entries."""
    pairs = [text_of_string(key) + text_of_string(value) for key, value in entries.items()]
    return f"{text_of_long(len(pairs))}{''.join(pairs)}\0"


_NAMES: Final[dict[str, object]] = {
    "LENGTH": _Lengths({length: text_of_long(length) for length in range(1024)}),
    "SMALL": SMALL,
    "LOW": LOW_TEXT,
    "HIGH": HIGH_TEXT,
    "ABSENT": "\0",
    "TRUE": "\1",
    "text_of_string": text_of_string,
    "text_of_bytes": text_of_bytes,
    "text_of_map": text_of_map,
    "text_of_long": text_of_long,
    "text_of_int": text_of_int,
}


def compile_writer(record: Record, runs: Sequence[tuple[str, str]] = ()) -> Callable[[Any, str], bytes]:
    """Return a function that takes a record's values and the text of its frame, and returns the bytes.

    Args:
        record: The schema, whose fields are the values in their order.
        runs: First and last field of each run to remember; a field of a record inside is called ``outer.inner``.

    Raises of the function:
        OverflowError: A number that its type cannot hold.
        UnicodeEncodeError: A string that is no text.
    """
    source = _Source(runs)
    source.add_record(record, "values", "")
    code = [*source.lines, f'return f"{{frame}}{source.text}".encode("latin-1")']
    writer: Callable[[Any, str], bytes] = source.build(code, "values, frame")
    return writer


class _Source:
    """The lines of the function under construction, and the inside of the f-string that is the value so far."""

    def __init__(self, runs: Sequence[tuple[str, str]] = ()) -> None:
        self.lines: list[str] = []
        self.text = ""
        self._runs = dict(runs)
        self._names: dict[str, object] = dict(_NAMES)

    def bind(self, thing: object) -> str:
        """Give an object a name in the source."""
        name = f"x{len(self._names)}"
        self._names[name] = thing
        return name

    def build(self, lines: list[str], arguments: str) -> Callable[..., Any]:
        """Compile a function of these lines."""
        code = "\n    ".join([f"def write({arguments}):", *lines])
        scope: dict[str, Any] = dict(self._names)
        exec(compile(code, "<avro writer>", "exec"), scope)  # noqa: S102  # of the lines of this module and our schemas
        write: Callable[..., Any] = scope["write"]
        return write

    def add_record(self, record: Record, values: str, prefix: str) -> None:
        """Add the fields of a record that is in the named variable."""
        names = [self._variable(prefix + each.name) for each in record.fields]
        self.lines.append(f"{', '.join(names)}, = {values}")
        place = 0
        while place < len(names):
            last = self._runs.get(prefix + record.fields[place].name)
            end = place + 1 if last is None else [prefix + each.name for each in record.fields].index(last) + 1
            if last is None:
                self._add_field(record.fields[place].type, names[place], prefix + record.fields[place].name)
            else:
                self._add_run(record, names, place, end)
            place = end

    @staticmethod
    def _variable(path: str) -> str:
        return "f_" + path.replace(".", "_")

    def _add_run(self, record: Record, names: list[str], begin: int, end: int) -> None:
        inner = _Source()
        inner._names = self._names  # Its lines become lines of this very function.
        for place in range(begin, end):
            inner._add_field(record.fields[place].type, names[place], record.fields[place].name)
        run = f"run{begin}_{names[begin]}"
        memory = self.bind({})
        self.lines += [
            f"key = ({', '.join(names[begin:end])},)",
            f"{run} = {memory}.get(key)",
            f"if {run} is None:",
            *("    " + line for line in inner.lines),
            f'    {run} = f"{inner.text}"',
            f"    if len({run}) <= {_REMEMBERED_CHARACTERS_MAX}:",
            f"        if len({memory}) >= {_REMEMBERED}: {memory}.clear()",
            f"        {memory}[key] = {run}",
        ]
        self.text += f"{{{run}}}"

    def _add_field(self, type_: Type, variable: str, path: str) -> None:
        """Add a field whose value is in a variable; it is replaced by its text where no short expression gives that."""
        if isinstance(type_, Record):
            self.add_record(type_, variable, path + ".")
        elif isinstance(type_, Primitive) and type_.kind == "string":
            self.lines += _string_lines(variable, "")
            self.text += f"{{{variable}}}"
        elif isinstance(type_, Union) and type_.branches[0] == Primitive("null") and len(type_.branches) == 2:
            self._add_optional(type_.branches[1], variable)
            self.text += f"{{{variable}}}"
        else:
            self.text += f"{{{self._expression(type_, variable)}}}"

    def _add_optional(self, type_: Type, variable: str) -> None:
        self.lines += [f"if {variable} is None: {variable} = ABSENT"]
        if isinstance(type_, Primitive) and type_.kind == "string":
            first, *rest = _string_lines(variable, r"\2")
            self.lines += ["el" + first, *rest]
        else:
            self.lines.append(rf'else: {variable} = f"\2{{{self._expression(type_, variable)}}}"')

    def _expression(self, type_: Type, variable: str) -> str:
        """Return the expression of a value's text."""
        if isinstance(type_, Primitive):
            return _EXPRESSIONS[type_.kind].replace("VALUE", variable)
        if isinstance(type_, Enum):
            return f"{self.bind({symbol: text_of_long(at) for at, symbol in enumerate(type_.symbols)})}[{variable}]"
        if isinstance(type_, Map):
            return f"text_of_map({variable}) if {variable} else ABSENT"
        if isinstance(type_, Record):
            inner = _Source()
            inner.add_record(type_, "values", "")
            write = inner.build([*inner.lines, f'return f"{inner.text}"'], "values")
            return f"{self.bind(write)}({variable})"
        raise TypeError(f"no writer for {type(type_).__name__}")


def _string_lines(variable: str, index: str) -> list[str]:
    """Return the lines that turn a string into its text; of one that is all ASCII, the text is the string itself."""
    return [
        f'if {variable}.isascii(): {variable} = f"{index}{{LENGTH[len({variable})]}}{{{variable}}}"',
        f'else: {variable} = f"{index}{{text_of_string({variable})}}"',
    ]


_EXPRESSIONS: Final = {
    "boolean": "TRUE if VALUE else ABSENT",
    "int": f"SMALL[VALUE] if 0 <= VALUE <= {LOW_MASK} else text_of_int(VALUE)",
    "long": f"LOW[VALUE & {LOW_MASK}] + HIGH[VALUE >> {LOW_BITS}] if VALUE > {LOW_MASK} else text_of_long(VALUE)",
    "bytes": "text_of_bytes(VALUE)",
}
