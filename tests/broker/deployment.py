"""A worker as it is deployed: the command line in a process of its own, with topics and a group of its own."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Self

from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from processor.books import Books, decode_books
from processor.codec import decode_changes
from processor.model import StatusChange
from processor.simulator import Oracle, SimulatedRecord
from tests.kafka.broker import Broker

PARTITIONS = 6
_DEADLINE_S = 90.0


def wait_for(what: str, condition: Callable[[], bool], timeout_s: float = _DEADLINE_S) -> None:
    """Wait until something holds.

    Raises:
        TimeoutError: It did not in time.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout_s:.0f} s for {what}")
        time.sleep(0.05)


class Deployment:
    """One application on a broker: its topics, its group and the processes of its workers."""

    def __init__(self, broker: Broker, directory: Path, **settings: object) -> None:
        self.broker = broker
        self.name = f"app-{uuid.uuid4().hex[:8]}"
        self.directory = directory
        topics = ("raw", "changes", "dead_letter", "state", "rekeyed")
        self.topics = {topic: f"{self.name}.{topic}" for topic in topics}
        self.settings: dict[str, object] = {
            "APPLICATION": self.name,
            "PARTITIONS": PARTITIONS,
            "REPLICATION_FACTOR": 1,
            "STATE__DIRECTORY": directory / "state",
            "METRICS__PORT": 0,
            "LOG__FORMAT": "json",
            "KAFKA__BOOTSTRAP_SERVERS": broker.bootstrap,
            # A killed worker's partitions are free after this long.
            "KAFKA__SESSION_TIMEOUT_MS": 6_000,
            **{f"TOPICS__{topic.upper()}": name for topic, name in self.topics.items()},
            **settings,
        }

    def environment(self) -> dict[str, str]:
        """Return the environment of a command of this deployment."""
        own = {f"STATUS_PROCESSOR_{name}": str(value) for name, value in self.settings.items()}
        # Whatever ends a process by a signal leaves in its log where every thread stood.
        return {**os.environ, "PYTHONFAULTHANDLER": "1", **own}

    def command(self, *arguments: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "processor", *arguments],
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def create_topics(self) -> None:
        """Make all topics, the raw one included."""
        done = self.command("topics", "create")
        assert done.returncode == 0, done.stderr

    def state_of(self, ordinal: int) -> Path:
        """Return where a worker keeps its local state."""
        return Path(str(self.settings["STATE__DIRECTORY"])) / f"{self.name}-{self.name}-{ordinal}"

    def worker(self, ordinal: int = 0, *arguments: str) -> WorkerProcess:
        """Start a worker."""
        return WorkerProcess(self, ordinal, arguments)

    def produce(self, records: Iterable[SimulatedRecord], topic: str | None = None) -> Oracle:
        """Produce simulated records, keyed by message id, and return an oracle that has been fed with them."""
        oracle = Oracle()
        failures: list[object] = []

        def on_delivery(error: object, _: object) -> None:
            if error is not None:
                failures.append(error)

        # Without idempotence a retry just after the topic was made may swap two batches.
        producer = Producer(self.broker.client(partitioner="murmur2_random", linger_ms=20, enable_idempotence=True))
        for record in records:
            while True:
                try:
                    producer.produce(
                        topic or self.topics["raw"],
                        record.value,
                        record.key,
                        timestamp=record.timestamp_ms,
                        on_delivery=on_delivery,
                    )
                except BufferError:
                    producer.poll(0.1)
                else:
                    break
            for event in record.events:
                oracle.feed(record.timestamp_ms, event)
        assert producer.flush(60) == 0
        assert not failures
        return oracle

    def changes(self) -> list[StatusChange]:
        """Return all committed changes."""
        changes = decode_changes(message.value() for message in self.broker.read(self.topics["changes"]))
        assert all(isinstance(change, StatusChange) for change in changes)
        return [change for change in changes if isinstance(change, StatusChange)]

    def dead_letters(self) -> list[Message]:
        """Return all committed dead letters."""
        return self.broker.read(self.topics["dead_letter"])

    def committed(self) -> list[TopicPartition]:
        """Return the group's committed offsets.

        An admin client can say so too, but one that meets a coordinator that moves or still loads ends the process by
        a segmentation fault (confluentinc/librdkafka#5040); a consumer that joins nothing asks again.
        """
        deadline = time.monotonic() + 30
        while True:
            try:
                topics = self.broker.admin.list_topics(timeout=5).topics
                asked = [
                    TopicPartition(name, number)
                    for name in (*self._raw(topics), self.topics["rekeyed"])
                    if name in topics
                    for number in topics[name].partitions
                ]
                answers = self._group.committed(asked, timeout=5) if asked else []
                unanswered = [answer.error for answer in answers if answer.error is not None]
            except KafkaException:
                # A broker that is down or still loading answers soon.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                if not unanswered:
                    return [answer for answer in answers if answer.offset >= 0]

    def _raw(self, existing: Iterable[str]) -> list[str]:
        """Return the raw topics that the setting names, or that its expressions match."""
        wanted = str(self.settings["TOPICS__RAW"]).split(",")
        matched = [name for name in existing if any(re.match(one, name) for one in wanted if one.startswith("^"))]
        return [*(name for name in wanted if not name.startswith("^")), *matched]

    @cached_property
    def _group(self) -> Consumer:
        """A consumer that knows the group's name and is no member of it."""
        return Consumer(self.broker.client(group_id=self.name, isolation_level="read_uncommitted", log_level=0))

    def lag(self) -> int:
        """Return how many records and control records lie behind the committed offsets."""
        committed = {(tp.topic, tp.partition): tp.offset for tp in self.committed()}
        lag = 0
        for topic in (self.topics["raw"], self.topics["rekeyed"]):
            for number, end in self.broker.ends(topic).items():
                lag += end - max(0, committed.get((topic, number), 0))
        return lag

    def books(self) -> dict[tuple[str, int], Books]:
        """Return the durable books of every input partition."""
        found = {(tp.topic, tp.partition): decode_books(tp.metadata) for tp in self.committed()}
        return {key: books for key, books in found.items() if books is not None}

    def booked(self) -> Counter[str]:
        """Return the sums of the durable books by outcome; every partition's must balance."""
        total: Counter[str] = Counter()
        for books in self.books().values():
            assert books.balanced
            total.update(books.outcomes)
        return total

    def wait_for_events(self, events: int, timeout_s: float = _DEADLINE_S) -> None:
        """Wait until so many events have their final outcome in the durable books."""

        def settled() -> bool:
            booked = self.booked()
            return booked.total() - booked["forwarded"] >= events

        wait_for(f"{events} events in the books", settled, timeout_s)


class WorkerProcess:
    """A worker in a process of its own."""

    def __init__(self, deployment: Deployment, ordinal: int, arguments: Iterable[str] = ()) -> None:
        deployment.directory.mkdir(parents=True, exist_ok=True)
        self._log = deployment.directory / f"worker-{ordinal}-{uuid.uuid4().hex[:6]}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "processor", "run", "--ordinal", str(ordinal), *arguments],
                env=deployment.environment(),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def log(self) -> str:
        """Everything that the worker has written."""
        return self._log.read_text(errors="replace")

    def events_logged(self) -> list[dict[str, object]]:
        """Return the log's lines that are JSON."""
        return [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]

    def wait_until_running(self) -> None:
        """Wait until it says that it runs."""
        self._wait("it to run", lambda: '"running"' in self.log)

    def metrics(self) -> dict[str, list[tuple[dict[str, str], float]]]:
        """Scrape the worker once: samples by name."""
        url = next(str(line["url"]) for line in self.events_logged() if "url" in line)
        with urllib.request.urlopen(url, timeout=10) as answer:
            text = answer.read().decode()
        samples: dict[str, list[tuple[dict[str, str], float]]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                samples.setdefault(sample.name, []).append((sample.labels, sample.value))
        return samples

    @property
    def address(self) -> str:
        """Where its pages are, once it has said so."""
        self._wait("its pages", lambda: any("page" in line for line in self.events_logged()))
        return next(str(line["page"]) for line in self.events_logged() if "page" in line)

    def ask(self, path: str) -> tuple[int, str]:
        """Ask for a page once: status and text."""
        try:
            with urllib.request.urlopen(urllib.parse.urljoin(self.address, path), timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, refusal.read().decode()

    def page(self, path: str) -> str:
        """Return one of the worker's pages, whatever its status."""
        return self.ask(path)[1]

    def ends_or(self, condition: Callable[[], bool], timeout_s: float = _DEADLINE_S) -> int | None:
        """Wait until it ends, and return its exit code, or until something holds, and return None."""
        wait_for("an end", lambda: self._process.poll() is not None or condition(), timeout_s)
        return self._process.poll()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to this process alone."""
        if self._process.poll() is None:
            os.kill(self._process.pid, number)

    def limit_files(self, size: int) -> None:
        """Let it write no file beyond a size in bytes from now on."""
        resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (size, size))

    @property
    def exit_code(self) -> int | None:
        """The process's exit code, None while it lives."""
        return self._process.poll()

    def stop(self, timeout_s: float = 30) -> int:
        """Ask it to end, and return its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout_s)

    def kill(self) -> None:
        """End it at once."""
        self.signal(signal.SIGKILL)
        self._process.wait(30)

    def abort(self) -> None:
        """End it at once, and let its log say where every thread stood."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGABRT)
        self._process.wait(30)

    def wait(self, timeout_s: float = _DEADLINE_S) -> int:
        """Wait for its end, and return its exit code."""
        return self._process.wait(timeout_s)

    def _wait(self, what: str, condition: Callable[[], bool]) -> None:
        def holds() -> bool:
            if self._process.poll() is not None:
                raise AssertionError(f"the worker ended with {self._process.returncode}: {self.log[-3000:]}")
            return condition()

        wait_for(what, holds)
