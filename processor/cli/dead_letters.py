"""`dead-letters`: what could not be processed, why, and sending it back when that is mended."""

from __future__ import annotations

import getpass
import socket
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from processor.cli.common import packs_option, print_json, settings_of, settings_options, shown_progress
from processor.cli.letter_options import LetterPosition, letter_filters, wanted_of
from processor.errors import ExitCode, FatalError

if TYPE_CHECKING:
    from collections.abc import Callable

    from confluent_kafka import Message

    from processor.letter_reader import LetterReader
    from processor.letters import Letter, LetterBox, LetterFilter, Position
    from processor.replay import Planned
    from processor.settings import Settings

ASKED_FROM: Final = 100
"""From so many letters on a replay asks first, on a terminal."""


@click.group("dead-letters", epilog="\b\nExample:\n  status-processor dead-letters summary\n")
def dead_letters() -> None:
    """Look at what could not be processed, and send it back."""


@dead_letters.command(
    epilog="""\b
Examples:
  status-processor dead-letters summary
  status-processor dead-letters summary --reason unknown_status --top 20
  status-processor dead-letters summary --carrier twilio --json | jq '.kinds[0]'
\b
Only committed letters count, and only those that have not been replayed. "understood now" are those that the present
packs would understand. Words are the carrier's own, with what looks like a phone number masked.
"""
)
@letter_filters
@click.option("--top", type=click.IntRange(min=1), default=50, show_default=True, help="So many kinds, the most first.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@packs_option
@settings_options
def summary(
    *,
    top: int,
    as_json: bool,
    directory: Path | None,
    file: Path | None,
    assignments: tuple[str, ...],
    **filters: Any,  # noqa: ANN401  # as click gives them
) -> int:
    """Count dead letters by reason, carrier and the carrier's words."""
    from processor.cli.letters_shown import summary_as_json, summary_as_lines  # noqa: PLC0415  # others start faster
    from processor.letter_summary import LetterSummary  # noqa: PLC0415  # the same

    box = _read(settings_of(file, assignments), directory, wanted_of(filters))
    found = LetterSummary()
    found.add(box.open.values())
    if as_json:
        print_json(summary_as_json(found, found.ranked()[:top], len(box.replayed)), indent=2)
        return ExitCode.OK
    for line in summary_as_lines(found, top, len(box.replayed)):
        click.echo(line)
    return ExitCode.OK


@dead_letters.command(
    "list",
    epilog="""\b
Examples:
  status-processor dead-letters list --since 24h --carrier twilio
  status-processor dead-letters list --understood --limit 20
  status-processor dead-letters list --all --json | jq .source
\b
A line is PARTITION:OFFSET in the dead-letter topic, when it was written, why, at which stage, whose and what was said,
and the record that was read.
""",
)
@letter_filters
@click.option("--all", "with_replayed", is_flag=True, help="Letters that have been replayed too.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many, the oldest first.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@packs_option
@settings_options
def list_(
    *,
    with_replayed: bool,
    limit: int | None,
    as_json: bool,
    directory: Path | None,
    file: Path | None,
    assignments: tuple[str, ...],
    **filters: Any,  # noqa: ANN401  # as click gives them
) -> int:
    """List dead letters that have not been replayed, a line each, the oldest first."""
    from processor.cli.letters_shown import letter_as_json, letter_as_line  # noqa: PLC0415  # other commands start faster
    from processor.letters import in_order  # noqa: PLC0415  # the same

    box = _read(settings_of(file, assignments), directory, wanted_of(filters))
    letters = in_order([*box.open.values(), *(box.replayed.values() if with_replayed else ())])
    for letter in letters[:limit]:
        replayed = letter.position in box.replayed
        if as_json:
            print_json(letter_as_json(letter, replayed=replayed))
        else:
            click.echo(letter_as_line(letter, replayed=replayed))
    if not as_json:
        if not letters:
            click.echo(f"no such dead letter among {box.seen:,}" if box.seen else "no dead letters")
        elif limit is not None and len(letters) > limit:
            click.echo(f"{len(letters) - limit:,} more: --limit shows more", err=True)
    return ExitCode.OK


@dead_letters.command(
    epilog="""\b
Examples:
  status-processor dead-letters show 3:17
  status-processor dead-letters show 3:17 --json | jq .elements
  status-processor dead-letters show 3:17 --raw --output letter.bin
\b
Numbers and recipients are masked; --raw writes the original bytes as they are.
"""
)
@click.argument("position", type=LetterPosition())
@click.option("--raw", is_flag=True, help="Write the original value, byte for byte, and nothing else.")
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), help="With --raw: a file, instead of standard output."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@packs_option
@settings_options
def show(
    *,
    position: Position,
    raw: bool,
    output: Path | None,
    as_json: bool,
    directory: Path | None,
    file: Path | None,
    assignments: tuple[str, ...],
) -> int:
    """Show one dead letter: why, where from, its headers, and its value read by the packs of now."""
    from processor.cli.letter_access import letter_reader, letter_reading  # noqa: PLC0415  # other commands start faster
    from processor.cli.letters_shown import full_as_lines, letter_in_full  # noqa: PLC0415  # other commands start faster

    if output is not None and not raw:
        raise click.UsageError("--output takes the original bytes: it needs --raw")
    settings = settings_of(file, assignments)
    with letter_reader(settings) as reader:
        reading, schemas = letter_reading(settings, directory)
        record, replayed_by = _find(reader, position)
        schemas.supply([record.value()])
        (letter,) = reading.read([record])
        if raw:
            _write(_whole(reader, letter, record), output)
            return ExitCode.OK
        full = letter_in_full(letter, record, reading.content(record), replayed_by)
    if as_json:
        print_json(full, indent=2)
    else:
        for line in full_as_lines(full):
            click.echo(line)
    return ExitCode.OK


@dead_letters.command(
    epilog="""\b
Examples:
  status-processor dead-letters replay --understood --dry-run
  status-processor dead-letters replay --understood
  status-processor dead-letters replay --reason too_many_replies --since 24h --rate 100
  status-processor dead-letters replay --letter 3:17
\b
Key and value go back, byte for byte, to the topic and partition they came from, where a worker processes them again; of
a batch, the failed element alone. Each letter is replayed once: marks in the dead-letter topic are written in the same
transaction. What fails again is a new dead letter, up to dead_letters.attempts_max times.
\b
Exit code 1 where letters were skipped.
"""
)
@letter_filters
@click.option("--limit", type=click.IntRange(min=1), help="At most so many, the oldest first.")
@click.option("--rate", type=click.IntRange(min=1, max=1_000_000), help="At most so many in a second.")
@click.option("--dry-run", is_flag=True, help="Only say what would be replayed.")
@click.option(
    "--allow-old", is_flag=True, help="Also letters so old that what was known of their messages may be gone."
)
@click.option("--yes", is_flag=True, help="Do not ask, on a terminal, where there are many.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@packs_option
@settings_options
def replay(
    *,
    limit: int | None,
    rate: int | None,
    dry_run: bool,
    allow_old: bool,
    yes: bool,
    as_json: bool,
    directory: Path | None,
    file: Path | None,
    assignments: tuple[str, ...],
    **filters: Any,  # noqa: ANN401  # as click gives them
) -> int:
    """Send dead letters back to where they came from, each once."""
    from processor.cli import letter_access as access  # noqa: PLC0415  # other commands start faster
    from processor.cli.letters_shown import report_as_json, report_as_lines  # noqa: PLC0415  # the same
    from processor.replay import Replay, ReplayOptions  # noqa: PLC0415  # the same

    settings = settings_of(file, assignments)
    options = ReplayOptions(topic=settings.topics.dead_letter, by=_whoever(), limit=limit, rate=rate)
    with ExitStack() as closing:
        reader = closing.enter_context(access.letter_reader(settings))
        reading, schemas = access.letter_reading(settings, directory)
        bar = _Bar(closing)
        report = Replay(
            reader=reader,
            reading=reading,
            schemas=schemas,
            judge=access.replay_judge(settings, reader, allow_old=allow_old),
            wanted=wanted_of(filters),
            options=options,
            sender=None if dry_run else closing.enter_context(access.replay_sender(settings)),
            confirm=_ask if not (dry_run or yes) and _on_a_terminal() else lambda _: None,
            progress=bar.show,
        ).run()
    if as_json:
        print_json(report_as_json(report, dry_run=dry_run), indent=2)
    else:
        for line in report_as_lines(report, dry_run=dry_run):
            click.echo(line)
    return ExitCode.FAILED if report.skipped else ExitCode.OK


def _read(settings: Settings, directory: Path | None, wanted: LetterFilter) -> LetterBox:
    """Read the dead-letter topic to its present end."""
    from processor.cli.letter_access import letter_reader, letter_reading  # noqa: PLC0415  # other commands start faster
    from processor.letters import LetterBox  # noqa: PLC0415  # other commands start faster

    reading, schemas = letter_reading(settings, directory)
    box = LetterBox(reading, wanted)
    with shown_progress("reading dead letters", None) as progress, letter_reader(settings) as reader:
        for records in reader.read(reader.spans(wanted.since_ms)):
            schemas.supply(record.value() for record in records)
            box.add(records)
            progress(box.seen, box.seen)
    return box


def _find(reader: LetterReader, position: Position) -> tuple[Message, str | None]:
    """Return a letter, and who replayed it, None where nobody has.

    Raises:
        FatalError: There is no such letter.
    """
    from processor.letter_marks import marked_by, marked_offsets  # noqa: PLC0415  # other commands start faster
    from processor.letter_reader import Span  # noqa: PLC0415  # the same

    partition, offset = position
    span = reader.spans().get(partition, Span(0, 0))
    found: Message | None = None
    if span.low <= offset < span.high:
        for records in reader.read({partition: Span(offset, span.high)}):
            for record in records:
                marked = marked_offsets(record)
                if marked is None and record.offset() == offset:
                    found = record
                elif found is not None and marked is not None and offset in marked:
                    return found, marked_by(record)
    if found is None:
        raise FatalError(
            f"no dead letter at {partition}:{offset}; `status-processor dead-letters list --all` shows where they are"
        )
    return found, None


def _whole(reader: LetterReader, letter: Letter, record: Message) -> bytes:
    """Return the original value.

    Raises:
        FatalError: It was cut, and is nowhere whole.
    """
    from processor.replay import whole_value  # noqa: PLC0415  # other commands start faster

    value = whole_value(reader, letter) if letter.sha256 else record.value()
    if value is None and letter.sha256:
        raise FatalError("the value was cut, and the record that holds the whole is gone")
    return value or b""


def _write(value: bytes, output: Path | None) -> None:
    if output is None:
        sys.stdout.buffer.write(value)
        sys.stdout.flush()
        return
    try:
        output.write_bytes(value)
    except OSError as error:
        raise FatalError(f"{output}: cannot be written ({error.strerror})") from None


def _on_a_terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def _ask(planned: Planned) -> None:
    """Ask whether so many letters are meant; whoever says no ends the command."""
    from processor.cli.letters_shown import planned_as_text  # noqa: PLC0415  # other commands start faster

    if planned.letters.total() >= ASKED_FROM:
        click.confirm(f"Replay {planned_as_text(planned)}?", abort=True, err=True)


def _whoever() -> str:
    """Return who runs this, for the marks."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):  # No name for this user id, as in a container.
        user = "unknown"
    return f"{user}@{socket.gethostname()}"


class _Bar:
    """A progress bar that begins when the number of letters is known."""

    def __init__(self, closing: ExitStack) -> None:
        self._closing = closing
        self._update: Callable[[int, int], None] | None = None

    def show(self, done: int, whole: int) -> None:
        """Show how many were sent, of how many."""
        if self._update is None:
            self._update = self._closing.enter_context(shown_progress("replaying", whole))
        self._update(done, done)
