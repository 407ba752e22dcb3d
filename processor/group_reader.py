"""A consumer group as somebody sees it who is no member: who is in it, and what it has committed."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from processor.changelog import watermarks
from processor.errors import ExitCode, FatalError, TransientError
from processor.group_members import describe_group
from processor.kafka_errors import Heard, describe, error_of, is_denied
from processor.topic_reader import METADATA_S, silent_logger

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from types import TracebackType

    from processor.group_members import Group, Input

CALL_S: Final = 5.0
"""Longest single blocking call: they do not see signals."""
_WAIT_S: Final = 60.0
"""Longest wait for open transactions to end, and for a coordinator that moves."""
_PAUSE_S: Final = 0.2
_ONE_RECORD: Final = {"fetch.message.max.bytes": 65_536, "queued.max.messages.kbytes": 16_384, "fetch.wait.max.ms": 100}
"""Few bytes of each partition. A low queued.min.messages would have all others wait a second for each that has come."""
_BULK: Final = {"fetch.message.max.bytes": 1_048_576, "queued.max.messages.kbytes": 32_768}


@dataclass(frozen=True, slots=True)
class Range:
    """Where a partition begins and ends for a reader of uncommitted records."""

    low: int
    high: int


class GroupReader:
    """Reads about one group, of which it is no member; a context manager.

    Offsets are asked of a consumer: an admin client that meets a coordinator that moves can end the process by a
    segmentation fault when it lists offsets (librdkafka 2.16, confluentinc/librdkafka#5040).
    """

    def __init__(self, config: Mapping[str, Any], group: str, *, bulk: bool = False) -> None:
        """Connect to nothing yet.

        Args:
            config: librdkafka's settings.
            group: The group's name.
            bulk: Whether all records are to be read, rather than one of each partition.
        """
        self.group = group
        self._config = dict(config)
        self._heard = Heard()
        own = {
            "group.id": group,
            "enable.auto.commit": False,
            # The offsets of an open transaction are not told before it has ended.
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            **(_BULK if bulk else _ONE_RECORD),
        }
        self.admin = AdminClient({**config}, logger=silent_logger())
        self.consumer = Consumer({**config, **own, "error_cb": self._heard}, logger=silent_logger())

    def inputs(self, raw: Sequence[str], *more: str) -> list[Input]:
        """Return every partition of the raw topics and of those named beside them, by topic and number.

        Raises:
            TransientError: No broker answers.
            FatalError: A topic that is named is missing, or may not be seen.
        """
        topics = self._topics()
        wanted = [*matching(topics, raw), *(name for name in raw if not name.startswith("^")), *more]
        for name in wanted:
            if not topics.get(name):
                raise FatalError(f"topic {name}: not there, or may not be seen", ExitCode.UNAVAILABLE)
        return sorted({(name, number) for name in wanted for number in topics[name]})

    def all_partitions(self) -> list[Input]:
        """Return every partition that may be seen: a raw topic may have left the settings, and its offsets stay."""
        return [(name, number) for name, numbers in self._topics().items() for number in numbers]

    def committed(self, inputs: Iterable[Input]) -> dict[Input, TopicPartition]:
        """Return the stable committed offsets with their metadata; nothing for those that have none.

        Raises:
            TransientError: No broker answers, or a transaction stays open.
            FatalError: The access is denied.
        """
        asked = [TopicPartition(*one) for one in inputs]
        deadline = time.monotonic() + _WAIT_S
        while True:
            error: KafkaError | None
            try:
                answers = self.consumer.committed(asked, timeout=CALL_S) if asked else []
                error = next((tp.error for tp in answers if tp.error is not None), None)
            except KafkaException as exception:
                answers, error = [], error_of(exception)
            if error is None:
                return {(tp.topic, tp.partition): tp for tp in answers if tp.offset >= 0}
            if is_denied(error):
                raise _denied(f"read the offsets of group {self.group}", error)
            if time.monotonic() > deadline:
                raise TransientError(
                    f"cannot read the offsets of group {self.group} ({describe(error)}): a transaction stays open, or "
                    "no broker answers"
                )
            time.sleep(_PAUSE_S)

    def ranges(self, inputs: Iterable[Input]) -> dict[Input, Range]:
        """Return where each partition begins and ends.

        Raises:
            TransientError: No broker answers.
        """
        by_topic: dict[str, list[int]] = {}
        for topic, number in inputs:
            by_topic.setdefault(topic, []).append(number)
        return {
            (topic, number): Range(found.low, found.high)
            for topic, numbers in by_topic.items()
            for number, found in watermarks(self.admin, topic, numbers).items()
        }

    def at_time(self, inputs: Iterable[Input], time_ms: int) -> dict[Input, int]:
        """Return the first offset of each partition that is not older than a time; nothing where all are.

        Raises:
            TransientError: No broker answers.
        """
        asked = [TopicPartition(*key, time_ms) for key in inputs]
        try:
            answers = self.consumer.offsets_for_times(asked, timeout=CALL_S * 4)
        except KafkaException as exception:
            raise TransientError(f"cannot look up offsets by time ({describe(error_of(exception))})") from exception
        for tp in answers:
            if tp.error is not None:
                raise TransientError(f"cannot look up offsets by time ({describe(tp.error)})")
        return {(tp.topic, tp.partition): tp.offset for tp in answers if tp.offset >= 0}

    def stable_end(self, key: Input) -> int:
        """Return the last stable offset of a partition: what open transactions hold back begins there.

        Raises:
            TransientError: No broker answers.
        """
        try:
            # Of a reader of committed records this is no high watermark.
            return int(self.consumer.get_watermark_offsets(TopicPartition(*key), timeout=CALL_S)[1])
        except KafkaException as exception:
            raise TransientError(describe(error_of(exception))) from exception

    def describe(self) -> Group:
        """Return who is in the group, and what we may do to it; raises as `describe_group` does."""
        return describe_group(self._config, self.group)

    def close(self) -> None:
        """Close the client."""
        self.consumer.close()

    def _topics(self) -> dict[str, list[int]]:
        try:
            found = self.consumer.list_topics(timeout=METADATA_S).topics
        except KafkaException as exception:
            self._heard.raise_refusal()
            why = self._heard.last or describe(error_of(exception))
            raise TransientError(
                f"no broker answers ({why}); see kafka.bootstrap.servers and kafka.security.*"
            ) from None
        return {name: sorted(topic.partitions) for name, topic in found.items()}

    def __enter__(self) -> Self:
        """Return the reader."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave."""
        self.close()


def matching(topics: Collection[str], raw: Sequence[str]) -> list[str]:
    """Return the topics that the expressions among `raw` take in, in order."""
    patterns = [re.compile(name) for name in raw if name.startswith("^")]
    return sorted(name for name in topics if any(pattern.search(name) for pattern in patterns))


def _denied(doing: str, error: KafkaError) -> FatalError:
    return FatalError(f"not permitted to {doing} ({describe(error)})", ExitCode.NOT_PERMITTED)
