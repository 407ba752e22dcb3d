"""`lag`, `carriers diff`, `doctor` and `reset` on a real Kafka, beside a real worker and without one."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from processor.doctor import Verdict
from processor.doctor_kafka import KafkaChecks
from processor.errors import FatalError
from processor.group_members import describe_group
from processor.group_reset import GroupReset
from processor.settings import Settings, load_settings
from processor.simulator import Simulator
from tests.broker.deployment import Deployment, wait_for
from tests.broker.test_failures_access import log_in, needed
from tests.broker.test_worker import SEED, START_MS
from tests.kafka import maven
from tests.kafka.access import ADMIN, WORKER, grant, guarded_config, take_away, user
from tests.kafka.broker import Broker, own_broker

pytestmark = pytest.mark.broker

EVENTS = 4_000
TWILIO = """carrier = "twilio"
extends = "twilio"
name = "Twilio, as we take it"
sources = ["https://www.twilio.com/docs"]

[channels.SMS.statuses]
sent = "ACCEPTED"

[[examples]]
channel = "SMS"
rows = [["sent", "ACCEPTED"]]

[[examples]]
channel = "RCS"
rows = [["sent", "SENT"]]

[[examples]]
channel = "WHATSAPP"
rows = [["sent", "SENT"]]
"""


def settings_of(deployment: Deployment) -> Settings:
    return load_settings(None, {}, deployment.environment())


def told(deployment: Deployment, *arguments: str, code: int = 0) -> dict[str, Any]:
    done = deployment.command(*arguments, "--json")
    assert done.returncode == code, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def test_a_group_that_was_reset_publishes_everything_again_as_it_did_at_first(broker: Broker, tmp_path: Path) -> None:
    deployment = Deployment(broker, tmp_path, GROUP_PROTOCOL="consumer")
    deployment.create_topics()
    oracle = deployment.produce(Simulator(SEED, events=EVENTS, callbacks=0.0, poison=0.02, start_ms=START_MS))
    waiting = told(deployment, "lag", "--max-lag", "1", code=1)
    assert waiting["lag"] > 1
    assert waiting["seconds_behind"] > 0

    with deployment.worker() as worker:
        deployment.wait_for_events(oracle.totals.total())
        beside = told(deployment, "lag", "--max-lag", "0")
        refused = deployment.command("reset", "--to", "earliest", "--yes")
        assert worker.stop() == 0
    assert (beside["lag"], beside["unowned"], beside["members"]) == (0, 0, 1)
    assert {one["owner"] for one in beside["partitions"]} == {f"{deployment.name}-0 on 127.0.0.1"}
    assert refused.returncode == 1
    assert f"has members ({deployment.name}-0 on 127.0.0.1): stop all workers first" in refused.stderr

    # A worker that finds nothing to do brings its stores to the very end of the changelog, its markers included.
    with deployment.worker() as worker:
        wait_for("stores to be restored", lambda: "restore complete" in worker.log)
        assert worker.stop() == 0
    first, books, letters = deployment.changes(), deployment.books(), len(deployment.dead_letters())
    offsets = {(tp.topic, tp.partition): tp.offset for tp in deployment.committed()}

    planned = told(deployment, "reset", "--to", "earliest", "--dry-run")
    assert not planned["done"]
    assert {(tp.topic, tp.partition): tp.offset for tp in deployment.committed()} == offsets
    done = told(deployment, "reset", "--to", "earliest", "--yes")
    assert done["done"]
    assert done["read_again"] == planned["read_again"] == sum(book.records for book in books.values())
    assert all(not book.records and book.reset_at for book in deployment.books().values())

    # The same disk, whose stores still hold everything.
    with deployment.worker() as worker:
        deployment.wait_for_events(oracle.totals.total())
        assert worker.stop() == 0
    assert deployment.command("books").returncode == 0
    assert {key: replace(book, reset_at=0) for key, book in deployment.books().items()} == books
    assert len(deployment.dead_letters()) == 2 * letters
    # Every change came once more, with the same id and sequence.
    again = Counter(change.change_id for change in deployment.changes())
    assert again == Counter({change.change_id: 2 for change in first})


def test_a_reset_to_the_end_forgets_what_is_there_and_begins_with_what_comes(broker: Broker, tmp_path: Path) -> None:
    deployment = Deployment(broker, tmp_path, GROUP_PROTOCOL="classic")
    deployment.create_topics()
    # All of it is forwarded, and the last of it lies unread: a worker that was killed took it no further.
    deployment.produce(Simulator(SEED, events=1_000, callbacks=0.0, poison=0.0, start_ms=START_MS))
    broker.produce(deployment.topics["rekeyed"], [(b"key", b"forwarded and not taken")])

    done = told(deployment, "reset", "--to", "latest", "--yes")

    assert done["done"]
    assert told(deployment, "lag", "--max-lag", "0")["lag"] == 0
    oracle = deployment.produce(Simulator(SEED + 1, events=1_000, callbacks=0.0, poison=0.0, start_ms=START_MS))
    with deployment.worker() as worker:
        deployment.wait_for_events(oracle.totals.total())
        assert worker.stop() == 0
    assert deployment.booked().total() == oracle.totals.total()
    assert deployment.booked()["dead_lettered"] == 0


def test_a_worker_that_starts_meanwhile_finds_a_reset_whole_or_not_at_all(broker: Broker, tmp_path: Path) -> None:
    deployment = Deployment(broker, tmp_path)
    deployment.create_topics()
    oracle = deployment.produce(Simulator(SEED, events=1_000, callbacks=0.0, start_ms=START_MS))
    with deployment.worker() as worker:
        deployment.wait_for_events(oracle.totals.total())
        assert worker.stop() == 0
    books, first = deployment.books(), len(deployment.changes())

    with GroupReset(settings_of(deployment), "earliest") as resetting:
        resetting.join()
        with deployment.worker(1) as worker:
            wait_for("it to join", lambda: len(resetting.members()) == 2)
            wait_for("the coordinator to want partitions back", lambda: not still_alone(resetting))
            with pytest.raises(FatalError, match="nothing was changed"):
                resetting.commit()
            resetting.close()
            wait_for("the worker to take over", lambda: '"restore complete"' in worker.log)
            assert worker.stop() == 0
    assert deployment.books() == books
    assert len(deployment.changes()) == first

    with GroupReset(settings_of(deployment), "earliest") as resetting:
        resetting.join()
        with deployment.worker(1) as worker:
            wait_for("it to join", lambda: len(resetting.members()) == 2)
            refused = commit_or_refuse(resetting)
            resetting.close()
            wait_for("the worker to take over", lambda: '"restore complete"' in worker.log)
            deployment.wait_for_events(oracle.totals.total())
            assert worker.stop() == 0
    after = deployment.books()
    assert {key: replace(book, reset_at=0) for key, book in after.items()} == books
    assert {bool(book.reset_at) for book in after.values()} == {not refused}
    assert len(deployment.changes()) == (first if refused else 2 * first)


def still_alone(resetting: GroupReset) -> bool:
    member = resetting._member
    assert member is not None
    member.turn(0.1)
    return member.is_alone


def commit_or_refuse(resetting: GroupReset) -> bool:
    """Commit, and tell whether that was refused: it depends on how soon the coordinator tells of the other member."""
    try:
        resetting.commit()
    except FatalError:
        return True
    return False


def test_what_other_packs_would_map_differently_is_told_before_they_are_deployed(
    broker: Broker, tmp_path: Path
) -> None:
    deployment = Deployment(broker, tmp_path)
    deployment.create_topics()
    deployment.settings["TOPICS__RAW"] = f"^{deployment.name}\\.raw$"
    deployment.produce(Simulator(SEED, events=2_000, start_ms=START_MS), deployment.topics["raw"])
    packs = tmp_path / "packs"
    packs.mkdir()
    (packs / "twilio.toml").write_text(TWILIO.replace("ACCEPTED", "SENT"), "utf-8")
    arguments = ("carriers", "diff", "--packs", str(packs), "--since")

    same = told(deployment, *arguments, "30d")
    none = told(deployment, *arguments, "1s")
    (packs / "twilio.toml").write_text(TWILIO, "utf-8")
    other = told(deployment, *arguments, "30d", code=1)

    assert (same["different"], none["records"]) == (0, 0)
    assert same["same"] == other["same"] + other["different"] > 2_000 * 0.9
    assert other["different"] == sum(kind["events"] for kind in other["kinds"]) > 0
    assert {(kind["carrier"], kind["status"], kind["before"], kind["after"]) for kind in other["kinds"]} == {
        ("twilio", "sent", "SENT", "ACCEPTED")
    }
    assert deployment.committed() == []


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    if maven.missing():
        pytest.skip(f"{maven.missing()}: install a JRE and Maven (Debian: apt-get install default-jre-headless maven)")
    with own_broker(tmp_path_factory.mktemp("guarded"), guarded_config(), user(ADMIN)) as running:
        yield running


def failures(deployment: Deployment) -> list[str]:
    with KafkaChecks(settings_of(deployment)) as checks:
        return [one.text for one in checks.run() if one.verdict is Verdict.FAIL]


def test_the_doctor_names_each_access_that_is_missing_beside_a_live_worker(guarded: Broker, tmp_path: Path) -> None:
    deployment = Deployment(guarded, tmp_path, ORDINAL=0)
    log_in(deployment, ADMIN)
    deployment.create_topics()
    log_in(deployment, WORKER)
    accesses = needed(deployment)
    grant(guarded, accesses)
    oracle = deployment.produce(Simulator(SEED, events=500, callbacks=0.0, start_ms=START_MS))

    taken = [accesses[number] for number in (0, 1, 2, 3, 5, 8)]
    for access in taken:
        take_away(guarded, access)
    topics = deployment.topics
    assert sorted(failures(deployment)) == [
        f"{access} is missing: grant it to the worker's principal"
        for access in (
            f"Read on group {deployment.name}",
            f"Read on topic {topics['raw']}",
            f"Read on topic {topics['state']}",
            f"Write on topic {topics['changes']}",
            f"Write on topic {topics['rekeyed']}",
            f"Write on transactional id {deployment.name}-{deployment.name}-0",
        )
    ]
    grant(guarded, taken)
    assert failures(deployment) == []

    with deployment.worker() as worker:
        deployment.wait_for_events(oracle.totals.total() // 2)
        # Even for the id of the worker that is at it, and were that not in the group.
        checks = KafkaChecks(settings_of(deployment))
        with checks:
            found = list(checks.run())
            error = checks._refused(f"{deployment.name}-{deployment.name}-0")
        deployment.wait_for_events(oracle.totals.total())
        assert worker.stop() == 0
    assert error is not None
    assert "timeout" in error.str()
    assert all(one.verdict is not Verdict.FAIL for one in found)
    assert any("worker 0 is at work" in one.text for one in found)


def test_the_doctor_says_why_a_login_fails(guarded: Broker, tmp_path: Path) -> None:
    deployment = Deployment(guarded, tmp_path)
    log_in(deployment, WORKER)
    deployment.settings["KAFKA__SASL_PASSWORD"] = "wrong"

    done = deployment.command("doctor")

    assert done.returncode == 1
    assert "FAIL     connection: the user or the password is refused" in done.stdout
    assert "wrong" not in done.stdout
    assert done.stderr == ""


def test_a_group_that_does_not_exist_has_no_members(broker: Broker) -> None:
    found = describe_group(broker.client(log_level=0), "nobody-is-in-it")

    assert found.members == ()
    assert found.operations is not None
    assert "Read" in found.operations
