"""Three brokers, of which one or two are killed under a running worker: it goes on, or waits and goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.broker.deployment import Deployment, wait_for
from tests.broker.test_worker import assert_exact, keyed
from tests.kafka import maven
from tests.kafka.cluster import Cluster, cluster

pytestmark = pytest.mark.broker


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if maven.missing():
        pytest.skip(f"{maven.missing()}: install a JRE and Maven (Debian: apt-get install default-jre-headless maven)")
    with cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture
def deployment(three: Cluster, tmp_path: Path) -> Iterator[Deployment]:
    deployment = Deployment(
        three.broker, tmp_path, REPLICATION_FACTOR=3, BATCH__RECORDS_MAX=200, TRANSACTION__TIMEOUT_MS=8_000
    )
    deployment.create_topics()
    yield deployment
    for node in three.nodes.values():
        if node.pid is None:
            node.start()


def test_a_worker_goes_on_when_its_coordinator_and_a_third_of_its_leaders_are_killed(
    deployment: Deployment, three: Cluster
) -> None:
    oracle = deployment.produce(keyed(12_000, poison=0.02))
    with deployment.worker() as worker:
        deployment.wait_for_events(1_000)
        three.nodes[three.coordinator(deployment.name)].kill()

        deployment.wait_for_events(oracle.totals.total(), 60)
        assert worker.stop() == 0, worker.log

    assert "Traceback" not in worker.log
    assert_exact(deployment, oracle)


def test_a_worker_waits_while_too_few_replicas_are_left_and_goes_on_after(
    deployment: Deployment, three: Cluster
) -> None:
    wait_for("all replicas", three.in_sync)
    oracle = deployment.produce(keyed(12_000, poison=0.02))
    with deployment.worker() as worker:
        deployment.wait_for_events(1_000)
        for node in (1, 2):
            three.nodes[node].kill()
        wait_for("the worker to tell", lambda: "waiting for the brokers" in worker.log)
        three.nodes[2].start()

        deployment.wait_for_events(oracle.totals.total(), 60)
        assert worker.stop() == 0, worker.log

    assert "Traceback" not in worker.log
    assert_exact(deployment, oracle)
