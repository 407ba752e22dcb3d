"""The local state stays flat under a steady stream, by the changelog's time alone, and no step looks at much."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from processor.model import MessageState
from processor.purge import Purge
from processor.store import StatePartition, StoreIdentity

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
START_MS = 1_767_225_600_000
IDENTITY = StoreIdentity("cluster", "state", "topic-id", 0, 6)
STATE = MessageState(3, 1, START_MS)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StatePartition]:
    opened = StatePartition(tmp_path / "s", IDENTITY, cache_entries=100)
    yield opened
    opened.close()


def append(store: StatePartition, names: list[str], at_ms: int, state: MessageState = STATE) -> None:
    for name in names:
        store.put(name, state)
    store.apply(store.encode_staged(), store.offset + 1, at_ms)


def test_three_weeks_of_a_steady_stream_keep_the_state_flat(store: StatePartition) -> None:
    keep_ms, step_ms, each = 7 * DAY_MS, 10 * MINUTE_MS, 20
    purge = Purge(keep_ms)
    needed = keep_ms // step_ms * each
    counts: list[int] = []
    for tick in range(21 * DAY_MS // step_ms):
        now = START_MS + tick * step_ms
        append(store, [f"m{tick}-{number}" for number in range(each)], now)
        purge.step([store], now)
        if tick % 144 == 0:
            counts.append(store.count())

    settled = counts[9:]
    assert all(needed <= entries <= needed * 1.15 for entries in settled), counts
    assert purge.removed > needed


def test_what_is_young_stays_and_what_is_old_goes(store: StatePartition) -> None:
    append(store, ["old"], START_MS)
    append(store, ["young"], START_MS + 2 * HOUR_MS)

    purged = store.purge(START_MS + HOUR_MS, 100)

    assert (purged.removed, purged.complete) == (1, True)
    assert (store.get("old"), store.get("young")) == (None, STATE)


def test_a_carriers_clock_keeps_nothing_alive(store: StatePartition) -> None:
    append(store, ["a"], START_MS, STATE._replace(changed_at=4_102_444_800_000))

    store.purge(START_MS + HOUR_MS, 100)

    assert store.get("a") is None


def test_what_was_changed_again_is_as_young_as_its_last_change(store: StatePartition) -> None:
    append(store, ["a"], START_MS)
    append(store, ["a"], START_MS + 2 * HOUR_MS)

    assert store.purge(START_MS + HOUR_MS, 100).removed == 0


def test_a_sweep_goes_on_where_its_last_step_ended(store: StatePartition) -> None:
    append(store, [f"m{number:03}" for number in range(100)], START_MS)

    steps = [store.purge(START_MS + HOUR_MS, 30) for _ in range(4)]

    assert [step.examined for step in steps] == [30, 30, 30, 11]
    assert [step.complete for step in steps] == [False, False, False, True]
    assert store.count() == 0


def test_a_purge_is_safe_from_a_crash_and_moves_no_offset(tmp_path: Path) -> None:
    store = StatePartition(tmp_path / "s", IDENTITY)
    append(store, ["a", "b"], START_MS)
    offset = store.offset
    store.purge(START_MS + HOUR_MS, 100)
    store.close()

    again = StatePartition(tmp_path / "s", IDENTITY)

    assert (again.count(), again.offset) == (0, offset)
    again.close()


def test_a_step_comes_once_a_second(store: StatePartition) -> None:
    append(store, ["a"], START_MS)
    purge = Purge(HOUR_MS)
    later = START_MS + DAY_MS

    purge.step([store], later)
    purge.step([store], later + 900)
    assert purge.removed == 0
    purge.step([store], later + 1000)
    assert purge.removed == 1


def test_a_clock_that_is_set_back_neither_stops_the_purge_nor_deletes_what_is_young(store: StatePartition) -> None:
    append(store, ["a"], START_MS)
    purge = Purge(HOUR_MS)
    purge.step([store], START_MS + 30 * MINUTE_MS)
    for second in range(10):
        purge.step([store], START_MS - DAY_MS + second * 1000)
    assert purge.removed == 0

    purge.step([store], START_MS + 2 * HOUR_MS)

    assert purge.removed == 1
