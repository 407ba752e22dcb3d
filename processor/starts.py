"""Where an input begins: at its committed offset, with the books in it; without one where the settings say.

A beginning that was looked for is committed at once. Else it would be looked for anew after each rebalance and restart:
records that came to a quiet partition meanwhile would be stepped over where `start_offset` is latest, and those that
retention deletes unread would never be missed.

A partition that its topic got later is read from its first record, whatever `start_offset` says: producers write to it
before any worker is told that it is there. The books of its siblings know how many partitions there were at first.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import structlog
from confluent_kafka import KafkaException, TopicPartition

from processor.books import Books, decode_books
from processor.errors import ExitCode, FatalError, TransientError
from processor.kafka_errors import describe, error_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from confluent_kafka import Consumer

    from processor.assignment import AssignmentOptions

_log = structlog.get_logger(__name__)

_CALL_S = 5.0


class Start(NamedTuple):
    """Where an input begins."""

    offset: int
    books: Books
    is_new: bool
    """Whether the committed offset does not say so yet: it is to be committed."""


class Starts:
    """Finds where inputs begin."""

    def __init__(self, consumer: Consumer, options: AssignmentOptions, partitions_of: Callable[[str], int]) -> None:
        """Keep what is needed; `partitions_of` tells how many partitions a topic has."""
        self._consumer = consumer
        self._options = options
        self._partitions_of = partitions_of

    def of(self, committed: TopicPartition) -> Start:
        """Return where an input begins, by the stable committed offset of it, which may be none.

        Raises:
            TransientError: No answer; ask again.
            FatalError: The offset belongs to another state topic, and `--reset-state` was not given.
        """
        found = decode_books(committed.metadata)
        mine = self._options.state_topic_id
        foreign = found is not None and found.state_topic_id != mine
        if foreign and not self._options.reset_state:
            raise FatalError(
                f"the offsets of {committed.topic}[{committed.partition}] belong to another {self._options.state} than "
                "the one that is there now: it was deleted or re-created, and what is known of messages is gone; "
                "restore it, or accept that messages begin again with --reset-state",
                ExitCode.STATE_REFUSED,
            )
        books = replace(found or Books(), state_topic_id=mine)
        if committed.offset >= 0:
            return Start(committed.offset, books, is_new=foreign)
        offset = self._looked_for(committed)
        _log.info("no committed offset", topic=committed.topic, partition=committed.partition, starts_at=offset)
        return Start(offset, replace(books, siblings=self._partitions_of(committed.topic)), is_new=True)

    def _looked_for(self, at: TopicPartition) -> int:
        try:
            low, high = self._consumer.get_watermark_offsets(TopicPartition(at.topic, at.partition), timeout=_CALL_S)
            earliest = self._options.start_earliest or at.topic == self._options.rekeyed or self._came_later(at)
        except KafkaException as exception:
            raise TransientError(describe(error_of(exception))) from exception
        return low if earliest else high

    def _came_later(self, at: TopicPartition) -> bool:
        """Tell whether the topic had fewer partitions when the group began with it."""
        siblings = [TopicPartition(at.topic, number) for number in range(self._partitions_of(at.topic))]
        answers = self._consumer.committed(siblings, timeout=_CALL_S)
        for tp in answers:
            if tp.error is not None:
                raise TransientError(describe(tp.error))
        books = [decode_books(tp.metadata) for tp in answers]
        return any(0 < one.siblings <= at.partition for one in books if one is not None)
