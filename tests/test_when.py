"""Times on the command line mean one moment, or are refused."""

from __future__ import annotations

import pytest

from processor.cli.when import iso, ms_of

NOW = 1_795_600_000_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("24h", NOW - 86_400_000),
        ("PT90S", NOW - 90_000),
        ("2026-11-23T08:00:00Z", 1_795_420_800_000),
        ("2026-11-23T10:00:00+02:00", 1_795_420_800_000),
    ],
)
def test_a_time_is_so_long_ago_or_has_its_zone(text: str, expected: int) -> None:
    assert ms_of(text, NOW) == expected


@pytest.mark.parametrize(
    "text", ["2026-11-23T08:00:00", "2026-11-23", "yesterday", "24", "", "999999999w", "30000d", "1969-01-01T00:00Z"]
)
def test_what_is_no_time_or_has_no_zone_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be a time"):
        ms_of(text, NOW)


def test_a_time_is_shown_as_it_may_be_given() -> None:
    assert iso(1_795_420_800_999) == "2026-11-23T08:00:00Z"
    assert ms_of(iso(1_795_420_800_999), NOW) == 1_795_420_800_000
