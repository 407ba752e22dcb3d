"""Reads how far a group is behind: committed offsets, ends, the first record behind each, and who holds what."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from confluent_kafka import KafkaException, TopicPartition

from processor.errors import ProcessorError, TransientError
from processor.kafka_errors import DeniedError, describe, error_of, is_denied, is_end
from processor.lag import First, GroupLag, PartitionLag

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from confluent_kafka import Message

    from processor.group_members import Group, Input
    from processor.group_reader import GroupReader, Range

_FIRST_S: Final = 20.0
"""Longest wait for the first records of all partitions."""
_POLL_S: Final = 0.2
_CHUNK_RECORDS: Final = 1000


class LagReader:
    """Reads the lag of the reader's group, as often as it is asked to."""

    def __init__(self, reader: GroupReader, raw: Sequence[str], rekeyed: str, *, start_earliest: bool) -> None:
        self._reader = reader
        self._raw = raw
        self._rekeyed = rekeyed
        self._start_earliest = start_earliest

    def read(self) -> GroupLag:
        """Read it once.

        Raises:
            TransientError: No broker answers, or a transaction stays open.
            FatalError: A topic is missing, or an access is denied.
        """
        inputs = self._reader.inputs(self._raw, self._rekeyed)
        committed = {key: tp.offset for key, tp in self._reader.committed(inputs).items()}
        ranges = self._reader.ranges(inputs)
        starts = {key: committed.get(key, self._start(key, ranges[key])) for key in inputs}
        behind = {key: max(starts[key], ranges[key].low) for key in inputs if starts[key] < ranges[key].high}
        firsts = self._firsts(behind, ranges)
        try:
            group: Group | None = self._reader.describe()
        except ProcessorError:
            group = None  # The rest is worth telling.
        owners = {key: member.name for member in (group.members if group else ()) for key in member.inputs}
        return GroupLag(
            self._reader.group,
            tuple(
                PartitionLag(
                    *key,
                    committed=committed.get(key),
                    starts_at=starts[key],
                    low=ranges[key].low,
                    end=ranges[key].high,
                    first=firsts.get(key, First()),
                    owner=owners.get(key),
                )
                for key in inputs
            ),
            None if group is None else len(group.members),
        )

    def _start(self, key: Input, span: Range) -> int:
        return span.low if self._start_earliest or key[0] == self._rekeyed else span.high

    def _firsts(self, behind: Mapping[Input, int], ranges: Mapping[Input, Range]) -> dict[Input, First]:
        """Read one record of each partition, or the end that stands in its place."""
        if not behind:
            return {}
        consumer = self._reader.consumer
        found: dict[Input, First] = {}
        deadline = time.monotonic() + _FIRST_S
        consumer.assign([TopicPartition(*key, offset) for key, offset in behind.items()])
        try:
            while len(found) < len(behind):
                for message in consumer.consume(_CHUNK_RECORDS, _POLL_S):
                    key = (message.topic() or "", message.partition() or 0)
                    first = _first(message, ranges[key]) if key in behind and key not in found else None
                    if first is not None:
                        found[key] = first
                        consumer.pause([TopicPartition(*key)])
                if time.monotonic() > deadline:
                    raise TransientError(
                        f"no record of {len(behind) - len(found)} partitions came within {_FIRST_S:.0f} s"
                    )
        except KafkaException as exception:
            raise TransientError(describe(error_of(exception))) from exception
        finally:
            consumer.unassign()
        return found


def _first(message: Message, span: Range) -> First | None:
    error = message.error()
    if error is None:
        return First(message.timestamp()[1])
    if is_end(error):
        return First(blocked=(message.offset() or 0) < span.high)
    if is_denied(error):
        raise DeniedError(f"reading {message.topic()} ({describe(error)})")
    return None
