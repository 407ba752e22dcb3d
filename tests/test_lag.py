"""Lag is what is left to process, and never said where it is not known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from processor.cli.lag import lag_as_json, lag_as_lines
from processor.lag import First, GroupLag, PartitionLag

NOW = 1_795_600_000_000
BEHIND = PartitionLag("raw", 0, 10, 10, 0, 30, First(NOW - 90_000), "app-0 on 10.0.0.1")
MARKERS = PartitionLag("rekeyed", 0, 62, 62, 0, 63, First(), "app-0 on 10.0.0.1")
BLOCKED = PartitionLag("raw", 1, 5, 5, 0, 9, First(blocked=True), None)
NEW = PartitionLag("raw", 2, None, 4, 4, 9, First(NOW - 1_000), "app-0 on 10.0.0.1")


@pytest.mark.parametrize(
    ("one", "lag", "seconds"), [(BEHIND, 20, 90.0), (MARKERS, 0, 0.0), (BLOCKED, 4, None), (NEW, 5, 1.0)]
)
def test_the_lag_of_a_partition(one: PartitionLag, lag: int, seconds: float | None) -> None:
    assert (one.lag, one.seconds_behind(NOW)) == (lag, seconds)


def test_records_deleted_before_they_were_processed_are_lost_and_no_lag() -> None:
    lost = replace(BEHIND, low=25)

    assert (lost.lost, lost.lag) == (15, 5)
    assert NEW.lost == 0


def test_a_clock_that_is_behind_the_records_gives_no_age_below_zero() -> None:
    assert BEHIND.seconds_behind(NOW - 200_000) == 0.0


def test_a_group_is_as_late_as_its_latest_partition() -> None:
    group = GroupLag("app", (BEHIND, MARKERS, BLOCKED, NEW), 1)

    assert [" ".join(line.split()) for line in lag_as_lines(group, NOW)] == [
        "partition committed end lag behind held by",
        "raw[0] 10 30 20 90 s app-0 on 10.0.0.1",
        "rekeyed[0] 62 63 0 0 s app-0 on 10.0.0.1",
        "raw[1] 5 9 4 ? -",
        "raw[2] - 9 5 1 s app-0 on 10.0.0.1",
        "raw[1]: an open transaction holds up whoever reads committed records",
        "1 of 4 partitions are held by nobody",
        "group app, 1 members: lag 29, 90 s behind",
    ]
    told = lag_as_json(group, NOW)
    assert (told["lag"], told["seconds_behind"], told["unowned"], told["members"]) == (29, 90.0, 1, 1)


def test_members_that_cannot_be_seen_are_not_called_missing() -> None:
    group = GroupLag("app", (replace(BEHIND, owner=None),), None)

    assert group.unowned == 0
    assert lag_as_lines(group, NOW)[-1] == "group app, members that cannot be seen: lag 20, 90 s behind"
