"""A histogram that takes a whole batch of observations at once."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class Histogram:
    """Counts observations in buckets; a bucket holds what is less than or equal to its bound."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = list(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count `value`, `times` times."""
        self._counts[bisect_left(self._bounds, value)] += times
        self.sum += value * times

    def observe_ages(self, times_ms: Sequence[int], now_ms: float) -> None:
        """Count how old each of these times is, in seconds; one that lies ahead is of age 0.

        Args:
            times_ms: Milliseconds since the epoch, rising.
            now_ms: The present, in the same unit.
        """
        older = total = len(times_ms)
        for at, bound in enumerate(self._bounds):
            # What is older than this bound stands before the first time that is not.
            still_older = bisect_left(times_ms, now_ms - bound * 1000, 0, older)
            self._counts[at] += older - still_older
            older = still_older
        self._counts[-1] += older
        past = bisect_right(times_ms, now_ms)
        self.sum += (past * now_ms - sum(times_ms if past == total else times_ms[:past])) / 1000

    def buckets(self) -> list[tuple[str, float]]:
        """Return the cumulative counts by upper bound, as Prometheus wants them."""
        total = 0
        found: list[tuple[str, float]] = []
        for bound, count in zip([*map(str, self._bounds), "+Inf"], self._counts, strict=True):
            total += count
            found.append((bound, float(total)))
        return found
