"""Standbys are the partitions next to a worker's own, enough that the death of any one worker finds them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.standby import standby_partitions


def ranges(partitions: int, workers: int) -> list[set[int]]:
    """Split partitions as the range assignor does: the first ones get one more."""
    size, more = divmod(partitions, workers)
    found: list[set[int]] = []
    start = 0
    for worker in range(workers):
        end = start + size + (worker < more)
        found.append(set(range(start, end)))
        start = end
    return found


@given(st.integers(2, 12), st.integers(0, 60), st.data())
def test_whoever_dies_each_partition_that_moves_is_warm_where_it_goes(
    workers: int, more: int, data: st.DataObject
) -> None:
    partitions = workers + more
    before = ranges(partitions, workers)
    dead = data.draw(st.integers(0, workers - 1))
    survivors = [own for number, own in enumerate(before) if number != dead]
    for own, after in zip(survivors, ranges(partitions, workers - 1), strict=True):
        assert after <= own | standby_partitions(own, partitions, 1)


@pytest.mark.parametrize(
    ("own", "standbys", "expected"),
    [
        ({5, 6}, 1, {2, 3, 4, 7, 8, 9}),
        ({4, 5}, 2, {0, 1, 2, 3, 6, 7, 8, 9, 10, 11}),
        ({0, 1}, 1, {2, 3, 4}),
        ({10, 11}, 1, {7, 8, 9}),
        ({4, 5}, 0, set()),
        (set(), 1, set()),
        (set(range(12)), 3, set()),
    ],
)
def test_the_neighbours_on_both_sides_are_followed(own: set[int], standbys: int, expected: set[int]) -> None:
    assert standby_partitions(own, 12, standbys) == expected
