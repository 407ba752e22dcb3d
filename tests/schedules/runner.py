"""Runs many schedules on all cores, and stops at the first that finds something."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from itertools import count, islice

from tests.schedules.checks import run_schedule
from tests.schedules.shapes import PROFILES
from tests.schedules.stand_ins import simulated
from tests.schedules.world import Broken

CHUNK = 100


def run_range(start: int, end: int) -> Counter[str]:
    """Run the schedules of these seeds and return what happened in them.

    Raises:
        Broken: One of them breaks a law.
    """
    counts: Counter[str] = Counter()
    with simulated():
        for seed in range(start, end):
            counts.update(run_schedule(seed).counts)
            counts["schedules"] += 1
    return counts


def run_all(schedules: int, first: int = 0, tell: Callable[[int], object] = lambda _: None) -> Counter[str]:
    """Run so many schedules on all cores.

    Raises:
        Broken: One of them breaks a law.
    """
    starts = range(first, first + schedules, CHUNK)
    ends = [min(start + CHUNK, first + schedules) for start in starts]
    total: Counter[str] = Counter()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for counts in pool.map(run_range, starts, ends):
            total.update(counts)
            tell(total["schedules"])
    return total


def seeds_of(profile: str) -> Iterable[int]:
    """Return the seeds whose schedules have this profile, without end."""
    return count(list(PROFILES).index(profile), len(PROFILES))


def first_caught(
    profile: str, schedules_max: int, mutant: Callable[[], AbstractContextManager[None]] = nullcontext
) -> tuple[int, str] | None:
    """Return how many schedules of a profile it took to catch a mutant and what was seen; None where it got away."""
    with simulated():
        for number, seed in enumerate(islice(seeds_of(profile), schedules_max), 1):
            try:
                with mutant():
                    run_schedule(seed)
            except Broken as broken:
                return number, str(broken)
    return None
