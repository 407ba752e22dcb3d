"""The books balance, survive their metadata, and the dead-letter limit counts what it says."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from processor.books import (
    METADATA_BYTES_MAX,
    Books,
    DeadLetterLimit,
    Window,
    decode_books,
    encode_books,
)
from processor.outbox import Outcome, Tally

NO_LIMIT = DeadLetterLimit(share_max=0, run_max=0)
OUTCOMES = st.dictionaries(
    st.tuples(st.sampled_from(["twilio", "unknown"]), st.sampled_from(Outcome), st.just("")),
    st.integers(1, 1000),
)


@given(OUTCOMES)
def test_the_books_balance_after_any_batch(outcomes: dict[tuple[str, Outcome, str], int]) -> None:
    books, _ = Books().after(Tally(3, Counter(outcomes)), [0, 1, 2], NO_LIMIT)

    assert books.balanced
    assert books.events == sum(outcomes.values())
    assert books.records == 3


@given(OUTCOMES, st.sets(st.integers(0, 4999)))
def test_the_books_survive_the_metadata_of_an_offset(
    outcomes: dict[tuple[str, Outcome, str], int], dead: set[int]
) -> None:
    books, _ = Books(state_topic_id="id").after(Tally(5000, Counter(outcomes), dead), range(5000), NO_LIMIT)

    metadata = encode_books(books)

    assert decode_books(metadata) == books
    assert len(metadata) <= METADATA_BYTES_MAX


def test_the_largest_books_fit_into_the_metadata() -> None:
    huge = 2**63
    window = Window(buckets=(huge,) * 10, filled=huge, dead=huge, run=huge)
    books = Books(huge, huge, dict.fromkeys(Outcome, huge), window, "x" * 36)

    assert len(encode_books(books)) <= METADATA_BYTES_MAX


def test_metadata_of_somebody_else_are_no_books() -> None:
    for metadata in (None, "", "hello", "{}", "[1]", '{"window":[]}', "null"):
        assert decode_books(metadata) is None


def straightforward(verdicts: list[bool], limit: DeadLetterLimit) -> bool:
    """Tell by counting, record by record, whether the limit is crossed; the window holds full buckets of records."""
    size = limit.bucket_records
    run = 0
    for end in range(1, len(verdicts) + 1):
        run = run + 1 if verdicts[end - 1] else 0
        begin = max(0, end // size - 10) * size
        if run > limit.run_max or sum(verdicts[begin:end]) > limit.share_max * limit.window_records:
            return True
    return False


@given(st.lists(st.lists(st.booleans(), max_size=60), max_size=6), st.integers(1, 40), st.integers(1, 12))
def test_the_window_counts_as_one_would_by_hand(batches: list[list[bool]], records: int, run_max: int) -> None:
    limit = DeadLetterLimit(share_max=0.4, window_records=records, run_max=run_max)
    window = Window()
    crossed = False
    for batch in batches:
        window, why = window.after(len(batch), [at for at, dead in enumerate(batch) if dead], limit)
        crossed = crossed or why is not None

    assert crossed == straightforward([dead for batch in batches for dead in batch], limit)


def test_a_limit_of_zero_is_switched_off() -> None:
    _, crossed = Window().after(10_000, range(10_000), NO_LIMIT)

    assert crossed is None


def test_the_window_goes_on_after_a_restart() -> None:
    limit = DeadLetterLimit(share_max=0, run_max=3)
    first, crossed = Books().after(Tally(3, Counter(), {0, 1, 2}), [0, 1, 2], limit)
    assert crossed is None

    restarted = decode_books(encode_books(first))
    assert restarted is not None
    _, crossed = restarted.after(Tally(1, Counter(), {3}), [3], limit)

    assert crossed is not None


def test_when_the_group_was_reset_stays_in_the_books() -> None:
    books, _ = Books(state_topic_id="id", reset_at=1_795_000_000_000).after(Tally(1), [7], NO_LIMIT)

    assert decode_books(encode_books(books)) == books
    assert books.reset_at == 1_795_000_000_000
