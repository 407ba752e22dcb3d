"""Local state on a real Kafka: what is broken or foreign is rebuilt, a new changelog is noticed, standbys are warm."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import NewTopic

from processor.errors import ExitCode
from processor.identity import identity_of, owner_of
from processor.model import MessageState
from processor.simulator import Oracle, SimulatedRecord
from processor.state_codec import encode_state
from tests.broker.deployment import PARTITIONS, Deployment, WorkerProcess, wait_for
from tests.broker.test_worker import assert_exact, keyed
from tests.conftest import MakeBroker
from tests.kafka.broker import Broker


@pytest.fixture
def deployment(broker: Broker, tmp_path: Path) -> Deployment:
    made = Deployment(broker, tmp_path)
    made.create_topics()
    return made


def oracle_of(records: Iterable[SimulatedRecord]) -> Oracle:
    """Return an oracle that has been fed with all of them."""
    oracle = Oracle()
    for record in records:
        for event in record.events:
            oracle.feed(record.timestamp_ms, event)
    return oracle


def total(worker: WorkerProcess, name: str) -> float:
    """Return the sum of a metric's samples."""
    return sum(value for _, value in worker.metrics()[name])


def run_until(deployment: Deployment, events: int) -> None:
    with deployment.worker() as worker:
        worker.wait_until_running()
        deployment.wait_for_events(events)
        assert worker.stop() == 0


def stores(deployment: Deployment) -> list[Path]:
    """Return the directories of the partitions' stores."""
    return sorted(path for path in (deployment.directory / "state").glob("*/*") if path.suffix != ".set-aside")


def damage(directory: Path) -> None:
    """Make every file that holds state unreadable for whoever looks at its checksums."""
    for file in [*directory.glob("*.sst"), *directory.glob("*.log")]:
        file.write_bytes(b"\xee" * file.stat().st_size)


def test_a_store_whose_files_are_damaged_is_set_aside_and_rebuilt_while_the_others_work(deployment: Deployment) -> None:
    records = list(keyed(8_000))
    first = deployment.produce(records[:4_000])
    run_until(deployment, first.totals.total())
    # The first file of a table is damaged below its index: it opens, and a read finds out.
    damage(stores(deployment)[0])
    deployment.produce(records[4_000:])
    oracle = oracle_of(records)

    with deployment.worker() as worker:
        deployment.wait_for_events(oracle.totals.total())
        assert "local state set aside, rebuilding it" in worker.log
        assert worker.stop() == 0

    assert_exact(deployment, oracle)


def test_stores_that_mirror_another_topic_are_set_aside_and_rebuilt(deployment: Deployment, tmp_path: Path) -> None:
    records = list(keyed(6_000))
    first = deployment.produce(records[:3_000])
    run_until(deployment, first.totals.total())
    strangers = Deployment(deployment.broker, tmp_path / "strangers")
    strangers.create_topics()
    others = strangers.produce(keyed(500))
    run_until(strangers, others.totals.total())
    for mine, foreign in zip(stores(deployment), stores(strangers), strict=True):
        shutil.rmtree(mine)
        shutil.copytree(foreign, mine)
    deployment.produce(records[3_000:])
    oracle = oracle_of(records)

    with deployment.worker() as worker:
        deployment.wait_for_events(oracle.totals.total())
        assert total(worker, "status_processor_state_set_aside_total") == PARTITIONS
        assert worker.log.count("it is of another topic") == PARTITIONS
        assert worker.stop() == 0

    assert_exact(deployment, oracle)


@pytest.mark.parametrize("disk", ["kept", "fresh"])
def test_a_changelog_that_was_made_anew_stops_the_worker_until_that_is_accepted(
    deployment: Deployment, disk: str
) -> None:
    oracle = deployment.produce(keyed(2_000))
    run_until(deployment, oracle.totals.total())
    state = deployment.topics["state"]
    deployment.broker.admin.delete_topics([state], operation_timeout=30)[state].result(30)
    wait_for("the topic to be gone", lambda: state not in deployment.broker.admin.list_topics(timeout=10).topics)
    if disk == "fresh":
        shutil.rmtree(deployment.directory / "state")

    with deployment.worker() as worker:
        assert worker.wait() == ExitCode.STATE_REFUSED
        last = worker.log.splitlines()[-1]
        assert last.startswith("error: ")
        assert "--reset-state" in last
        assert "Traceback" not in worker.log

    with deployment.worker(0, "--reset-state") as worker:
        wait_for("the new one to be taken over", lambda: "committed where inputs begin" in worker.log)
        assert worker.stop() == 0
    more = deployment.produce(keyed(500))
    run_until(deployment, oracle.totals.total() + more.totals.total())


def fill(deployment: Deployment, messages: int) -> None:
    """Write so many messages' states to the changelog, as a worker of long ago would have."""
    producer = Producer(deployment.broker.client(linger_ms=20, queue_buffering_max_messages=1_000_000))
    waiting: dict[int, list[dict[str, bytes]]] = {}
    state = encode_state(MessageState(3, 1, int(time.time() * 1000)))
    for number in range(messages):
        message_id = f"filled-{number}"
        record = {"key": identity_of(None, "twilio", message_id, "").encode(), "value": state}
        waiting.setdefault(owner_of(message_id, PARTITIONS), []).append(record)
    for partition, records in waiting.items():
        producer.produce_batch(deployment.topics["state"], records, partition)
    assert producer.flush(60) == 0


def test_a_restore_tells_how_far_it_is_and_what_it_has_read(deployment: Deployment) -> None:
    fill(deployment, 300_000)
    oracle = deployment.produce(keyed(500))
    with deployment.worker() as worker:
        deployment.wait_for_events(oracle.totals.total())
        wait_for("the end to be told", lambda: "restore complete" in worker.log)
        wait_for("its records", lambda: total(worker, "status_processor_restored_records_total") >= 300_000)
        # The worker looks at itself once a second.
        wait_for("no restore to be shown", lambda: "status_processor_restore_ratio" not in worker.metrics())
        assert worker.stop() == 0
        (begun, *_) = (line for line in worker.events_logged() if line["event"] == "restore begins")
        assert int(str(begun["offsets_left"])) > 0
    assert_exact(deployment, oracle)


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_standby_takes_over_with_nearly_nothing_to_restore(deployment: Deployment, protocol: str) -> None:
    deployment.settings |= {"STATE__STANDBYS": 1, "GROUP_PROTOCOL": protocol}
    filled = 60_000
    fill(deployment, filled)
    records = list(keyed(6_000))
    first = deployment.produce(records[:3_000])
    with deployment.worker(0) as zero:
        deployment.wait_for_events(first.totals.total())
        with deployment.worker(1) as one:
            one.wait_until_running()
            ends = deployment.broker.ends(deployment.topics["state"])
            wait_for(
                "replicas of the other half",
                lambda: (
                    total(one, "status_processor_standby_partitions") == PARTITIONS / 2
                    and total(one, "status_processor_standby_records_total") > filled * 0.4
                ),
            )
            before = total(one, "status_processor_restored_records_total")
            zero.kill()
            deployment.produce(records[3_000:])
            oracle = oracle_of(records)
            deployment.wait_for_events(oracle.totals.total())
            restored = total(one, "status_processor_restored_records_total") - before
            assert sum(ends.values()) > filled
            assert restored < filled * 0.1
            assert one.stop() == 0
    assert_exact(deployment, oracle)


def test_what_retention_deletes_from_the_changelog_is_gone_from_a_fresh_disk_and_a_store_behind_it_is_rebuilt(
    make_broker: MakeBroker, tmp_path: Path
) -> None:
    broker = make_broker({"log.retention.check.interval.ms": "500", "log.initial.task.delay.ms": "500"})
    deployment = Deployment(broker, tmp_path, CREATE_TOPICS="false", STATE__RETENTION="1m")
    small = {
        "cleanup.policy": "compact,delete",
        "message.timestamp.type": "LogAppendTime",
        "retention.ms": "90000000",  # As the worker asks for, to begin with.
        "segment.ms": "1000",
        "file.delete.delay.ms": "100",
    }
    new = NewTopic(deployment.topics["state"], PARTITIONS, config=small)
    broker.admin.create_topics([new], operation_timeout=30)[new.topic].result(30)
    deployment.create_topics()
    first = deployment.produce(keyed(2_000))
    run_until(deployment, first.totals.total())
    state = deployment.topics["state"]
    kept = broker.ends(state)
    _set(broker, state, "retention.ms", "1500")

    # A segment is deleted once the next one has begun, and that takes a record.
    def deleted() -> bool:
        fill(deployment, PARTITIONS * 4)
        return all(low > kept[number] for number, low in _starts(broker, state).items())

    wait_for("the changelog to be deleted up to where the stores end", deleted)
    _set(broker, state, "retention.ms", "900000000")

    with deployment.worker() as worker:
        wait_for("the stores behind it", lambda: worker.log.count("no longer has what follows it") == PARTITIONS)
        assert worker.stop() == 0


def _starts(broker: Broker, topic: str) -> dict[int, int]:
    from processor.changelog import watermarks  # noqa: PLC0415  # one use

    return {number: found.low for number, found in watermarks(broker.admin, topic, range(PARTITIONS)).items()}


def _set(broker: Broker, topic: str, name: str, value: str) -> None:
    from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType  # noqa: PLC0415

    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    for future in broker.admin.incremental_alter_configs([resource]).values():
        future.result(30)
