"""`dead-letters`: what could not be processed, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from processor.cli.common import (
    load_packs,
    packs_option,
    print_json,
    settings_of,
    settings_options,
    shown_progress,
    time_in_words,
)
from processor.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from processor.letter_summary import Found, Kind, LetterSummary
    from processor.settings import Settings

_COLUMNS = ("letters", "understood now", "reason", "carrier", "channel", "status", "error code", "first", "last")


@click.group("dead-letters", epilog="\b\nExample:\n  status-processor dead-letters summary\n")
def dead_letters() -> None:
    """Look at what could not be processed."""


@dead_letters.command(
    epilog="""\b
Examples:
  status-processor dead-letters summary
  status-processor dead-letters summary --reason unknown_status --top 20
  status-processor dead-letters summary --carrier twilio --json | jq '.kinds[0]'
\b
Only committed letters count. "understood now" are those that the present packs would understand. Words are the
carrier's own, with what looks like a phone number masked.
"""
)
@click.option("--reason", help="Only letters with this reason.")
@click.option("--carrier", help="Only letters of this carrier.")
@click.option("--top", type=click.IntRange(min=1), default=50, show_default=True, help="So many kinds, the most first.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@packs_option
@settings_options
def summary(
    *,
    reason: str | None,
    carrier: str | None,
    top: int,
    as_json: bool,
    directory: Path | None,
    file: Path | None,
    assignments: tuple[str, ...],
) -> int:
    """Count what lies in the dead-letter topic by reason, carrier and the carrier's words."""
    settings = settings_of(file, assignments)
    found = _read(settings, directory or settings.packs.directory)
    ranked = [
        (kind, count)
        for kind, count in found.ranked()
        if reason in (None, kind.reason) and carrier in (None, kind.carrier)
    ]
    if as_json:
        print_json(summary_as_json(found, ranked[:top]), indent=2)
        return ExitCode.OK
    for line in summary_as_lines(found, ranked, top):
        click.echo(line)
    return ExitCode.OK


def _read(settings: Settings, directory: Path | None) -> LetterSummary:
    """Read the dead-letter topic from its beginning to its present end."""
    from processor.codec import Decoder  # noqa: PLC0415  # other commands start faster
    from processor.letter_summary import LetterSummary  # noqa: PLC0415  # the same
    from processor.registry import Registry  # noqa: PLC0415  # the same
    from processor.schema_supply import SchemaSupply  # noqa: PLC0415  # the same
    from processor.settings import admin_config, registry_config  # noqa: PLC0415  # the same
    from processor.topic_reader import TopicReader  # noqa: PLC0415  # the same

    decoder = Decoder(max_bytes=settings.limits.record_bytes_max)
    found = LetterSummary(decoder, load_packs(directory))
    registry_settings = registry_config(settings)
    schemas = SchemaSupply(decoder, Registry(registry_settings) if registry_settings is not None else None)
    with (
        shown_progress("reading dead letters", None) as progress,
        TopicReader(admin_config(settings), settings.topics.dead_letter, from_beginning=True) as reader,
    ):
        while not reader.at_end:
            records = reader.records()
            schemas.supply(record.value() for record in records)
            found.add(records)
            progress(found.letters, found.letters)
    return found


def summary_as_json(found: LetterSummary, ranked: Sequence[tuple[Kind, Found]]) -> dict[str, object]:
    """Return a summary for machines; times are ms since the epoch."""
    return {
        "letters": found.letters,
        "reasons": dict(found.reasons().most_common()),
        "kinds": [
            {
                **kind._asdict(),
                "letters": count.letters,
                "understood": count.understood,
                "first_ms": count.first_ms,
                "last_ms": count.last_ms,
            }
            for kind, count in ranked
        ],
    }


def summary_as_lines(found: LetterSummary, ranked: Sequence[tuple[Kind, Found]], top: int) -> list[str]:
    """Return a summary for people: a table, and what it leaves out."""
    if not ranked:
        return [f"no such dead letter among {found.letters}" if found.letters else "no dead letters"]
    rows = [_COLUMNS, *(_cells(kind, count) for kind, count in ranked[:top])]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    lines = ["  ".join(_aligned(row, widths)).rstrip() for row in rows]
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in found.reasons().most_common())
    lines.append(f"{found.letters:,} dead letters: {reasons}")
    if len(ranked) > top:
        lines.append(f"{len(ranked) - top} more kinds: --top shows more")
    return lines


def _cells(kind: Kind, count: Found) -> tuple[str, ...]:
    numbers = (f"{count.letters:,}", f"{count.understood:,}")
    words = (kind.reason, kind.carrier, kind.channel or "·", kind.status or "·", kind.error_code or "·")
    return (*numbers, *words, _time(count.first_ms), _time(count.last_ms))


def _aligned(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    numbers = 2
    return [
        cell.rjust(width) if column < numbers else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]


def _time(ms: int) -> str:
    return time_in_words(ms, "%Y-%m-%d %H:%M")
