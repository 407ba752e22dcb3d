"""Any raw topics will do: of other partition counts, without keys, by other partitioners, named by an expression."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from confluent_kafka import Producer
from confluent_kafka.admin import NewTopic

from processor.simulator import Oracle, SimulatedRecord, Simulator, judge
from tests.broker.deployment import Deployment, wait_for
from tests.kafka.broker import Broker

SEED = 20_261_124
EVENTS = 200_000
RAW = (
    # Partitions, and librdkafka's partitioner: only by chance does one of these meet the worker's own spreading.
    (1, "random"),
    (2, "consistent"),
    (5, "fnv1a"),
    (6, "random"),
    (13, "murmur2"),
)
START_MS = int(time.time() * 1000) - 5 * 24 * 3600 * 1000


def test_five_raw_topics_without_keys_and_two_workers_equal_the_oracle(broker: Broker, tmp_path: Path) -> None:
    deployment = Deployment(broker, tmp_path)
    topics = [f"{deployment.name}.raw.{number}" for number in range(len(RAW))]
    create(broker, topics)
    deployment.settings["TOPICS__RAW"] = rf"^{deployment.name}\.raw\.[0-4]$"
    deployment.create_topics()
    oracle = Oracle()
    shares = spread(Simulator(SEED, events=EVENTS, poison=0.005, start_ms=START_MS), oracle)
    for topic, (_, partitioner), share in zip(topics, RAW, shares, strict=True):
        produce(broker, topic, partitioner, share)

    with ExitStack() as workers:
        running = [workers.enter_context(deployment.worker(ordinal)) for ordinal in (0, 1)]
        deployment.wait_for_events(oracle.totals.total(), timeout_s=240)
        wait_for("every forwarded event to be taken", lambda: all_taken(deployment))
        processed = [records(worker.metrics()) for worker in running]
        assert [worker.stop() for worker in running] == [0, 0]

    verdict = judge(oracle, deployment.changes())
    assert verdict.equal, f"seed {SEED}: {verdict.summary()}"
    assert oracle.totals.total() >= EVENTS
    assert all(processed), "both workers had a share"
    booked = deployment.booked()
    assert booked["forwarded"] > EVENTS / 2
    assert booked["dead_lettered"] == len(deployment.dead_letters()) == oracle.by_outcome["dead_lettered"]
    assert {topic for topic, _ in deployment.books()} == {*topics, deployment.topics["rekeyed"]}


def create(broker: Broker, topics: list[str]) -> None:
    """Make the raw topics, each with its own number of partitions."""
    new = [NewTopic(topic, partitions, 1) for topic, (partitions, _) in zip(topics, RAW, strict=True)]
    for made in broker.admin.create_topics(new).values():
        made.result(30)


def spread(simulator: Iterable[SimulatedRecord], oracle: Oracle) -> list[list[SimulatedRecord]]:
    """Deal records out to the topics at random, so that one message's events lie in several."""
    draw = random.Random(SEED)
    shares: list[list[SimulatedRecord]] = [[] for _ in RAW]
    for record in simulator:
        shares[draw.randrange(len(RAW))].append(record)
        for event in record.events:
            oracle.feed(record.timestamp_ms, event)
    return shares


def produce(broker: Broker, topic: str, partitioner: str, share: list[SimulatedRecord]) -> None:
    """Send records without a key."""
    failures: list[object] = []

    def on_delivery(error: object, _: object) -> None:
        if error is not None:
            failures.append(error)

    producer = Producer(broker.client(partitioner=partitioner, linger_ms=20, enable_idempotence=True))
    for record in share:
        while True:
            try:
                producer.produce(topic, record.value, timestamp=record.timestamp_ms, on_delivery=on_delivery)
            except BufferError:
                producer.poll(0.1)
            else:
                break
    assert producer.flush(60) == 0
    assert not failures


def all_taken(deployment: Deployment) -> bool:
    """Tell whether the owners have taken everything that was forwarded to them."""
    books = deployment.books()
    rekeyed = deployment.topics["rekeyed"]
    taken = sum(entry.events for (topic, _), entry in books.items() if topic == rekeyed)
    return taken == sum(entry.outcomes.get("forwarded", 0) for entry in books.values())


def records(samples: dict[str, list[tuple[dict[str, str], float]]]) -> float:
    """Return how many records a worker has committed."""
    return sum(count for _, count in samples["status_processor_records_total"])
