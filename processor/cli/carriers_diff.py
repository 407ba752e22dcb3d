"""`carriers diff`: what other packs would make of what has come lately."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from processor.cli.common import load_packs, print_json, settings_of, settings_options, shown_progress, table
from processor.cli.when import iso, past
from processor.errors import ExitCode

if TYPE_CHECKING:
    from processor.pack_diff import Found, Kind, PackDiff
    from processor.settings import Settings

_COLUMNS = ("events", "carrier", "channel", "status", "error code", "before", "after", "also differs", "first at")


@click.command(
    epilog="""\b
Examples:
  status-processor carriers diff --since 24h --packs my-packs/
  status-processor carriers diff --since 2026-11-23T08:00:00Z --packs my-packs/ --json | jq .different
\b
Reads the raw topics and changes nothing. The packs in force are the built-in ones under `packs.directory`; they are
held against the built-in ones under --packs. Only mapping is compared: which change an event gives depends on what is
known of its message. Exit code 0 where all events map as before, 1 where some do not.
"""
)
@click.option("--since", default="24h", show_default=True, callback=past, help="A time, or so long ago.")
@click.option(
    "--packs",
    "directory",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="The packs to try, over the built-in ones.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Stop after about so many records.")
@click.option("--top", type=click.IntRange(min=1), default=50, show_default=True, help="So many kinds, the most first.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@settings_options
def diff(
    *,
    since: int,
    directory: Path,
    limit: int | None,
    top: int,
    as_json: bool,
    file: Path | None,
    assignments: tuple[str, ...],
) -> int:
    """Say which of the latest events other packs would map differently, before they are deployed."""
    settings = settings_of(file, assignments)
    found = _compare(settings, directory, since, limit)
    if as_json:
        print_json(diff_as_json(found, since, top), indent=2)
    else:
        for line in diff_as_lines(found, since, top):
            click.echo(line)
    return ExitCode.FAILED if found.different else ExitCode.OK


def _compare(settings: Settings, directory: Path, since: int, limit: int | None) -> PackDiff:
    from processor.codec import Decoder  # noqa: PLC0415  # other commands start faster
    from processor.pack_diff import PackDiff  # noqa: PLC0415  # the same
    from processor.raw_reader import RawReader  # noqa: PLC0415  # the same
    from processor.registry import Registry  # noqa: PLC0415  # the same
    from processor.schema_supply import SchemaSupply  # noqa: PLC0415  # the same
    from processor.settings import admin_config, registry_config  # noqa: PLC0415  # the same

    key = settings.identity_key.get_secret_value().encode()
    decoder = Decoder(max_bytes=settings.limits.record_bytes_max)
    found = PackDiff(decoder, load_packs(settings.packs.directory, key), load_packs(directory, key))
    registry_settings = registry_config(settings)
    schemas = SchemaSupply(decoder, Registry(registry_settings) if registry_settings is not None else None)
    with RawReader(admin_config(settings), settings.group, settings.topics.raw, since) as reader:
        total = reader.total if limit is None else min(limit, reader.total)
        with shown_progress("comparing", total) as progress:
            for chunk in reader.chunks():
                for (topic, partition), records in chunk.items():
                    schemas.supply(record.value() for record in records)
                    found.add(topic, partition, records)
                progress(found.records, found.records)
                if limit is not None and found.records >= limit:
                    break
    return found


def diff_as_json(found: PackDiff, since_ms: int, top: int) -> dict[str, object]:
    """Return a comparison for machines."""
    ranked = found.ranked()
    return {
        "since": iso(since_ms),
        "records": found.records,
        "undecodable": found.undecodable,
        "same": found.same,
        "different": found.different,
        "kinds": [
            {
                **kind.words._asdict(),
                "before": kind.before,
                "after": kind.after,
                "facts": list(kind.facts),
                "events": count.events,
                "example": count.example,
            }
            for kind, count in ranked[:top]
        ],
        "kinds_left_out": max(0, len(ranked) - top),
    }


def diff_as_lines(found: PackDiff, since_ms: int, top: int) -> list[str]:
    """Return a comparison for people: a table of what differs, then the sums."""
    ranked = found.ranked()
    lines = table([_COLUMNS, *map(_row, ranked[:top])], left=range(1, len(_COLUMNS))) if ranked else []
    if len(ranked) > top:
        lines.append(f"{len(ranked) - top} more kinds: --top shows more")
    lines += [f"{before} -> {after}: {events:,}" for (before, after), events in found.moves().most_common(top)]
    undecodable = f", {found.undecodable:,} of them undecodable" if found.undecodable else ""
    lines.append(
        f"{found.records:,} records since {iso(since_ms)}{undecodable}: {found.same:,} events map as before, "
        f"{found.different:,} differently"
    )
    return lines


def _row(item: tuple[Kind, Found]) -> tuple[str, ...]:
    kind, count = item
    words = (word or "·" for word in kind.words)
    return (f"{count.events:,}", *words, kind.before, kind.after, ", ".join(kind.facts) or "·", count.example)
