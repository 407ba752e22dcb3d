"""`lag`: how far the group is behind, partition by partition, and who holds what."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from processor.cli.common import print_json, settings_of, settings_options, table
from processor.errors import ExitCode

if TYPE_CHECKING:
    from pathlib import Path

    from processor.lag import GroupLag, PartitionLag


@click.command(
    epilog="""\b
Examples:
  status-processor lag
  status-processor lag --watch 5
  status-processor lag --json --max-lag 100000 >/dev/null || echo behind
\b
Reads one record of each partition that is behind, and is no member of the group. Lag counts offsets: of a topic that
is written in transactions the markers between the records too; where nothing else is left it is 0.
Exit code 1 where --max-lag is exceeded.
"""
)
@click.option("--max-lag", type=click.IntRange(min=0), help="Exit with 1 where all partitions together lag by more.")
@click.option("--watch", type=click.FloatRange(min=1), metavar="SECONDS", help="Say it again so often, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: one object, with --watch one a line.")
@settings_options
def lag(
    *, max_lag: int | None, watch: float | None, as_json: bool, file: Path | None, assignments: tuple[str, ...]
) -> int:
    """Show how far the group is behind: offsets, age of the oldest record that waits, and who holds what."""
    from processor.group_reader import GroupReader  # noqa: PLC0415  # other commands start faster
    from processor.lag_reader import LagReader  # noqa: PLC0415  # the same
    from processor.settings import admin_config  # noqa: PLC0415  # the same

    settings = settings_of(file, assignments)
    names = settings.topics
    with GroupReader(admin_config(settings), settings.group) as group:
        earliest = settings.start_offset == "earliest"
        reader = LagReader(group, names.raw, names.rekeyed, start_earliest=earliest)
        while True:
            found = reader.read()
            _show(found, time.time_ns() // 1_000_000, as_json=as_json, watched=watch is not None)
            if watch is None:
                break
            time.sleep(watch)
    return ExitCode.FAILED if max_lag is not None and found.total > max_lag else ExitCode.OK


def _show(found: GroupLag, now_ms: int, *, as_json: bool, watched: bool) -> None:
    if as_json:
        print_json(lag_as_json(found, now_ms), indent=None if watched else 2)
        return
    if watched and sys.stdout.isatty():
        click.clear()
    for line in lag_as_lines(found, now_ms):
        click.echo(line)


def lag_as_json(found: GroupLag, now_ms: int) -> dict[str, object]:
    """Return the lag for machines; what is not known is null."""
    return {
        "group": found.group,
        "members": found.members,
        "lag": found.total,
        "seconds_behind": found.seconds_behind(now_ms),
        "unowned": found.unowned,
        "partitions": [
            {
                "topic": one.topic,
                "partition": one.partition,
                "committed": one.committed,
                "end": one.end,
                "lag": one.lag,
                "seconds_behind": one.seconds_behind(now_ms),
                "blocked": one.first.blocked,
                "lost": one.lost,
                "owner": one.owner,
            }
            for one in found.partitions
        ],
    }


def lag_as_lines(found: GroupLag, now_ms: int) -> list[str]:
    """Return the lag for people: a table, then what stands out."""
    rows: list[tuple[str, ...]] = [("partition", "committed", "end", "lag", "behind", "held by")]
    rows += [_row(one, now_ms) for one in found.partitions]
    lines = table(rows, left=(0, 5))
    for one in found.partitions:
        where = f"{one.topic}[{one.partition}]"
        if one.first.blocked:
            lines.append(f"{where}: an open transaction holds up whoever reads committed records")
        if one.lost:
            lines.append(f"{where}: {one.lost:,} offsets were deleted before they were processed: a worker ends there")
    if found.members is not None and found.unowned:
        lines.append(f"{found.unowned} of {len(found.partitions)} partitions are held by nobody")
    members = "members that cannot be seen" if found.members is None else f"{found.members} members"
    behind = _age(found.seconds_behind(now_ms))
    return [*lines, f"group {found.group}, {members}: lag {found.total:,}, {behind} behind"]


def _row(one: PartitionLag, now_ms: int) -> tuple[str, ...]:
    return (
        f"{one.topic}[{one.partition}]",
        "-" if one.committed is None else str(one.committed),
        str(one.end),
        f"{one.lag:,}",
        _age(one.seconds_behind(now_ms)),
        one.owner or "-",
    )


def _age(seconds: float | None) -> str:
    """Say an age in its largest unit, so that a column stays narrow."""
    if seconds is None:
        return "?"
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
