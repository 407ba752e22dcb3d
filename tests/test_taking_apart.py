"""What becomes of a batch that the broker refuses: halved down to the record, which becomes a dead letter."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from processor.assignment import Progress
from processor.books import DeadLetterLimit
from processor.codec import Decoder, encode_raw_events
from processor.errors import AbortCause, TransientError
from processor.identity import owner_of
from processor.outbox import Outbox
from processor.pack_files import builtin_texts
from processor.packs import Packs
from processor.pipeline import Pipeline
from processor.publisher import Reached, RecordsRefusedError
from processor.store import StoreDoubtedError, encode_states
from processor.telemetry import Telemetry
from processor.testing import FakeRecord, MemoryStates, raw_event
from processor.worker import LoopOptions, Worker
from tests.test_telemetry import samples

PARTITIONS = 2
RAW = ("raw", 0)
IDS = [name for name in map("m{}".format, range(20)) if owner_of(name, PARTITIONS) == RAW[1]]
MEMBER = b"CGMDv2:" + (1).to_bytes(4, sys.byteorder) + b"group\0member\0\0"


class FakeStore(MemoryStates):
    """Keeps what is staged; may turn out to be broken when it is written."""

    is_broken = False

    def encode_staged(self) -> list[tuple[bytes, bytes | None]]:
        return [*encode_states(self)]

    def discard(self) -> None:
        self.clear()

    def apply(self, *_: object) -> None:
        self.clear()
        if self.is_broken:
            raise StoreDoubtedError(RAW[1], "Corruption: planned")


@dataclass
class FakeAssignment:
    """One input with its store."""

    store: FakeStore
    inputs: dict[tuple[str, int], Progress] = field(default_factory=lambda: {RAW: Progress(0, running=True)})
    rewound: int = 0
    rebuilt: int = 0

    def __post_init__(self) -> None:
        self.ready = {RAW[1]: self.store}

    def states_for(self, _: str, partition: int) -> FakeStore:
        return self.ready[partition]

    def rewind(self, _: object) -> None:
        self.inputs[RAW].running = False
        self.rewound += 1

    def rebuild(self, _: StoreDoubtedError) -> None:
        self.inputs[RAW].running = False
        self.ready.clear()
        self.rebuilt += 1


@dataclass
class FakePublisher:
    """Takes what the plan lets through: an error for each transaction, None where it commits; then all commit."""

    plan: list[Exception | None]
    published: list[Outbox] = field(default_factory=list)

    def publish(self, outbox: Outbox, staged: dict[int, Any], *_: object) -> dict[int, Reached]:
        error = self.plan.pop(0) if self.plan else None
        if error is not None:
            raise error
        self.published.append(outbox)
        return dict.fromkeys(staged, Reached(1, 0))


def make_worker(*plan: Exception | None) -> tuple[Worker, FakeAssignment, FakePublisher]:
    assignment, publisher = FakeAssignment(FakeStore()), FakePublisher(list(plan))
    absent: Any = SimpleNamespace(doubt=lambda: None, supply=list)
    consumer: Any = SimpleNamespace(consumer_group_metadata=lambda: MEMBER)
    worker = Worker(
        consumer=consumer,
        assignment=assignment,  # type: ignore[arg-type]  # stands for it
        reader=absent,
        publisher=publisher,  # type: ignore[arg-type]  # the same
        pipeline=Pipeline(Decoder(), Packs.load(builtin_texts()), PARTITIONS),
        packs=absent,
        schemas=absent,
        telemetry=Telemetry(""),
        purge=absent,
        report=absent,
        topics=absent,
        access=absent,
        options=LoopOptions("rekeyed", 100, 0.0, DeadLetterLimit(0, 10, 0)),
        sleep=lambda _: None,
    )
    return worker, assignment, publisher


def process(worker: Worker, records: int, time_ms: int = 0) -> bool:
    """Hand the worker so many reports of as many messages, a millisecond apart."""
    values = encode_raw_events([raw_event("smpp", name, "DELIVRD", channel="SMS") for name in IDS[:records]])
    batch: Any = {RAW: [FakeRecord(at, time_ms + at, value) for at, value in enumerate(values)]}
    return worker._process(batch, consumed_at=0.0)


def refused() -> RecordsRefusedError:
    return RecordsRefusedError("MSG_SIZE_TOO_LARGE")


def test_a_refused_record_becomes_a_dead_letter_and_its_neighbours_are_published() -> None:
    worker, assignment, publisher = make_worker(refused(), refused())

    assert process(worker, 2)

    assert [(len(box.dead_letters), len(box.changes.get(0, []))) for box in publisher.published] == [(1, 0), (0, 1)]
    assert assignment.inputs[RAW].next_offset == 2


@pytest.mark.parametrize("error", [TransientError("UNKNOWN_MEMBER_ID"), refused()], ids=["aborted", "refused"])
def test_a_dead_letter_that_cannot_be_published_goes_back_and_the_worker_goes_on(error: Exception) -> None:
    worker, assignment, publisher = make_worker(refused(), error)

    assert not process(worker, 1)

    assert (publisher.published, assignment.inputs[RAW].next_offset) == ([], 0)
    assert assignment.rewound


def test_what_follows_an_aborted_half_goes_back_too() -> None:
    worker, assignment, publisher = make_worker(refused(), TransientError("planned"))

    assert not process(worker, 2)

    assert (publisher.published, assignment.inputs[RAW].next_offset) == ([], 0)
    assert assignment.rewound


def test_aborts_are_counted_by_cause_and_what_went_back_is_as_old_as_its_first_record() -> None:
    stale = TransientError("ILLEGAL_GENERATION", AbortCause.STALE_MEMBER)
    worker, assignment, _ = make_worker(refused(), None, stale)
    worker.clock = lambda: 2_000.0

    assert not process(worker, 2, time_ms=1_500_000)

    counted = samples(worker.telemetry, "status_processor_transactions_total")
    assert {word: count for (word,), count in counted.items() if count} == {
        "aborted_refused": 1.0,
        "committed": 1.0,
        "aborted_stale_member": 1.0,
    }
    assert assignment.inputs[RAW].unprocessed_at == 1_500.001


def test_a_store_that_breaks_after_the_first_half_stops_the_second() -> None:
    worker, assignment, publisher = make_worker(refused())
    assignment.store.is_broken = True

    assert not process(worker, 2)

    assert (len(publisher.published), assignment.inputs[RAW].next_offset) == (1, 1)
    assert assignment.rebuilt == 1
