"""The demo: the real worker on librdkafka's in-process mock cluster, fed by the simulator, watched live.

Nothing but Python is needed. The mock cluster speaks Kafka's protocol but keeps no transactional offsets and loses
everything with the process, so it proves no guarantee; the tests on a real broker do that.
"""

from __future__ import annotations

import logging
import tempfile
import threading
import time
from collections import Counter
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import Consumer, Producer, TopicPartition
from rich.console import Console
from rich.live import Live

import processor
from processor.assembly import ClientConfigs, Plan, worker
from processor.books import DeadLetterLimit
from processor.codec import decode_changes
from processor.demo_view import Shown, live_view, summary
from processor.errors import ExitCode, FatalError
from processor.model import StatusChange
from processor.outbox import Outcome
from processor.pack_files import PackSource
from processor.publisher import OutputTopics
from processor.simulator import Oracle, Simulator, judge
from processor.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from processor.model import StatusEvent

RAW: Final = "carrier.status.raw"
TOPICS: Final = OutputTopics(
    changes="message.status.changes",
    dead_letter="carrier.status.dead-letter",
    state="status-processor.state",
    rekeyed="status-processor.rekeyed",
)
PARTITIONS: Final = 4
"""What the mock cluster gives a topic that it makes."""
EVENTS: Final = 60_000
PRODUCE_S: Final = 12.0
"""About how long the traffic is spread over: long enough to watch."""
_FRAMES_PER_S: Final = 4
_WATCHED_MESSAGES: Final = 2_000


def run(*, seed: int = 1, events: int = EVENTS, seconds: float = 50.0, console: Console | None = None) -> int:
    """Run the demo; return 0 where the oracle agrees with every change that was published.

    Args:
        seed: Draws the traffic.
        events: How many carrier events are simulated.
        seconds: Longest time it may take; past it the demo ends with what there is, which is a failure.
        console: Where to print.

    Raises:
        FatalError: The worker ended.
    """
    console = console or Console()
    watched = Watched()
    telemetry = Telemetry(processor.__version__)
    deadline = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as directory, closing(Mock()) as mock:
        feeder = Feeder(mock, Simulator(seed, events=events), events / PRODUCE_S)
        with _running(_plan(mock, Path(directory), watched, telemetry)) as failure, closing(Reader(mock)) as reader:
            feeder.start()
            shown = Shown(seed=seed, events=events)
            with Live(console=console, refresh_per_second=_FRAMES_PER_S, transient=True) as live:
                while not _is_done(feeder, telemetry, reader) and time.monotonic() < deadline and not failure:
                    reader.read(1 / _FRAMES_PER_S)
                    shown.update(feeder.produced, telemetry.outcomes(), watched.told())
                    live.update(live_view(shown))
            feeder.stop()
            shown.update(feeder.produced, telemetry.outcomes(), watched.told())
        if failure:
            raise failure[0]
        done = _is_done(feeder, telemetry, reader)
    verdict = judge(feeder.oracle, reader.changes)
    books = _compare_books(feeder.oracle, telemetry)
    console.print(summary(shown, verdict, books, in_time=done))
    return ExitCode.OK if verdict.equal and not books and done else ExitCode.FAILED


class Mock:
    """An in-process Kafka, as long as this object is open."""

    def __init__(self) -> None:
        self._host = Producer({"test.mock.num.brokers": 1}, logger=_silent())
        brokers = self._host.list_topics(timeout=10).brokers.values()
        self._bootstrap = ",".join(f"{broker.host}:{broker.port}" for broker in brokers)
        for topic in (RAW, TOPICS.changes, TOPICS.dead_letter, TOPICS.state, TOPICS.rekeyed):
            # It makes a topic for any metadata request that names one.
            self._host.list_topics(topic, timeout=10)

    def client(self, **more: str | float) -> dict[str, Any]:
        """Return a client's settings; underscores in names stand for dots."""
        own = {"bootstrap.servers": self._bootstrap, "log_level": 0}
        return own | {name.replace("_", "."): value for name, value in more.items()}

    def close(self) -> None:
        """End the cluster; everything in it is gone."""
        self._host.close()


class Feeder(threading.Thread):
    """Produces the simulated records at a steady rate, and feeds the oracle with what they mean."""

    def __init__(self, mock: Mock, simulator: Simulator, records_per_s: float) -> None:
        super().__init__(name="feeder", daemon=True)
        self.oracle = Oracle()
        self.produced = 0
        self.is_done = False
        self._records = iter(simulator)
        self._producer = Producer(mock.client(partitioner="murmur2_random", linger_ms=5), logger=_silent())
        self._records_per_s = records_per_s
        self._ended = threading.Event()

    def run(self) -> None:
        """Produce until the simulation ends or somebody calls `stop`."""
        began = time.monotonic()
        while not self._ended.is_set():
            chunk = list(islice(self._records, max(1, int(self._records_per_s / 20))))
            if not chunk:
                break
            for record in chunk:
                self._producer.produce(RAW, record.value, record.key, timestamp=record.timestamp_ms)
                for event in record.events:
                    self.oracle.feed(record.timestamp_ms, event)
            self.produced += len(chunk)
            self._producer.poll(0)
            self._ended.wait(max(0.0, began + self.produced / self._records_per_s - time.monotonic()))
        self._producer.flush(10)
        self.is_done = True

    def stop(self) -> None:
        """End early, and wait for the end."""
        self._ended.set()
        self.join()


class Reader:
    """Reads the changes topic from its beginning, committed changes only."""

    def __init__(self, mock: Mock) -> None:
        self.changes: list[StatusChange] = []
        settings = mock.client(group_id="demo-reader", isolation_level="read_committed", enable_auto_commit=False)
        self._consumer = Consumer(settings, logger=_silent())
        self._consumer.assign([TopicPartition(TOPICS.changes, number, 0) for number in range(PARTITIONS)])

    def read(self, seconds: float) -> None:
        """Take what there is, for at most so long."""
        messages = self._consumer.consume(20_000, seconds)
        decoded = decode_changes(message.value() for message in messages if message.error() is None)
        self.changes += [change for change in decoded if isinstance(change, StatusChange)]

    def close(self) -> None:
        """Close the client."""
        self._consumer.close()


@dataclass(slots=True)
class Watched:
    """What became of the events of some messages; the worker's thread writes, the view reads."""

    timelines: dict[str, list[tuple[StatusEvent, str]]] = field(default_factory=dict)

    def observe(self, event: StatusEvent, outcome: str) -> None:
        """Note what became of one event."""
        line = self.timelines.get(event.identity)
        if line is not None:
            line.append((event, outcome))
        elif len(self.timelines) < _WATCHED_MESSAGES:
            self.timelines[event.identity] = [(event, outcome)]

    def told(self) -> list[list[tuple[StatusEvent, str]]]:
        """Return the timelines, those with the most to tell first."""
        lines = [list(line) for line in list(self.timelines.values())]
        return sorted(lines, key=lambda line: (-len({outcome for _, outcome in line}), abs(len(line) - 5)))[:6]


def _plan(mock: Mock, directory: Path, watched: Watched, telemetry: Telemetry) -> Plan:
    reading = mock.client(isolation_level="read_committed", enable_auto_commit=False)
    ends = {"enable.partition.eof": True}
    group = {"group.id": "demo", "auto.offset.reset": "error", "partition.assignment.strategy": "range"} | ends
    producing = mock.client(
        transactional_id="demo-0", transaction_timeout_ms=15_000, queue_buffering_max_messages=1_000_000
    )
    source = PackSource(None, b"")
    return Plan(
        clients=ClientConfigs(
            consumer=reading | group,
            producer=producing,
            admin=mock.client(),
            changelog=reading | {"group.id": "demo-changelog"} | ends,
            standby=reading | {"group.id": "demo-changelog"} | ends,
        ),
        raw=[RAW],
        topics=TOPICS,
        partitions=PARTITIONS,
        cluster_id="mock",
        state_topic_id="mock",
        state_directory=directory / "state",
        packs=source.load(),
        pack_source=source,
        limit=DeadLetterLimit(),
        observe=watched.observe,
        telemetry=telemetry,
    )


@contextmanager
def _running(plan: Plan) -> Iterator[list[FatalError]]:
    """Run the worker in a thread for as long as the block lasts; what ended it early is in the list."""
    failure: list[FatalError] = []
    with worker(plan) as started:
        started.subscribe(plan.raw)

        def turn() -> None:
            try:
                started.run()
            except FatalError as error:
                failure.append(error)

        thread = threading.Thread(target=turn, name="worker", daemon=True)
        thread.start()
        try:
            yield failure
        finally:
            started.stop()
            thread.join()


def _is_done(feeder: Feeder, telemetry: Telemetry, reader: Reader) -> bool:
    """Tell whether everything that was produced has been processed and read back."""
    if not feeder.is_done:
        return False
    outcomes = _settled(telemetry.outcomes())
    published = sum(count for (_, outcome, _), count in outcomes.items() if outcome == Outcome.PUBLISHED)
    return outcomes.total() >= feeder.oracle.totals.total() and len(reader.changes) >= published


def _settled(outcomes: Counter[tuple[str, str, str]]) -> Counter[tuple[str, str, str]]:
    """Leave out forwarded events: they are counted where they arrive."""
    return Counter({key: count for key, count in outcomes.items() if key[1] != Outcome.FORWARDED})


def _compare_books(oracle: Oracle, telemetry: Telemetry) -> list[str]:
    """Hold the worker's counters against the oracle's, for the outcomes that no order can change."""
    found, expected = Counter[str](), Counter[str]()
    for counts, total in ((_settled(telemetry.outcomes()), found), (oracle.totals, expected)):
        for (_, outcome, _), count in counts.items():
            total[str(outcome)] += count
            total["events"] += count
    return [
        f"{name}: {found[name]} where the oracle has {expected[name]}"
        for name in ("events", str(Outcome.IGNORED), str(Outcome.DEAD_LETTERED))
        if found[name] != expected[name]
    ]


def _silent() -> logging.Logger:
    """Return a logger that keeps librdkafka's remarks about its mock cluster off the screen."""
    logger = logging.Logger("librdkafka.demo")  # noqa: LOG001  # private, on purpose
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    return logger
