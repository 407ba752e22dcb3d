"""The command `books` on a real Kafka: what the offsets of a group record, and what lies unread between topics."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition

from processor.simulator import Simulator, judge
from tests.broker.deployment import PARTITIONS, Deployment
from tests.broker.test_worker import SEED, START_MS, keyed
from tests.kafka.broker import Broker


@pytest.fixture
def deployment(broker: Broker, tmp_path: Path) -> Deployment:
    made = Deployment(broker, tmp_path)
    made.create_topics()
    return made


def told(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    told = json.loads(done.stdout)
    assert isinstance(told, dict)
    return told


def test_the_books_of_forwarded_traffic_balance_and_say_what_the_oracle_says(deployment: Deployment) -> None:
    oracle = deployment.produce(Simulator(SEED, events=5_000, callbacks=0.5, start_ms=START_MS))
    with deployment.worker() as worker:
        deployment.wait_for_events(oracle.totals.total() // 2)
        at_it = deployment.command("books")
        deployment.wait_for_events(oracle.totals.total())
        assert worker.stop() == 0
    done = deployment.command("books", "--json")
    said = told(done)

    assert at_it.returncode == 0, at_it.stdout
    assert done.returncode == 0, done.stdout
    total = said["total"]
    assert total["forwarded"] == said["forwarding"]["taken"] > 0
    assert total["events"] - total["forwarded"] == oracle.totals.total()
    # Which of the others an event becomes depends on the order, and forwarding changes it.
    assert total["dead_lettered"] == oracle.by_outcome["dead_lettered"] > 0
    assert total["ignored"] == oracle.by_outcome["ignored"] > 0
    assert "balanced: " in deployment.command("books").stdout


def test_what_lies_unread_in_the_rekeyed_topic_is_counted(deployment: Deployment, broker: Broker) -> None:
    oracle = deployment.produce(Simulator(SEED, events=3_000, callbacks=0.5, start_ms=START_MS))
    with deployment.worker() as worker:
        deployment.wait_for_events(oracle.totals.total())
        assert worker.stop() == 0
    rekeyed = deployment.topics["rekeyed"]
    (entry, *_) = [tp for tp in deployment.committed() if tp.topic == rekeyed and tp.offset > 0]
    broker.produce(rekeyed, [(b"key", b"one more than was forwarded")])

    done = deployment.command("books", "--json")

    assert entry.offset > 0
    assert done.returncode == 1
    assert told(done)["forwarding"]["unread"] == 1
    assert not told(done)["forwarding"]["balanced"]


def test_an_offset_that_a_tool_has_set_is_said_plainly(deployment: Deployment, broker: Broker) -> None:
    offset = TopicPartition(deployment.topics["raw"], 0, 0)
    request = [ConsumerGroupTopicPartitions(deployment.name, [offset])]
    (future,) = broker.admin.alter_consumer_group_offsets(request).values()
    future.result(30)

    done = deployment.command("books")

    assert done.returncode == 1
    assert f"{deployment.topics['raw']}[0]: offset 0 has no books" in done.stdout


def test_records_read_again_after_a_tool_has_set_the_offsets_back_change_nothing(
    deployment: Deployment, broker: Broker
) -> None:
    oracle = deployment.produce(keyed(1_000))
    with deployment.worker() as worker:
        deployment.wait_for_events(oracle.totals.total())
        assert worker.stop() == 0
    offsets = [TopicPartition(deployment.topics["raw"], number, 0) for number in range(PARTITIONS)]
    request = [ConsumerGroupTopicPartitions(deployment.name, offsets)]
    for future in broker.admin.alter_consumer_group_offsets(request).values():
        future.result(30)

    with deployment.worker() as worker:
        deployment.wait_for_events(oracle.totals.total())
        assert worker.stop() == 0

    verdict = judge(oracle, deployment.changes(), exact=True)
    assert verdict.equal, f"seed {SEED}: {verdict.summary()}"
    assert deployment.booked()["published"] == 0
    assert len(deployment.dead_letters()) == 2 * oracle.by_outcome["dead_lettered"]


def test_a_group_that_is_not_there_gives_one_line(deployment: Deployment) -> None:
    done = deployment.command("books")

    assert done.returncode == 69
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: group {deployment.name} has no committed offsets")
