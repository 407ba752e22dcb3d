"""A worker with the least that it needs, from which one access is taken: one line names it, and nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AclOperation, ResourceType

from processor.errors import ExitCode
from processor.simulator import Oracle
from tests.broker.deployment import Deployment
from tests.broker.test_worker import assert_exact, keyed
from tests.kafka import maven
from tests.kafka.access import ADMIN, WORKER, Access, grant, guarded_config, take_away, user
from tests.kafka.broker import Broker, own_broker

pytestmark = pytest.mark.broker

READ, WRITE = AclOperation.READ, AclOperation.WRITE


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker where `admin` may do everything, and `worker` what it is granted."""
    if maven.missing():
        pytest.skip(f"{maven.missing()}: install a JRE and Maven (Debian: apt-get install default-jre-headless maven)")
    with own_broker(tmp_path_factory.mktemp("guarded"), guarded_config(), user(ADMIN)) as running:
        yield running


@pytest.fixture
def deployment(guarded: Broker, tmp_path: Path) -> Deployment:
    deployment = Deployment(guarded, tmp_path, BATCH__RECORDS_MAX=500)
    log_in(deployment, ADMIN)
    deployment.create_topics()
    log_in(deployment, WORKER)
    grant(guarded, needed(deployment))
    return deployment


def log_in(deployment: Deployment, name: str) -> None:
    for key, value in user(name).items():
        deployment.settings[f"KAFKA__{key.upper().replace('.', '_')}"] = value


def needed(deployment: Deployment) -> list[Access]:
    """The least that a worker needs, and no more."""
    topics = deployment.topics
    return [
        (ResourceType.GROUP, deployment.name, READ),
        (ResourceType.TRANSACTIONAL_ID, f"{deployment.name}-{deployment.name}-0", WRITE),
        (ResourceType.TOPIC, topics["raw"], READ),
        (ResourceType.TOPIC, topics["changes"], WRITE),
        (ResourceType.TOPIC, topics["dead_letter"], WRITE),
        (ResourceType.TOPIC, topics["state"], READ),
        (ResourceType.TOPIC, topics["state"], WRITE),
        (ResourceType.TOPIC, topics["rekeyed"], READ),
        (ResourceType.TOPIC, topics["rekeyed"], WRITE),
    ]


@pytest.mark.parametrize(
    ("number", "named"),
    [
        pytest.param(0, "Read on group {0.name}", id="group"),
        pytest.param(1, "Write on transactional id {0.name}-{0.name}-0", id="transactional id"),
        pytest.param(2, "Read on topic {0.name}.raw;", id="raw"),
        pytest.param(3, "Write on topic {0.name}.changes;", id="changes"),
        pytest.param(6, "Write on topic {0.name}.state;", id="state"),
    ],
)
def test_an_access_taken_away_is_named_and_nothing_is_lost(
    deployment: Deployment, guarded: Broker, number: int, named: str
) -> None:
    records = list(keyed(3_000, poison=0.02))
    lost = needed(deployment)[number]
    first = deployment.produce(records[:2_000])
    with deployment.worker() as worker:
        deployment.wait_for_events(first.totals.total())
        take_away(guarded, lost)
        deployment.produce(records[2_000:])

        assert worker.wait(30) == ExitCode.NOT_PERMITTED, worker.log

    (line,) = [line for line in worker.log.splitlines() if line.startswith("error: ")]
    assert named.format(deployment) in line
    assert "Traceback" not in worker.log

    grant(guarded, [lost])
    oracle = Oracle()
    for record in records:
        for event in record.events:
            oracle.feed(record.timestamp_ms, event)
    with deployment.worker() as worker:
        deployment.wait_for_events(oracle.totals.total())
        assert worker.stop() == 0
    assert_exact(deployment, oracle)


def test_a_changelog_that_may_not_be_read_is_named(deployment: Deployment, guarded: Broker) -> None:
    oracle = deployment.produce(keyed(1_000))
    with deployment.worker() as worker:
        deployment.wait_for_events(oracle.totals.total())
        worker.kill()
    take_away(guarded, (ResourceType.TOPIC, deployment.topics["state"], READ))
    # What is behind the store's offset has to be read from the changelog.
    deployment.produce(keyed(2_000))

    with deployment.worker(0, "--set", f"state.directory={deployment.directory / 'another'}") as worker:
        assert worker.wait(30) == ExitCode.NOT_PERMITTED, worker.log

    (line,) = [line for line in worker.log.splitlines() if line.startswith("error: ")]
    assert f"Read on topic {deployment.topics['state']};" in line


def needed_to_replay(deployment: Deployment) -> list[Access]:
    """The least that a replay needs where raw records failed, and no more."""
    topics = deployment.topics
    return [
        (ResourceType.TRANSACTIONAL_ID, f"{topics['dead_letter']}-replay", WRITE),
        (ResourceType.TOPIC, topics["dead_letter"], READ),
        (ResourceType.TOPIC, topics["dead_letter"], WRITE),
        (ResourceType.TOPIC, topics["raw"], WRITE),
        (ResourceType.GROUP, "status-processor-reader", READ),
    ]


def test_a_replay_needs_no_more_than_this_and_all_of_it(deployment: Deployment, guarded: Broker) -> None:
    oracle = deployment.produce(keyed(1_000, poison=0.02))
    with deployment.worker() as worker:
        deployment.wait_for_events(oracle.totals.total())
        assert worker.stop() == 0
    letters = len(deployment.dead_letters())
    for access in needed(deployment):
        take_away(guarded, access)
    grant(guarded, needed_to_replay(deployment))

    for lost in needed_to_replay(deployment):
        take_away(guarded, lost)
        done = deployment.command("dead-letters", "replay")
        # A topic that may not be written need not be there, for all that a client can see.
        code, words = (77, "not permitted") if lost[1] != deployment.topics["raw"] else (1, "may not be seen")
        assert done.returncode == code, (lost, done)
        assert words in done.stdout + done.stderr
        assert len(done.stderr.splitlines()) <= 1
        grant(guarded, [lost])

    done = deployment.command("dead-letters", "replay")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"replayed {letters} dead letters" in done.stdout
