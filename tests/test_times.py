"""Carriers' times are read in their forms and zones, or left out."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.times import FORMATS, UNREADABLE, is_believable, is_format, parse_time, zone_of

RECEIVED_AT = 1_795_435_200_000
"""2026-11-23T12:00:00Z"""
NINE_FORTY_TWO = int(datetime(2026, 11, 23, 9, 42, tzinfo=UTC).timestamp() * 1000)
DAY = 24 * 3600 * 1000


@pytest.mark.parametrize(
    ("text", "format_name", "offset"),
    [
        ("2026-11-23T09:42:00Z", "iso8601", 0),
        ("2026-11-23T10:42:00.000+0100", "iso8601", 0),
        ("2026-11-23T09:42:00.250+00:00", "iso8601", 250),
        ("2026-11-23T09:42:00.1234567Z", "iso8601", 123),
        ("2026-11-23T09:42:00.123456789Z", "iso8601", 123),
        ("2026-11-23 09:42:00", "iso8601", 0),
        ("1795426920", "epoch_s", 0),
        ("1795426920.5", "epoch_s", 500),
        ("1.79542692E9", "epoch_s", 0),
        ("1795426920070", "epoch_ms", 70),
        ("1795426920", "epoch", 0),
        ("1795426920070", "epoch", 70),
        ("2611230942", "smpp", 0),
        ("261123094207", "smpp", 7_000),
        ("20261123094207", "smpp", 7_000),
        ("202611230942", "smpp", 0),
        ("261123104200004+", "smpp", 0),
        ("261123084200004-", "smpp", 0),
        ("23/11/2026 09:42", "%d/%m/%Y %H:%M", 0),
        ("Nov 23, 2026 9:42:00 AM", "%b %d, %Y %I:%M:%S %p", 0),
        (" 2611230942 ", "smpp", 0),
    ],
)
def test_a_time_is_read_in_its_form(text: str, format_name: str, offset: int) -> None:
    assert parse_time(text, format_name, UTC) == NINE_FORTY_TWO + offset


@pytest.mark.parametrize(
    ("text", "format_name"),
    [
        ("", "iso8601"),
        ("yesterday", "iso8601"),
        ("2026-13-01T00:00:00Z", "iso8601"),
        ("NaN", "epoch_s"),
        ("Infinity", "epoch_ms"),
        ("1e999999999", "epoch_s"),
        ("9" * 60, "epoch"),
        ("2613230942", "smpp"),
        ("26112309", "smpp"),
        ("23/11/2026", "%d/%m/%Y %H:%M"),
        ("2026-11-23T09:42:00Z" + " " * 100 + "x", "iso8601"),
    ],
)
def test_what_is_no_time_is_none(text: str, format_name: str) -> None:
    assert parse_time(text, format_name, UTC) is None


@pytest.mark.parametrize("text", ["9999-12-31T23:59:59", "0001-01-01T00:00:00+14:00", "1970-01-01T00:00:00Z"])
def test_a_time_that_cannot_be_true_is_read_and_not_believed(text: str) -> None:
    time = parse_time(text, "iso8601", UTC)

    assert time is not None
    assert not is_believable(time, RECEIVED_AT)


def test_a_time_before_2000_is_a_zeroed_clock() -> None:
    assert not is_believable(946_684_799_999, RECEIVED_AT)
    assert is_believable(946_684_800_000, RECEIVED_AT)
    assert not is_believable(UNREADABLE, RECEIVED_AT)


def test_a_time_more_than_two_days_after_arrival_is_not_believed() -> None:
    assert is_believable(RECEIVED_AT + 2 * DAY, RECEIVED_AT)
    assert not is_believable(RECEIVED_AT + 2 * DAY + 1, RECEIVED_AT)


@pytest.mark.parametrize(
    ("zone", "text"),
    [("+01:00", "2611231042"), ("-0330", "2611230612"), ("UTC", "2611230942"), ("Africa/Lagos", "2611231042")],
)
def test_a_text_without_an_offset_is_in_the_packs_zone(zone: str, text: str) -> None:
    found = zone_of(zone)

    assert found is not None
    assert parse_time(text, "smpp", found) == NINE_FORTY_TWO


def test_the_texts_own_offset_wins_over_the_packs_zone() -> None:
    lagos = zone_of("Africa/Lagos")

    assert lagos is not None
    assert parse_time("2026-11-23T09:42:00Z", "iso8601", lagos) == NINE_FORTY_TWO


@pytest.mark.parametrize("name", ["", "Mars/Olympus", "../etc/passwd", "+99:00", "Europe", "\0"])
def test_what_is_no_zone_is_none(name: str) -> None:
    assert zone_of(name) is None


@pytest.mark.parametrize(("name", "known"), [("iso8601", True), ("%Y", True), ("rfc", False), ("", False)])
def test_a_format_is_a_name_or_a_strptime_pattern(name: str, known: bool) -> None:
    assert is_format(name) is known


@given(st.text(max_size=70) | st.from_regex(r"[0-9eE.+-]{1,40}"), st.sampled_from([*FORMATS, "%Y-%m-%d"]))
def test_any_text_gives_a_time_that_a_record_can_hold_or_none(text: str, format_name: str) -> None:
    time = parse_time(text, format_name, UTC)

    assert time is None or -(2**63) <= time < 2**63
