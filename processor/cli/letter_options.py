"""Which dead letters a command is about: the filters that `dead-letters` commands share."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from processor.cli.when import past

if TYPE_CHECKING:
    from collections.abc import Callable

    from processor.letters import LetterFilter, Position

F = TypeVar("F", bound="Callable[..., Any]")

_POSITION: Final = re.compile(r"(\d{1,9}):(\d{1,18})")
STAGES: Final = ("decode", "extract", "map", "reduce", "publish")


class LetterPosition(click.ParamType["Position"]):
    """Where a letter lies: partition and offset of the dead-letter topic."""

    name = "PARTITION:OFFSET"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Position:
        """Read one."""
        if isinstance(value, tuple):
            return value
        match = _POSITION.fullmatch(str(value).strip())
        if match is None:
            self.fail(f"{str(value)!r} is no position such as 3:17, as `dead-letters list` shows it", param, ctx)
        return int(match[1]), int(match[2])


_FILTERS: Final = (
    click.option("--reason", "reasons", multiple=True, help="Only letters with this reason; may be repeated."),
    click.option(
        "--stage",
        "stages",
        multiple=True,
        type=click.Choice(STAGES),
        help="Only letters of this stage; may be repeated.",
    ),
    click.option("--carrier", "carriers", multiple=True, help="Only letters of this carrier; may be repeated."),
    click.option("--channel", "channels", multiple=True, help="Only letters of this channel; may be repeated."),
    click.option(
        "--status", "statuses", multiple=True, help="Only letters with this word of their carrier; may be repeated."
    ),
    click.option("--since", "since_ms", callback=past, help="Only letters written since a time, or 24h."),
    click.option("--until", "until_ms", callback=past, help="Only letters written before a time, as --since."),
    click.option(
        "--letter", "positions", multiple=True, type=LetterPosition(), help="Only this letter; may be repeated."
    ),
    click.option("--source-topic", help="Only letters of records of this topic."),
    click.option("--source-partition", type=click.IntRange(min=0), help="Only letters of records of this partition."),
    click.option("--source-offset", type=click.IntRange(min=0), help="Only letters of the records at this offset."),
    click.option("--understood", is_flag=True, help="Only letters that the present packs would understand."),
)


def letter_filters(command: F) -> F:
    """Add the options that choose letters."""
    for option in reversed(_FILTERS):
        command = option(command)
    return command


def wanted_of(given: dict[str, Any]) -> LetterFilter:
    """Return what the options ask for; what may be repeated comes as a tuple."""
    from processor.letters import LetterFilter  # noqa: PLC0415  # other commands start faster

    asked: dict[str, Any] = {
        name: frozenset(value) if isinstance(value, tuple) else value for name, value in given.items()
    }
    return LetterFilter(**asked)
