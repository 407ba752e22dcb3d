"""Both group protocols, the choice between them, and the rolling switch from one to the other."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from processor.errors import ExitCode
from processor.simulator import Oracle, SimulatedRecord
from tests.broker.deployment import Deployment, WorkerProcess, wait_for
from tests.broker.test_worker import assert_exact, keyed
from tests.conftest import MakeBroker
from tests.kafka.broker import Broker

CLASSIC_ONLY = {"group.coordinator.rebalance.protocols": "classic"}


def oracle_of(records: Iterable[SimulatedRecord]) -> Oracle:
    """Return an oracle that has been fed with all of them."""
    oracle = Oracle()
    for record in records:
        for event in record.events:
            oracle.feed(record.timestamp_ms, event)
    return oracle


def protocol_of(worker: WorkerProcess) -> list[object]:
    """Return what the worker says it took, the last of its tries."""
    return [line["group_protocol"] for line in worker.events_logged() if line["event"] == "running"][-1:]


def test_auto_takes_the_newer_protocol_where_the_broker_has_it(broker: Broker, tmp_path: Path) -> None:
    deployment = Deployment(broker, tmp_path)
    deployment.create_topics()
    oracle = deployment.produce(keyed(2_000))
    with deployment.worker() as worker:
        deployment.wait_for_events(oracle.totals.total())
        assert worker.stop() == 0
        assert protocol_of(worker) == ["consumer"]
    assert_exact(deployment, oracle)


def test_auto_takes_the_classic_one_where_the_coordinator_refuses(make_broker: MakeBroker, tmp_path: Path) -> None:
    deployment = Deployment(make_broker(CLASSIC_ONLY), tmp_path)
    deployment.create_topics()
    oracle = deployment.produce(keyed(2_000))
    with deployment.worker() as worker:
        deployment.wait_for_events(oracle.totals.total())
        assert worker.stop() == 0
        assert protocol_of(worker) == ["classic"]
        assert "does not take this protocol" in worker.log
        assert all(line.startswith("{") for line in worker.log.splitlines())
    assert_exact(deployment, oracle)

    deployment.settings["GROUP_PROTOCOL"] = "consumer"
    with deployment.worker() as worker:
        assert worker.wait() == ExitCode.SETTINGS
        assert worker.log.splitlines()[-1].startswith("error: the brokers do not take group_protocol=consumer")


def revoked(worker: WorkerProcess) -> int:
    """Return how many input partitions were taken from a worker so far."""
    counts = [line["count"] for line in worker.events_logged() if line["event"] == "partitions revoked"]
    return sum(int(str(count)) for count in counts)


@pytest.mark.parametrize(("protocol", "given_up"), [("classic", 12), ("consumer", 6)])
def test_when_a_worker_joins_only_the_classic_protocol_takes_away_what_stays(
    broker: Broker, tmp_path: Path, protocol: str, given_up: int
) -> None:
    deployment = Deployment(broker, tmp_path, GROUP_PROTOCOL=protocol)
    deployment.create_topics()
    oracle = deployment.produce(keyed(2_000))
    with deployment.worker(0) as first:
        deployment.wait_for_events(oracle.totals.total())
        with deployment.worker(1) as second:
            wait_for("the second to have its share", lambda: "partitions assigned" in second.log)
            wait_for("the first to have given it up", lambda: revoked(first) >= given_up)
            assert revoked(first) == given_up
            assert second.stop() == 0
        assert first.stop() == 0


def test_workers_are_switched_from_one_protocol_to_the_other_one_by_one(broker: Broker, tmp_path: Path) -> None:
    deployment = Deployment(broker, tmp_path, BATCH__RECORDS_MAX=500)
    deployment.create_topics()
    records = list(keyed(24_000))
    quarter = len(records) // 4
    deployment.settings["GROUP_PROTOCOL"] = "classic"
    with deployment.worker(0) as zero, deployment.worker(1) as one:
        events = deployment.produce(records[:quarter]).totals.total()
        deployment.wait_for_events(events)
        deployment.settings["GROUP_PROTOCOL"] = "consumer"
        events += deployment.produce(records[quarter : 2 * quarter]).totals.total()
        assert zero.stop() == 0
        with deployment.worker(0):
            events += deployment.produce(records[2 * quarter : 3 * quarter]).totals.total()
            deployment.wait_for_events(events)
            assert one.stop() == 0
            with deployment.worker(1):
                deployment.produce(records[3 * quarter :])
                oracle = oracle_of(records)
                deployment.wait_for_events(oracle.totals.total())
    assert_exact(deployment, oracle)
