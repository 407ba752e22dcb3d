"""Puts a worker together as the program does, with what the simulation brings in place of Kafka and the disk."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import structlog
from rocksdict import WriteBatch

import processor.assembly
import processor.store
from processor.assembly import ClientConfigs, Plan
from processor.books import DeadLetterLimit
from processor.changelog import ChangelogReader
from processor.codec import ChangeEncoder, Decoder
from processor.pack_files import PackSource, builtin_texts
from processor.packs import Packs
from processor.publisher import OutputTopics, Publisher
from processor.stores import Stores
from processor.telemetry import Telemetry
from tests.schedules.clients import SimAdmin, SimConsumer, SimProducer
from tests.schedules.disk import Batch, Disk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from processor.store import StoreIdentity
    from processor.worker import Worker
    from tests.schedules.process import Life, Process
    from tests.schedules.shapes import Shape

RAW: Final = "raw"
LOOSE: Final = "loose"
"""A raw topic with another number of partitions, whose records must all be forwarded."""
OWN: Final = OutputTopics(changes="changes", dead_letter="dead-letter", state="state", rekeyed="rekeyed")


@contextmanager
def simulated() -> Iterator[None]:
    """Take the log and RocksDB out of the program for as long as schedules run."""
    before = WriteBatch
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL), cache_logger_on_first_use=False
    )
    setattr(processor.store, "WriteBatch", Batch)  # noqa: B010  # a stand-in that the types know nothing of
    try:
        yield
    finally:
        setattr(processor.store, "WriteBatch", before)  # noqa: B010
        structlog.reset_defaults()


class _SimStores(Stores):
    """Stores on a simulated disk."""

    def __init__(self, disk: Disk, directory: Path, identity: StoreIdentity, cache_entries: int) -> None:
        open_db: Any = disk.open
        super().__init__(directory, identity, cache_entries, open_db)
        self._disk = disk

    def _set_aside(self, partition: int, why: str) -> None:
        del why
        self._disk.files.pop(str(self._path(partition)), None)
        self.set_aside += 1


@contextmanager
def _as_this(process: Process, life: Life) -> Iterator[None]:
    """Let the assembly find this process's stand-ins in place of the real classes."""
    cluster = process.world.cluster
    consumer: Any = partial(SimConsumer, cluster, life)
    producer: Any = partial(SimProducer, cluster, life)
    places: list[tuple[Any, str, Any]] = [
        (processor.assembly, "Consumer", consumer),
        (processor.assembly, "AdminClient", partial(SimAdmin, cluster, life)),
        (
            processor.assembly,
            "ChangelogReader",
            partial(ChangelogReader, make_consumer=consumer),
        ),
        (processor.assembly, "Publisher", partial(Publisher, make_producer=producer)),
        (processor.assembly, "Stores", partial(_SimStores, process.disk)),
        # Both hold nothing of a run, and are dear to make.
        (processor.assembly, "Decoder", lambda **_: decoder()),
        (processor.assembly, "ChangeEncoder", lambda _: _encoder()),
    ]
    before = [getattr(module, name) for module, name, _ in places]
    for module, name, stand_in in places:
        setattr(module, name, stand_in)
    try:
        yield
    finally:
        for (module, name, _), original in zip(places, before, strict=True):
            setattr(module, name, original)


def build(process: Process, life: Life) -> AbstractContextManager[Worker]:
    """Return a worker as the program puts it together, on the stand-ins of its world."""
    world = process.world

    @contextmanager
    def built() -> Iterator[Worker]:
        with _as_this(process, life):
            context = processor.assembly.worker(_plan(world.shape, process.ordinal, sorted(world.raw)))
            worker = context.__enter__()
        worker.clock = worker.assignment._clock = lambda: world.now
        worker.sleep = lambda _: None
        try:
            yield worker
        finally:
            context.__exit__(None, None, None)

    return built()


def _plan(shape: Shape, ordinal: int, raw: list[str]) -> Plan:
    changelog = {"group.id": "changelog", "enable.partition.eof": True}
    return replace(
        _base_plan(),
        clients=ClientConfigs(
            consumer={"group.id": "app", "enable.partition.eof": True},
            producer={"transactional.id": f"app-{ordinal}"},
            admin={},
            changelog=changelog,
            standby=changelog,
        ),
        raw=raw,
        partitions=shape.partitions,
        state_directory=Path(f"/{ordinal}"),
        incremental=shape.incremental,
        standbys=shape.standbys,
        records_max=shape.records_max,
        telemetry=Telemetry(""),
    )


@cache
def _base_plan() -> Plan:
    nothing: dict[str, Any] = {}
    return Plan(
        clients=ClientConfigs(consumer=nothing, producer=nothing, admin=nothing, changelog=nothing, standby=nothing),
        raw=[],
        topics=OWN,
        partitions=1,
        cluster_id="simulated",
        state_topic_id="simulated",
        state_directory=Path("/"),
        packs=packs(),
        pack_source=PackSource(None, b""),
        limit=DeadLetterLimit(0, 10, 0),
        commit_interval_s=0,
    )


@cache
def decoder() -> Decoder:
    """Return a decoder; it is dear to make, and holds nothing of a run."""
    return Decoder()


@cache
def _encoder() -> ChangeEncoder:
    return ChangeEncoder()


@cache
def packs() -> Packs:
    """Return the built-in packs."""
    return Packs.load(builtin_texts())
