"""What the worker does when the broker is frozen, gone or not there yet, and when a second worker takes its place."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from processor import run, topics
from processor.cli import main
from processor.errors import ExitCode
from processor.simulator import Oracle, Simulator
from tests.broker.deployment import Deployment, wait_for
from tests.broker.test_worker import SEED, START_MS, assert_exact, keyed
from tests.kafka.broker import Broker
from tests.kafka.readiness import HOST, free_port

pytestmark = pytest.mark.broker

_LINES_MAX = 40
"""Log lines of a short run with one outage in it: an outage is told, not recited."""


def outlast(seconds: float) -> None:
    """Let an outage last: time itself is what is waited for."""
    end = time.monotonic() + seconds
    wait_for("the outage to be long enough", lambda: time.monotonic() > end)


def test_a_frozen_broker_is_waited_for(breakable: Broker, tmp_path: Path) -> None:
    """Longer than a call and the session may last, shorter than the transaction."""
    deployment = Deployment(breakable, tmp_path, BATCH__RECORDS_MAX=200)
    deployment.create_topics()
    oracle = deployment.produce(keyed(12_000, poison=0.02))
    with deployment.worker() as worker:
        deployment.wait_for_events(1_000)
        breakable.pause()
        outlast(8)
        breakable.resume()

        deployment.wait_for_events(oracle.totals.total(), 40)
        assert worker.stop() == 0, worker.log

    assert len(worker.log.splitlines()) < _LINES_MAX
    assert "Traceback" not in worker.log
    assert_exact(deployment, oracle)


def test_a_broker_that_was_killed_and_stays_away_is_waited_for(breakable: Broker, tmp_path: Path) -> None:
    """Longer than the transaction and the session may last: the worker goes on by itself all the same."""
    deployment = Deployment(breakable, tmp_path, BATCH__RECORDS_MAX=200, TRANSACTION__TIMEOUT_MS=4_000)
    deployment.create_topics()
    oracle = deployment.produce(keyed(12_000, poison=0.02))
    with deployment.worker() as worker:
        deployment.wait_for_events(1_000)
        breakable.kill()
        outlast(14)
        assert worker.exit_code is None, worker.log
        breakable.start()

        deployment.wait_for_events(oracle.totals.total(), 60)
        assert worker.stop() == 0, worker.log

    assert len(worker.log.splitlines()) < _LINES_MAX
    assert "waiting for the brokers" in worker.log
    assert "Traceback" not in worker.log
    assert_exact(deployment, oracle)


def test_an_idle_worker_waits_for_a_broker_that_was_killed(breakable: Broker, tmp_path: Path) -> None:
    deployment = Deployment(breakable, tmp_path)
    deployment.create_topics()
    with deployment.worker() as worker:
        wait_for("an assignment", lambda: "partitions assigned" in worker.log)
        breakable.kill()
        wait_for("the worker to tell", lambda: "brokers are down" in worker.log)
        breakable.start()
        oracle = deployment.produce(keyed(1_000))

        deployment.wait_for_events(oracle.totals.total(), 40)
        assert worker.stop() == 0, worker.log

    assert len(worker.log.splitlines()) < _LINES_MAX
    assert_exact(deployment, oracle)


def test_a_broker_that_is_not_there_at_the_start_is_named_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "_ANSWER_WITHIN_S", 2.0)
    monkeypatch.setattr(topics, "_CALL_S", 1.0)
    nobody = f"{HOST}:{free_port()}"

    code = main(
        [
            "run",
            "--ordinal",
            "0",
            "--set",
            f"kafka.bootstrap.servers={nobody}",
            "--set",
            "topics.raw=raw",
            "--set",
            "metrics.port=0",
        ]
    )

    assert code == ExitCode.UNAVAILABLE
    lines = capfd.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
    assert "gave up after 2 s: cannot describe the cluster" in lines[-1]
    assert not [line for line in lines if "Traceback" in line or line.startswith("%")]


def test_a_worker_with_the_ordinal_of_another_ends_the_other_one_with_the_likely_cause(
    broker: Broker, tmp_path: Path
) -> None:
    deployment = Deployment(broker, tmp_path, BATCH__RECORDS_MAX=200)
    deployment.create_topics()
    records = list(keyed(6_000))
    oracle = deployment.produce(records)
    with deployment.worker(0) as first:
        deployment.wait_for_events(1_000)
        with deployment.worker(0, "--set", f"state.directory={tmp_path / 'second'}") as second:
            second.wait_until_running()
            late = Simulator(SEED + 5, events=2_000, callbacks=0.0, start_ms=START_MS)
            more = deployment.produce(late)

            assert first.wait(30) == ExitCode.UNKNOWN_OUTCOME, first.log
            deployment.wait_for_events(oracle.totals.total() + more.totals.total())
            assert second.stop() == 0

    (line,) = [line for line in first.log.splitlines() if line.startswith("error: ")]
    assert f"another worker uses the same ordinal (transactional id {deployment.name}-{deployment.name}-0)" in line
    assert "Traceback" not in first.log
    both = Oracle()
    for record in (*records, *late):
        for event in record.events:
            both.feed(record.timestamp_ms, event)
    assert_exact(deployment, both)
