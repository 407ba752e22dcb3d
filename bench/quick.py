"""CPU per event of the worker against the limit, on a real broker, in under a minute and a half.

The limit is a program that consumes the same raw topic and produces the same bytes to one topic in transactions, in
batches of the same size: no decoding, no state, no second topic. Both run in processes of their own, one after the
other, several times; what counts is each one's best run, all threads of its process together, from its first record to
its last. The input is keyed by message id, so no event may take the hop through the rekeyed topic: one that does ends
the bench. The last line is the ratio.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from processor.assembly import worker
from processor.outbox import Outcome
from processor.run import make_plan, spare_the_collector
from processor.settings import load_settings
from processor.simulator import Simulator
from processor.speedups import SPEEDUPS
from processor.telemetry import Telemetry
from tests.kafka.broker import own_broker

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PARTITIONS = 6
BATCH_RECORDS = 20_000
INTERVAL_S = 0.1
ROUNDS = 3


def main() -> None:
    """Measure, and print a table and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=400_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--shape", default="realistic")
    parser.add_argument("--one", choices=["limit", "ours"], help=argparse.SUPPRESS)
    parser.add_argument("--bootstrap", help=argparse.SUPPRESS)
    parser.add_argument("--raw", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        measure = _limit if options.one == "limit" else _ours
        print(json.dumps(measure(options.bootstrap, options.raw, options.events)))
        return
    with running_broker() as bootstrap:
        raw = f"bench-{uuid.uuid4().hex[:6]}"
        records = _fill(bootstrap, raw, options)
        codec = "pure Python" if SPEEDUPS is None else "C extension"
        print(
            f"{records:,} records, shape {options.shape}, seed {options.seed}, {PARTITIONS} partitions, keyed; {codec}"
        )
        runs: dict[str, list[dict[str, float]]] = {"limit": [], "ours": []}
        for _ in range(ROUNDS):
            for name, found in runs.items():
                found.append(_measure_apart(name, bootstrap, raw, records))
    for name, found in runs.items():
        cpu = [run["cpu_us"] for run in found]
        rate = max(run["events_per_s"] for run in found)
        print(
            f"{name:<6} {min(cpu):6.2f} µs CPU an event (median {statistics.median(cpu):.2f}), {rate:>9,.0f} events/s, "
            f"{found[-1]['outputs_per_event']:.2f} outputs an event"
        )
    forwarded = sum(run["forwarded"] for run in runs["ours"])
    print(f"forwarded {forwarded:,.0f} events of {records * ROUNDS:,}")
    if forwarded:
        sys.exit("keyed input was forwarded: it costs a hop that it should not")
    best = {name: min(run["cpu_us"] for run in found) for name, found in runs.items()}
    print(f"ratio {best['ours'] / best['limit']:.2f}")


@contextlib.contextmanager
def running_broker() -> Iterator[str]:
    """Use the broker that is given, else start one from Maven Central."""
    given = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if given:
        yield given
        return
    with tempfile.TemporaryDirectory() as directory, own_broker(Path(directory) / "kafka") as broker:
        yield broker.bootstrap


def _measure_apart(name: str, bootstrap: str, raw: str, records: int) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.quick", "--one", name, "--bootstrap", bootstrap, "--raw", raw]
    done = subprocess.run([*command, "--events", str(records)], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stdout}{done.stderr}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _fill(bootstrap: str, raw: str, options: argparse.Namespace) -> int:
    """Produce the raw events; every record is about one message and keyed by it."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(raw, PARTITIONS, 1)])[raw].result(30)
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "partitioner": "murmur2_random",
            "linger.ms": 20,
            "batch.size": 1_000_000,
            "queue.buffering.max.messages": 2_000_000,
        }
    )
    # Brokers refuse the future and delete what is older than a week.
    start_ms = int(time.time() * 1000) - 5 * 24 * 3600 * 1000
    simulator = Simulator(options.seed, events=options.events, shape=options.shape, callbacks=0.0, start_ms=start_ms)
    records = 0
    for record in simulator:
        if len(record.events) == 1:
            producer.produce(raw, record.value, record.key, timestamp=record.timestamp_ms)
            records += 1
            if records % 10_000 == 0:
                producer.poll(0)
    producer.flush(60)
    return records


def _limit(bootstrap: str, raw: str, records: int) -> dict[str, float]:
    """Consume and produce the same bytes in transactions."""
    base: dict[str, Any] = {"bootstrap.servers": bootstrap}
    name = f"limit-{uuid.uuid4().hex[:6]}"
    admin = AdminClient(base)
    admin.create_topics([NewTopic(name, PARTITIONS, 1)])[name].result(30)
    consumer = Consumer(
        base
        | {"group.id": name, "auto.offset.reset": "earliest", "isolation.level": "read_committed"}
        | {"enable.auto.commit": False, "queued.max.messages.kbytes": 65_536}
    )
    producer = Producer(
        base
        | {"transactional.id": name, "linger.ms": 5, "batch.size": 1_000_000}
        | {"queue.buffering.max.messages": 2_000_000}
    )
    producer.init_transactions(30)
    consumer.subscribe([raw])
    done = 0
    clock: tuple[float, float] | None = None
    first = 0
    while done < records:
        batch = consumer.consume(BATCH_RECORDS, INTERVAL_S)
        if not batch:
            continue
        by_partition: dict[int, list[dict[str, Any]]] = {}
        positions: dict[int, int] = {}
        for message in batch:
            number = message.partition() or 0
            positions[number] = (message.offset() or 0) + 1
            by_partition.setdefault(number, []).append({"value": message.value(), "key": message.key()})
        producer.begin_transaction()
        for number, messages in by_partition.items():
            producer.produce_batch(name, messages, number)
        producer.flush()
        offsets = [TopicPartition(raw, number, offset) for number, offset in positions.items()]
        producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata())
        producer.commit_transaction()
        done += len(batch)
        if clock is None:
            clock, first = (time.process_time(), time.perf_counter()), done
    return _figures(clock, done - first, 1.0)


def _ours(bootstrap: str, raw: str, records: int) -> dict[str, float]:
    """Run the worker as `run` does, until every record is accounted for."""
    name = f"ours-{uuid.uuid4().hex[:6]}"
    with tempfile.TemporaryDirectory() as directory:
        settings = load_settings(
            None,
            {
                "application": name,
                "ordinal": 0,
                "partitions": PARTITIONS,
                "replication_factor": 1,
                "topics.raw": raw,
                "topics.changes": f"{name}.changes",
                "topics.dead_letter": f"{name}.dead-letter",
                "topics.state": f"{name}.state",
                "topics.rekeyed": f"{name}.rekeyed",
                "state.directory": directory,
                "batch.records_max": BATCH_RECORDS,
                "kafka.bootstrap.servers": bootstrap,
            },
            {},
        )
        telemetry = Telemetry("bench")
        clock: tuple[float, float] | None = None
        first = 0
        with worker(make_plan(settings, telemetry)) as started:
            started.subscribe([raw])
            spare_the_collector()
            while (done := telemetry.outcomes().total()) < records:
                if done and clock is None:
                    clock, first = (time.process_time(), time.perf_counter()), done
                started.run_once()
            outcomes = telemetry.outcomes()
            return {
                **_figures(clock, records - first, _count(outcomes, Outcome.PUBLISHED) / records),
                "forwarded": _count(outcomes, Outcome.FORWARDED),
            }


def _count(outcomes: Mapping[tuple[str, str, str], int], wanted: Outcome) -> int:
    return sum(count for (_, outcome, _), count in outcomes.items() if outcome == wanted)


def _figures(clock: tuple[float, float] | None, events: int, outputs: float) -> dict[str, float]:
    assert clock is not None
    cpu, wall = time.process_time() - clock[0], time.perf_counter() - clock[1]
    return {"cpu_us": cpu / events * 1e6, "events_per_s": events / wall, "outputs_per_event": outputs}


if __name__ == "__main__":
    main()
