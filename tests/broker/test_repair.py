"""Repair on a real Kafka: a message is forgotten once and begins anew, `inspect` tells it all, traces go along."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Message, Producer

from processor.codec import decode_changes, encode_raw_events
from processor.errors import ExitCode
from processor.headers import headers_of
from processor.identity import murmur2, owner_of
from processor.model import RawStatusEvent, StatusChange
from processor.simulator import Simulator
from processor.testing import raw_event
from processor.tracing import NO_TRACE, Trace
from tests.broker.deployment import PARTITIONS, Deployment, WorkerProcess, wait_for
from tests.kafka.broker import Broker

RECIPIENT = "+4915112345678"
OWNER = owner_of("SM1", PARTITIONS)


def trace(number: int) -> Trace:
    return (("traceparent", b"00-%032x-%016x-01" % (number + 1, number + 1)), ("tracestate", b"test=%d" % number))


class Scene:
    """A deployment with a worker and what was sent to it so far."""

    def __init__(self, broker: Broker, directory: Path, **settings: object) -> None:
        self.deployment = Deployment(broker, directory, **settings)
        self.deployment.create_topics()
        self.worker: WorkerProcess | None = None
        self.sent = 0

    def send(self, *events: RawStatusEvent | bytes, partition: int = OWNER, trace: Trace = NO_TRACE) -> None:
        """Send records to one raw partition and wait until they are booked."""
        producer = Producer(self.deployment.broker.client(enable_idempotence=True))
        for event in events:
            value = event if isinstance(event, bytes) else encode_raw_events([event])[0]
            producer.produce(self.deployment.topics["raw"], value, b"SM1", partition, headers=[*trace])
        assert producer.flush(30) == 0
        self.sent += len(events)
        self.deployment.wait_for_events(self.sent)

    def json(self, *arguments: str, code: int = ExitCode.OK) -> dict[str, Any]:
        done = self.deployment.command(*arguments, "--json")
        assert done.returncode == code, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def timeline(self, account: str | None = None) -> list[tuple[int, str]]:
        changes = [each for each in self.deployment.changes() if each.account == account]
        return [(each.sequence, str(each.status)) for each in changes]


@pytest.fixture
def scene(broker: Broker, tmp_path: Path) -> Iterator[Scene]:
    made = Scene(broker, tmp_path)
    with made.deployment.worker() as made.worker:
        yield made


def report(status: str, **facts: object) -> RawStatusEvent:
    return raw_event("twilio", "SM1", status, channel="SMS", recipient=RECIPIENT, **facts)


def test_a_message_is_forgotten_once_and_everything_about_it_can_be_told(scene: Scene) -> None:
    deployment, worker = scene.deployment, scene.worker
    assert worker is not None
    scene.send(report("sent"), report("delivered"), report("queued"), report("undelivered"), report("delivered"))
    scene.send(report("sent", account="b"), partition=(OWNER + 1) % PARTITIONS)
    scene.send(report("teleported"), b"\xff")

    # Several messages share the id; nothing happens without a choice, nor in a dry run.
    several = deployment.command("forget", "SM1")
    assert several.returncode == ExitCode.FAILED
    assert "2 messages have this id" in several.stderr
    assert "--carrier twilio --account b --chain ''" in several.stderr
    chosen = ("forget", "SM1", "--carrier", "twilio", "--account", "")
    dry = deployment.command(*chosen, "--dry-run")
    assert (dry.returncode, dry.stdout) == (ExitCode.OK, "would forget twilio SM1: DELIVERED, sequence 2\n")

    done = scene.json(*chosen, "--note", "a wrong row")
    scene.sent += 1
    assert (done["done"], done["status"], done["sequence"]) == (True, "DELIVERED", 2)
    wait_for("it to be told", lambda: "a message was forgotten" in worker.log)
    (line,) = (line for line in worker.events_logged() if line["event"] == "a message was forgotten")
    assert (line["request"], line["status"], line["sequence"]) == (done["request"], "DELIVERED", 2)
    assert "SM1" not in worker.log

    again = deployment.command(*chosen)
    assert again.returncode == ExitCode.FAILED
    assert f"request {done['request']}" in again.stderr

    scene.send(report("undelivered"))
    assert scene.timeline() == [(1, "SENT"), (2, "DELIVERED"), (1, "UNDELIVERED")]
    assert len({change.change_id for change in deployment.changes()}) == 4
    books = deployment.command("books")
    assert books.returncode == ExitCode.OK, books.stdout

    # What was forgotten stays so on a fresh disk, and what came after it is known.
    assert worker.stop() == 0
    shutil.rmtree(deployment.directory / "state")
    with deployment.worker():
        scene.send(report("undelivered"), report("sent", account="b"))
    assert scene.timeline() == [(1, "SENT"), (2, "DELIVERED"), (1, "UNDELIVERED")]
    assert scene.timeline("b") == [(1, "SENT")]

    _assert_inspected(scene, str(done["request"]))


def _assert_inspected(scene: Scene, request: str) -> None:
    found = scene.json("inspect", "SM1")
    assert [(state["account"], state["status"], state["sequence"]) for state in found["states"]] == [
        (None, "UNDELIVERED", 1),
        ("b", "SENT", 1),
    ]
    (forgotten,) = found["forgotten"]
    assert (forgotten["request"], forgotten["status"], forgotten["note"]) == (request, "DELIVERED", "a wrong row")
    reports = {(one["source"]["partition"], one["source"]["offset"]): one for one in found["reports"]}
    outcomes = [reports[place]["outcome"] for place in sorted(reports) if place[0] == OWNER]
    assert outcomes[:5] == ["published", "published", "late", "conflict", "repeat"]
    assert outcomes[5:] == ["dead_lettered", "published", "repeat", "repeat"]
    (forwarded,) = (one for one in found["reports"] if one["forwarded"])
    assert (forwarded["outcome"], forwarded["rule"]) == ("published", "SMS statuses.sent")
    assert sorted(letter["reason"] for letter in found["dead_letters"]) == ["undecodable", "unknown_status"]
    assert "12345" not in json.dumps(found)

    narrow = scene.json("inspect", "SM1", "--account", "b", "--no-raw", "--since", "1h", "--show-recipients")
    assert RECIPIENT in json.dumps(narrow)
    assert [one["account"] for one in (*narrow["states"], *narrow["changes"])] == ["b", "b"]
    assert scene.deployment.topics["raw"] not in narrow["records_read"]
    assert scene.json("inspect", "SM-nobody", code=ExitCode.FAILED)["reports"] == []

    people = scene.deployment.command("inspect", "SM1")
    assert people.returncode == ExitCode.OK, people.stderr
    assert "known: twilio: UNDELIVERED, sequence 1" in people.stdout
    assert "forgot DELIVERED, sequence 2: a wrong row" in people.stdout
    assert "published, sequence 2: SENT -> DELIVERED" in people.stdout
    assert "12345" not in people.stdout


def test_without_a_worker_a_request_waits_and_is_carried_out_once_when_one_comes(scene: Scene) -> None:
    assert scene.worker is not None
    scene.send(report("delivered"))
    assert scene.worker.stop() == 0

    for _ in range(2):
        asked = scene.deployment.command("forget", "SM1", "--timeout", "0")
        assert asked.returncode == ExitCode.UNAVAILABLE
        assert "that is safe" in asked.stderr
    with scene.deployment.worker():
        scene.sent += 2
        scene.deployment.wait_for_events(scene.sent)
        scene.send(report("delivered"))
        found = scene.json("inspect", "SM1")
    assert (scene.timeline(), len(found["forgotten"])) == ([(1, "DELIVERED"), (1, "DELIVERED")], 1)
    assert scene.deployment.booked()["ignored"] == 2


def test_changes_carry_the_trace_of_their_records_in_order_and_are_the_same_without(
    broker: Broker, tmp_path: Path
) -> None:
    results = []
    for setting in ("propagate", "off"):
        deployment = Deployment(broker, tmp_path / setting, TRACING=setting)
        deployment.create_topics()
        expected, events = _send_traced(deployment)
        with deployment.worker() as worker:
            deployment.wait_for_events(events)
            assert deployment.booked()["forwarded"] > 100
            assert worker.stop() == 0
        messages = broker.read(deployment.topics["changes"])
        changes = [each for each in decode_changes(map(Message.value, messages)) if isinstance(each, StatusChange)]
        assert len(changes) == len(messages) > 1_000
        for message, change in zip(messages, changes, strict=True):
            wanted = expected[change.source.partition, change.source.offset] if setting == "propagate" else NO_TRACE
            assert tuple(headers_of(message)) == wanted
        _assert_in_order(messages, changes)
        # Topics have names of their own here, and so have ids.
        results.append({each._replace(change_id="", source=each.source._replace(topic="")) for each in changes})
    assert results[0] == results[1]


def _send_traced(deployment: Deployment) -> tuple[dict[tuple[int, int], Trace], int]:
    """Send traffic of which two thirds carry a trace, and a fifth of all messages go to a partition that is no owner.

    Returns the trace of every record by partition and offset, and how many events there are.
    """
    expected: dict[tuple[int, int], Trace] = {}
    events = 0
    producer = Producer(deployment.broker.client(linger_ms=20, enable_idempotence=True))
    for number, record in enumerate(Simulator(3, events=4_000, callbacks=0.0)):
        sent = trace(number) if number % 3 else NO_TRACE
        hashed = murmur2(record.key) & 0x7FFFFFFF

        def delivered(_: object, message: Message, sent: Trace = sent) -> None:
            expected[message.partition() or 0, message.offset() or 0] = sent

        producer.produce(
            deployment.topics["raw"],
            record.value,
            record.key,
            (hashed + (hashed % 5 == 0)) % PARTITIONS,
            timestamp=record.timestamp_ms,
            headers=[*sent],
            on_delivery=delivered,
        )
        events += len(record.events)
    assert producer.flush(60) == 0
    return expected, events


def _is_moved(change: StatusChange) -> bool:
    """Tell whether it was caused by a forwarded event."""
    return change.source.partition != owner_of(change.message_id, PARTITIONS)


def _assert_in_order(messages: list[Message], changes: list[StatusChange]) -> None:
    """Hold each partition's changes against the order of the raw records that were reduced in place."""
    last: dict[int, tuple[int, int]] = {}
    for message, change in zip(messages, changes, strict=True):
        if not _is_moved(change):
            at = (change.source.offset, change.source.index)
            assert last.get(message.partition() or 0, (-1, -1)) < at
            last[message.partition() or 0] = at
