"""What several commands share: options, packs, settings, output."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from processor.errors import ExitCode, FatalError, PackError
from processor.pack_files import builtin_texts, texts_of
from processor.packs import Packs
from processor.privacy import masked_recipient

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from processor.settings import Settings

F = TypeVar("F", bound="Callable[..., Any]")

EXIT_CODES = """\b
Exit codes:
    0  done
    1  done, and the answer is no: something does not fit, or would be a dead letter
    2  wrong usage
   65  too many dead letters: nothing of the batch was published
   69  a broker or a topic that is needed is not there
   75  a transaction's outcome is unknown: start again, it goes on from what is committed
   76  the changelog or the offsets are not the ones the state was built on
   77  the broker denies an access that is needed
   78  settings or packs are wrong
  130  interrupted
"""


def settings_options(command: F) -> F:
    """Add the options that choose settings."""
    command = click.option(
        "--set",
        "assignments",
        metavar="NAME=VALUE",
        multiple=True,
        help="Set one setting, for example --set kafka.bootstrap.servers=kafka:9092; may be repeated.",
    )(command)
    return click.option(
        "--settings",
        "file",
        type=click.Path(dir_okay=False, path_type=Path),
        help="TOML file; STATUS_PROCESSOR_SETTINGS says the same. Variables and flags go over it.",
    )(command)


def parse_assignments(assignments: tuple[str, ...]) -> dict[str, object]:
    """Read the values of --set.

    Raises:
        click.UsageError: One has no equals sign.
    """
    overrides: dict[str, object] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or not name.strip():
            # The text itself may be a password that lost its name.
            raise click.UsageError("--set takes NAME=VALUE, for example --set partitions=6")
        overrides[name.strip()] = value
    return overrides


def settings_of(file: Path | None, assignments: tuple[str, ...], **more: object) -> Settings:
    """Load the settings of a command; `more` are its own flags, by dotted name, None where not given.

    Raises:
        FatalError: Something is wrong with them.
    """
    from processor.settings import load_settings  # noqa: PLC0415  # commands without settings start faster

    flags = {name: value for name, value in more.items() if value is not None}
    return load_settings(file, {**parse_assignments(assignments), **flags})


def packs_option(command: F) -> F:
    """Add the option that names a directory of packs."""
    return click.option(
        "--packs",
        "directory",
        type=click.Path(file_okay=False, path_type=Path),
        help="Directory of your own packs, over the built-in ones.",
    )(command)


def load_packs(directory: Path | None, identity_key: bytes = b"") -> Packs:
    """Load the built-in packs and those of a directory.

    Raises:
        FatalError: The directory cannot be read.
        PackError: A pack breaks the rules.
    """
    texts = builtin_texts()
    if directory is not None:
        texts |= own_texts(directory)
    return Packs.load(texts, identity_key)


def own_texts(directory: Path) -> dict[str, str]:
    """Read a directory of packs, or one pack.

    Raises:
        FatalError: It cannot be read, or holds no pack.
        PackError: A pack is not UTF-8.
    """
    try:
        if directory.is_file():
            return {str(directory): directory.read_text(encoding="utf-8")}
        texts = texts_of(directory)
    except UnicodeDecodeError:
        raise PackError([f"{directory}: not UTF-8"]) from None
    except OSError as error:
        raise FatalError(f"packs {directory}: cannot be read ({error.strerror})", ExitCode.SETTINGS) from None
    if not texts:
        raise FatalError(f"packs {directory}: holds no *.toml file", ExitCode.SETTINGS)
    return texts


def print_json(value: object, *, indent: int | None = None) -> None:
    """Print a value as JSON, at once, so that whoever reads a pipe sees it."""
    sys.stdout.write(json.dumps(value, indent=indent) + "\n")
    sys.stdout.flush()


def time_in_words(ms: int, pattern: str) -> str:
    """Write a time (ms since the epoch) in UTC; one that no calendar has, as the number that it is."""
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).strftime(pattern)
    except (OSError, OverflowError, ValueError):
        return f"{ms} ms"


def table(rows: Sequence[Sequence[str]], left: Collection[int] = (0,)) -> list[str]:
    """Align the cells of a table: the columns in `left`, which are words, to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if number in left else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def recipient_shown(recipient: str | None, *, full: bool = False) -> str | None:
    """Hide a recipient, unless it was asked for in full."""
    return recipient if full or not recipient else masked_recipient(recipient)


@contextmanager
def shown_offsets(doing: str) -> Iterator[Callable[[int, int | None], None]]:
    """Give what is told how many offsets were read and how many there are, and shows it, on a terminal only."""
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console  # noqa: PLC0415  # only on a terminal
    from rich.progress import Progress  # noqa: PLC0415  # only on a terminal

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(doing, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def shown_progress(doing: str, total: int | None) -> Iterator[Callable[[int, int], None]]:
    """Give what is told of records and events, and shows how far it is, on a terminal only."""
    if not sys.stderr.isatty():
        yield lambda _records, _events: None
        return
    from rich.console import Console  # noqa: PLC0415  # only on a terminal
    from rich.progress import Progress  # noqa: PLC0415  # only on a terminal

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(doing, total=total)
        yield lambda _records, events: bar.update(task, completed=events)
