"""What a worker holds in place of confluent-kafka's classes. Each call is a point at which the world may act."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Protocol

from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition

from tests.schedules.log import Cluster, Entry, TopicPart, failure

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Mapping, Sequence

    from tests.schedules.group import Member

_FETCHED_MAX = 6
_FAIL = "FAIL [thrd:TxnCoordinator]: Disconnected"


class Host(Protocol):
    """The process that a client lives in, and what the world does to it."""

    dead: bool

    def point(self, name: str) -> None:
        """Pass a point: the process may end here, or stand still while the others go on."""

    def draw(self, name: str) -> bool:
        """Tell whether a fault of this name happens now."""

    def late(self, request: Callable[[], None]) -> None:
        """Keep a request on the network; it arrives some time later."""

    def choose(self, upto: int) -> int:
        """Draw a number from 0 up to and with `upto`."""


@dataclass(frozen=True, slots=True)
class SimMessage:
    """A record or an event, as the client hands it out."""

    at: TopicPart
    position: int
    entry: Entry | None = None
    event: KafkaError | None = None

    def error(self) -> KafkaError | None:
        return self.event

    def topic(self) -> str:
        return self.at[0]

    def partition(self) -> int:
        return self.at[1]

    def offset(self) -> int:
        return self.position

    def key(self) -> bytes | None:
        return self.entry.key if self.entry else None

    def value(self) -> bytes | None:
        return self.entry.value if self.entry else None

    def headers(self) -> list[tuple[str, str | bytes | None]]:
        return list(self.entry.headers) if self.entry else []

    def timestamp(self) -> tuple[int, int]:
        return 2, self.entry.timestamp if self.entry else 0


class SimConsumer:
    """A read_committed consumer: of a group, or of partitions that it assigns to itself."""

    def __init__(self, cluster: Cluster, host: Host, config: Mapping[str, Any], **_: Any) -> None:
        self._cluster = cluster
        self._host = host
        self._group = str(config["group.id"])
        self._tells_end = bool(config.get("enable.partition.eof"))
        self._callbacks: dict[str, Callable[..., None]] | None = None
        self.member: Member | None = None
        self._positions: dict[TopicPart, int] = {}
        self._ends_told: dict[TopicPart, int] = {}
        self._paused: set[TopicPart] = set()
        """Survives a re-assignment, as librdkafka's does."""
        self._given_up: dict[TopicPart, SimMessage | None] = {}
        """Assigned, but no longer read nor sought, since the log does not have the position; each is told once."""

    def subscribe(self, _: Sequence[str], **callbacks: Callable[..., None]) -> None:
        self._callbacks = callbacks

    def consume(self, records_max: int, _: float) -> list[SimMessage]:
        self._host.point("consume")
        if self._callbacks is not None:
            self._take_part(self._callbacks)
        # A poll returns what has been fetched, not what is there.
        room = self._host.choose(min(records_max, _FETCHED_MAX))
        messages: list[SimMessage] = []
        for at in list(self._positions):
            if at not in self._paused:
                messages += self._read(at, room - len(messages))
        messages += [told for told in self._given_up.values() if told is not None]
        self._given_up = dict.fromkeys(self._given_up)
        return messages

    def _give_up(self, at: TopicPart, position: int) -> None:
        del self._positions[at]
        event = KafkaError(KafkaError._AUTO_OFFSET_RESET, "fetch failed: Broker: Offset out of range")
        self._given_up[at] = SimMessage(at, position, event=event)

    def _take_part(self, callbacks: Mapping[str, Callable[..., None]]) -> None:
        if self.member is None:
            self.member = self._cluster.group.join()
        elif self.member.name not in self._cluster.group.members:
            lost = sorted(self.member.owned)
            self.member = self._cluster.group.join()
            if lost:
                callbacks["on_lost"](self, _parts(lost))
            self._host.point("on_lost")

        def assign(given: list[TopicPart]) -> None:
            callbacks["on_assign"](self, _parts(given))
            self._host.point("on_assign")

        def revoke(taken: list[TopicPart]) -> None:
            callbacks["on_revoke"](self, _parts(taken))
            self._host.point("on_revoke")

        if self.member.name in self._cluster.group.members:
            self._cluster.group.poll(self.member, assign, revoke)

    def _read(self, at: TopicPart, room: int) -> list[SimMessage]:
        log, position = self._cluster.logs[at], self._positions[at]
        found: list[SimMessage] = []
        if self._callbacks is not None and position and self._host.draw("the position goes back"):
            # Seen with librdkafka after a broker's restart: some more records, and then the beginning again.
            found += [
                SimMessage(at, offset, log.entries[offset])
                for offset in range(position, log.stable)
                if log.entries[offset].readable
            ]
            position = 0
        if position < log.low:
            self._give_up(at, position)
            return found
        while position < log.stable and (len(found) < room or not log.entries[position].readable):
            entry = log.entries[position]
            if entry.readable:
                found.append(SimMessage(at, position, entry))
            position += 1
        self._positions[at] = position
        if self._tells_end and position >= log.stable and self._ends_told.get(at) != position:
            self._ends_told[at] = position
            found.append(SimMessage(at, position, event=KafkaError(KafkaError._PARTITION_EOF)))
        return found

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        self.unassign()
        self.incremental_assign(partitions)

    def unassign(self) -> None:
        self._positions.clear()
        self._given_up.clear()

    def incremental_assign(self, partitions: Sequence[TopicPartition]) -> None:
        for tp in partitions:
            at, log = (tp.topic, tp.partition), self._cluster.logs[tp.topic, tp.partition]
            self._positions[at] = log.low if tp.offset == OFFSET_BEGINNING else tp.offset
            self._ends_told.pop(at, None)
            if self._positions[at] < log.low and self._host.choose(1):
                self._give_up(at, self._positions[at])  # A pause comes too late for the first fetch.

    def incremental_unassign(self, partitions: Sequence[TopicPartition]) -> None:
        for tp in partitions:
            self._positions.pop((tp.topic, tp.partition), None)
            self._given_up.pop((tp.topic, tp.partition), None)

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        self._paused |= {(tp.topic, tp.partition) for tp in partitions}

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        self._paused -= {(tp.topic, tp.partition) for tp in partitions}

    def seek(self, tp: TopicPartition) -> None:
        if (tp.topic, tp.partition) not in self._positions:
            raise failure(KafkaError._STATE, "not assigned")
        self._positions[tp.topic, tp.partition] = tp.offset

    def position(self, partitions: Sequence[TopicPartition]) -> list[TopicPartition]:
        """Return what has been fetched up to, which is not what has been processed."""
        return [TopicPartition(tp.topic, tp.partition, self._positions[tp.topic, tp.partition]) for tp in partitions]

    def committed(self, partitions: Sequence[TopicPartition], timeout: float = 0) -> list[TopicPartition]:
        del timeout
        self._host.point("committed")
        answers: list[TopicPartition] = []
        for tp in partitions:
            found = self._cluster.stable_offset((tp.topic, tp.partition))
            offset, metadata = found if found is not None else (-1001, "")
            answers.append(TopicPartition(tp.topic, tp.partition, offset, metadata))
        return answers

    def get_watermark_offsets(self, tp: TopicPartition, **_: Any) -> tuple[int, int]:
        log = self._cluster.logs[tp.topic, tp.partition]
        return log.low, log.stable

    def list_topics(self, topic: str | None = None, timeout: float = 0) -> SimpleNamespace:
        del timeout
        if topic is not None and self._host.draw("the topic is unknown"):  # So says a broker that has just started.
            error = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)
            return SimpleNamespace(topics={topic: SimpleNamespace(error=error, partitions={})})
        if topic in self._cluster.grown and self._host.draw("the broker has not heard that the topic has grown"):
            before = dict.fromkeys(range(self._cluster.topics[topic] - 1))
            return SimpleNamespace(topics={topic: SimpleNamespace(error=None, partitions=before)})
        return SimpleNamespace(
            topics={
                name: SimpleNamespace(error=None, partitions=dict.fromkeys(range(count)))
                for name, count in self._cluster.topics.items()
                if topic in {None, name}
            }
        )

    def consumer_group_metadata(self) -> bytes:
        return self._cluster.group.metadata(self.member, self._group)

    def close(self) -> None:
        if not self._host.dead and self.member is not None:
            self._cluster.group.leave(self.member)


class SimAdmin:
    """Answers what the worker asks outside of its group."""

    def __init__(self, cluster: Cluster, host: Host, *_: Any, **__: Any) -> None:
        self._cluster = cluster
        self._host = host
        self._asked = 0

    def list_offsets(self, wanted: Mapping[TopicPartition, Any], **_: Any) -> dict[TopicPartition, Future[Any]]:
        """Answer both of `watermarks`' questions: first the beginnings, then the ends."""
        self._asked += 1
        self._host.point("list_offsets")
        answers: dict[TopicPartition, Future[Any]] = {}
        for tp in wanted:
            answers[tp] = Future()
            high = self._cluster.logs[tp.topic, tp.partition].high
            answers[tp].set_result(SimpleNamespace(offset=0 if self._asked % 2 else high))
        return answers

    def describe_topics(self, *_: Any, **__: Any) -> dict[str, Future[Any]]:
        return {}


class SimProducer:
    """A transactional producer without KIP-890 v2, as librdkafka is."""

    def __init__(self, cluster: Cluster, host: Host, config: Mapping[str, Any], logger: logging.Logger) -> None:
        self._cluster = cluster
        self._host = host
        self._name = str(config["transactional.id"])
        self._logger = logger
        self._epoch = -1
        self._queue: list[tuple[TopicPart, Entry, Callable[..., None] | None]] = []
        self._delivered: list[tuple[Callable[..., None], SimMessage]] = []
        self._lines: list[str] = []
        self._broken: KafkaException | None = None

    def init_transactions(self, _: float) -> None:
        self._host.point("init_transactions")
        if self._host.draw("init times out"):
            raise failure(KafkaError._TIMED_OUT, "no answer", retriable=True)
        self._epoch = self._cluster.init(self._name)

    def begin_transaction(self) -> None:
        self._host.point("begin")
        self._raise_if_broken()

    def produce_batch(self, topic: str, messages: Sequence[dict[str, Any]], partition: int) -> int:
        for message in messages:
            self._enqueue((topic, partition), message["key"], message["value"], [], message.get("callback"))
        self._host.point("produce")
        return len(messages)

    def produce(self, topic: str, value: bytes | None, key: bytes | None, partition: int, headers: Any) -> None:
        self._enqueue((topic, max(0, partition)), key, value, headers, None)

    def _enqueue(self, at: TopicPart, key: Any, value: Any, headers: Any, callback: Any) -> None:
        key = key.encode() if isinstance(key, str) else key
        self._queue.append((at, Entry(None, key, value, headers), callback))

    def flush(self, _: float) -> int:
        self._send(self._host.choose(len(self._queue)))
        self._host.point("flush")
        # What one record leads to is at most a change and a state: more than that can be taken apart.
        if len(self._queue) > 2 and self._host.draw("the broker refuses the batch"):
            self._broken = failure(KafkaError.MSG_SIZE_TOO_LARGE, "too large", txn_requires_abort=True)
        self._send(len(self._queue))
        self._serve()
        return 0

    def _send(self, count: int) -> None:
        for _ in range(count):
            at, entry, callback = self._queue.pop(0)
            if self._broken is not None:
                continue
            try:
                entry.transaction = self._cluster.transaction(self._name, self._epoch)
                offset = self._cluster.append(at, entry)
            except KafkaException as exception:
                self._broken = exception
                continue
            if callback is not None:
                self._delivered.append((callback, SimMessage(at, offset, entry)))

    def _serve(self) -> None:
        for callback, message in self._delivered:
            callback(None, message)
        self._delivered = []
        for line in self._lines:
            self._logger.info(line)
        self._lines = []

    def send_offsets_to_transaction(self, offsets: list[TopicPartition], metadata: bytes, _: float) -> None:
        self._host.point("send_offsets")
        self._raise_if_broken()
        if self._host.draw("send_offsets times out"):
            raise failure(KafkaError._TIMED_OUT, "no answer", retriable=True)
        if self._host.draw("send_offsets aborts"):
            raise failure(KafkaError.NOT_COORDINATOR, "coordinator moved", txn_requires_abort=True)
        sent = {(tp.topic, tp.partition): (tp.offset, tp.metadata or "") for tp in offsets if tp.offset >= 0}
        self._cluster.send_offsets(self._name, self._epoch, sent, metadata)

    def commit_transaction(self, _: float) -> None:
        self._host.point("commit")
        self._send(len(self._queue))
        self._end(commit=True)

    def abort_transaction(self, _: float) -> None:
        self._queue.clear()
        if self._broken is not None and not self._broken.args[0].fatal():
            self._broken = None
        self._end(commit=False)

    def _end(self, *, commit: bool) -> None:
        what = "commit" if commit else "abort"
        self._host.point(f"before {what}")
        if commit:
            self._raise_if_broken()
        if self._host.draw(f"{what} times out before it is done"):
            raise failure(KafkaError._TIMED_OUT, "no answer", retriable=True)
        if self._host.draw(f"{what} goes over a new connection"):
            # The first request is still on its way when the second one has been answered.
            name, epoch, cluster = self._name, self._epoch, self._cluster
            self._host.late(lambda: cluster.end(name, epoch, commit=commit))
            self._lines.append(_FAIL)
        if self._cluster.producers[self._name].now is not None or commit or not self._is_fresh():
            self._cluster.end(self._name, self._epoch, commit=commit)
        self._host.point(f"after {what}")
        if self._host.draw(f"{what} times out after it is done"):
            raise failure(KafkaError._TIMED_OUT, "no answer", retriable=True)
        self._serve()

    def _is_fresh(self) -> bool:
        """Whether no request of this transaction has reached the coordinator: there is nothing to end there."""
        return self._cluster.producers[self._name].epoch == self._epoch

    def _raise_if_broken(self) -> None:
        if self._broken is not None:
            raise self._broken

    def poll(self, _: float) -> int:
        self._serve()
        return 0

    def purge(self) -> None:
        self._queue.clear()

    def close(self) -> None:
        """Leave an open transaction to its timeout, or to the next producer of this id."""


def _parts(parts: Sequence[TopicPart]) -> list[TopicPartition]:
    return [TopicPartition(topic, number) for topic, number in parts]
