"""The last minutes are kept in bounds, and add up to what was committed."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.errors import DeadLetterReason
from processor.model import Source
from processor.outbox import DeadLetter, Outbox, Outcome, Tally
from processor.recent import LETTERS_MAX, SAMPLE_S, SAMPLES_MAX, Letter, Recent
from processor.telemetry import InputView, PartitionView
from processor.testing import FakeRecord

START = 1_000_000.0


def batch(published: int = 0, dead: int = 0) -> Outbox:
    outcomes: Counter[tuple[str, str, str]] = Counter()
    outcomes["twilio", Outcome.PUBLISHED, ""] += published
    outcomes["twilio", Outcome.DEAD_LETTERED, "malformed"] += dead
    letters = [
        DeadLetter(
            FakeRecord(number, 0, b"+447700900123"),
            Source("raw", 3, number, -1),
            "map",
            DeadLetterReason.MALFORMED,
            "with +447700900123 in it",
            "twilio",
        )
        for number in range(dead)
    ]
    return Outbox(dead_letters=letters, tallies={("raw", 3): Tally(records=published + dead, outcomes=outcomes)})


def received(*ages_ms: int) -> list[int]:
    """Return when events were received that are so old at START."""
    return sorted(int(START * 1000) - age for age in ages_ms)


def look(recent: Recent, at: float, lag: int = 0) -> None:
    recent.looked(PartitionView(seen_at=at, inputs={("raw", 3): InputView(lag, True, at)}))


def test_a_sample_holds_what_was_committed_since_the_one_before() -> None:
    recent = Recent()
    look(recent, START)
    recent.committed(batch(published=7, dead=1), received(100, 100, 100, 30_000), START)
    recent.committed(batch(published=3), [], START + 2)
    recent.aborted()
    look(recent, START + SAMPLE_S, lag=42)
    look(recent, START + 2 * SAMPLE_S)

    first, second = recent.samples()

    assert (first.at, first.seconds, first.records) == (START + 5, 5.0, 11)
    assert dict(first.outcomes) == {"published": 10, "dead_lettered": 1}
    assert (first.committed, first.aborted, first.lag) == (2, 1, 42)
    assert first.delay_median == pytest.approx(0.1, rel=0.2)
    assert first.delay_p95 == pytest.approx(30, rel=0.2)
    assert (second.records, second.committed, second.delay_median) == (0, 0, None)


def test_looks_between_two_samples_close_none() -> None:
    recent = Recent()
    for tenth in range(50):
        look(recent, START + tenth / 10)

    assert recent.samples() == []


def test_a_sample_over_a_hang_tells_how_long_it_was() -> None:
    recent = Recent()
    look(recent, START)
    look(recent, START + 60)

    assert [one.seconds for one in recent.samples()] == [60.0]


def test_a_clock_that_was_set_back_leaves_no_sample_in_the_future() -> None:
    recent = Recent()
    for number in range(10):
        look(recent, START + number * SAMPLE_S)
    look(recent, START + 12)

    assert [one.at - START for one in recent.samples()] == [5, 10, 12]


def test_samples_and_dead_letters_are_bounded_and_the_newest_stay() -> None:
    recent = Recent()
    recent.committed(batch(dead=1000), [], START)
    for number in range(1000):
        look(recent, START + number * SAMPLE_S)

    letters, samples = recent.letters(), recent.samples()
    assert (len(letters), letters[0].offset, letters[-1].offset) == (LETTERS_MAX, 999, 1000 - LETTERS_MAX)
    assert (len(samples), samples[-1].at) == (SAMPLES_MAX, START + 999 * SAMPLE_S)


def test_of_a_dead_letter_only_its_place_and_words_of_closed_lists_are_kept() -> None:
    recent = Recent()
    recent.committed(batch(dead=1), [], START)

    assert recent.letters() == [Letter(START, "malformed", "map", "twilio", "raw", 3, 0, -1)]


@given(st.lists(st.integers(2, 50_000_000), min_size=1, max_size=300))
def test_a_quantile_is_at_most_a_sixth_off(ages: list[int]) -> None:
    recent = Recent()
    look(recent, START)
    recent.committed(batch(), received(*ages), START)
    look(recent, START + SAMPLE_S)

    (sample,) = recent.samples()

    exact = sorted(ages)[-(-len(ages) // 2) - 1]
    assert sample.delay_median == pytest.approx(exact / 1000, rel=1 / 6)
