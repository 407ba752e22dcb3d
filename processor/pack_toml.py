"""A pack's TOML, read key by key: every problem is kept, with its file and line, and reading goes on.

Knows TOML and nothing of carriers; what the keys mean is `processor.pack_format`.
"""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

Path = tuple[str | int, ...]

_KEY: Final = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
_DOTTED: Final = rf"{_KEY}(?:\s*\.\s*{_KEY})*"
_HEADER: Final = re.compile(rf"\s*(\[\[?)\s*({_DOTTED})\s*\]")
_ASSIGNMENT: Final = re.compile(rf"\s*({_DOTTED})\s*=")
_KEYS: Final = re.compile(_KEY)
_TRIPLE: Final = re.compile(r"'''|\"\"\"")


class Problems:
    """The problems of one file, all of them, in the order they were found."""

    def __init__(self, file: str, text: str) -> None:
        self.found: list[str] = []
        self._file = file
        self._lines = _lines(text)

    def add(self, path: Path, what: str, allowed: Collection[str] = ()) -> None:
        """Note what is wrong at a path, and what would be right where that is a closed list."""
        place = ".".join(str(part + 1) if isinstance(part, int) else part for part in path)
        rest = f"; allowed: {', '.join(sorted(allowed))}" if allowed else ""
        self.found.append(f"{self._file}{self._line(path)}: {place or 'file'}: {what}{rest}")

    def _line(self, path: Path) -> str:
        """Find the line of a path, or of the nearest table around it."""
        for length in range(len(path), 0, -1):
            if line := self._lines.get(path[:length]):
                return f":{line}"
        return ""


def parse_toml(file: str, text: str) -> tuple[dict[str, object] | None, Problems]:
    """Parse a file; one that is no TOML gives None and the problem that says why."""
    problems = Problems(file, text)
    try:
        return tomllib.loads(text), problems
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        problems.add((), f"not TOML: {error}")
        return None, problems


def merge(base: Mapping[str, object], own: Mapping[str, object]) -> dict[str, object]:
    """Lay one table over another: tables key by key, everything else replaced."""
    merged = dict(base)
    for key, value in own.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


class Table:
    """One table being read. Each key is taken once; `done` reports the keys that nobody took."""

    def __init__(self, problems: Problems, path: Path, data: Mapping[str, object]) -> None:
        self.problems = problems
        self.path = path
        self._data = data
        self._taken: set[str] = set()

    def add(self, what: str, *keys: str, allowed: Collection[str] = ()) -> None:
        """Note a problem of this table, or of something in it."""
        self.problems.add((*self.path, *keys), what, allowed)

    def has(self, key: str) -> bool:
        """Tell whether a key is there, without taking it."""
        return key in self._data

    def take(self, key: str) -> object:
        """Take a key's value as it is; None where it is missing."""
        self._taken.add(key)
        return self._data.get(key)

    def text(self, key: str, *, among: Collection[str] = (), required: bool = False) -> str:
        """Take a text; empty where it is missing or wrong."""
        value = self.take(key)
        if value is None:
            if required:
                self.add("missing", key, allowed=among)
            return ""
        if not isinstance(value, str) or not value:
            self.add("has to be a text that is not empty", key, allowed=among)
            return ""
        if among and value not in among:
            self.add(f"{value!r} is unknown", key, allowed=among)
            return ""
        return value

    def flag(self, key: str, *, default: bool = False) -> bool:
        """Take true or false."""
        value = self.take(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.add("has to be true or false", key)
            return default
        return value

    def integer(self, key: str, *, most: int) -> int:
        """Take a number from 0 on; 0 where it is missing."""
        value = self.take(key)
        if value is None:
            return 0
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
            self.add(f"has to be a number from 0 to {most}", key)
            return 0
        return value

    def texts(self, key: str, *, required: bool = False) -> list[str]:
        """Take a list of texts."""
        value = self.take(key)
        if value is None and not required:
            return []
        if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
            self.add("has to be a list of texts", key)
            return []
        if required and not value:
            self.add("is empty", key)
        return list(value)

    def table(self, key: str) -> Table:
        """Take a table; an empty one where it is missing."""
        value = self.take(key)
        if value is not None and not isinstance(value, dict):
            self.add("has to be a table", key)
        return Table(self.problems, (*self.path, key), value if isinstance(value, dict) else {})

    def tables(self, key: str) -> list[Table]:
        """Take a list of tables."""
        value = self.take(key)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            self.add("has to be a list of tables", key)
            return []
        return [Table(self.problems, (*self.path, key, at), item) for at, item in enumerate(value)]

    def rows(self) -> Iterator[tuple[str, object]]:
        """Take every key that is left, for tables whose keys are free."""
        for key, value in self._data.items():
            if key not in self._taken:
                self._taken.add(key)
                yield key, value

    def done(self) -> None:
        """Report every key that nobody took; what was asked for is what is allowed."""
        for key in self._data:
            if key not in self._taken:
                self.add("unknown key", key, allowed=self._taken)


def _lines(text: str) -> dict[Path, int]:
    """Find the line of each header and assignment, without a full parser: values over several lines are passed over."""
    lines: dict[Path, int] = {}
    counts: dict[Path, int] = {}
    table: Path = ()
    inside_text = False
    for number, line in enumerate(text.splitlines(), start=1):
        if not inside_text:
            if header := _HEADER.match(line):
                table = _absolute(_names(header[2]), counts)
                if header[1] == "[[":
                    counts[table] = counts.get(table, -1) + 1
                    table = (*table, counts[table])
                for length in range(1, len(table) + 1):  # A header opens the tables around it too.
                    lines.setdefault(table[:length], number)
            elif assignment := _ASSIGNMENT.match(line):
                lines.setdefault((*table, *_names(assignment[1])), number)
        if len(_TRIPLE.findall(line)) % 2:
            inside_text = not inside_text
    return lines


def _names(dotted: str) -> Path:
    return tuple(name.strip("\"'") for name in _KEYS.findall(dotted))


def _absolute(names: Path, counts: Mapping[Path, int]) -> Path:
    """Put in the position wherever a name is a list of tables: a header below means its last element."""
    path: Path = ()
    for name in names[:-1]:
        path = (*path, name)
        if path in counts:
            path = (*path, counts[path])
    return (*path, *names[-1:])
