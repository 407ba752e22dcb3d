"""`config`: the settings as they are in effect."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click
from pydantic import BaseModel, SecretStr

from processor.cli.common import parse_assignments, print_json, settings_options
from processor.errors import ExitCode
from processor.logs import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_MASK = "***"


@click.command(
    epilog="""\b
Examples:
  status-processor config
  status-processor config --settings worker.toml --json

Flags go over variables (STATUS_PROCESSOR_…), these over the file, the file over defaults. Secrets are masked.
"""
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: name to value and origin.")
@settings_options
def config(as_json: bool, file: Path | None, assignments: tuple[str, ...]) -> int:
    """Show all settings as they are in effect, and where each came from."""
    from processor.settings import load_with_origins  # noqa: PLC0415  # other commands start faster

    settings, origins = load_with_origins(file, parse_assignments(assignments))
    rows = [(name, _shown(value), origins.get(name, "default")) for name, value in _leaves(settings, "")]
    if as_json:
        print_json({name: {"value": value, "origin": origin} for name, value, origin in rows}, indent=2)
        return ExitCode.OK
    width = max(len(name) for name, _, _ in rows)
    for name, value, origin in rows:
        note = "" if origin == "default" else f"  # {printable(origin)}"
        click.echo(f"{name:<{width}} = {_in_words(value)}{note}")
    return ExitCode.OK


def _leaves(table: BaseModel | Mapping[str, object], prefix: str) -> Iterator[tuple[str, object]]:
    items = [*table] if isinstance(table, BaseModel) else [*table.items()]
    for name, value in items:
        if isinstance(value, BaseModel | dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _shown(value: object) -> object:
    match value:
        case SecretStr():
            return _MASK if value.get_secret_value() else ""
        case timedelta():
            from processor.settings_model import duration_text  # noqa: PLC0415  # as above

            return duration_text(value)
        case Path():
            return str(value)
        case _:
            return value


def _in_words(value: object) -> str:
    match value:
        case None:
            return "not set"
        case bool():
            return str(value).lower()
        case list():
            return "[" + ", ".join(_in_words(item) for item in value) + "]"
        case str():
            return f'"{printable(value)}"'
        case _:
            return str(value)
