"""A worker that dies at any point of a transaction, of a restore or of a rebalance loses and doubles nothing."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.broker.crashing import POINTS
from tests.broker.deployment import Deployment, wait_for
from tests.broker.test_worker import assert_exact, keyed
from tests.kafka.broker import Broker


class Crashing:
    """A worker process that ends itself."""

    def __init__(self, deployment: Deployment, point: str, times: int) -> None:
        self.log = deployment.directory / f"crashing-{times}.log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.broker.crashing", point, str(times), "run", "--ordinal", "0"],
                env=deployment.environment(),
                cwd=Path(__file__).parents[2],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_until_crashed(self) -> None:
        code = self._process.wait(60)
        assert code == -signal.SIGKILL, self.log.read_text()[-2000:]

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(30)


@pytest.mark.parametrize("point", list(POINTS))
def test_a_worker_that_dies_there_loses_and_doubles_nothing(broker: Broker, tmp_path: Path, point: str) -> None:
    protocol = "classic" if list(POINTS).index(point) % 2 else "consumer"
    deployment = Deployment(broker, tmp_path, BATCH__RECORDS_MAX=500, GROUP_PROTOCOL=protocol)
    deployment.create_topics()
    oracle = deployment.produce(keyed(5_000))
    events = oracle.totals.total()
    if point == "in a restore":
        with deployment.worker() as worker:
            deployment.wait_for_events(events // 2)
            worker.kill()
        shutil.rmtree(tmp_path / "state")

    crashing = Crashing(deployment, point, 1 if point.startswith("in ") else 3)
    try:
        if point == "in on_revoke":
            deployment.wait_for_events(events // 3)
            with deployment.worker(1) as second:
                crashing.wait_until_crashed()
                wait_for("the second to be given something", lambda: "partitions assigned" in second.log)
                second.kill()
        crashing.wait_until_crashed()
    finally:
        crashing.kill()

    with deployment.worker() as worker:
        worker.wait_until_running()
        deployment.wait_for_events(events)
        assert worker.stop() == 0
    assert_exact(deployment, oracle)
