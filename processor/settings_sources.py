"""Where settings come from: a TOML file, the environment, flags. Each source becomes one flat layer of dotted names."""

from __future__ import annotations

import difflib
import re
import tomllib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, get_args

from pydantic import BaseModel, SecretStr

from processor.settings_kafka import is_secret
from processor.settings_model import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pydantic.fields import FieldInfo

PREFIX: Final = "STATUS_PROCESSOR_"
FILE_VARIABLE: Final = f"{PREFIX}SETTINGS"
FLAG: Final = "flag"
SHOWN_CHARS_MAX: Final = 80
_KUBERNETES: Final = re.compile(r"_(SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)?)$")
"""Variables that Kubernetes sets for a Service whose name begins as the prefix does."""
_USER_INFO: Final = re.compile(r"//.*@")
_QUERY: Final = re.compile(r"(//[^?#]*)[?#].*")
"""Both parts of a URL may hold a password or a token."""


@dataclass(frozen=True, slots=True)
class Given:
    """A value as it was given, and where."""

    value: object = field(repr=False)
    origin: str


Layer = dict[str, Given]
"""What one source gives, by dotted name; the keys of a free table keep their own dots."""


@cache
def known_settings() -> dict[str, FieldInfo]:
    """Return every setting by its dotted name; `kafka` and `registry.options` are free tables."""
    return dict(_walk(Settings.model_fields, ""))


@cache
def free_tables() -> tuple[str, ...]:
    """Return the names of the tables that take a library's own keys."""
    return tuple(name for name, info in known_settings().items() if "dict" in str(info.annotation))


def _walk(fields: Mapping[str, FieldInfo], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    for name, info in fields.items():
        table = table_of(info)
        if table is None:
            yield prefix + name, info
        else:
            yield from _walk(table.model_fields, f"{prefix}{name}.")


def table_of(info: FieldInfo) -> type[BaseModel] | None:
    """Return the model of a field that is a table of settings."""
    kind = info.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


@cache
def _tables() -> frozenset[str]:
    return frozenset(name.rsplit(".", depth)[0] for name in known_settings() for depth in range(1, name.count(".") + 1))


def holds_secret(name: str) -> bool:
    """Tell whether a setting's value is never shown."""
    info = known_settings().get(name)
    if info is not None:
        return SecretStr in (info.annotation, *get_args(info.annotation)) and name not in free_tables()
    table = free_table_of(name)
    return table is not None and is_secret(name.removeprefix(f"{table}."))


def free_table_of(name: str) -> str | None:
    """Return the free table that a dotted name stands in."""
    return next((table for table in free_tables() if name.startswith(f"{table}.")), None)


def is_known(name: str) -> bool:
    """Tell whether a setting has this dotted name."""
    return free_table_of(name) is not None or (name in known_settings() and name not in free_tables())


def shown(name: str, value: object) -> str:
    """Return a value for a problem's line: bounded, on one line, without secrets."""
    if holds_secret(name):
        return ""
    text = _USER_INFO.sub("//***@", ascii(value))
    text = _QUERY.sub(r"\1?***'", text)
    return text if len(text) <= SHOWN_CHARS_MAX else f"{text[:SHOWN_CHARS_MAX]}…"


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return words that name the nearest known name, nothing where none is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f", did you mean {near[0]}?" if near else ""


def _known_names() -> list[str]:
    names = [name for name in known_settings() if name not in free_tables()]
    return [*names, *(f"{name}_file" for name in names if holds_secret(name))]


class Reader:
    """Reads layers and gathers their problems."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def file(self, path: Path | None) -> Layer:
        """Read a TOML file."""
        if path is None:
            return {}
        try:
            tree = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            self.problems.append(f"settings file {path}: cannot be read ({error.strerror})")
            return {}
        except UnicodeDecodeError:
            self.problems.append(f"settings file {path}: not UTF-8")
            return {}
        except tomllib.TOMLDecodeError as error:
            self.problems.append(f"settings file {path}: not TOML: {error}")
            return {}
        return self._resolved(self._flat(tree, "", str(path)))

    def environment(self, environ: Mapping[str, str]) -> Layer:
        """Read the variables that begin with the prefix; `__` goes one table down."""
        layer: Layer = {}
        in_kubernetes = "KUBERNETES_SERVICE_HOST" in environ
        for variable, value in sorted(environ.items()):
            if not variable.startswith(PREFIX) or variable == FILE_VARIABLE:
                continue
            name = name_of(variable)
            if is_known(_plain(name)):
                self._take(name, value, variable, layer)
            elif not (in_kubernetes and _KUBERNETES.search(variable)):
                near = suggestion(variable, [variable_of(known) for known in _known_names()])
                self.problems.append(f"{variable}: no such setting{near}")
        return self._resolved(layer)

    def flags(self, overrides: Mapping[str, object]) -> Layer:
        """Read flags, by dotted name."""
        return self._resolved(self._flat(overrides, "", FLAG))

    def _flat(self, tree: Mapping[str, object], prefix: str, origin: str) -> Layer:
        layer: Layer = {}
        for key, value in tree.items():
            name = prefix + key
            if name in _tables() or name in free_tables():
                if isinstance(value, dict):
                    layer |= self._flat(value, f"{name}.", origin)
                else:
                    self.problems.append(f"{name} = {shown(name, value)} ({origin}): must be a table")
            elif isinstance(value, dict) and free_table_of(name):
                layer |= self._flat(value, f"{name}.", origin)
            else:
                self._take(name, value, origin, layer)
        return layer

    def _take(self, name: str, value: object, origin: str, layer: Layer) -> None:
        if is_known(_plain(name)):
            layer[name] = Given(value, origin)
        else:
            self.problems.append(f"{ascii(name)[1:-1]} ({origin}): no such setting{suggestion(name, _known_names())}")

    def _resolved(self, layer: Layer) -> Layer:
        """Read the files that hold secrets: `x_file` stands for `x`."""
        resolved = {name: given for name, given in layer.items() if _plain(name) == name}
        for name, given in layer.items():
            plain = _plain(name)
            if plain == name:
                continue
            if plain in layer:
                self.problems.append(f"{name} ({given.origin}): {plain} is set too; only one of them can be")
                continue
            path = Path(str(given.value))
            try:
                secret = path.read_text(encoding="utf-8").rstrip("\r\n")
            except (OSError, ValueError) as error:
                why = getattr(error, "strerror", None) or "not UTF-8"
                self.problems.append(f"{name} = {str(path)!a} ({given.origin}): cannot be read ({why})")
                continue
            resolved[plain] = Given(secret, f"{path}, {given.origin}")
        return resolved


def _plain(name: str) -> str:
    """Return the secret's name for the name of its file, any other name as it is."""
    base = name.removesuffix("_file")
    return base if base != name and holds_secret(base) else name


def name_of(variable: str) -> str:
    """Return the dotted name that an environment variable sets."""
    name = variable.removeprefix(PREFIX).lower().replace("__", ".")
    table = free_table_of(name)
    if table is None:
        return name
    key = name.removeprefix(f"{table}.")
    base = key.removesuffix("_file")
    dotted = base.replace("_", ".")
    if base != key and is_secret(dotted):
        return f"{table}.{dotted}_file"
    return f"{table}.{key.replace('_', '.')}"


def variable_of(name: str) -> str:
    """Return the environment variable that sets a setting."""
    table = free_table_of(name)
    if table is None:
        return PREFIX + name.upper().replace(".", "__")
    key = name.removeprefix(f"{table}.").upper().replace(".", "_")
    return f"{PREFIX}{table.upper().replace('.', '__')}__{key}"


def nested(layer: Layer) -> dict[str, object]:
    """Return the tree that a flat layer stands for."""
    tree: dict[str, object] = {}
    for name, given in layer.items():
        table = free_table_of(name)
        *parents, leaf = name.split(".") if table is None else (*table.split("."), name.removeprefix(f"{table}."))
        at = tree
        for parent in parents:
            at = at.setdefault(parent, {})  # type: ignore[assignment]  # tables and leaves never share a name
        value = given.value
        if table is not None and isinstance(value, list):
            value = ",".join(map(str, value))  # librdkafka's way to write a list.
        at[leaf] = value
    return tree
