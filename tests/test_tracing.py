"""Trace context: what is valid goes along with whatever a record leads to, and changes nothing else."""

from __future__ import annotations

import json
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.codec import ChangeEncoder
from processor.identity import owner_of
from processor.outbox import Outbox
from processor.pack_files import builtin_texts
from processor.packs import Packs
from processor.publisher import OutputTopics, Publisher
from processor.simulator import Simulator
from processor.testing import PipelineDriver, callback, raw_event
from processor.tracing import NO_TRACE, trace_of

PACKS = Packs.load(builtin_texts())
PARENT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
TRACE = (("traceparent", PARENT), ("tracestate", b"vendor=value,other@system=1"))


def test_a_sound_trace_context_is_passed_on_as_it_is() -> None:
    assert trace_of([("x", b"1"), *TRACE]) == TRACE
    assert trace_of([("TraceParent", PARENT)]) == (("traceparent", PARENT),)
    assert trace_of([("traceparent", b"01" + PARENT[2:] + b"-more")]) == (
        ("traceparent", b"01" + PARENT[2:] + b"-more"),
    )


@pytest.mark.parametrize(
    "parent",
    [
        None,
        b"",
        b"ff" + PARENT[2:],
        PARENT.upper(),
        PARENT[:-1],
        PARENT + b"-more",
        PARENT + b"0",
        b"01" + PARENT[2:] + b"more",
        b"01" + PARENT[2:] + b"-" + b"x" * 200,
        b"01" + PARENT[2:] + b"-\n",
        b"00-" + b"0" * 32 + PARENT[35:],
        PARENT[:36] + b"0" * 16 + b"-01",
        PARENT.replace(b"-", b"_"),
        PARENT + b"\n",
    ],
)
def test_a_traceparent_that_is_not_valid_is_left_behind_with_its_state(parent: bytes | None) -> None:
    assert trace_of([("traceparent", parent), TRACE[1]]) == NO_TRACE


def test_two_parents_are_none_and_several_states_are_one_list() -> None:
    assert trace_of([TRACE[0], TRACE[0]]) == NO_TRACE
    assert trace_of([TRACE[0], ("tracestate", b"a=1"), ("tracestate", b"b=2")])[1] == ("tracestate", b"a=1,b=2")


@pytest.mark.parametrize(
    "state",
    [
        *(None, b"", b" , ", b"a", b"a=", b"A=1", b"a=1,b", b"a=\x01", b"a=\xc3\xa4", b"a=1\r\nb"),
        b"a=" + b"x" * 600,
        b",".join(b"k%d=1" % number for number in range(33)),
    ],
)
def test_a_tracestate_that_is_not_valid_is_left_behind_alone(state: bytes | None) -> None:
    assert trace_of([TRACE[0], ("tracestate", state)]) == (TRACE[0],)


@given(st.lists(st.tuples(st.sampled_from(["traceparent", "tracestate", "x"]), st.none() | st.binary(max_size=700))))
def test_what_is_passed_on_is_bounded_and_plain_text(headers: list[tuple[str, bytes | None]]) -> None:
    found = trace_of(headers)

    assert sum(len(value) for _, value in found) <= 640
    assert all(chr(byte) in string.printable for _, value in found for byte in value)


def test_a_change_carries_the_trace_of_the_record_that_caused_it_in_place_and_forwarded() -> None:
    driver = PipelineDriver(PACKS, tracing=True)
    home = owner_of("SM1", 6)

    driver.pipe(raw_event("twilio", "SM1", "sent", channel="SMS"), partition=home, headers=TRACE)
    driver.pipe(raw_event("twilio", "SM1", "delivered", channel="SMS"), partition=(home + 1) % 6, headers=TRACE[:1])
    driver.pipe(raw_event("twilio", "SM2", "sent", channel="SMS"))

    assert driver.traces == [TRACE, TRACE[:1], NO_TRACE]


def test_every_change_of_a_callback_carries_its_trace() -> None:
    driver = PipelineDriver(PACKS, tracing=True, partitions=2)
    reports = [{"messageId": f"m{number}", "status": {"name": "DELIVERED_TO_HANDSET"}} for number in range(6)]

    driver.pipe(callback("infobip", json.dumps({"results": reports}).encode(), "application/json"), headers=TRACE)

    assert len(driver.changes) == 6
    assert driver.traces == [TRACE] * 6


@given(st.integers(0, 2**32))
def test_tracing_changes_nothing_but_headers(seed: int) -> None:
    off, on = PipelineDriver(PACKS), PipelineDriver(PACKS, tracing=True)
    for record in Simulator(seed, events=40, poison=0.2, callbacks=0.3):
        for driver in (off, on):
            driver.pipe(record.value, key=record.key, headers=TRACE, timestamp_ms=record.timestamp_ms)

    assert (off.changes, off.outcomes) == (on.changes, on.outcomes)
    assert set(on.traces) <= {TRACE}
    assert set(off.traces) <= {NO_TRACE}


class Recording:
    """A producer that remembers what it is given, in order."""

    def __init__(self) -> None:
        self.produced: list[tuple[int, str, tuple[Any, ...]]] = []

    def produce_batch(self, _: str, messages: list[dict[str, Any]], partition: int) -> None:
        self.produced += [(partition, message["key"], ()) for message in messages]

    def produce(self, _: str, value: bytes, key: bytes, partition: int, headers: Any) -> None:
        assert value
        self.produced.append((partition, key.decode(), tuple(headers)))

    def __getattr__(self, name: str) -> Any:
        return lambda *_: 0


@given(st.lists(st.sets(st.integers(0, 9)), min_size=1, max_size=3), st.integers(1, 10))
def test_the_changes_of_a_partition_are_queued_in_order_with_a_trace_or_without(
    traced: list[set[int]], count: int
) -> None:
    driver = PipelineDriver(PACKS)
    for number in range(count):
        driver.pipe(raw_event("twilio", f"SM{number}", "sent", channel="SMS"))
    outbox = Outbox()
    for partition, positions in enumerate(traced):
        outbox.changes[partition] = [*driver.changes]
        outbox.traces[partition] = {position: TRACE for position in positions if position < count}
    producer = Recording()
    publisher = Publisher(
        {},
        OutputTopics("changes", "dead-letter", "state", "rekeyed"),
        ChangeEncoder(None),
        budget_s=1,
        make_producer=lambda *_, **__: producer,  # type: ignore[arg-type]  # stands for a Producer
    )
    publisher.start()

    publisher.publish(outbox, {}, [], b"")

    assert producer.produced == [
        (partition, f"SM{number}", TRACE if number in positions else ())
        for partition, positions in enumerate(traced)
        for number in range(count)
    ]
