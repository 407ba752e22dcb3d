"""Reads the books of a group from Kafka: the offsets with their metadata, and what lies unread in the rekeyed topic."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from processor.books import decode_books
from processor.changelog import watermarks
from processor.errors import ExitCode, FatalError, TransientError
from processor.headers import is_control, is_replayed
from processor.kafka_errors import Heard, describe, error_of, is_denied, is_end
from processor.ledger import Account, Ledger, forwarding_of
from processor.topic_reader import METADATA_S, partitions_of, silent_logger

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

_CALL_S: Final = 5.0
"""Longest single blocking call: they do not see signals."""
_WAIT_S: Final = 60.0
"""Longest wait for open transactions to end."""
_PAUSE_S: Final = 0.2
_CHUNK_RECORDS: Final = 10_000


class LedgerReader:
    """Reads the books of one group, of which it is no member; a context manager.

    An admin client could list a group's offsets too, but one that meets a coordinator that moves or does not know the
    group yet can end the process by a segmentation fault (librdkafka 2.16, confluentinc/librdkafka#5040).
    """

    def __init__(self, config: Mapping[str, Any], group: str, rekeyed: str) -> None:
        """Find the topics.

        Raises:
            TransientError: No broker answers.
            FatalError: The rekeyed topic is missing, or may not be seen.
        """
        heard = Heard()
        own = {
            "group.id": group,
            "enable.auto.commit": False,
            # The offsets of an open transaction are not told before it has ended.
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
        }
        self._group = group
        self._rekeyed = rekeyed
        self._admin = AdminClient({**config}, logger=silent_logger())
        self._consumer = Consumer({**config, **own, "error_cb": heard}, logger=silent_logger())
        try:
            self._numbers = partitions_of(self._consumer, rekeyed, heard)
        except BaseException:
            self._consumer.close()
            raise

    def read(self) -> Ledger:
        """Read the books, and hold both sides of forwarding against each other.

        Raises:
            TransientError: No broker answers, or a transaction stays open.
            FatalError: The group has no offsets, or an access is denied.
        """
        before = self._accounts()
        if not before:
            raise FatalError(
                f"group {self._group} has no committed offsets: no worker of it has processed anything yet, or its "
                "name is another (--set group=NAME)",
                ExitCode.UNAVAILABLE,
            )
        unread = self._unread({one.partition: one.offset for one in before if one.topic == self._rekeyed})
        after = self._accounts()
        return Ledger(tuple(before), forwarding_of(self._rekeyed, before, after, unread))

    def _accounts(self) -> list[Account]:
        """Return the stable committed offsets with their books, by topic and partition."""
        found = self._committed()
        for tp in found:
            if tp.error is not None:
                raise _failed(f"read the offset of {tp.topic}[{tp.partition}]", tp.error)
        accounts = [
            Account(tp.topic, tp.partition, tp.offset, decode_books(tp.metadata)) for tp in found if tp.offset >= 0
        ]
        return sorted(accounts, key=lambda account: (account.topic, account.partition))

    def _committed(self) -> list[TopicPartition]:
        """Ask until there is an answer: the coordinator may be loading, and transactions open."""
        deadline = time.monotonic() + _WAIT_S
        while True:
            try:
                return self._consumer.committed(self._all_partitions(), timeout=_CALL_S)
            except KafkaException as exception:
                error = error_of(exception)
                if is_denied(error) or time.monotonic() > deadline:
                    raise _failed(f"read the offsets of group {self._group}", error) from exception

    def _all_partitions(self) -> list[TopicPartition]:
        """Return every partition there is: a raw topic may have left the settings, and its books still count."""
        topics = self._consumer.list_topics(timeout=METADATA_S).topics.values()
        return [TopicPartition(topic.topic, number) for topic in topics for number in topic.partitions]

    def _unread(self, offsets: Mapping[int, int]) -> int:
        """Count the committed records of the rekeyed topic from these offsets on, but for replayed and control records.

        The offsets alone do not tell: control records and aborted ones have offsets too.
        """
        ends = watermarks(self._admin, self._rekeyed, self._numbers)
        starts = {number: max(offsets.get(number, 0), ends[number].low) for number in self._numbers}
        unread = {number: end.high for number, end in ends.items() if end.high > starts[number]}
        self._consumer.assign([TopicPartition(self._rekeyed, number, starts[number]) for number in unread])
        try:
            return self._count(unread)
        finally:
            self._consumer.unassign()

    def _count(self, ends: dict[int, int]) -> int:
        """Count records up to the ends; open transactions before them are waited for."""
        count = 0
        next_offsets: dict[int, int] = {}
        moved_at = time.monotonic()
        while ends:
            for message in self._consumer.consume(_CHUNK_RECORDS, _PAUSE_S):
                error, number, offset = message.error(), message.partition(), message.offset()
                if number is None or offset is None:
                    continue
                if error is None:
                    # After a change of leader the client may go back to what was read already.
                    if next_offsets.get(number, 0) <= offset < ends.get(number, 0):
                        count += not is_replayed(message) and not is_control(message)
                        next_offsets[number] = offset + 1
                        moved_at = time.monotonic()
                elif is_end(error):
                    if offset >= ends.get(number, 0):
                        ends.pop(number, None)
                elif is_denied(error):
                    raise _failed(f"read {self._rekeyed}", error)
            if ends and time.monotonic() - moved_at > _WAIT_S:
                raise TransientError(
                    f"{self._rekeyed} cannot be read to its end: a transaction stays open, or no broker answers"
                )
        return count

    def __enter__(self) -> Self:
        """Return the reader."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave."""
        self._consumer.close()


def _failed(doing: str, error: KafkaError) -> TransientError | FatalError:
    if is_denied(error):
        return FatalError(f"not permitted to {doing} ({describe(error)})", ExitCode.NOT_PERMITTED)
    return TransientError(f"cannot {doing} ({describe(error)}): a transaction stays open, or no broker answers")
