"""`inspect`: what is known of one message, and how that came about."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from processor.cli.common import load_packs, packs_option, print_json, settings_of, settings_options, shown_offsets
from processor.cli.inspect_view import inspected_as_json, inspected_as_lines
from processor.cli.when import past
from processor.errors import ExitCode

if TYPE_CHECKING:
    from pathlib import Path

    from processor.inspector import Inspector
    from processor.known import Choice, Knowledge
    from processor.partition_reader import PartitionReader
    from processor.settings import Settings


def _since(context: click.Context, parameter: click.Parameter, value: str) -> int | None:
    return None if value == "all" else past(context, parameter, value)


@click.command(
    epilog="""\b
Examples:
  status-processor inspect SM1
  status-processor inspect SM1 --carrier twilio --since 36h
  status-processor inspect SM1 --since all --no-raw --json | jq .states
\b
Committed records only. It reads the partitions that own the message, the dead letters, and those raw partitions that
may hold something of it. What was suppressed is worked out anew, by the packs of now. Recipients are masked unless
--show-recipients says otherwise. Exit code 1 where nothing is found.
"""
)
@click.argument("message_id")
@click.option("--account", help="Only the message of this account; an empty one is none.")
@click.option("--carrier", help="Only the message of this carrier: its pack's own name.")
@click.option(
    "--since",
    default="7d",
    show_default=True,
    callback=_since,
    help="Read from a time on, or so far back: 36h; or all.",
)
@click.option("--raw/--no-raw", "with_raw", default=True, show_default=True, help="Read the raw topics too.")
@click.option("--show-recipients", is_flag=True, help="Print recipients in full.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@packs_option
@settings_options
def inspect(
    *,
    message_id: str,
    account: str | None,
    carrier: str | None,
    since: int | None,
    with_raw: bool,
    show_recipients: bool,
    as_json: bool,
    directory: Path | None,
    file: Path | None,
    assignments: tuple[str, ...],
) -> int:
    """Show what is known of a message, its changes, and what became of each of its reports.

    MESSAGE_ID is the id as in the changes: as its pack normalises it.
    """
    from processor.known import Choice  # noqa: PLC0415  # other commands start faster
    from processor.partition_reader import PartitionReader  # noqa: PLC0415  # the same
    from processor.settings import admin_config  # noqa: PLC0415  # the same

    if not message_id or "\0" in message_id:
        raise click.BadParameter("must not be empty.", param_hint="MESSAGE_ID")
    settings = settings_of(file, assignments)
    with PartitionReader(admin_config(settings), settings.group) as reader:
        inspector = _inspector(settings, reader, message_id, Choice(account, carrier), directory)
        inspector.since_ms = since
        knowledge = _read(inspector, with_raw=with_raw)
    if as_json:
        print_json(inspected_as_json(inspector, knowledge, show_recipients=show_recipients), indent=2)
    else:
        for line in inspected_as_lines(inspector, knowledge, show_recipients=show_recipients):
            click.echo(line)
    found = inspector.found
    anything = knowledge.states or knowledge.audits or found.changes or found.reports or found.letters
    return ExitCode.OK if anything else ExitCode.FAILED


def _inspector(
    settings: Settings, reader: PartitionReader, message_id: str, choice: Choice, directory: Path | None
) -> Inspector:
    from processor.codec import Decoder  # noqa: PLC0415  # other commands start faster
    from processor.inspector import Inspector  # noqa: PLC0415  # the same
    from processor.registry import Registry  # noqa: PLC0415  # the same
    from processor.schema_supply import SchemaSupply  # noqa: PLC0415  # the same
    from processor.settings import registry_config  # noqa: PLC0415  # the same

    decoder = Decoder(max_bytes=settings.limits.record_bytes_max)
    registry_settings = registry_config(settings)
    schemas = SchemaSupply(decoder, Registry(registry_settings) if registry_settings is not None else None)
    packs = load_packs(directory or settings.packs.directory, settings.identity_key.get_secret_value().encode())
    return Inspector(reader, settings.topics, decoder, schemas, packs, message_id, choice)


def _read(inspector: Inspector, *, with_raw: bool) -> Knowledge:
    """Read everything, one topic after the other."""
    inspector.locate()
    with shown_offsets("reading the state") as progress:
        knowledge = inspector.read_state(progress)
    with shown_offsets("reading changes") as progress:
        inspector.read_changes(progress)
    with shown_offsets("reading dead letters") as progress:
        inspector.read_letters(progress)
    with shown_offsets("reading forwarded events") as progress:
        inspector.read_forwarded(progress)
    if with_raw:
        with shown_offsets("reading raw topics") as progress:
            inspector.read_raw(progress)
    return knowledge
