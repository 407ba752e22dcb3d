"""Single requests lost, late, cut or slowed between the real client and a real broker."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from confluent_kafka import Consumer, IsolationLevel, Producer, TopicPartition
from confluent_kafka.admin import OffsetSpec

from processor.codec import ChangeEncoder
from processor.outbox import Outbox
from processor.publisher import OutputTopics, Publisher
from processor.simulator import Oracle
from tests.broker.deployment import Deployment, wait_for
from tests.broker.test_worker import assert_exact, keyed
from tests.conftest import MakeBroker
from tests.kafka.broker import Broker
from tests.kafka.proxy import Api, Fault, Proxy, every, first

TRANSACTIONAL = (
    Api.PRODUCE,
    Api.INIT_PRODUCER_ID,
    Api.ADD_PARTITIONS_TO_TXN,
    Api.ADD_OFFSETS_TO_TXN,
    Api.END_TXN,
    Api.TXN_OFFSET_COMMIT,
)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    proxy = Proxy()
    try:
        yield proxy
    finally:
        proxy.close()


@pytest.fixture
def proxied(proxy: Proxy, make_broker: MakeBroker) -> Broker:
    """A broker whose clients may come through the proxy, or not."""
    return make_broker(proxy.broker_config())


def producer_config(broker: Broker, proxy: Proxy) -> dict[str, object]:
    config = broker.client(transactional_id="app-0", transaction_timeout_ms=20_000, linger_ms=5)
    return {**config, "bootstrap.servers": proxy.bootstrap}


def values(broker: Broker, topic: str) -> list[bytes | None]:
    return [message.value() for message in broker.read(topic)]


def test_a_bare_producer_commits_its_next_transaction_by_the_end_of_the_one_before(
    proxy: Proxy, proxied: Broker
) -> None:
    """What the publisher guards against: should this fail one day, librdkafka has mended it."""
    topic = proxied.topic(1)
    producer = Producer({**producer_config(proxied, proxy), "log_level": 0})
    producer.init_transactions(30)
    proxy.judge = first(Api.END_TXN, Fault.LATE)
    for value in (b"first", b"second"):
        producer.begin_transaction()
        producer.produce(topic, value)
        assert producer.flush(30) == 0
        if value == b"first":
            producer.commit_transaction(30)

    assert proxy.held == 1
    proxy.release()

    wait_for("a record of an open transaction", lambda: values(proxied, topic) == [b"first", b"second"])


def test_the_publisher_is_not_harmed_by_the_end_of_the_transaction_before(proxy: Proxy, proxied: Broker) -> None:
    state = proxied.topic(1)
    topics = OutputTopics("changes", "dead-letter", state, "rekeyed")
    publisher = Publisher(producer_config(proxied, proxy), topics, ChangeEncoder(), budget_s=15)
    metadata = Consumer(proxied.client(group_id="group")).consumer_group_metadata()
    publisher.start()
    proxy.judge = first(Api.END_TXN, Fault.LATE)
    publisher.publish(Outbox(), {0: [(b"key", b"first")]}, [], metadata)
    assert proxy.held == 1
    assert values(proxied, state) == [b"first"]

    proxy.judge = first(Api.END_TXN, Fault.WAIT)
    with ThreadPoolExecutor(1) as beside:
        publishing = beside.submit(publisher.publish, Outbox(), {0: [(b"key", b"second")]}, [], metadata)
        wait_for("the second transaction to be all there but for its end", lambda: proxy.held == 2)
        proxy.release(1)
        seen_before_the_end = proxied.ends(state), stable_end(proxied, state)
        proxy.release()
        publishing.result(60)
    publisher.close()

    # first, its marker, second: the log has it, and nobody may read it.
    assert seen_before_the_end == ({0: 3}, 2)
    assert values(proxied, state) == [b"first", b"second"]
    assert publisher.producers_started == 2


def stable_end(broker: Broker, topic: str) -> int:
    """Return the last stable offset of partition 0."""
    at = TopicPartition(topic, 0)
    wanted = {at: OffsetSpec.latest()}  # type: ignore[no-untyped-call]
    answers = broker.admin.list_offsets(wanted, isolation_level=IsolationLevel.READ_COMMITTED)
    return int(answers[at].result(30).offset)


@pytest.fixture
def deployment(proxied: Broker, tmp_path: Path) -> Deployment:
    deployment = Deployment(proxied, tmp_path, BATCH__RECORDS_MAX=100, TRANSACTION__TIMEOUT_MS=20_000)
    deployment.create_topics()
    return deployment


def processed_through(proxy: Proxy, deployment: Deployment, oracle: Oracle) -> None:
    """Run a worker, which sees nothing but the proxy, until all is processed, and hold the outcome."""
    deployment.settings["KAFKA__BOOTSTRAP_SERVERS"] = proxy.bootstrap
    with deployment.worker() as worker:
        deployment.wait_for_events(oracle.totals.total())
        proxy.judge = lambda _, __: None
        assert worker.stop() == 0
    assert_exact(deployment, oracle)


def test_requests_that_are_lost_at_every_step_of_a_transaction_change_nothing(
    proxy: Proxy, deployment: Deployment
) -> None:
    oracle = deployment.produce(keyed(2_000))
    faults = (Fault.CUT, Fault.LOSE_ANSWER, Fault.LATE)
    proxy.judge = every(4, *faults, apis=TRANSACTIONAL)

    processed_through(proxy, deployment, oracle)

    assert set(proxy.faults) == {(api, fault) for api in TRANSACTIONAL for fault in faults}


def test_answers_that_come_a_few_bytes_at_a_time_change_nothing(proxy: Proxy, deployment: Deployment) -> None:
    oracle = deployment.produce(keyed(500))
    proxy.chunk = 7

    processed_through(proxy, deployment, oracle)


def test_a_link_that_is_dead_in_one_direction_changes_nothing(proxy: Proxy, deployment: Deployment) -> None:
    deployment.settings["BATCH__RECORDS_MAX"] = 20
    oracle = deployment.produce(keyed(4_000))
    deployment.settings["KAFKA__BOOTSTRAP_SERVERS"] = proxy.bootstrap
    with deployment.worker() as worker:
        deployment.wait_for_events(200)
        with proxy.answers_stopped():
            wait_for("the worker to tell", lambda: "waiting for the brokers" in worker.log)
        deployment.wait_for_events(oracle.totals.total())
        assert worker.stop() == 0

    assert_exact(deployment, oracle)
