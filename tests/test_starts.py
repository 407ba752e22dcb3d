"""Where an input begins: what is committed stands, what was looked for is committed, what came later is whole."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from processor.assignment import AssignmentOptions
from processor.books import Books, encode_books
from processor.errors import ExitCode, FatalError, TransientError
from processor.starts import Starts

LOW, HIGH = 3, 100
NONE = -1001


class FakeConsumer:
    """Knows the ends of every partition, and what a group has committed."""

    def __init__(self, committed: dict[tuple[str, int], Books] | None = None) -> None:
        self.books = committed or {}
        self.error: KafkaError | None = None

    def get_watermark_offsets(self, _: TopicPartition, timeout: float) -> tuple[int, int]:
        assert timeout > 0
        return LOW, HIGH

    def committed(self, partitions: list[TopicPartition], timeout: float) -> list[Any]:
        assert timeout > 0
        return [
            SimpleNamespace(error=self.error, metadata=encode_books(books) if books is not None else None)
            for books in (self.books.get((tp.topic, tp.partition)) for tp in partitions)
        ]


def starts(consumer: FakeConsumer, *, earliest: bool = False, reset: bool = False, partitions: int = 4) -> Starts:
    options = AssignmentOptions("rekeyed", "state", "id", 4, earliest, incremental=True, reset_state=reset)
    return Starts(consumer, options, lambda _: partitions)  # type: ignore[arg-type]  # stands for a consumer


def of(topic: str, number: int, offset: int, books: Books | None = None) -> TopicPartition:
    return TopicPartition(topic, number, offset, encode_books(books) if books is not None else "")


def test_what_is_committed_stands_with_its_books() -> None:
    books = Books(records=7, events=7, state_topic_id="id", siblings=4)

    assert starts(FakeConsumer()).of(of("raw", 1, 50, books)) == (50, books, False)


@pytest.mark.parametrize(
    ("topic", "earliest", "offset"), [("raw", True, LOW), ("raw", False, HIGH), ("rekeyed", False, LOW)]
)
def test_what_is_looked_for_is_new_and_says_which_changelog_and_how_many_siblings(
    topic: str, earliest: bool, offset: int
) -> None:
    start = starts(FakeConsumer(), earliest=earliest).of(of(topic, 1, NONE))

    assert start == (offset, Books(state_topic_id="id", siblings=4), True)


@pytest.mark.parametrize(("siblings", "offset"), [(3, LOW), (4, HIGH), (0, HIGH)])
def test_a_partition_that_its_topic_got_later_is_read_from_its_first_record(siblings: int, offset: int) -> None:
    """With start_offset = latest: producers write to it before any worker is told that it is there."""
    consumer = FakeConsumer({("raw", 0): Books(siblings=siblings), ("raw", 2): Books(siblings=4)})

    assert starts(consumer).of(of("raw", 3, NONE)).offset == offset


def test_siblings_that_cannot_be_seen_are_asked_for_again() -> None:
    consumer = FakeConsumer({("raw", 0): Books(siblings=3)})
    consumer.error = KafkaError(KafkaError.NOT_COORDINATOR)

    with pytest.raises(TransientError):
        starts(consumer).of(of("raw", 3, NONE))


def test_ends_that_cannot_be_seen_are_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT))

    monkeypatch.setattr(FakeConsumer, "get_watermark_offsets", fail)

    with pytest.raises(TransientError):
        starts(FakeConsumer()).of(of("raw", 3, NONE))


def test_books_of_another_changelog_are_refused_until_that_is_accepted() -> None:
    books = Books(records=7, events=7, state_topic_id="another", siblings=4)

    with pytest.raises(FatalError, match="--reset-state") as caught:
        starts(FakeConsumer()).of(of("raw", 1, 50, books))

    assert caught.value.exit_code is ExitCode.STATE_REFUSED
    accepted = starts(FakeConsumer(), reset=True).of(of("raw", 1, 50, books))
    assert accepted == (50, Books(records=7, events=7, state_topic_id="id", siblings=4), True)
