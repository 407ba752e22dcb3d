"""Reads the raw topics from a time on to their present ends, read-only and in no group."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, Self

from confluent_kafka import TopicPartition

from processor.errors import TransientError
from processor.group_reader import GroupReader
from processor.kafka_errors import DeniedError, describe, is_denied, is_end

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import TracebackType

    from confluent_kafka import Message

    from processor.group_members import Input

_CHUNK_RECORDS: Final = 5_000
_POLL_S: Final = 0.5
_PATIENCE_S: Final = 30.0
"""Longest wait for any record or end."""


class RawReader:
    """Reads once through; a context manager."""

    def __init__(self, config: Mapping[str, Any], group: str, raw: Sequence[str], since_ms: int) -> None:
        """Find the topics, and where to begin and to end.

        Args:
            config: librdkafka's settings.
            group: The workers' group, of which this is no member and in which it commits nothing: the client cannot do
                without a group's name, and this one may be used by whoever may run a worker.
            raw: Topics, by name or by expressions that start with ^.
            since_ms: Records that are older are left out (ms since the epoch).

        Raises:
            TransientError: No broker answers.
            FatalError: A topic that is named is missing, or may not be seen.
        """
        self._reader = GroupReader(config, group, bulk=True)
        try:
            inputs = self._reader.inputs(raw)
            ranges = self._reader.ranges(inputs)
            found = self._reader.at_time(inputs, since_ms)
        except BaseException:
            self._reader.close()
            raise
        self._ends = {key: span.high for key, span in ranges.items() if key in found and found[key] < span.high}
        self._starts = {key: max(found[key], ranges[key].low) for key in self._ends}

    @property
    def total(self) -> int:
        """How many offsets lie between; control and aborted records count."""
        return sum(self._ends[key] - start for key, start in self._starts.items())

    def chunks(self) -> Iterator[dict[Input, list[Message]]]:
        """Give records by partition, in order, to the ends that were there at the beginning.

        What an open transaction holds back is left out.

        Raises:
            TransientError: No broker answers any more.
            DeniedError: A topic may not be read.
        """
        consumer = self._reader.consumer
        nexts = dict(self._starts)
        consumer.assign([TopicPartition(*key, offset) for key, offset in nexts.items()])
        heard_at = time.monotonic()
        while nexts:
            messages = consumer.consume(_CHUNK_RECORDS, _POLL_S)
            if messages:
                heard_at = time.monotonic()
            elif time.monotonic() - heard_at > _PATIENCE_S:
                raise TransientError(f"no record came within {_PATIENCE_S:.0f} s")
            chunk: dict[Input, list[Message]] = {}
            for message in messages:
                self._take(message, nexts, chunk)
            if chunk:
                yield chunk
            done = [key for key, offset in nexts.items() if offset >= self._ends[key]]
            for key in done:
                del nexts[key]
            if done:
                consumer.incremental_unassign([TopicPartition(*key) for key in done])

    def _take(self, message: Message, nexts: dict[Input, int], chunk: dict[Input, list[Message]]) -> None:
        key, offset, error = (message.topic() or "", message.partition() or 0), message.offset() or 0, message.error()
        if key not in nexts:
            return
        if error is None:
            # After a change of leader the client may go back to what was read already.
            if nexts[key] <= offset < self._ends[key]:
                chunk.setdefault(key, []).append(message)
            nexts[key] = max(nexts[key], offset + 1)
        elif is_end(error):
            nexts[key] = self._ends[key]
        elif is_denied(error):
            raise DeniedError(f"reading {key[0]} ({describe(error)})")

    def __enter__(self) -> Self:
        """Return the reader."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave."""
        self._reader.close()
