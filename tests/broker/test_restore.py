"""A restore on a real Kafka ends, at the end, with exactly what was committed, whatever the changelog is made of."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer, TopicPartition

from processor.changelog import ChangelogReader, watermarks
from processor.settings import changelog_config, load_settings
from processor.store import StatePartition, StoreIdentity
from processor.stores import Stores
from tests.broker.deployment import wait_for
from tests.kafka.broker import Broker

_WITHIN_S = 30.0
Content = dict[bytes, bytes]


class Changelog:
    """A changelog of one partition, and a reader for it."""

    def __init__(self, broker: Broker, directory: Path) -> None:
        self.broker = broker
        self.topic = broker.topic(config={"cleanup.policy": "compact,delete", "segment.ms": "500"})
        self.stores = Stores(directory, StoreIdentity("cluster", self.topic, "id", -1, 1), 10)
        settings = load_settings(None, {"kafka.bootstrap.servers": broker.bootstrap}, {})
        self.reader = ChangelogReader(changelog_config(settings), self.topic, self.stores.rebuild)

    def transaction(self, content: dict[bytes, bytes | None], *, commit: bool = True, end: bool = True) -> Producer:
        """Write some entries in one transaction; return its producer, which matters where it was left open."""
        producer = Producer(self.broker.client(transactional_id=f"{self.topic}-{time.monotonic_ns()}"))
        producer.init_transactions(_WITHIN_S)
        producer.begin_transaction()
        for key, value in content.items():
            producer.produce(self.topic, value, key, 0)
        producer.flush(_WITHIN_S)
        if end:
            producer.commit_transaction(_WITHIN_S) if commit else producer.abort_transaction(_WITHIN_S)
        return producer

    @property
    def end(self) -> int:
        """The high watermark, open transactions included."""
        return watermarks(self.broker.admin, self.topic, [0])[0].high

    def begin(self) -> StatePartition:
        """Begin to restore up to the present end."""
        store = self.stores.open(0)
        self.reader.begin(store, self.end)
        return store

    def finish(self) -> None:
        """Turn until the restore is complete."""
        wait_for("the restore to be complete", lambda: self.reader.step(0.1) == [0], _WITHIN_S)

    def close(self) -> None:
        """Close the clients and the stores."""
        self.reader.close()
        self.stores.close_all_but()


@pytest.fixture
def changelog(broker: Broker, tmp_path: Path) -> Iterator[Changelog]:
    made = Changelog(broker, tmp_path)
    yield made
    made.close()


def content(store: StatePartition) -> Content:
    """Return what a store holds, without the times."""
    found: Content = {}
    for key, value in store._db.items():
        assert isinstance(key, bytes)
        assert isinstance(value, bytes)
        found[key] = value[4:]
    del found[b"\0meta"]
    return found


def entries(count: int, value: bytes = b"v") -> dict[bytes, bytes | None]:
    return {b"k%d" % number: value for number in range(count)}


def nothing(_: Changelog) -> Content:
    return {}


def one_record(changelog: Changelog) -> Content:
    changelog.transaction({b"k": b"1"})
    return {b"k": b"1"}


def only_aborted(changelog: Changelog) -> Content:
    changelog.transaction(entries(5), commit=False)
    return {}


def only_a_marker(changelog: Changelog) -> Content:
    changelog.transaction(entries(5))
    deleted = changelog.broker.admin.delete_records([TopicPartition(changelog.topic, 0, changelog.end - 1)])
    for future in deleted.values():
        future.result(_WITHIN_S)
    return {}


def aborted_at_the_end(changelog: Changelog) -> Content:
    changelog.transaction({b"k": b"1"})
    changelog.transaction({b"k": b"2"}, commit=False)
    return {b"k": b"1"}


def tombstones(changelog: Changelog) -> Content:
    changelog.transaction({b"a": b"1", b"b": b"1"})
    changelog.transaction({b"a": None})
    return {b"b": b"1"}


def overwritten(changelog: Changelog) -> Content:
    for number in range(3):
        changelog.transaction(entries(200, b"%d" % number))
    return {b"k%d" % number: b"2" for number in range(200)}


@pytest.mark.parametrize(
    "write", [nothing, one_record, only_aborted, only_a_marker, aborted_at_the_end, tombstones, overwritten]
)
def test_a_restore_ends_with_exactly_what_was_committed(
    changelog: Changelog, write: Callable[[Changelog], Content]
) -> None:
    expected = write(changelog)
    store = changelog.begin()

    changelog.finish()

    assert content(store) == expected
    assert store.offset >= changelog.end


def test_what_is_committed_while_a_foreign_transaction_is_open_is_waited_for(changelog: Changelog) -> None:
    """The last stable offset lies before it: stopping there would miss what is committed behind."""
    changelog.transaction({b"a": b"1"})
    hanging = changelog.transaction({b"x": b"1"}, end=False)
    changelog.transaction({b"b": b"2"})
    store = changelog.begin()
    for _ in range(10):
        assert changelog.reader.step(0.1) == []

    hanging.abort_transaction(_WITHIN_S)
    changelog.finish()

    assert content(store) == {b"a": b"1", b"b": b"2"}


def test_a_restore_that_was_cancelled_goes_on_where_it_was(changelog: Changelog) -> None:
    for number in range(4):
        changelog.transaction(entries(2_000, b"%d" % number))
    changelog.begin()
    changelog.reader.step(5.0, 500)
    changelog.reader.cancel(0)
    assert changelog.reader.step(0.1) == []
    read = changelog.reader.records_restored

    store = changelog.begin()
    changelog.finish()

    assert read > 0
    assert content(store) == {b"k%d" % number: b"3" for number in range(2_000)}
    assert changelog.reader.records_restored == 8_000


def test_a_store_that_comes_back_reads_only_the_tail(changelog: Changelog) -> None:
    changelog.transaction(entries(1_000))
    changelog.begin()
    changelog.finish()
    read = changelog.reader.records_restored
    changelog.stores.close_all_but()
    changelog.transaction({b"k0": b"new"})

    store = changelog.begin()
    changelog.finish()

    assert changelog.reader.records_restored - read == 1
    assert content(store)[b"k0"] == b"new"


def test_a_standby_follows_without_end_and_a_take_over_finds_it_there(changelog: Changelog) -> None:
    changelog.transaction(entries(100))
    store = changelog.stores.open(0)
    changelog.reader.begin(store, None)
    wait_for("the first", lambda: not changelog.reader.step(0.1) and store.offset >= 100, _WITHIN_S)
    changelog.transaction({b"k0": b"new"})
    wait_for("the next", lambda: not changelog.reader.step(0.1) and store.offset > 101, _WITHIN_S)
    read = changelog.reader.records_restored

    changelog.begin()
    changelog.finish()

    assert changelog.reader.records_restored == read
    assert content(store)[b"k0"] == b"new"
