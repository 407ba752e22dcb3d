"""Local state that cannot be written: the worker ends with the path in one line, and a repair is all it takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from processor.errors import ExitCode
from tests.broker.deployment import Deployment
from tests.broker.test_worker import assert_exact, keyed
from tests.kafka.broker import Broker


@pytest.fixture
def deployment(broker: Broker, tmp_path: Path) -> Deployment:
    deployment = Deployment(broker, tmp_path, BATCH__RECORDS_MAX=500)
    deployment.create_topics()
    return deployment


def test_a_disk_that_takes_no_more_ends_the_worker_and_what_was_committed_stands(deployment: Deployment) -> None:
    """A limit on the size of files stands in for a full disk: it needs no mount, and fails the same calls."""
    records = list(keyed(20_000))
    oracle = deployment.produce(records)
    with deployment.worker() as worker:
        deployment.wait_for_events(2_000)
        worker.limit_files(65_536)

        assert worker.wait(30) == ExitCode.FAILED, worker.log

    (line,) = [line for line in worker.log.splitlines() if line.startswith("error: ")]
    assert "cannot write state under" in line
    assert str(deployment.state_of(0)) in line
    assert "Traceback" not in worker.log

    with deployment.worker() as worker:
        deployment.wait_for_events(oracle.totals.total())
        assert worker.stop() == 0
    assert_exact(deployment, oracle)


def test_a_state_directory_that_cannot_be_one_ends_the_worker_by_its_path(deployment: Deployment) -> None:
    """A plain file in the way stands in for a read-only directory, whose mode root would not mind."""
    oracle = deployment.produce(keyed(1_000))
    in_the_way = deployment.directory / "in-the-way"
    in_the_way.write_text("")
    good, deployment.settings["STATE__DIRECTORY"] = deployment.settings["STATE__DIRECTORY"], in_the_way / "state"

    with deployment.worker() as worker:
        assert worker.wait(30) == ExitCode.FAILED, worker.log

    (line,) = [line for line in worker.log.splitlines() if line.startswith("error: ")]
    assert f"cannot use {deployment.state_of(0)}" in line
    assert "Traceback" not in worker.log

    deployment.settings["STATE__DIRECTORY"] = good
    with deployment.worker() as worker:
        deployment.wait_for_events(oracle.totals.total())
        assert worker.stop() == 0
    assert_exact(deployment, oracle)
