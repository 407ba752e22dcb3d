"""Times as people give them on the command line."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Final

import click

from processor.settings_model import parse_duration

_ALLOWED: Final = "must be a time such as 2026-11-23T08:00:00Z, or so long ago: 24h, 7d, PT36H"


def past(_context: click.Context, _parameter: click.Parameter, value: str | None) -> int | None:
    """Read an option that is a time; click's callback."""
    if value is None:
        return None
    try:
        return ms_of(value, time.time_ns() // 1_000_000)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def ms_of(text: str, now_ms: int) -> int:
    """Return the time that a text names, in ms since the epoch.

    Raises:
        ValueError: It names none, or one without its zone, which would be a guess.
    """
    try:
        ms = now_ms - int(parse_duration(text).total_seconds() * 1000)
    except (ValueError, OverflowError):
        ms = _moment_ms(text.strip())
    if ms < 0:
        raise ValueError(f"{_ALLOWED}, and no earlier than 1970")
    return ms


def _moment_ms(text: str) -> int:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(_ALLOWED) from None
    if when.tzinfo is None:
        raise ValueError(f"{_ALLOWED}; a time needs its zone, such as Z or +02:00")
    return int(when.timestamp() * 1000)


def iso(ms: int) -> str:
    """Return a time for people and machines: UTC, to the second."""
    return datetime.fromtimestamp(ms // 1000, UTC).isoformat().replace("+00:00", "Z")
