"""`carriers`: what carrier packs there are, whether they hold, what they say."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from processor.cli.common import load_packs, own_texts, packs_option, print_json
from processor.errors import ExitCode
from processor.logs import printable
from processor.pack_tables import as_written, never, ways
from processor.packs import Packs
from processor.status import CHANNEL_STATUSES, Status

if TYPE_CHECKING:
    from processor.pack_format import Pack, Row, Rules, Words
    from processor.status import Channel


@click.group(epilog="\b\nExample:\n  status-processor carriers list\n")
def carriers() -> None:
    """List, show and check carrier packs."""


@carriers.command("list", epilog="\b\nExample:\n  status-processor carriers list --json")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@packs_option
def list_carriers(as_json: bool, directory: Path | None) -> int:
    """List the carriers that are understood."""
    packs = sorted(load_packs(directory).carriers.values(), key=lambda pack: pack.carrier)
    if as_json:
        print_json({pack.carrier: _summary(pack) for pack in packs}, indent=2)
        return ExitCode.OK
    width = max((len(pack.carrier) for pack in packs), default=0)
    for pack in packs:
        click.echo(f"{pack.carrier:<{width}}  {','.join(pack.channels):<16}  {printable(pack.name)}")
    return ExitCode.OK


def _summary(pack: Pack) -> dict[str, object]:
    return {
        "name": pack.name,
        "channels": [*pack.channels],
        "default_channel": pack.default_channel,
        "aliases": sorted(pack.aliases),
        "file": pack.file,
        "sources": [*pack.sources],
        "examples": len(pack.examples),
    }


@carriers.command(
    epilog="\b\nExamples:\n  status-processor carriers check my-packs/\n  status-processor carriers check acme.toml\n"
)
@click.argument("where", required=False, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(where: Path | None, as_json: bool) -> int:
    """Check packs and run their examples: the built-in ones, and those of a directory or a file.

    Then tell what the examples leave unshown (rows, callbacks, paths, batches) and which rules can never apply.
    Exit code 1 where there is something of this, 78 where a pack breaks the rules and cannot be loaded.
    """
    from processor.pack_check import check_example  # noqa: PLC0415  # only here
    from processor.pack_files import builtin_texts  # noqa: PLC0415  # only here
    from processor.pack_review import review  # noqa: PLC0415  # only here

    texts = builtin_texts() | (own_texts(where) if where else {})
    packs = Packs.load(texts)
    examples = packs.examples()
    problems = [
        f"{packs.carriers[example.carrier].file}: {line}"
        for example in examples
        for line in check_example(packs, example)
    ] or review(packs, texts)
    if as_json:
        print_json({"carriers": len(packs.carriers), "examples": len(examples), "problems": problems}, indent=2)
    else:
        for problem in problems:
            click.echo(printable(problem, 1000))
        click.echo(f"{len(packs.carriers)} carriers, {len(examples)} examples, {len(problems)} problems")
    return ExitCode.FAILED if problems else ExitCode.OK


@carriers.command(epilog="\b\nExample:\n  status-processor carriers show twilio\n")
@click.argument("carrier")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@packs_option
def show(carrier: str, as_json: bool, directory: Path | None) -> int:
    """Show what a carrier's words mean, channel by channel."""
    pack = _pack_named(load_packs(directory), carrier)
    if as_json:
        tables = {
            channel: {
                title: {word: _meaning(row) for word, row in rows.items()} for title, rows in _tables(rules).items()
            }
            for channel, rules in pack.channels.items()
        }
        print_json({"carrier": pack.carrier, **_summary(pack), "tables": tables}, indent=2)
        return ExitCode.OK
    click.echo(f"{pack.carrier}: {printable(pack.name)} ({pack.file})")
    if pack.aliases:
        click.echo(f"also: {', '.join(sorted(pack.aliases))}")
    for channel, rules in pack.channels.items():
        default = ", where the event names none" if channel is pack.default_channel else ""
        click.echo(f"\n{channel}{default}")
        for title, rows in _tables(rules).items():
            click.echo(f"  {title}: {len(rows) or 'none'}")
            for word, row in rows.items():
                click.echo(f"    {printable(word):<28} {_meaning(row)}{_note(row)}")
    click.echo("\nsources")
    for source in pack.sources:
        click.echo(f"  {printable(source)}")
    return ExitCode.OK


@carriers.command(
    epilog="\b\nExamples:\n  status-processor carriers coverage\n  status-processor carriers coverage twilio\n"
    "  status-processor carriers coverage --status DND\n"
)
@click.argument("carrier", required=False)
@click.option("--status", type=click.Choice([*Status]), help="Only who can say this, and in which words.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@packs_option
def coverage(carrier: str | None, status: str | None, as_json: bool, directory: Path | None) -> int:
    """Say which canonical statuses can ever result, carrier by carrier, and which never do.

    On SMS and RCS, parts of long messages can also give PARTIALLYSENT and PARTIALDELIVERED.
    """
    packs = load_packs(directory)
    chosen = sorted(packs.carriers.values(), key=lambda pack: pack.carrier)
    if carrier is not None:
        chosen = [_pack_named(packs, carrier)]
    if as_json:
        print_json({pack.carrier: {channel: _coverage(pack, channel) for channel in pack.channels} for pack in chosen})
    elif status is not None:
        _print_who_says(chosen, Status[status])
    else:
        for pack in chosen:
            for channel in pack.channels:
                _print_coverage(pack, channel)
    return ExitCode.OK


def _coverage(pack: Pack, channel: Channel) -> dict[str, object]:
    given = {status: [word for words in way for word in words] for status, way in ways(pack, channel).items()}
    return {"statuses": given, "never": never(pack, channel)}


def _print_coverage(pack: Pack, channel: Channel) -> None:
    given = ways(pack, channel)
    click.echo(f"{pack.carrier} {channel}: {len(given)} of {len(CHANNEL_STATUSES[channel])}")
    click.echo(f"  {' '.join(given)}")
    if missing := never(pack, channel):
        click.echo(f"  never {' '.join(missing)}")


def _print_who_says(packs: list[Pack], status: Status) -> None:
    for pack in packs:
        for channel in pack.channels:
            if way := ways(pack, channel).get(status):
                words = ", ".join(printable(word) for words in way for word in words)
                click.echo(f"{pack.carrier} {channel}: {words}")


def _pack_named(packs: Packs, carrier: str) -> Pack:
    pack = packs.carriers.get(packs.known(carrier))
    if pack is None:
        raise click.BadParameter(
            f"there is no pack for {printable(carrier)!r}; `status-processor carriers list` names them",
            param_hint="CARRIER",
        )
    return pack


def _tables(rules: Rules) -> dict[str, dict[str, Row]]:
    """Give a channel's rows by the words that the pack spells; a pair's are spelled as they are compared."""
    return {
        "statuses": _rows(rules.statuses),
        "error codes": _rows(rules.codes),
        "status with error code": {f"{word} {code}": row for (word, code), row in rules.pairs.items()},
    }


def _rows(words: Words) -> dict[str, Row]:
    rows = dict(words.exact) | {f"{key}*": row for key, row in words.prefixes}
    return {as_written(word, row): row for word, row in rows.items()}


def _meaning(row: Row) -> str:
    return str(row.status or "ignored")


def _note(row: Row) -> str:
    if row.words:
        return f"  (the carrier does not know; error text {printable(row.words)!r})"
    return "" if row.refined else "  (whatever the error code)"
