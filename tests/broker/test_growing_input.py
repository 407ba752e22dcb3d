"""Raw input that grows under running workers: a topic gets partitions, an expression begins to match another topic."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import NewPartitions, NewTopic

from processor.simulator import Oracle, SimulatedRecord, Simulator, judge
from tests.broker.deployment import PARTITIONS, Deployment, wait_for
from tests.kafka.broker import Broker

SEED = 20_261_125
START_MS = int(time.time() * 1000) - 24 * 3600 * 1000


def traffic(seed: int, events: int) -> list[SimulatedRecord]:
    return list(Simulator(seed, events=events, poison=0.01, start_ms=START_MS))


def produce(broker: Broker, oracle: Oracle, topic: str, records: list[SimulatedRecord], partition: int = -1) -> None:
    producer = Producer(broker.client(partitioner="murmur2_random", linger_ms=20, enable_idempotence=True))
    for record in records:
        producer.produce(topic, record.value, record.key, partition, timestamp=record.timestamp_ms)
        for event in record.events:
            oracle.feed(record.timestamp_ms, event)
    assert producer.flush(60) == 0


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_from_the_first_start_on_nothing_is_stepped_over_however_the_input_grows(
    broker: Broker, tmp_path: Path, protocol: str
) -> None:
    deployment = Deployment(
        broker,
        tmp_path,
        GROUP_PROTOCOL=protocol,
        START_OFFSET="latest",
        KAFKA__TOPIC_METADATA_REFRESH_INTERVAL_MS=1_000,
    )
    first, second = f"{deployment.name}.in.first", f"{deployment.name}.in.second"
    deployment.settings["TOPICS__RAW"] = rf"^{deployment.name}\.in\."
    deployment.create_topics()
    create(broker, first)
    produce(broker, Oracle(), first, traffic(SEED, 300))
    with deployment.worker() as worker:
        wait_for("the beginning to be committed", lambda: len(deployment.committed()) == 2 * PARTITIONS)
        assert worker.stop() == 0
    oracle = Oracle()
    produce(broker, oracle, first, traffic(SEED + 1, 1_000))  # While nobody is there.

    with deployment.worker(0) as zero, deployment.worker(1) as one:
        deployment.wait_for_events(oracle.totals.total())
        broker.admin.create_partitions([NewPartitions(first, PARTITIONS + 1)])[first].result(30)
        wait_for("the partition", lambda: len(broker.admin.list_topics(first, timeout=5).topics[first].partitions) == 7)
        produce(broker, oracle, first, traffic(SEED + 2, 300), PARTITIONS)  # Before any worker has heard of it.
        deployment.wait_for_events(oracle.totals.total())
        create(broker, second)
        wait_for("the new topic to be begun with", lambda: len(deployment.committed()) == 3 * PARTITIONS + 1)
        produce(broker, oracle, second, traffic(SEED + 3, 1_000))
        produce(broker, oracle, first, traffic(SEED + 4, 1_000))
        deployment.wait_for_events(oracle.totals.total())
        assert [zero.stop(), one.stop()] == [0, 0]

    verdict = judge(oracle, deployment.changes())
    assert verdict.equal, f"seed {SEED}: {verdict.summary()}"
    assert deployment.booked()["dead_lettered"] == oracle.by_outcome["dead_lettered"]


def create(broker: Broker, topic: str) -> None:
    broker.admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result(30)
