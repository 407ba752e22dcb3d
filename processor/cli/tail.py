"""`tail`: shows status changes as they are published."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from processor.cli.common import print_json, recipient_shown, settings_of, settings_options, time_in_words
from processor.cli.explanation import change_as_json
from processor.errors import ExitCode
from processor.logs import printable
from processor.privacy import masked

if TYPE_CHECKING:
    from pathlib import Path

    from processor.model import StatusChange


@click.command(
    epilog="""\b
Examples:
  status-processor tail
  status-processor tail --from-beginning --message-id SM1
  status-processor tail --json --max 100 | jq .status
\b
Only committed changes are shown. Recipients are masked unless --show-recipients says otherwise.
"""
)
@click.option("--from-beginning", is_flag=True, help="Start with the first change that is there, not the next one.")
@click.option("--message-id", help="Only the changes of this message.")
@click.option("--max", "most", type=click.IntRange(min=1), help="End after so many changes.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@click.option("--show-recipients", is_flag=True, help="Print recipients in full.")
@settings_options
def tail(
    *,
    from_beginning: bool,
    message_id: str | None,
    most: int | None,
    as_json: bool,
    show_recipients: bool,
    file: Path | None,
    assignments: tuple[str, ...],
) -> int:
    """Show status changes as they are published. Ctrl-C ends it."""
    from processor.settings import admin_config  # noqa: PLC0415  # the same
    from processor.topic_reader import ChangesReader  # noqa: PLC0415  # other commands start faster

    settings = settings_of(file, assignments)
    shown = undecodable = 0
    with ChangesReader(admin_config(settings), settings.topics.changes, from_beginning=from_beginning) as reader:
        while True:
            for change in reader.read():
                if message_id is not None and change.message_id != message_id:
                    continue
                recipient = recipient_shown(change.recipient, full=show_recipients)
                _show(change._replace(recipient=recipient), as_json=as_json)
                shown += 1
                if shown == most:
                    return ExitCode.OK
            if reader.undecodable > undecodable:
                undecodable = reader.undecodable
                click.echo(f"warning: {undecodable} records so far are no status changes", err=True)


def _show(change: StatusChange, *, as_json: bool) -> None:
    if as_json:
        print_json(change_as_json(change))
        return
    when = time_in_words(change.received_at, "%Y-%m-%d %H:%M:%S")
    status = str(change.status)
    if sys.stdout.isatty():
        colour = "red" if change.status.is_failure else "green" if change.final else "yellow"
        status = click.style(status, fg=colour)
    move = f"{change.previous} -> {status}" if change.previous else status
    extra = [f"error {printable(change.error_code)}"] if change.error_code else []
    if change.parts:
        extra.append(f"parts {change.parts.delivered}/{change.parts.total or '?'}")
    if change.recipient:
        extra.append(f"to {printable(change.recipient)}")
    words = f" {masked(printable(change.error_text))}" if change.error_text else ""
    more = f"  ({', '.join(extra)})" if extra else ""
    line = f"{when} {change.channel:<8} {change.carrier:<14} {printable(change.message_id)} #{change.sequence} {move}"
    click.echo(line + ("." if change.final else "") + more + words)
