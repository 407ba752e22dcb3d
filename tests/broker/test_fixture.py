"""The broker of the tests is a real one, and a test can hurt one of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from confluent_kafka import KafkaException, Producer

from tests.kafka.broker import Broker
from tests.kafka.readiness import BrokerError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import MakeBroker

ROOT = Path(__file__).parents[2]


def test_aborted_records_are_hidden_from_a_reader_of_committed_ones(broker: Broker) -> None:
    topic = broker.topic()
    producer = Producer(broker.client(transactional_id=topic))
    producer.init_transactions(30)
    for value, commit in ((b"aborted", False), (b"committed", True)):
        producer.begin_transaction()
        producer.produce(topic, value)
        producer.flush(30)
        if commit:
            producer.commit_transaction(30)
        else:
            producer.abort_transaction(30)

    assert [message.value() for message in broker.read(topic)] == [b"committed"]
    assert [message.value() for message in broker.read(topic, committed=False)] == [b"aborted", b"committed"]


def test_reading_behind_an_open_transaction_fails_instead_of_giving_half(broker: Broker) -> None:
    topic = broker.topic()
    producer = Producer(broker.client(transactional_id=topic))
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic, b"open")
    producer.flush(30)

    with pytest.raises(TimeoutError, match="not read to their end"):
        broker.read(topic, timeout_s=1)

    producer.abort_transaction(30)
    assert broker.read(topic) == []


def test_all_partitions_are_read(broker: Broker) -> None:
    topic = broker.topic(partitions=3)
    records: list[tuple[bytes | None, bytes | None]] = [(b"%d" % n, b"%d" % n) for n in range(30)]

    broker.produce(topic, records)

    read = broker.read(topic)
    assert sorted((message.key(), message.value()) for message in read) == sorted(records)
    assert {message.partition() for message in read} == {0, 1, 2}


def test_what_was_written_outlives_a_kill_and_a_restart(make_broker: MakeBroker) -> None:
    broker = make_broker({"num.partitions": "7"})
    topic = broker.topic(partitions=-1)
    broker.produce(topic, [(None, b"before")])

    broker.kill()
    with pytest.raises(KafkaException):
        broker.admin.list_topics(topic, timeout=1)
    broker.start()
    broker.restart()

    assert [message.value() for message in broker.read(topic)] == [b"before"]
    assert len(broker.ends(topic)) == 7


def test_a_paused_broker_does_not_answer_until_it_is_resumed(make_broker: MakeBroker) -> None:
    broker = make_broker()

    broker.pause()
    with pytest.raises(KafkaException, match=r"_TRANSPORT|_TIMED_OUT"):
        broker.admin.list_topics(timeout=1)
    broker.resume()

    assert broker.admin.list_topics(timeout=30).brokers


def test_a_broker_that_cannot_start_tells_the_end_of_its_log(make_broker: MakeBroker) -> None:
    with pytest.raises(BrokerError, match=r"broker\.log:\n(.*\n)*.*SSL key store"):
        make_broker(
            {"listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:SSL", "ssl.keystore.location": "/none"}
        )


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_broker_ends_with_pytest_however_that_ends(
    make_broker: MakeBroker, tmp_path: Path, end: signal.Signals
) -> None:
    del make_broker  # Only for what it skips: a machine without Java.
    waiting = tmp_path / "test_waiting.py"
    waiting.write_text(
        "from pathlib import Path\nimport signal\nimport time\n\n"
        # A shell that starts a job in the background has it ignore SIGINT, and so would everything below it.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n\n"
        "def test_waits(make_broker):\n"
        f"    Path({str(tmp_path / 'pid')!r}).write_text(f'{{make_broker().process.pid}}.')\n"
        # A pause until a signal comes would miss one that came just before it.
        "    while True:\n"
        "        time.sleep(0.1)\n"
    )
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", f"--rootdir={ROOT}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""}
    with subprocess.Popen([*command, str(waiting)], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL) as running:
        try:
            _wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().endswith("."), 90)
            pid = int((tmp_path / "pid").read_text().rstrip("."))
            assert psutil.pid_exists(pid)

            running.send_signal(end)

            running.wait(30)
        finally:
            running.kill()
    _wait_until(lambda: not psutil.pid_exists(pid), 10)


def _wait_until(holds: Callable[[], bool], within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
