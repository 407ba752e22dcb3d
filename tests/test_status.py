"""The canonical statuses are the reference table's, row by row, and stand in the one total order."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from processor.status import (
    CHANNEL_STATUSES,
    STATUSES_BY_CODE,
    STATUSES_BY_RANK,
    Channel,
    Status,
    is_final,
)

TABLE = Path(__file__).parent / "fixtures" / "canonical_statuses.csv"
ROWS = [tuple(row) for row in csv.reader(TABLE.read_text().splitlines())][1:]

ORDER = [
    *("PENDING", "QUEUED", "PARTIALLYSENT", "SENT", "ACCEPTED"),
    *("FAILED", "NOTDELIVERED", "UNDELIVERED", "FAILEDTOSEND", "INTERNALERROR", "FAILEDTOQUEUE"),
    *("EXPIRED", "REJECTED", "DND", "INVALIDNUMBER", "DUPLICATE"),
    *("PARTIALDELIVERED", "DELIVERED", "READ", "REPLY"),
]


@pytest.mark.parametrize(("channel", "status", "description"), ROWS)
def test_each_row_of_the_table_is_there(channel: str, status: str, description: str) -> None:
    assert Status[status] in CHANNEL_STATUSES[Channel(channel)]
    assert Status[status].description.rstrip(".") == description.rstrip(".")


def test_there_is_nothing_else() -> None:
    assert {(c, s) for c, s, _ in ROWS} == {(c, s) for c in Channel for s in CHANNEL_STATUSES[c]}
    assert [len(CHANNEL_STATUSES[channel]) for channel in Channel] == [18, 20, 6]


def test_the_order_is_total_and_as_written() -> None:
    assert [str(status) for status in Status] == ORDER
    assert [status.rank for status in Status] == list(range(20))
    assert tuple(Status) == STATUSES_BY_RANK


def test_codes_never_change() -> None:
    """They stand in changelogs; a new status gets a new number."""
    assert [status.code for status in Status] == list(range(1, 21))
    assert set(STATUSES_BY_CODE.values()) == set(Status)


@pytest.mark.parametrize(
    ("channel", "status", "final"),
    [
        (Channel.SMS, Status.SENT, False),
        (Channel.SMS, Status.DELIVERED, True),
        (Channel.RCS, Status.DELIVERED, False),
        (Channel.WHATSAPP, Status.DELIVERED, False),
        (Channel.WHATSAPP, Status.READ, True),
        (Channel.RCS, Status.REPLY, True),
        (Channel.SMS, Status.PARTIALDELIVERED, False),
        (Channel.SMS, Status.EXPIRED, True),
        (Channel.SMS, Status.DUPLICATE, True),
        (Channel.SMS, Status.ACCEPTED, False),
    ],
)
def test_final_means_that_none_is_expected(channel: Channel, status: Status, final: bool) -> None:
    assert is_final(channel, status) is final
