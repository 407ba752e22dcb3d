"""A histogram that takes batches counts as one that takes single observations."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.histogram import Histogram

BOUNDS = (0.05, 1.0, 60.0, 3600.0)
NOW_MS = 1_767_225_600_000


@given(st.lists(st.integers(-10_000_000, 1_000), max_size=60))
def test_a_batch_of_times_counts_as_each_age_alone(offsets_ms: list[int]) -> None:
    batch, single = Histogram(BOUNDS), Histogram(BOUNDS)

    batch.observe_ages(sorted(NOW_MS + offset for offset in offsets_ms), NOW_MS)
    for offset in offsets_ms:
        single.observe(max(0, -offset) / 1000)

    assert batch.buckets() == single.buckets()
    assert batch.sum == pytest.approx(single.sum)


def test_a_bucket_holds_its_bound() -> None:
    histogram = Histogram(BOUNDS)

    histogram.observe(1.0, 3)
    histogram.observe_ages([NOW_MS - 1000], NOW_MS)

    assert histogram.buckets() == [("0.05", 0), ("1.0", 4), ("60.0", 4), ("3600.0", 4), ("+Inf", 4)]
    assert histogram.sum == 4.0


def test_times_ahead_are_of_age_0_and_never_make_the_sum_fall() -> None:
    histogram = Histogram(BOUNDS)

    histogram.observe_ages([NOW_MS + 1, NOW_MS + 3_600_000], NOW_MS)

    assert histogram.buckets()[0] == ("0.05", 2)
    assert histogram.sum == 0.0
