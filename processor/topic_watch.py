"""Looks from time to time whether the topics that a worker works with are still there, and as large as they were.

A deleted topic shows otherwise only as records that time out, and a deleted input as nothing at all; a rekeyed topic
that has grown, as a partition that waits for a state which is not there. The question is asked in the background; the
loop only picks the answer up.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import structlog
from confluent_kafka import KafkaException, TopicCollection

from processor.errors import ExitCode, FatalError
from processor.kafka_errors import error_of, is_unknown_topic

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from concurrent.futures import Future

    from confluent_kafka.admin import AdminClient, TopicDescription

_log = structlog.get_logger(__name__)

_EVERY_S: Final = 30.0
_AGAIN_S: Final = 2.0
"""A broker that has just started may not know every topic yet: what is missing is asked for once more."""
_ANSWER_S: Final = 10.0


class TopicWatch:
    """Ends the worker where one of its own topics is gone; a raw topic that is gone is told, and the others go on."""

    def __init__(
        self,
        admin: AdminClient,
        own: Collection[str],
        raw: Collection[str],
        state_topic_id: tuple[str, str],
        counts: Mapping[str, int] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keep what is needed.

        Args:
            admin: The client that asks.
            own: Topics without which nothing can be published or known.
            raw: Raw topics by name.
            state_topic_id: The state topic's name, and the id that it had at the start.
            counts: Number of partitions of those topics that must never have another.
            clock: Seconds that only rise.
        """
        self._admin = admin
        self._own = frozenset(own)
        self._raw = frozenset(raw)
        self._state, self._state_id = state_topic_id
        self._counts = dict(counts or {})
        self._clock = clock
        self._due = clock() + _EVERY_S
        self._asked_at = clock()
        self._answers: dict[str, Future[TopicDescription]] | None = None
        self._missing: set[str] = set()
        self._told: set[str] = set()

    def doubt(self) -> None:
        """Ask soon: something has failed, or partitions came or went."""
        self._due = min(self._due, max(self._clock(), self._asked_at + _AGAIN_S))

    def step(self) -> None:
        """Ask, or pick up an answer; never waits.

        Raises:
            FatalError: A topic without which the worker cannot work is gone, was made anew, or has grown.
        """
        now = self._clock()
        if self._answers is None:
            if now >= self._due:
                names = TopicCollection(sorted(self._own | self._raw))
                self._answers = dict(self._admin.describe_topics(names, request_timeout=_ANSWER_S))
                self._asked_at = now
            return
        if all(answer.done() for answer in self._answers.values()):
            answers, self._answers = self._answers, None
            self._due = now + _EVERY_S
            self._look({name for name, answer in answers.items() if self._is_gone(name, answer)})

    def _is_gone(self, name: str, answer: Future[TopicDescription]) -> bool:
        try:
            found = answer.result(0)
        except KafkaException as exception:
            return is_unknown_topic(error_of(exception))
        if name == self._state and str(found.topic_id) != self._state_id:
            raise FatalError(
                f"topic {name} was deleted and made anew while the worker ran: what is known of messages is gone; "
                "restore it, or accept that messages begin again with --reset-state",
                ExitCode.STATE_REFUSED,
            )
        count = self._counts.get(name)
        if count is not None and len(found.partitions) != count:
            raise FatalError(
                f"topic {name} has {len(found.partitions)} partitions now, where it had {count}: changes, state and "
                "rekeyed must have the same number for ever, or keys move and state with them. Make it anew with "
                f"{count} partitions, or stop all workers and move to new topics and a new group",
                ExitCode.UNAVAILABLE,
            )
        return False

    def _look(self, missing: set[str]) -> None:
        gone, self._missing = missing & self._missing, missing
        if missing - gone:
            self._due = self._clock() + _AGAIN_S
        if gone & self._own:
            raise FatalError(
                f"topic {', '.join(sorted(gone & self._own))} is gone: it was deleted while the worker ran. Have it "
                "made again with `status-processor topics create`, then start again: it goes on from what is committed",
                ExitCode.UNAVAILABLE,
            )
        for name in sorted(gone - self._told):
            _log.warning("a raw topic is gone, the others go on", topic=name)
        for name in sorted(self._told - missing):
            _log.info("a raw topic is back", topic=name)
        self._told = (self._told & missing) | gone
