"""A broker as tests and benchmarks see it, and where one comes from."""

from __future__ import annotations

import os
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from tests.kafka import container, maven
from tests.kafka.readiness import BrokerError, wait_until_it_answers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from confluent_kafka import Message

_CALL_S = 30.0
_GIVEN_S = 15.0
_UNDERSCORED = frozenset({"log_level", "error_cb", "stats_cb", "oauth_cb", "throttle_cb"})
"""Settings whose names really have an underscore."""


@dataclass
class Broker:
    """A cluster that tests may use as they like; every topic has a name of its own."""

    settings: Mapping[str, str | float]
    """librdkafka settings that every client needs: bootstrap.servers, and SASL's where it asks for them."""
    process: maven.MavenBroker | None = None
    """The broker's process, where the tests own one."""
    admin: AdminClient = field(init=False)

    def __post_init__(self) -> None:
        self.admin = AdminClient(self.client(log_level=0))

    @property
    def bootstrap(self) -> str:
        """Where clients connect: bootstrap.servers."""
        return str(self.settings["bootstrap.servers"])

    def client(self, settings: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        """Return librdkafka settings for this cluster; underscores in the names of `more` stand for dots."""
        dotted = {name if name in _UNDERSCORED else name.replace("_", "."): value for name, value in more.items()}
        return {**self.settings, **(settings or {}), **dotted}

    def topic(self, partitions: int = 1, config: Mapping[str, str] | None = None, name: str = "topic") -> str:
        """Create a topic whose name starts with `name`, and return the whole, unique name."""
        unique = f"{name}-{uuid.uuid4().hex[:8]}"
        new = NewTopic(unique, partitions, config=dict(config or {}))  # As many replicas as the cluster gives.
        self.admin.create_topics([new], operation_timeout=_CALL_S)[unique].result(_CALL_S)
        return unique

    def produce(self, topic: str, records: Iterable[tuple[bytes | None, bytes | None]], **more: Any) -> None:
        """Produce (key, value) records, spread by Kafka's own default partitioner, and wait until all are written."""
        failed: list[KafkaError] = []

        def on_delivery(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                failed.append(error)

        producer = Producer(self.client(partitioner="murmur2_random", linger_ms=5, enable_idempotence=True, **more))
        for key, value in records:
            while True:
                try:
                    producer.produce(topic, value, key, on_delivery=on_delivery)
                except BufferError:
                    producer.poll(0.1)
                else:
                    break
        assert producer.flush(_CALL_S) == 0
        assert failed == []

    def ends(self, topic: str) -> dict[int, int]:
        """Return the end of each partition; open transactions and control records count."""
        deadline = time.monotonic() + _CALL_S
        while True:
            try:
                return self._ends(topic)
            except KafkaException:
                # A broker that has just started answers soon, and a client learns only by asking who leads now.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def _ends(self, topic: str) -> dict[int, int]:
        partitions = self.admin.list_topics(topic, timeout=_CALL_S).topics[topic].partitions
        wanted = {TopicPartition(topic, number): OffsetSpec.latest() for number in partitions}  # type: ignore[no-untyped-call]
        answers = self.admin.list_offsets(wanted, isolation_level=IsolationLevel.READ_UNCOMMITTED)
        return {partition.partition: future.result(_CALL_S).offset for partition, future in answers.items()}

    def read(self, topic: str, *, committed: bool = True, timeout_s: float = 60.0) -> list[Message]:
        """Read a topic to the end that it has now; each partition is in order.

        Raises:
            TimeoutError: The end did not come in time, for example behind an open transaction.
        """
        isolation = "read_committed" if committed else "read_uncommitted"
        consumer = Consumer(
            self.client(
                group_id="reader",
                isolation_level=isolation,
                enable_auto_commit=False,
                enable_partition_eof=True,
                auto_offset_reset="earliest",
            )
        )
        try:
            return _read(consumer, topic, self.ends(topic), time.monotonic() + timeout_s)
        finally:
            consumer.close()

    def start(self) -> None:
        """Start the broker again after `stop` or `kill`: same port, same data. Returns when it answers."""
        self._own().start()

    def stop(self) -> None:
        """Shut the broker down in order."""
        self._own().stop()

    def kill(self) -> None:
        """End the broker at once, as a crash would."""
        self._own().kill()

    def restart(self) -> None:
        """Stop the broker in order and start it again."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze the broker: connections stay open and nobody answers."""
        self._own().pause()

    def resume(self) -> None:
        """Thaw the broker."""
        self._own().resume()

    def _own(self) -> maven.MavenBroker:
        if self.process is None:
            pytest.skip("this broker is not the tests' own process, so it can be neither stopped nor paused")
        return self.process


def _read(consumer: Consumer, topic: str, ends: Mapping[int, int], deadline: float) -> list[Message]:
    unread = {number for number, end in ends.items() if end > 0}
    next_offsets = dict.fromkeys(unread, 0)
    messages: list[Message] = []
    consumer.assign([TopicPartition(topic, number, 0) for number in sorted(unread)])
    while unread:
        for message in consumer.consume(10_000, 0.2):
            error, number, offset = message.error(), message.partition() or 0, message.offset() or 0
            if error is None:
                # After a change of leader the client may lose its place and begin the partition again.
                if offset >= next_offsets[number]:
                    next_offsets[number] = offset + 1
                    messages.append(message)
            elif error.code() != KafkaError._PARTITION_EOF:
                if error.fatal() or not error.retriable():
                    raise BrokerError(f"{topic}: {error.str()}")
            elif offset >= ends[number]:
                unread.discard(number)  # A read_committed end before that is only the last stable offset.
        if unread and time.monotonic() > deadline:
            raise TimeoutError(f"{topic}: partitions {sorted(unread)} not read to their end in time")
    return messages


@dataclass(frozen=True)
class Source:
    """Where a broker comes from."""

    why: str
    """Which kind it is and why that one was taken: one line."""
    run: Callable[[Path], AbstractContextManager[Broker]]
    """Runs it for as long as a block lasts; its files lie in the directory."""


def find(tell: Callable[[str], None] = lambda _: None) -> Source:
    """Choose where the broker comes from, and fetch what it needs: a slow part that no test should be charged with.

    Args:
        tell: Gets a line when something slow begins.

    Raises:
        BrokerError: There is none to be had; the message says what to install.
    """
    given = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if given:
        return Source(f"{given}, from KAFKA_BOOTSTRAP_SERVERS", lambda _: _given(given))
    no_container = container.missing(tell)
    if not no_container:
        return Source(f"{container.IMAGE} in Docker, since KAFKA_BOOTSTRAP_SERVERS is not set", lambda _: _contained())
    no_maven = maven.missing()
    if no_maven:
        raise BrokerError(
            f"no Apache Kafka for this test (KAFKA_BOOTSTRAP_SERVERS is not set; {no_container}; {no_maven}): "
            "install a JRE and Maven (Debian: apt-get install default-jre-headless maven), or start Docker, "
            "or set KAFKA_BOOTSTRAP_SERVERS"
        )
    why = (
        f"Apache Kafka {maven.VERSION} from Maven Central, since KAFKA_BOOTSTRAP_SERVERS is not set and {no_container}"
    )
    if not maven.jars_directory().is_dir():
        tell(f"fetching Apache Kafka {maven.VERSION} from Maven Central into {maven.jars_directory()}")
    maven.fetch_jars()
    return Source(why, own_broker)


@contextmanager
def own_broker(
    directory: Path, config: Mapping[str, str] | None = None, client: Mapping[str, str | float] | None = None
) -> Iterator[Broker]:
    """Run a broker of one's own, from Maven Central, for as long as the block lasts."""
    with maven.maven_broker(directory, config, client) as process:
        yield Broker(process.client, process)


@contextmanager
def _given(bootstrap: str) -> Iterator[Broker]:
    wait_until_it_answers({"bootstrap.servers": bootstrap}, _GIVEN_S)
    yield Broker({"bootstrap.servers": bootstrap})


@contextmanager
def _contained() -> Iterator[Broker]:
    with container.container_broker() as address:
        yield Broker({"bootstrap.servers": address})
