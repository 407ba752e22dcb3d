"""What docs/operations.md says of other partition counts and other clusters: nothing is lost, nothing begins again."""

from __future__ import annotations

import time
from collections import defaultdict
from pathlib import Path

from confluent_kafka import Producer

from processor.model import StatusChange
from processor.simulator import Oracle, Simulator
from tests.broker.deployment import Deployment, wait_for
from tests.kafka.broker import Broker

SEED = 20_261_125
START_MS = int(time.time() * 1000) - 5 * 24 * 3600 * 1000


def traffic(events: int) -> Simulator:
    return Simulator(SEED, events=events, callbacks=0.0, poison=0.0, start_ms=START_MS)


def work_off(deployment: Deployment, events: int) -> list[StatusChange]:
    """Let a worker process everything, and return all changes of the deployment."""
    with deployment.worker() as worker:
        deployment.wait_for_events(events)
        # What is forwarded has its outcome where it arrives.
        wait_for("no lag", lambda: not any(lag for _, lag in worker.metrics()["status_processor_consumer_lag_records"]))
        assert worker.stop() == 0
    return deployment.changes()


def test_another_number_of_partitions_gives_the_same_changes(broker: Broker, tmp_path: Path) -> None:
    before = Deployment(broker, tmp_path / "before")
    before.create_topics()
    events = before.produce(traffic(3_000)).totals.total()
    after = Deployment(broker, tmp_path / "after", PARTITIONS=9, TOPICS__RAW=before.topics["raw"])
    after.topics["raw"] = before.topics["raw"]
    after.create_topics()

    old, new = work_off(before, events), work_off(after, events)

    assert sorted(old) == sorted(new), f"seed {SEED}"
    assert after.booked()["forwarded"] > 0.9 * events, "what nobody ignores goes to its owner"


def test_a_copied_state_goes_on_where_it_was(broker: Broker, tmp_path: Path) -> None:
    records = [*traffic(4_000)]
    before, after = (Deployment(broker, tmp_path / name) for name in ("before", "after"))
    for deployment in (before, after):
        deployment.create_topics()
    halves = records[:2_000], records[2_000:]

    old = work_off(before, before.produce(halves[0]).totals.total())
    copy(broker, before.topics["state"], after.topics["state"])
    new = work_off(after, after.produce(halves[1]).totals.total())

    oracle = Oracle()
    for record in records:
        for event in record.events:
            oracle.feed(record.timestamp_ms, event)
    assert len(old) + len(new) == oracle.by_outcome["published"], f"seed {SEED}"
    changes: dict[str, list[StatusChange]] = defaultdict(list)
    for change in (*old, *new):
        changes[f"{change.carrier} {change.account} {change.message_id} {change.chain}"].append(change)
    for message, found in changes.items():
        assert [change.sequence for change in found] == [*range(1, len(found) + 1)], f"seed {SEED}: {message}"
        assert [change.previous for change in found[1:]] == [change.status for change in found[:-1]], message


def copy(broker: Broker, source: str, target: str) -> None:
    """Copy a topic as a mirroring tool does: keys, values and partitions stay, offsets do not."""
    producer = Producer(broker.client(linger_ms=20, enable_idempotence=True))
    for message in broker.read(source):
        producer.produce(target, message.value(), message.key(), message.partition() or 0)
    assert producer.flush(60) == 0
