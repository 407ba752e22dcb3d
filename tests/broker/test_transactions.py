"""Transactions on a real Kafka: what is aborted leaves nothing, goes back whole and comes again."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from processor.assembly import worker
from processor.codec import encode_raw_events
from processor.errors import ExitCode, TransientError
from processor.outbox import Outbox
from processor.publisher import Publisher
from processor.run import make_plan
from processor.settings import load_settings
from processor.simulator import Simulator, judge
from processor.telemetry import Telemetry
from processor.testing import raw_event
from tests.broker.deployment import Deployment, wait_for
from tests.broker.test_worker import SEED, START_MS, assert_exact, keyed
from tests.kafka.broker import Broker


class AbortingPublisher(Publisher):
    """Writes everything of every other batch to the brokers, flushes it, and then aborts."""

    def __init__(self, publisher: Publisher) -> None:
        self.__dict__.update(publisher.__dict__)
        self._batches = 0
        self.aborted = 0

    def publish(self, outbox: Outbox, staged: Any, offsets: Sequence[TopicPartition], group_metadata: object) -> Any:
        self._batches += 1
        if self._batches % 2 == 0:
            return super().publish(outbox, staged, offsets, group_metadata)
        producer = self._producer
        assert producer is not None
        producer.begin_transaction()
        self._produce_batches(producer, outbox, staged)
        self._produce_with_headers(producer, outbox)
        producer.flush(30)
        producer.send_offsets_to_transaction(list(offsets), group_metadata, 30)
        producer.abort_transaction(30)
        self.aborted += 1
        raise TransientError("aborted on purpose")


def test_an_aborted_batch_goes_back_and_leaves_nothing(broker: Broker, tmp_path: Path) -> None:
    deployment = Deployment(broker, tmp_path, BATCH__RECORDS_MAX=2_000, ORDINAL=0)
    deployment.create_topics()
    oracle = deployment.produce(keyed(12_000, poison=0.02))
    environ = {name: value for name, value in deployment.environment().items() if name.startswith("STATUS_PROCESSOR_")}
    telemetry = Telemetry("test")

    with worker(make_plan(load_settings(None, {}, environ), telemetry)) as started:
        aborting = started.publisher = AbortingPublisher(started.publisher)
        started.subscribe([deployment.topics["raw"]])
        deadline = time.monotonic() + 90
        while telemetry.outcomes().total() < oracle.totals.total():
            started.run_once()
            assert time.monotonic() < deadline

    assert aborting.aborted >= 6
    assert_exact(deployment, oracle)
    everything = broker.read(deployment.topics["changes"], committed=False)
    assert len(everything) > len(deployment.changes())


def test_records_that_the_broker_refuses_are_found_and_dead_lettered(broker: Broker, tmp_path: Path) -> None:
    deployment = Deployment(broker, tmp_path)
    deployment.create_topics()
    _set_limit(broker, deployment.topics["changes"], 3_000)
    records = [record for record in keyed(400, poison=0.0) if len(record.events) == 1]
    oracle = deployment.produce(records)
    large = raw_event("smpp", "7", "UNDELIV", channel="SMS", error_text="x" * 4_000)
    broker.produce(deployment.topics["raw"], [(b"7", encode_raw_events([large])[0])])

    with deployment.worker() as running:
        deployment.wait_for_events(oracle.totals.total() + 1)
        results = {row["result"]: count for row, count in running.metrics()["status_processor_transactions_total"]}
        assert running.stop() == 0

    assert results["aborted_refused"] >= 1
    assert judge(oracle, deployment.changes(), exact=True).equal
    (letter,) = deployment.dead_letters()
    headers = dict(letter.headers() or [])
    assert headers["status.errors.reason"] == b"unprocessable"
    assert headers["status.errors.stage"] == b"publish"
    assert letter.key() == b"7"


def _set_limit(broker: Broker, topic: str, bytes_max: int) -> None:
    entry = ConfigEntry("max.message.bytes", str(bytes_max), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    for future in broker.admin.incremental_alter_configs([resource]).values():
        future.result(30)


def test_a_worker_that_wakes_up_as_a_zombie_doubles_nothing(broker: Broker, tmp_path: Path) -> None:
    deployment = Deployment(broker, tmp_path, BATCH__RECORDS_MAX=300)
    deployment.create_topics()
    records = list(Simulator(SEED, events=12_000, callbacks=0.0, start_ms=START_MS))
    oracle = deployment.produce(records)

    with deployment.worker(0) as first:
        deployment.wait_for_events(1_000)
        first.signal(signal.SIGSTOP)
        with deployment.worker(1) as second:
            deployment.wait_for_events(oracle.totals.total())
            first.signal(signal.SIGCONT)

            # Frozen inside a transaction for longer than that may last, it is fenced: a restart's business.
            wait_for(
                "the first to be in the group again, or to end",
                lambda: first.log.count("partitions assigned") >= 2 or first.exit_code is not None,
            )
            code = first.stop() if first.exit_code is None else first.exit_code
            assert code in {ExitCode.OK, ExitCode.UNKNOWN_OUTCOME}, first.log[-2000:]
            assert "Traceback" not in first.log
            assert second.stop() == 0

    assert_exact(deployment, oracle)


def test_offsets_of_a_consumer_in_no_group_are_refused(broker: Broker, tmp_path: Path) -> None:
    """The broker would take them unfenced, from a zombie too."""
    deployment = Deployment(broker, tmp_path, ORDINAL=0)
    deployment.create_topics()
    environ = {name: value for name, value in deployment.environment().items() if name.startswith("STATUS_PROCESSOR_")}
    plan = make_plan(load_settings(None, {}, environ), Telemetry("test"))
    with worker(plan) as started, pytest.raises(TransientError, match="in no group"):
        started._member()
