"""Topics that change under a running worker: deleted, emptied, or too small for what it has to write."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from processor.codec import encode_raw_events
from processor.errors import ExitCode
from processor.simulator import Simulator, judge
from processor.testing import raw_event
from tests.broker.deployment import Deployment, wait_for
from tests.broker.test_worker import SEED, START_MS, assert_exact, keyed
from tests.kafka.broker import Broker


@pytest.fixture
def deployment(broker: Broker, tmp_path: Path) -> Deployment:
    deployment = Deployment(broker, tmp_path, TRANSACTION__TIMEOUT_MS=2_000)
    deployment.create_topics()
    return deployment


def more() -> Simulator:
    return Simulator(SEED + 5, events=500, callbacks=0.0, poison=0.02, start_ms=START_MS)


def delete(broker: Broker, topic: str) -> None:
    for future in broker.admin.delete_topics([topic]).values():
        future.result(30)
    wait_for("the topic to go", lambda: topic not in broker.admin.list_topics(timeout=10).topics)


def delete_all(broker: Broker, topic: str) -> None:
    """Delete what a topic holds, as retention does: its offsets go on from where they are."""
    ends = [TopicPartition(topic, number, end) for number, end in broker.ends(topic).items()]
    for future in broker.admin.delete_records(ends).values():
        future.result(30)


def errors(log: str) -> list[str]:
    assert "Traceback" not in log
    return [line for line in log.splitlines() if line.startswith("error: ")]


@pytest.mark.parametrize("role", ["dead_letter", "state"])
def test_an_output_that_was_deleted_ends_the_worker_by_its_name(
    deployment: Deployment, broker: Broker, role: str
) -> None:
    first = deployment.produce(keyed(1_000))
    with deployment.worker() as worker:
        deployment.wait_for_events(first.totals.total())
        delete(broker, deployment.topics[role])
        deployment.produce(more())

        assert worker.wait(30) == ExitCode.UNAVAILABLE, worker.log

    (line,) = errors(worker.log)
    assert f"topic {deployment.topics[role]} is gone" in line


def test_a_deleted_rekeyed_topic_ends_an_idle_worker_too(deployment: Deployment, broker: Broker) -> None:
    with deployment.worker() as worker:
        wait_for("an assignment", lambda: "partitions assigned" in worker.log)
        delete(broker, deployment.topics["rekeyed"])

        assert worker.wait(30) == ExitCode.UNAVAILABLE, worker.log

    (line,) = errors(worker.log)
    assert f"topic {deployment.topics['rekeyed']} is gone" in line


def test_a_deleted_changes_topic_that_is_made_again_takes_what_follows(deployment: Deployment, broker: Broker) -> None:
    first = deployment.produce(keyed(1_000))
    with deployment.worker() as worker:
        deployment.wait_for_events(first.totals.total())
        published = deployment.booked()["published"]
        delete(broker, deployment.topics["changes"])
        oracle = deployment.produce(more())
        assert worker.wait(30) == ExitCode.UNAVAILABLE, worker.log
    assert f"topic {deployment.topics['changes']} is gone" in errors(worker.log)[0]
    deployment.create_topics()

    with deployment.worker() as worker:
        deployment.wait_for_events(first.totals.total() + oracle.totals.total())
        assert worker.stop() == 0

    assert judge(oracle, deployment.changes(), exact=True).equal
    assert deployment.booked()["published"] == published + oracle.by_outcome["published"]


def test_a_deleted_raw_topic_is_told_and_the_others_go_on(deployment: Deployment, broker: Broker) -> None:
    doomed = broker.topic(2, name="doomed")
    deployment.settings["TOPICS__RAW"] = f"{deployment.topics['raw']},{doomed}"
    with deployment.worker() as worker:
        wait_for("an assignment", lambda: "partitions assigned" in worker.log)
        delete(broker, doomed)
        wait_for("the worker to tell", lambda: "a raw topic is gone" in worker.log)
        oracle = deployment.produce(keyed(1_000))
        deployment.wait_for_events(oracle.totals.total())
        assert worker.stop() == 0

    (line,) = [line for line in worker.events_logged() if "is gone" in str(line["event"])]
    assert str(line["topic"]).startswith("doomed-")
    assert_exact(deployment, oracle)


def test_records_deleted_before_they_were_processed_end_the_worker(deployment: Deployment, broker: Broker) -> None:
    first = deployment.produce(keyed(1_000))
    with deployment.worker() as worker:
        deployment.wait_for_events(first.totals.total())
        assert worker.stop() == 0
    deployment.produce(more())
    raw = deployment.topics["raw"]
    delete_all(broker, raw)

    with deployment.worker() as worker:
        assert worker.wait(30) == ExitCode.STATE_REFUSED, worker.log

    (line,) = errors(worker.log)
    assert f"the committed offset of {raw}[" in line
    assert deployment.booked().total() == first.totals.total()


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_log_that_no_longer_begins_at_its_first_record_is_read_from_where_the_worker_stands(
    deployment: Deployment, broker: Broker, protocol: str
) -> None:
    deployment.settings["GROUP_PROTOCOL"] = protocol
    raw = deployment.topics["raw"]
    deployment.produce(keyed(1_000))
    delete_all(broker, raw)
    first = deployment.produce(more())
    with deployment.worker() as worker:
        deployment.wait_for_events(first.totals.total())
        assert worker.stop() == 0
    delete_all(broker, raw)
    second = deployment.produce(keyed(1_000))

    with deployment.worker() as worker:
        deployment.wait_for_events(first.totals.total() + second.totals.total())
        assert worker.stop() == 0


def test_a_value_too_large_for_the_dead_letter_topic_is_cut_and_told(deployment: Deployment, broker: Broker) -> None:
    entry = ConfigEntry("max.message.bytes", "6000", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, deployment.topics["dead_letter"], incremental_configs=[entry])
    for future in broker.admin.incremental_alter_configs([resource]).values():
        future.result(30)
    value = b"\x01\xff" + b"x" * 20_000
    broker.produce(deployment.topics["raw"], [(b"key", value)])

    with deployment.worker() as worker:
        deployment.wait_for_events(1)
        assert worker.stop() == 0

    (letter,) = deployment.dead_letters()
    headers = dict(letter.headers() or [])
    kept = letter.value() or b""
    assert value.startswith(kept)
    assert 4_000 < len(kept) < 6_000
    assert headers["status.errors.value_bytes"] == str(len(value)).encode()
    assert headers["status.errors.value_sha256"] == sha256(value)

    done = deployment.command("dead-letters", "replay")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [message.value() for message in broker.read(deployment.topics["raw"])] == [value] * 2


def large(message_id: str, size: int) -> tuple[bytes, bytes]:
    event = raw_event("twilio", message_id, "sent", channel="SMS", error_text="x" * size)
    return message_id.encode(), encode_raw_events([event])[0]


def test_no_record_is_so_large_that_it_stops_the_worker(deployment: Deployment, broker: Broker) -> None:
    """Kafka's own default takes 1,048,588 bytes, the client's own default a million."""
    deployment.settings["LIMITS__RECORD_BYTES_MAX"] = 2_000_000
    records = [(b"garbage", b"x" * 1_048_000), (b"k" * 1_048_000, b"x"), large("SM1", 1_047_000), large("SM2", 1)]
    for record in records:
        broker.produce(deployment.topics["raw"], [record], message_max_bytes=2_000_000)
    with deployment.worker() as worker:
        deployment.wait_for_events(4)
        assert worker.stop() == 0

    deployment.settings["KAFKA__MESSAGE_MAX_BYTES"] = 20_000
    broker.produce(deployment.topics["raw"], [large("SM3", 40_000), large("SM4", 1)])
    with deployment.worker() as worker:
        deployment.wait_for_events(6)
        assert worker.stop() == 0

    letters = {(letter.key() or b"")[:7]: dict(letter.headers() or []) for letter in deployment.dead_letters()}
    assert {change.message_id for change in deployment.changes()} == {"SM1", "SM2", "SM4"}
    assert {key: headers["status.errors.reason"] for key, headers in letters.items()} == {
        b"garbage": b"undecodable",
        b"kkkkkkk": b"undecodable",
        b"SM3": b"unprocessable",
    }
    assert letters[b"kkkkkkk"]["status.errors.key_bytes"] == b"1048000"


def sha256(value: bytes) -> bytes:
    return hashlib.sha256(value).hexdigest().encode()
