"""The command `books` says what became of every event, and never calls balanced what is not known to be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from processor.books import Books
from processor.cli import main
from processor.cli.books import ledger_as_json, ledger_as_lines
from processor.errors import ExitCode
from processor.ledger import Account, Ledger, forwarding_of
from processor.outbox import Outcome


def books(records: int, **outcomes: int) -> Books:
    counts: dict[str, int] = {outcome: outcomes.get(outcome, 0) for outcome in Outcome}
    return Books(records=records, events=sum(counts.values()), outcomes=counts)


RAW = Account("raw", 0, 120, books(100, published=40, repeat=30, ignored=2, forwarded=27, dead_lettered=1))
REKEYED = Account("rekeyed", 0, 31, books(20, published=15, late=5))
UNKNOWN = Account("raw", 1, 7, None)


def ledger(*accounts: Account, unread: int = 7, after: tuple[Account, ...] = ()) -> Ledger:
    return Ledger(accounts, forwarding_of("rekeyed", accounts, after or accounts, unread))


def crooked(account: Account) -> Account:
    assert account.books is not None
    return replace(account, books=replace(account.books, events=account.books.events + 1))


def test_a_table_has_every_partition_and_the_sum() -> None:
    lines = ledger_as_lines(ledger(RAW, REKEYED))

    assert [" ".join(line.split()) for line in lines[:4]] == [
        "partition records events published repeat late conflict part ignored forwarded dead_lettered",
        "raw[0] 100 100 40 30 0 0 0 2 27 1",
        "rekeyed[0] 20 20 15 0 5 0 0 0 0 0",
        "sum 120 120 55 30 5 0 0 2 27 1",
    ]
    assert len(set(map(len, lines[:4]))) == 1


def test_what_adds_up_is_balanced() -> None:
    found = ledger(RAW, REKEYED)

    assert found.balanced
    assert ledger_as_lines(found)[4:] == [
        "forwarded events: 27 = 20 taken from the rekeyed topic + 7 unread there",
        "balanced: 93 events have their final outcome",
    ]


def test_a_replayed_forward_is_taken_once_more_and_forwarded_once_more() -> None:
    again = Account("rekeyed", 0, 32, books(21, published=16, late=5, forwarded=1))

    found = ledger(RAW, again)

    assert found.balanced
    assert ledger_as_lines(found)[4:] == [
        "forwarded events: 28 = 21 taken from the rekeyed topic + 7 unread there",
        "balanced: 94 events have their final outcome",
    ]


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (ledger(crooked(RAW), REKEYED), "raw[0] does NOT balance: 101 events, 100 outcomes"),
        (ledger(RAW, crooked(REKEYED), unread=6), "rekeyed[0] does NOT balance: 21 events, 20 outcomes"),
        (ledger(RAW, REKEYED, unread=6), "27 NOT = 20 taken from the rekeyed topic + 6 unread there"),
        (ledger(RAW, REKEYED, unread=8), "27 NOT = 20 taken from the rekeyed topic + 8 unread there"),
        (ledger(RAW, unread=0), "27 NOT = 0 taken from the rekeyed topic + 0 unread there"),
    ],
)
def test_what_does_not_add_up_is_named(found: Ledger, words: str) -> None:
    assert not found.balanced
    lines = ledger_as_lines(found)
    assert any(words in line for line in lines)
    assert lines[-1] == "NOT balanced"


def test_an_offset_that_a_tool_has_set_is_said_plainly_and_is_not_balanced() -> None:
    found = ledger(RAW, UNKNOWN, REKEYED)
    lines = ledger_as_lines(found)

    assert not found.balanced
    assert lines[2].split() == ["raw[1]", *["-"] * 10]
    assert "raw[1]: offset 7 has no books: a tool has set it" in lines[5]
    assert lines[-1] == "cannot be told: offsets without books"


@pytest.mark.parametrize(("unread", "balanced"), [(6, False), (7, True), (9, True), (12, True), (13, False)])
def test_while_workers_are_at_it_what_was_taken_must_lie_between_before_and_after(unread: int, balanced: bool) -> None:
    assert RAW.books is not None
    later = replace(RAW, books=books(105, published=40, repeat=30, ignored=2, forwarded=32, dead_lettered=1))
    found = ledger(RAW, REKEYED, unread=unread, after=(later, REKEYED))

    assert found.balanced is balanced
    assert ("NOT within 27 to 32" in "\n".join(ledger_as_lines(found))) is not balanced


def test_machines_get_the_same_figures_and_null_for_what_is_not_known() -> None:
    known, unknown = ledger_as_json(ledger(RAW, REKEYED)), ledger_as_json(ledger(UNKNOWN))

    assert known["balanced"] is True
    assert known["forwarding"] == {
        "balanced": True,
        "forwarded": 27,
        "forwarded_after": 27,
        "taken": 20,
        "unread": 7,
    }
    assert isinstance(known["total"], dict)
    assert known["total"]["published"] == 55
    assert unknown["forwarding"] is None
    assert unknown["partitions"] == [{"topic": "raw", "partition": 1, "offset": 7, "balanced": None, "books": None}]


def test_a_broker_that_is_not_there_gives_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("processor.topic_reader.METADATA_S", 1.0)

    assert main(["books", "--set", "kafka.bootstrap.servers=127.0.0.1:1"]) == ExitCode.UNAVAILABLE

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "bootstrap.servers" in line
