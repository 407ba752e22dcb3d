"""Reads chosen partitions as a subscriber would, read_committed and in no group, from where one says to their ends."""

from __future__ import annotations

import re
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException, TopicPartition

from processor.errors import ExitCode, FatalError, TransientError
from processor.kafka_errors import Heard, describe, error_of, is_denied, is_end
from processor.topic_reader import METADATA_S, partitions_of, silent_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import TracebackType

    from confluent_kafka import Message

T = TypeVar("T")

Place = tuple[str, int]
"""Topic and partition."""

_CALL_S: Final = 0.1
"""A call waits so long for more records even at the end: what each pass costs at least."""
_RECORDS_MAX: Final = 10_000
_ANSWER_S: Final = 10.0
_STALLED_S: Final = 60.0


class PartitionReader:
    """Reads partitions one set after the other; a context manager."""

    def __init__(self, config: Mapping[str, Any], group: str) -> None:
        """Make the client; `group` is only asked for its committed offsets."""
        self._heard = Heard()
        own = {
            "group.id": group,
            # A broker answers a fetch at the end of a partition only after so long, and each pass has an end.
            "fetch.wait.max.ms": 20,
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
        }
        self._consumer = Consumer({**config, **own, "error_cb": self._heard}, logger=silent_logger())

    def count(self, topic: str) -> int:
        """Return how many partitions a topic has.

        Raises:
            TransientError: No broker answers.
            FatalError: The topic is missing, or may not be seen.
        """
        return len(partitions_of(self._consumer, topic, self._heard))

    def matching(self, names: Iterable[str]) -> list[str]:
        """Return the topics that are named, or that an expression (it begins with ^) matches.

        Raises:
            TransientError: No broker answers.
        """
        names = list(names)
        found = [name for name in names if not name.startswith("^")]
        expressions = [name for name in names if name.startswith("^")]
        if expressions:
            there = self._ask(lambda: self._consumer.list_topics(timeout=METADATA_S), "list the topics").topics
            found += [name for name in sorted(there) if any(re.search(each, name) for each in expressions)]
        return list(dict.fromkeys(found))

    def starts(self, places: Iterable[Place], since_ms: int | None) -> dict[Place, int]:
        """Return the first offset at or after a time (ms) in each place: the end where there is none.

        Without a time that is the beginning.

        Raises:
            TransientError: No broker answers.
            FatalError: A topic may not be read.
        """
        places = list(places)
        if since_ms is None:
            return dict.fromkeys(places, OFFSET_BEGINNING)
        asked = [TopicPartition(topic, number, since_ms) for topic, number in places]
        answers = self._ask(lambda: self._consumer.offsets_for_times(asked, timeout=_ANSWER_S), "look up a time")
        for answer in answers:
            if answer.error is not None:
                raise _failed(f"look up a time in {answer.topic}", answer.error)
        return {(tp.topic, tp.partition): tp.offset if tp.offset >= 0 else OFFSET_END for tp in answers}

    def committed(self, places: Iterable[Place]) -> dict[Place, tuple[int, str | None]]:
        """Return the group's committed offsets with their metadata, where there are any.

        Raises:
            TransientError: No broker answers.
            FatalError: The group may not be read.
        """
        asked = [TopicPartition(*place) for place in places]
        answers = self._ask(lambda: self._consumer.committed(asked, timeout=_ANSWER_S), "read the group's offsets")
        return {(tp.topic, tp.partition): (tp.offset, tp.metadata) for tp in answers if tp.offset >= 0}

    def scan(
        self, starts: Mapping[Place, int], progress: Callable[[int, int | None], object] = lambda *_: None
    ) -> Iterator[Message]:
        """Yield every committed record from these offsets up to the present ends.

        Args:
            starts: Where to begin.
            progress: Told how many offsets have been read and how many there are to read.

        Raises:
            TransientError: No broker answers, or nothing came for a minute.
            FatalError: A topic may not be read.
        """
        left = {place: 0 for place, start in starts.items() if start != OFFSET_END}
        total = self._span(left, starts)
        self.follow({place: starts[place] for place in left})
        moved_at = time.monotonic()
        try:
            while left:
                for message in self._consumer.consume(_RECORDS_MAX, _CALL_S):
                    place = (message.topic() or "", message.partition() or 0)
                    moved_at = time.monotonic()
                    if self._ended(message):
                        left.pop(place, None)
                    elif message.error() is None:
                        left[place] = message.offset() or 0
                        yield message
                progress(total - sum(self._ahead(place, offset) for place, offset in left.items()), total)
                if time.monotonic() - moved_at > _STALLED_S:
                    raise TransientError(f"nothing came for {_STALLED_S:.0f} s ({self._heard.last or 'no error said'})")
        finally:
            self._consumer.unassign()

    def follow(self, starts: Mapping[Place, int]) -> None:
        """Begin to read without an end; `records` returns what comes."""
        self._consumer.assign([TopicPartition(*place, offset) for place, offset in starts.items()])

    def records(self) -> list[Message]:
        """Return what comes within a tenth of a second.

        Raises:
            FatalError: A topic may not be read.
        """
        messages = self._consumer.consume(_RECORDS_MAX, _CALL_S)
        return [message for message in messages if not self._ended(message) and message.error() is None]

    def _ended(self, message: Message) -> bool:
        """Tell whether a partition is at its end; other errors go by themselves, but for a denied access."""
        error = message.error()
        if error is None:
            return False
        if is_denied(error):
            raise _failed(f"read {message.topic()}", error)
        return is_end(error)

    def _span(self, places: Iterable[Place], starts: Mapping[Place, int]) -> int:
        """Count the offsets that there are to read; only the progress goes by it."""
        total = 0
        self._ends: dict[Place, int] = {}
        for place in places:
            asked = partial(self._consumer.get_watermark_offsets, TopicPartition(*place), timeout=_ANSWER_S)
            low, high = self._ask(asked, f"read the end of {place[0]}")
            self._ends[place] = high
            total += max(0, high - max(low, starts[place]))
        return total

    def _ahead(self, place: Place, offset: int) -> int:
        return max(0, self._ends[place] - offset)

    def _ask(self, ask: Callable[[], T], doing: str) -> T:
        """Ask until somebody answers, for a while: a coordinator may be loading.

        Raises:
            TransientError: Nobody did.
            FatalError: It is denied.
        """
        deadline = time.monotonic() + _ANSWER_S * 2
        while True:
            try:
                return ask()
            except KafkaException as exception:
                error = error_of(exception)
                if is_denied(error) or time.monotonic() > deadline:
                    raise _failed(doing, error, self._heard.last) from exception

    def __enter__(self) -> Self:
        """Return the reader."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave."""
        self._consumer.close()


def _failed(doing: str, error: KafkaError, heard: str = "") -> TransientError | FatalError:
    if is_denied(error):
        return FatalError(f"not permitted to {doing} ({describe(error)})", ExitCode.NOT_PERMITTED)
    return TransientError(f"cannot {doing} ({heard or describe(error)}); see kafka.bootstrap.servers")
