"""How old what is not processed is, and whether a partition moves: as far as the loop can know."""

from __future__ import annotations

from typing import Any

import pytest

from processor.assignment import Progress
from processor.testing import FakeRecord
from processor.view import input_view, went_back, went_through

NOW = 1_767_225_600.0


def records(*at: tuple[int, float]) -> Any:
    """Make records of (offset, time in seconds)."""
    return [FakeRecord(offset, round(time * 1000), b"") for offset, time in at]


def age(progress: Progress, lag: int | None, now: float) -> float | None:
    """Look, and return the age that follows."""
    oldest_at = input_view(progress, lag, now).oldest_at
    return None if oldest_at is None else now - oldest_at


def test_in_a_backlog_the_age_is_that_of_the_last_record_processed() -> None:
    progress = Progress(5, running=True, may_move=True)
    input_view(progress, 100, NOW)

    went_through(progress, records((5, NOW - 7200), (6, NOW - 7100)), NOW)

    assert age(progress, 98, NOW + 1) == 7101


def test_after_a_quiet_time_a_record_is_no_older_than_the_last_look_that_found_none() -> None:
    progress = Progress(5, running=True, may_move=True)
    went_through(progress, records((4, NOW - 7200)), NOW - 7200)
    assert age(progress, 0, NOW) is None

    assert age(progress, 1, NOW + 1) == 1


def test_a_record_that_goes_back_again_and_again_is_as_old_as_it_is() -> None:
    progress = Progress(5, running=True, may_move=True)
    went_through(progress, records((4, NOW - 3)), NOW)

    went_back(progress, records((4, NOW - 3), (5, NOW - 2), (6, NOW - 1)), NOW)

    assert [age(progress, 2, NOW + after) for after in (0, 10, 100)] == [2, 12, 102]


def test_once_it_went_through_the_next_one_counts() -> None:
    progress = Progress(5, running=True, may_move=True)
    went_back(progress, records((5, NOW - 50)), NOW)

    went_through(progress, records((5, NOW - 50), (6, NOW - 10)), NOW)

    assert age(progress, 1, NOW) == 10


def test_before_the_first_batch_the_age_is_the_time_since_the_partition_came_and_it_rises() -> None:
    progress = Progress(5)

    assert [age(progress, 9, NOW + after) for after in (0, 60)] == [0, 60]


def test_a_time_ahead_does_not_make_a_record_young_for_ever() -> None:
    progress = Progress(5, running=True, may_move=True)

    went_back(progress, records((5, NOW + 86_400)), NOW)

    assert age(progress, 1, NOW + 60) == 60


@pytest.mark.parametrize("lag", [0, None])
def test_where_nothing_is_left_or_nobody_knows_there_is_no_age(lag: int | None) -> None:
    progress = Progress(5, running=True, may_move=True)
    went_through(progress, records((4, NOW - 3)), NOW)

    assert age(progress, lag, NOW) is None


def test_an_input_that_waits_for_its_state_does_not_stand_still_and_begins_to_count_when_it_runs() -> None:
    progress = Progress(5)
    for after in range(0, 600, 60):
        assert input_view(progress, 9, NOW + after).moved_at == NOW + after

    progress.running = progress.may_move = True

    assert input_view(progress, 9, NOW + 601).moved_at == NOW + 540


def test_an_input_whose_batches_all_go_back_stands_still() -> None:
    progress = Progress(5, running=True, may_move=True)
    input_view(progress, 9, NOW)

    progress.running = False  # For as long as it takes to seek.

    assert input_view(progress, 9, NOW + 300).moved_at == NOW
