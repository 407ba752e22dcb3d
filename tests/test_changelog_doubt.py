"""A store that breaks while it is restored takes nothing from the others that the same chunk was about."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError

from processor.changelog import ChangelogReader
from processor.store import StoreDoubtedError


class FakeStore:
    """Takes records, or turns out to be broken."""

    def __init__(self, partition: int, *, is_broken: bool = False) -> None:
        self.identity = SimpleNamespace(partition=partition)
        self.offset = 0
        self.seen_ms = 0
        self.held: list[bytes] = []
        self._is_broken = is_broken

    def restore(self, records: Any, next_offset: int, _: int) -> None:
        if self._is_broken:
            raise StoreDoubtedError(self.identity.partition, "Corruption: planned")
        self.held += [key for key, _ in records]
        self.offset = next_offset

    def settle(self) -> None:
        """Keep everything."""


def record(partition: int, offset: int, *, is_end: bool = False) -> Any:
    error = KafkaError(KafkaError._PARTITION_EOF) if is_end else None
    return SimpleNamespace(
        partition=lambda: partition,
        offset=lambda: offset,
        error=lambda: error,
        key=lambda: b"key",
        value=lambda: b"value",
        timestamp=lambda: (2, 0),
    )


class FakeConsumer:
    """Hands each chunk out once."""

    def __init__(self, *chunks: list[Any]) -> None:
        self.chunks = [*chunks]

    def consume(self, *_: object) -> list[Any]:
        return self.chunks.pop(0) if self.chunks else []

    def incremental_assign(self, _: object) -> None:
        """Take any partition."""

    incremental_unassign = incremental_assign


def steps(reader: ChangelogReader, count: int) -> tuple[list[int], list[int]]:
    """Return which partitions were completed and which were doubted in so many steps."""
    complete: list[int] = []
    doubted: list[int] = []
    for _ in range(count):
        try:
            complete += reader.step(0)
        except StoreDoubtedError as doubt:
            doubted.append(doubt.partition)
    return complete, doubted


@pytest.mark.parametrize("broken_first", [True, False])
def test_a_broken_store_takes_nothing_from_the_others(broken_first: bool) -> None:
    broken = [record(0, 0), record(0, 1, is_end=True)]
    whole = [record(1, 0), record(1, 1), record(1, 2, is_end=True)]
    consumer: Any = FakeConsumer(broken + whole if broken_first else whole + broken)
    reader = ChangelogReader({}, "state", lambda *_: FakeStore(0), lambda _: consumer)  # type: ignore[arg-type]
    store = FakeStore(1)
    reader.begin(FakeStore(0, is_broken=True), 1)  # type: ignore[arg-type]
    reader.begin(store, 2)  # type: ignore[arg-type]

    assert steps(reader, 3) == ([1], [0])
    assert (len(store.held), store.offset) == (2, 2)


def test_a_chunk_without_an_end_is_kept_beside_a_broken_store() -> None:
    consumer: Any = FakeConsumer([record(0, 0), record(1, 0)], [record(1, 1), record(1, 2, is_end=True)])
    reader = ChangelogReader({}, "state", lambda *_: FakeStore(0), lambda _: consumer)  # type: ignore[arg-type]
    store = FakeStore(1)
    reader.begin(FakeStore(0, is_broken=True), 9)  # type: ignore[arg-type]
    reader.begin(store, 2)  # type: ignore[arg-type]

    assert steps(reader, 4) == ([1], [0])
    assert (len(store.held), store.offset) == (2, 2)
