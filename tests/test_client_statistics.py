"""What librdkafka says of its clients becomes rows that are few, rise only, and name no host."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from processor.changelog import ChangelogReader
from processor.client_statistics import BROKERS_MAX, ClientStatistics
from processor.codec import ChangeEncoder
from processor.metric_table import CLIENT_ERRORS
from processor.publisher import OutputTopics, Publisher

HOST = "kafka.secret.example"
Rows = dict[tuple[str, ...], float]


def connection(node: int, *, rtt_us: int = 0, samples: int = 0, **facts: Any) -> dict[str, Any]:
    """Say what librdkafka says of one connection."""
    window = {"sum": rtt_us * samples, "cnt": samples, "p50": rtt_us, "p99": rtt_us * 2}
    return {"nodeid": node, "source": "learned", "state": "UP", "rtt": window, "throttle": {"sum": 0}, **facts}


def said(*connections: dict[str, Any], name: str = "rdkafka#producer-1", **facts: Any) -> str:
    """Say what librdkafka says of a client, in its order."""
    brokers = {f"{HOST}:9092/{facts['nodeid']}/{at}": facts for at, facts in enumerate(connections)}
    head = {"name": name, "type": "producer", "msg_cnt": 0, "msg_size": 0, "replyq": 0, **facts}
    topics = {"raw": {"partitions": {"0": {"fetchq_size": 0}, "1": {"fetchq_size": 0}}}}
    return json.dumps({**head, "brokers": brokers, "topics": topics, "tx": 0})


def rows(statistics: ClientStatistics, name: str) -> Rows:
    """Scrape one metric: its values by its labels, in the order of their names."""
    registry = CollectorRegistry()
    registry.register(statistics)
    text = generate_latest(registry).decode()
    assert HOST not in text
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == f"status_processor_{name}"
    }


def errors(statistics: ClientStatistics) -> dict[str, float]:
    """Return the producer's errors that are not 0, by kind."""
    return {kind: count for (_, kind), count in rows(statistics, "client_errors_total").items() if count}


def test_errors_of_all_connections_are_added_up_by_kind() -> None:
    statistics = ClientStatistics()

    statistics.callback("producer")(said(connection(1, txerrs=2, req_timeouts=1), connection(2, txerrs=3, rxerrs=4)))

    assert errors(statistics) == {"send": 5, "request_timeout": 1, "receive": 4}
    assert {kind for _, kind in rows(statistics, "client_errors_total")} == set(CLIENT_ERRORS)


def test_counters_only_rise_when_a_producer_is_made_anew() -> None:
    statistics = ClientStatistics()
    take = statistics.callback("producer")

    take(said(connection(1, disconnects=3)))
    take(said(connection(1, disconnects=5)))
    take(said(connection(1, disconnects=1), name="rdkafka#producer-2"))

    assert errors(statistics) == {"disconnect": 6}


def test_a_client_that_was_given_up_still_counts_and_shows_nothing() -> None:
    statistics = ClientStatistics()
    take = statistics.callback("producer")

    take(said(connection(1, txerrs=1), msg_cnt=70))
    take(said(connection(1), name="rdkafka#producer-2", msg_cnt=5))
    take(said(connection(1, txerrs=3), msg_cnt=90))

    assert errors(statistics) == {"send": 3}
    assert rows(statistics, "client_queue_messages") == {("producer",): 5}


def test_a_connection_that_comes_back_begins_at_0_and_loses_no_count() -> None:
    statistics = ClientStatistics()
    take = statistics.callback("producer")

    take(said(connection(1, txerrs=4)))
    take(said())
    take(said(connection(1, txerrs=1)))

    assert errors(statistics) == {"send": 5}


def test_round_trips_are_told_by_node_and_added_up() -> None:
    statistics = ClientStatistics()
    take = statistics.callback("producer")

    take(said(connection(1, rtt_us=2000, samples=10), connection(-1, rtt_us=9, samples=9, source="configured")))
    take(said(connection(1, rtt_us=4000, samples=5), connection(-1, rtt_us=1000, samples=2, source="logical")))

    assert rows(statistics, "client_broker_rtt_seconds_count") == {
        ("1", "producer"): 15,
        ("coordinator", "producer"): 2,
    }
    assert rows(statistics, "client_broker_rtt_seconds_sum") == pytest.approx(
        {("1", "producer"): 0.04, ("coordinator", "producer"): 0.002}
    )
    assert rows(statistics, "client_broker_rtt_seconds")["1", "producer", "0.99"] == pytest.approx(0.008)


def test_an_interval_without_a_round_trip_has_no_quantiles() -> None:
    statistics = ClientStatistics()
    take = statistics.callback("producer")

    take(said(connection(1, rtt_us=2000, samples=10)))
    take(said(connection(1)))

    assert rows(statistics, "client_broker_rtt_seconds") == {}
    assert rows(statistics, "client_broker_rtt_seconds_count") == {("1", "producer"): 10}


def test_the_queue_that_all_partitions_of_a_consumer_share_is_counted_once() -> None:
    statistics = ClientStatistics()
    text = said(connection(1, waitresp_cnt=1), name="rdkafka#consumer-1", type="consumer", replyq=700)

    statistics.callback("consumer")(text.replace('"fetchq_size": 0', '"fetchq_size": 9000'))

    assert rows(statistics, "client_queue_messages") == {("consumer",): 700}
    assert rows(statistics, "client_queue_bytes") == {("consumer",): 9000}
    assert rows(statistics, "client_requests_pending") == {("consumer",): 1}
    assert rows(statistics, "client_brokers_connected") == {("consumer",): 1}


def test_a_cluster_of_any_size_makes_no_more_than_so_many_rows() -> None:
    statistics = ClientStatistics()

    statistics.callback("producer")(said(*(connection(node, rtt_us=1, samples=1) for node in range(5000))))

    counted = rows(statistics, "client_broker_rtt_seconds_count")
    assert len(counted) == BROKERS_MAX + 1
    assert sum(counted.values()) == 5000


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"brokers":', '{"name": 1, "brokers": 7}', "[" * 100_000])
def test_a_text_that_is_none_raises_nothing(text: str) -> None:
    ClientStatistics().callback("producer")(text)


def wait_for(condition: Callable[[], bool], work: Callable[[], object]) -> None:
    """Let clients work until something holds."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        work()
        time.sleep(0.01)


def test_what_librdkafka_really_says_is_understood() -> None:
    statistics = ClientStatistics()
    quick: dict[str, Any] = {"statistics.interval.ms": 100, "log_level": 0}
    told = statistics.callback("producer")
    producer = Producer({**quick, "bootstrap.servers": "mock", "test.mock.num.brokers": 2, "stats_cb": told})
    brokers = producer.list_topics(timeout=10).brokers.values()
    for partition in range(4):
        producer.produce("raw", b"x" * 100, partition=partition)
    producer.flush(10)
    consumer = Consumer(
        {
            **quick,
            "bootstrap.servers": ",".join(f"{broker.host}:{broker.port}" for broker in brokers),
            "group.id": "group",
            "auto.offset.reset": "earliest",
            "stats_cb": statistics.callback("consumer"),
        }
    )
    consumer.assign([TopicPartition("raw", partition, 0) for partition in range(4)])

    def brokers_seen() -> set[tuple[str, ...]]:
        return set(rows(statistics, "client_broker_rtt_seconds_count"))

    def clients_seen() -> set[str]:
        return {client for broker, client in brokers_seen() if broker in {"1", "2"}}

    wait_for(lambda: clients_seen() == {"consumer", "producer"}, lambda: (producer.poll(0), consumer.consume(1, 0.01)))
    consumer.close()

    assert {broker for broker, _ in brokers_seen()} <= {"1", "2", "coordinator"}
    assert all(rows(statistics, "client_brokers_connected").values())
    assert set(rows(statistics, "client_brokers_connected")) == {("consumer",), ("producer",)}


def test_a_publisher_with_nothing_to_publish_hands_over_what_its_client_says() -> None:
    told: list[str] = []
    publisher = Publisher(
        {
            "bootstrap.servers": "mock",
            "test.mock.num.brokers": 1,
            "transactional.id": "app-group-0",
            "statistics.interval.ms": 100,
            "stats_cb": told.append,
        },
        OutputTopics("changes", "dead-letter", "state", "rekeyed"),
        ChangeEncoder(None),
        budget_s=5.0,
    )
    publisher.start()
    told.clear()

    wait_for(lambda: bool(told), publisher.serve)
    publisher.close()


def test_a_changelog_reader_with_nothing_to_read_serves_its_client() -> None:
    polls: list[tuple[int, float]] = []
    client: Any = SimpleNamespace(
        incremental_assign=lambda _: None,
        incremental_unassign=lambda _: None,
        consume=lambda records, timeout: polls.append((records, timeout)),
    )
    store: Any = SimpleNamespace(identity=SimpleNamespace(partition=0), offset=0)
    reader = ChangelogReader({}, "state", lambda *_: store, make_consumer=lambda _: client)
    reader.serve()
    reader.begin(store, 10)
    reader.serve()
    assert polls == []

    reader.cancel(0)
    reader.serve()

    assert polls == [(1, 0.0)]
