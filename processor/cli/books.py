"""`books`: shows what became of every event, as the group's offsets record it, and whether that adds up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from processor.cli.common import print_json, settings_of, settings_options
from processor.errors import ExitCode
from processor.ledger import figures
from processor.outbox import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from processor.ledger import Account, Forwarding, Ledger

_COLUMNS = ("records", "events", *map(str, Outcome))


@click.command(
    epilog="""\b
Examples:
  status-processor books
  status-processor books --json | jq .balanced
\b
Each row's equation is events = published + repeat + late + conflict + part + ignored + forwarded + dead_lettered.
Exit code 0 where everything is accounted for, 1 where not, or where an offset that a tool has set hides it.
"""
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@settings_options
def books(as_json: bool, file: Path | None, assignments: tuple[str, ...]) -> int:
    """Show what became of every event, and whether that adds up."""
    from processor.ledger_reader import LedgerReader  # noqa: PLC0415  # other commands start faster
    from processor.settings import admin_config  # noqa: PLC0415  # the same

    settings = settings_of(file, assignments)
    with LedgerReader(admin_config(settings), settings.group, settings.topics.rekeyed) as reader:
        ledger = reader.read()
    if as_json:
        print_json(ledger_as_json(ledger), indent=2)
    else:
        for line in ledger_as_lines(ledger):
            click.echo(line)
    return ExitCode.OK if ledger.balanced else ExitCode.FAILED


def ledger_as_json(ledger: Ledger) -> dict[str, object]:
    """Return the ledger for machines; what is not known is null."""
    forwarding = ledger.forwarding
    return {
        "balanced": ledger.balanced,
        "partitions": [
            {
                "topic": account.topic,
                "partition": account.partition,
                "offset": account.offset,
                "balanced": None if account.books is None else account.books.balanced,
                "books": None if account.books is None else figures(account.books),
            }
            for account in ledger.accounts
        ],
        "total": {column: ledger.total()[column] for column in _COLUMNS},
        "forwarding": None
        if forwarding is None
        else {
            "balanced": forwarding.balanced,
            "forwarded": forwarding.forwarded,
            "forwarded_after": forwarding.forwarded_after,
            "taken": forwarding.taken,
            "unread": forwarding.unread,
        },
    }


def ledger_as_lines(ledger: Ledger) -> list[str]:
    """Return the ledger for people: a table, then what its figures say."""
    rows = [("partition", *_COLUMNS), *map(_row, ledger.accounts), ("sum", *_cells(ledger.total()))]
    lines = _table(rows)
    lines += [
        f"{_name(account)} does NOT balance: {account.books.events} events, "
        f"{sum(account.books.outcomes.values())} outcomes"
        for account in ledger.accounts
        if account.books is not None and not account.books.balanced
    ]
    lines += [
        f"{_name(account)}: offset {account.offset} has no books: a tool has set it, and what became of the records "
        "before it is not known"
        for account in ledger.without_books
    ]
    return [*lines, _forwarding(ledger.forwarding), _conclusion(ledger)]


def _name(account: Account) -> str:
    return f"{account.topic}[{account.partition}]"


def _row(account: Account) -> tuple[str, ...]:
    cells = ["-"] * len(_COLUMNS) if account.books is None else _cells(figures(account.books))
    return (_name(account), *cells)


def _cells(counts: Mapping[str, int]) -> list[str]:
    return [str(counts[column]) for column in _COLUMNS]


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Align a table: names to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]


def _forwarding(forwarding: Forwarding | None) -> str:
    if forwarding is None:
        return "forwarded events: cannot be told, since an offset has no books"
    taken = f"{forwarding.taken} taken from the rekeyed topic + {forwarding.unread} unread there"
    if forwarding.forwarded == forwarding.forwarded_after:
        return f"forwarded events: {forwarding.forwarded} {'=' if forwarding.balanced else 'NOT ='} {taken}"
    within = "within" if forwarding.balanced else "NOT within"
    moving = f"{forwarding.forwarded} to {forwarding.forwarded_after}, while workers were at it"
    return f"forwarded events: {taken}, {within} {moving}"


def _conclusion(ledger: Ledger) -> str:
    total = ledger.total()
    if ledger.balanced:
        return f"balanced: {total['events'] - total['forwarded']} events have their final outcome"
    return "NOT balanced" if not ledger.without_books else "cannot be told: offsets without books"
