"""The worker on a real Kafka: every raw event is accounted for once, through stops, kills and lost disks."""

from __future__ import annotations

import json
import shutil
import signal
import time
from pathlib import Path

import pytest

from processor.codec import encode_raw_events
from processor.simulator import Oracle, Simulator, judge
from processor.testing import raw_event
from tests.broker.deployment import PARTITIONS, Deployment, WorkerProcess, wait_for
from tests.conftest import MakeBroker
from tests.kafka.broker import Broker

SEED = 20_260_101
START_MS = int(time.time() * 1000) - 5 * 24 * 3600 * 1000
"""Brokers refuse records from the future and delete those older than a week."""


ACME = """carrier = "acme"
name = "Acme"
sources = ["https://acme.example/docs"]

[channels.SMS.statuses]
landed = "DELIVERED"

[[examples]]
channel = "SMS"
rows = [["landed", "DELIVERED"]]
"""
REFUSED = "carrier packs are refused, the old ones stay"


@pytest.fixture
def deployment(broker: Broker, tmp_path: Path) -> Deployment:
    return Deployment(broker, tmp_path)


def assert_exact(deployment: Deployment, oracle: Oracle) -> None:
    """Everything is as the oracle says, record for record, and the durable books say so too."""
    verdict = judge(oracle, deployment.changes(), exact=True)
    assert verdict.equal, f"seed {SEED}: {verdict.summary()}"
    assert_booked(deployment, oracle)


def assert_booked(deployment: Deployment, oracle: Oracle) -> None:
    expected = {str(outcome): count for outcome, count in oracle.by_outcome.items() if count}
    booked = {outcome: count for outcome, count in deployment.booked().items() if count and outcome != "forwarded"}
    assert booked == expected, f"seed {SEED}"
    assert len(deployment.dead_letters()) == expected.get("dead_lettered", 0)


def keyed(events: int, **shape: object) -> Simulator:
    """Return traffic in which every record is about one message, so that nothing is forwarded."""
    return Simulator(SEED, events=events, callbacks=0.0, start_ms=START_MS, **shape)  # type: ignore[arg-type]  # by name, from a test


def restored_by(worker: WorkerProcess) -> float:
    """Return how many changelog records a worker has read."""
    return sum(count for _, count in worker.metrics()["status_processor_restored_records_total"])


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_keyed_traffic_with_duplicates_disorder_and_poison_equals_the_oracle(
    deployment: Deployment, protocol: str
) -> None:
    deployment.settings["GROUP_PROTOCOL"] = protocol
    deployment.create_topics()
    oracle = deployment.produce(keyed(30_000, poison=0.02))

    with deployment.worker() as worker:
        deployment.wait_for_events(oracle.totals.total())
        samples = worker.metrics()
        assert worker.stop() == 0

    assert_exact(deployment, oracle)
    said = deployment.command("dead-letters", "summary", "--json")
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout)["letters"] == len(deployment.dead_letters())
    counted = {
        (row["carrier"], row["outcome"], row["reason"]): n for row, n in samples["status_processor_events_total"]
    }
    assert counted == {tuple(map(str, key)): count for key, count in oracle.totals.items()}
    published = sum(n for _, n in samples["status_processor_changes_total"])
    assert published == oracle.by_outcome["published"]


Samples = dict[str, list[tuple[dict[str, str], float]]]


def clients_told(samples: Samples) -> set[str]:
    """Return the clients of which a round trip to the broker itself has been told."""
    rows = samples["status_processor_client_broker_rtt_seconds_count"]
    return {row["client"] for row, count in rows if row["broker"] != "coordinator" and count}


def assert_watched(deployment: Deployment, samples: Samples) -> None:
    """What a worker that has nothing left to do tells of itself."""

    def values(name: str) -> list[float]:
        return [value for _, value in samples[f"status_processor_{name}"]]

    host, port = deployment.broker.bootstrap.split(",")[0].rsplit(":", 1)
    assert not [row for rows in samples.values() for row, _ in rows if {host, port, f"{host}:{port}"} & {*row.values()}]
    assert values("oldest_unprocessed_seconds") == [0.0] * 2 * PARTITIONS
    assert values("stalled_partitions") == [0.0]
    assert min(values("state_bytes")) > 0
    assert len(values("state_bytes")) == PARTITIONS
    changes = len(deployment.changes())
    assert 0 < values("end_to_end_delay_seconds_count")[0] <= changes
    assert values("end_to_end_delay_seconds_sum")[0] > 0
    assert sum(values("changes_total")) == changes
    assert values("client_queue_messages")[:1] == [0.0]
    assert all(connected == 1 for connected in values("client_brokers_connected"))
    assert samples["process_resident_memory_bytes"][0][1] > 0


def test_callbacks_of_several_messages_are_forwarded_to_their_owners(deployment: Deployment) -> None:
    deployment.settings["METRICS__CLIENT_STATISTICS_MS"] = 1_000
    deployment.create_topics()
    oracle = deployment.produce(Simulator(SEED, events=10_000, callbacks=0.5, start_ms=START_MS))

    with deployment.worker() as worker:
        deployment.wait_for_events(oracle.totals.total())
        # Behind the last forwarded event lies its transaction's marker, which is nothing to process.
        wait_for("no lag", lambda: not any(lag for _, lag in worker.metrics()["status_processor_consumer_lag_records"]))
        wait_for("librdkafka's statistics", lambda: {"consumer", "producer"} <= clients_told(worker.metrics()))
        samples = worker.metrics()
        assert worker.stop() == 0

    assert_watched(deployment, samples)
    verdict = judge(oracle, deployment.changes())
    assert verdict.equal, f"seed {SEED}: {verdict.summary()}"
    booked = deployment.booked()
    assert booked["forwarded"] > 0
    assert booked.total() - booked["forwarded"] == oracle.totals.total()


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_in_the_middle_loses_and_doubles_nothing(deployment: Deployment, end: signal.Signals) -> None:
    deployment.settings["BATCH__RECORDS_MAX"] = 500
    deployment.create_topics()
    oracle = deployment.produce(keyed(30_000))

    for part in (1, 2, 3):
        with deployment.worker() as worker:
            deployment.wait_for_events(part * 7_000)
            worker.signal(end)
            worker.wait()
    with deployment.worker() as worker:
        deployment.wait_for_events(oracle.totals.total())
        assert worker.stop() == 0

    assert_exact(deployment, oracle)


def test_state_is_restored_from_the_changelog_when_the_disk_is_lost(deployment: Deployment) -> None:
    deployment.create_topics()
    records = list(keyed(20_000))
    first = deployment.produce(records[:10_000])
    with deployment.worker() as worker:
        deployment.wait_for_events(first.totals.total())
        assert worker.stop() == 0
    shutil.rmtree(deployment.directory / "state")

    deployment.produce(records[10_000:])
    oracle = Oracle()
    for record in records:
        for event in record.events:
            oracle.feed(record.timestamp_ms, event)
    with deployment.worker() as worker:
        deployment.wait_for_events(oracle.totals.total())
        # The worker looks at itself once a second.
        wait_for("what was restored to be shown", lambda: restored_by(worker) > 0)
        assert worker.stop() == 0

    assert_exact(deployment, oracle)


def test_an_idle_worker_stops_in_order_within_five_seconds(deployment: Deployment) -> None:
    with deployment.worker() as worker:
        worker.wait_until_running()
        began = time.monotonic()

        assert worker.stop() == 0

        assert time.monotonic() - began < 5


def test_a_second_signal_ends_a_worker_at_once(make_broker: MakeBroker, tmp_path: Path) -> None:
    frozen = make_broker()
    deployment = Deployment(frozen, tmp_path)
    deployment.create_topics()
    with deployment.worker() as worker:
        worker.wait_until_running()
        wait_for("an assignment", lambda: "partitions assigned" in worker.log)
        frozen.pause()
        try:
            worker.signal(signal.SIGTERM)
            wait_for("the first signal to be seen", lambda: "stopping" in worker.log)
            worker.signal(signal.SIGTERM)

            # Once the worker has left the group it is the signal itself that ends it: 143 for a shell, either way. A
            # client that was about to leave without an answer may have been faster than the second signal.
            assert worker.wait(10) in {128 + signal.SIGTERM, -signal.SIGTERM, 0}
        finally:
            frozen.resume()


def test_a_flood_of_bad_records_stops_the_worker_before_it_fills_the_dead_letter_topic(deployment: Deployment) -> None:
    deployment.create_topics()
    good = deployment.produce(keyed(3_000, poison=0.0))
    with deployment.worker() as worker:
        deployment.wait_for_events(good.totals.total())
        deployment.produce(Simulator(SEED + 1, events=5_000, shape="flood", start_ms=START_MS))

        assert worker.wait() == 65

    assert "dead-letter limit" in worker.log
    assert "Traceback" not in worker.log
    # Of each partition at most as many as the limit lets through are there.
    assert len(deployment.dead_letters()) <= 6 * 500
    assert judge(good, deployment.changes(), exact=True).equal

    with deployment.worker() as again:
        assert again.wait() == 65
    assert deployment.booked()["published"] == good.by_outcome["published"]


def test_dead_letters_carry_the_original_bytes_and_say_why(deployment: Deployment, broker: Broker) -> None:
    deployment.create_topics()
    broker.produce(deployment.topics["raw"], [(b"key-1", b"\x01\xffnonsense"), (None, None)])

    with deployment.worker() as worker:
        deployment.wait_for_events(2)
        assert worker.stop() == 0

    letters = {message.key(): message for message in deployment.dead_letters()}
    letter = letters[b"key-1"]
    headers = dict(letter.headers() or [])
    assert letter.value() == b"\x01\xffnonsense"
    assert headers["status.errors.reason"] == b"undecodable"
    assert headers["status.errors.stage"] == b"decode"
    assert headers["status.errors.topic"] == deployment.topics["raw"].encode()
    assert int(headers["status.errors.offset"] or b"-1") >= 0
    assert b"wrong magic" in (headers["status.errors.message"] or b"")
    assert letters[None].value() is None


def test_a_changelog_that_was_made_anew_is_refused(deployment: Deployment, broker: Broker) -> None:
    deployment.create_topics()
    oracle = deployment.produce(keyed(1_000))
    with deployment.worker() as worker:
        deployment.wait_for_events(oracle.totals.total())
        assert worker.stop() == 0
    state = deployment.topics["state"]
    for future in broker.admin.delete_topics([state]).values():
        future.result(30)
    wait_for("the topic to go", lambda: state not in broker.admin.list_topics(timeout=10).topics)

    with deployment.worker() as worker:
        assert worker.wait() == 76

    assert "--reset-state" in worker.log
    assert "Traceback" not in worker.log
    more = deployment.produce(list(Simulator(SEED + 5, events=500, callbacks=0.0, start_ms=START_MS)))
    with deployment.worker(0, "--reset-state") as worker:
        deployment.wait_for_events(oracle.totals.total() + more.totals.total())
        assert worker.stop() == 0


def test_sighup_loads_new_packs_under_a_running_worker_and_refuses_bad_ones(
    deployment: Deployment, broker: Broker, tmp_path: Path
) -> None:
    packs = tmp_path / "packs"
    packs.mkdir()
    deployment.settings["PACKS__DIRECTORY"] = packs
    deployment.create_topics()

    def report(message_id: str) -> None:
        (value,) = encode_raw_events([raw_event("acme", message_id, "landed")])
        broker.produce(deployment.topics["raw"], [(message_id.encode(), value)])

    def reloads(worker: WorkerProcess) -> dict[str, float]:
        return {row["result"]: count for row, count in worker.metrics().get("status_processor_pack_reloads_total", [])}

    with deployment.worker() as worker:
        worker.wait_until_running()
        report("m1")
        deployment.wait_for_events(1)
        (packs / "acme.toml").write_text(ACME)
        worker.signal(signal.SIGHUP)
        wait_for("the new pack", lambda: reloads(worker) == {"loaded": 1.0, "refused": 0.0})
        report("m2")
        deployment.wait_for_events(2)
        (packs / "acme.toml").write_text(ACME.replace('landed = "DELIVERED"', 'landed = "ARRIVED"'))
        worker.signal(signal.SIGHUP)
        wait_for("the bad pack", lambda: reloads(worker) == {"loaded": 1.0, "refused": 1.0})
        report("m3")
        deployment.wait_for_events(3)
        assert worker.stop() == 0

    assert {change.message_id: change.status for change in deployment.changes()} == {
        "m2": "DELIVERED",
        "m3": "DELIVERED",
    }
    assert len(deployment.dead_letters()) == 1
    (refusal,) = [line for line in worker.events_logged() if line["event"] == REFUSED]
    assert "acme.toml:6: channels.SMS.statuses.landed: 'ARRIVED' is no canonical status" in str(refusal["problems"])
