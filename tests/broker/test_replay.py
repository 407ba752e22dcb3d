"""Dead letters sent back on a real Kafka: each once, through crashes and rivals, and only what failed is done again."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from threading import Timer

import pytest
from confluent_kafka import Message, Producer

from processor.cli import main
from processor.codec import encode_callback, encode_raw_events
from processor.headers import REPLAY_ATTEMPT, REPLAY_OF
from processor.identity import owner_of
from processor.letter_reader import LetterReader
from processor.model import Action, RawStatusEvent
from processor.testing import callback, raw_event
from tests.broker.crashing import REPLAY_POINTS
from tests.broker.deployment import PARTITIONS, Deployment, WorkerProcess, wait_for
from tests.broker.test_worker import ACME
from tests.kafka.broker import Broker

ROOT = Path(__file__).parents[2]


@pytest.fixture
def deployment(broker: Broker, tmp_path: Path) -> Deployment:
    (tmp_path / "packs").mkdir()
    # With a short commit interval the tests wait less.
    deployment = Deployment(broker, tmp_path, PACKS__DIRECTORY=tmp_path / "packs", BATCH__COMMIT_INTERVAL_MS=20)
    deployment.create_topics()
    return deployment


def say(deployment: Deployment, values: Iterable[RawStatusEvent | bytes]) -> None:
    """Produce raw records, keyed by message id where they are reports."""
    records = [
        (value.message_id.encode(), encode_raw_events([value])[0]) if not isinstance(value, bytes) else (b"k", value)
        for value in values
    ]
    deployment.broker.produce(deployment.topics["raw"], records)


def landed(count: int, first: int = 0) -> list[RawStatusEvent]:
    """Return reports of a carrier that nobody knows yet."""
    return [raw_event("acme", f"m{number}", "landed") for number in range(first, first + count)]


def command(deployment: Deployment, *arguments: str) -> tuple[int, str]:
    """Run a command in this process, which is quicker, and return its exit code and what it printed."""
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as out:
        for name, value in deployment.environment().items():
            patch.setenv(name, value)
        code = main(arguments)
    return code, out.getvalue()


def replay(deployment: Deployment, *arguments: str, code: int = 0) -> dict[str, object]:
    """Replay, and return what it says."""
    found, out = command(deployment, "dead-letters", "replay", "--json", *arguments)
    assert found == code
    said = json.loads(out)
    assert isinstance(said, dict)
    return said


def listed(deployment: Deployment, *arguments: str) -> list[dict[str, object]]:
    """List dead letters."""
    code, out = command(deployment, "dead-letters", "list", "--json", *arguments)
    assert code == 0
    return [json.loads(line) for line in out.splitlines()]


def replayed(deployment: Deployment, topic: str = "raw") -> list[Message]:
    """Return the committed records that a replay has sent."""
    return [message for message in deployment.broker.read(deployment.topics[topic]) if REPLAY_OF in header(message)]


def header(message: Message) -> dict[str, bytes | str | None]:
    return dict(message.headers() or [])


def learn_acme(deployment: Deployment, worker: WorkerProcess) -> None:
    (deployment.directory / "packs" / "acme.toml").write_text(ACME)
    worker.signal(signal.SIGHUP)
    wait_for("the new pack", lambda: "carrier packs are loaded anew" in worker.log)


def assert_balanced(deployment: Deployment) -> None:
    code, out = command(deployment, "books")
    assert code == 0, out


def test_a_replay_publishes_what_is_understood_now_once(deployment: Deployment) -> None:
    bodies = [
        {"messageId": f"b{n}", "status": {"name": name}} for n, name in enumerate(("DELIVERED_TO_HANDSET", "ODD"))
    ]
    batch = callback("infobip", json.dumps({"results": bodies}).encode(), "application/json", channel="SMS")
    with deployment.worker() as worker:
        say(deployment, [*landed(10), encode_callback(batch), b"no frame", raw_event("acme", "never", "lost")])
        deployment.wait_for_events(14)
        before = deployment.booked()

        # What is wanted is shown, and a dry run changes nothing.
        assert len(listed(deployment)) == 13
        assert {row["reason"] for row in listed(deployment, "--carrier", "acme")} == {"unknown_carrier"}
        assert replay(deployment, "--understood", "--dry-run")["replayed"] == 0
        learn_acme(deployment, worker)
        assert replay(deployment, "--understood", "--dry-run")["replayed"] == 10
        assert replayed(deployment) == []

        # The operator's pack is there: what it understands goes back, and is published.
        assert replay(deployment, "--understood") == {
            "dry_run": False,
            "replayed": 10,
            "reasons": {"unknown_carrier": 10},
            "skipped": {},
            "left": 0,
        }
        deployment.wait_for_events(24)
        assert replay(deployment, "--understood")["replayed"] == 0
        assert len(listed(deployment)) == 3
        assert len(listed(deployment, "--all")) == 13

        # Of a batch, the failed element alone; it fails again, as a new letter that counts.
        assert replay(deployment, "--carrier", "infobip", "--source-topic", deployment.topics["raw"])["replayed"] == 1
        deployment.wait_for_events(25)
        (again,) = listed(deployment, "--carrier", "infobip")
        assert (again["attempt"], again["status"]) == (1, "ODD")
        assert worker.stop() == 0

    changes = deployment.changes()
    assert Counter(change.message_id for change in changes) == Counter({"b0": 1, **{f"m{n}": 1 for n in range(10)}})
    assert deployment.booked() - before == Counter(published=10, dead_lettered=1)
    # The changes' sources are the records that the replay sent.
    places = {(message.topic(), message.partition(), message.offset()) for message in replayed(deployment)}
    assert all(change.source[:3] in places for change in changes if change.message_id.startswith("m"))
    assert_balanced(deployment)
    show_the_letter(deployment, f"{again['partition']}:{again['offset']}")


def show_the_letter(deployment: Deployment, position: str) -> None:
    assert "unknown_status" in command(deployment, "dead-letters", "show", position)[1]
    raw = deployment.directory / "letter.bin"
    assert command(deployment, "dead-letters", "show", position, "--raw", "--output", str(raw)) == (0, "")
    (value,) = {message.value() for message in replayed(deployment) if b"ODD" in (message.value() or b"")}
    assert raw.read_bytes() == value
    assert command(deployment, "dead-letters", "show", "0:999999") == (1, "")


def test_no_letter_is_replayed_more_often_than_allowed(deployment: Deployment) -> None:
    deployment.settings["DEAD_LETTERS__ATTEMPTS_MAX"] = 2
    with deployment.worker() as worker:
        say(deployment, landed(3))
        for round_ in (1, 2):
            deployment.wait_for_events(3 * round_)
            assert replay(deployment)["replayed"] == 3
        deployment.wait_for_events(9)
        assert worker.stop() == 0

    assert replay(deployment, code=1)["skipped"] == {"attempts": 3}
    assert Counter(header(message)[REPLAY_ATTEMPT] for message in replayed(deployment)) == {b"1": 3, b"2": 3}
    assert {row["attempt"] for row in listed(deployment)} == {2}
    assert_balanced(deployment)


def test_a_forwarded_event_goes_back_to_its_owner_and_keeps_its_source(deployment: Deployment) -> None:
    deployment.settings["LIMITS__REPLIES_MAX"] = 1
    elsewhere = (owner_of("m1", PARTITIONS) + 1) % PARTITIONS

    def reply(number: int) -> bytes:
        action = Action("REPLY", f"choice {number}")
        facts = {"channel": "RCS", "event_id": f"e{number}", "action": action}
        return encode_raw_events([raw_event("google-rcs", "m1", "suggestionResponse", **facts)])[0]

    key = next(f"{n}".encode() for n in range(1000) if owner_of(str(n), PARTITIONS) == elsewhere)
    deployment.broker.produce(deployment.topics["raw"], [(key, reply(number)) for number in range(2)])
    with deployment.worker() as worker:
        deployment.wait_for_events(2)
        assert worker.stop() == 0
    (letter,) = listed(deployment)
    assert (letter["reason"], letter["stage"], letter["understood"]) == ("too_many_replies", "reduce", False)

    assert replay(deployment)["replayed"] == 1
    assert_balanced(deployment)
    deployment.settings["LIMITS__REPLIES_MAX"] = 64
    with deployment.worker() as worker:
        deployment.wait_for_events(3)
        assert worker.stop() == 0

    sources = [(change.action, change.source[1:]) for change in deployment.changes()]
    assert sources == [(Action("REPLY", f"choice {n}"), (elsewhere, n, 0)) for n in range(2)]
    assert len(replayed(deployment, "rekeyed")) == 1
    assert_balanced(deployment)


def test_a_reader_waits_for_what_is_open_before_the_end_that_it_saw(broker: Broker) -> None:
    topic = broker.topic(1)
    rival = Producer(broker.client(transactional_id=topic))
    rival.init_transactions(30)
    rival.begin_transaction()
    rival.produce(topic, b"open")
    assert rival.flush(30) == 0
    broker.produce(topic, [(None, b"behind it")])

    with LetterReader(broker.client(), topic) as reader:
        end = Timer(1.0, rival.abort_transaction)
        end.start()
        found = [record.value() for records in reader.read(reader.spans()) for record in records]
        end.join()

    assert found == [b"behind it"]


def test_letters_are_looked_for_from_a_time_on(broker: Broker) -> None:
    topic = broker.topic(2)
    now_ms = int(time.time() * 1000)
    producer = Producer(broker.client())
    for age_s in (3000, 2000, 1000):
        producer.produce(topic, str(age_s), partition=1, timestamp=now_ms - age_s * 1000)
    assert producer.flush(30) == 0

    with LetterReader(broker.client(), topic) as reader:
        assert reader.spans() == {1: (0, 3)}
        assert reader.spans(now_ms - 2_000_000) == {1: (1, 3)}
        assert reader.spans(now_ms) == {}
        record = reader.record(topic, (1, 2))
        assert record is not None
        assert record.value() == b"1000"
        assert reader.record(topic, (1, 3)) is None


@pytest.fixture
def many(deployment: Deployment) -> Iterator[Deployment]:
    """A deployment with forty letters that a replay may send, in several transactions."""
    with deployment.worker() as worker:
        say(deployment, landed(40))
        deployment.wait_for_events(40)
        assert worker.stop() == 0
    yield deployment
    assert Counter(header(message)[REPLAY_OF] for message in replayed(deployment)).total() == 40
    assert set(Counter(header(message)[REPLAY_OF] for message in replayed(deployment)).values()) == {1}
    assert replay(deployment)["replayed"] == 0


def test_a_replay_that_dies_is_run_again_and_doubles_nothing(many: Deployment) -> None:
    for point in REPLAY_POINTS:
        # Ten letters in each transaction: it dies in the second.
        dead = start(many, "tests.broker.crashing", point, "2", "dead-letters", "replay", "--rate", "10")
        assert dead.wait(60) == -signal.SIGKILL, (many.directory / "replay.log").read_text()

    # Ten before the first crash and ten of the transaction that was cut off; then ten and ten more that were committed.
    assert replay(many)["replayed"] == 10


def test_of_two_replays_at_once_the_later_one_goes_on_with_what_is_left(many: Deployment) -> None:
    first = start(many, "processor", "dead-letters", "replay", "--rate", "5")
    wait_for("the first to send", lambda: bool(replayed(many)))

    second = replay(many)

    assert first.wait(60) == 75
    assert "another replay of the same dead letters has begun" in (many.directory / "replay.log").read_text()
    assert 0 < second["replayed"] < 40  # type: ignore[operator]  # a number


def start(deployment: Deployment, module: str, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a command in a process of its own."""
    with (deployment.directory / "replay.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments], env=deployment.environment(), cwd=ROOT, stdout=log, stderr=log
        )
