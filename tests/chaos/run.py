"""One run: a scenario on a broker of its own, from the first fault to the verdict."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import NewTopic

from processor.books import encode_books
from processor.outbox import Outcome
from tests.broker.deployment import Deployment
from tests.chaos.evidence import gather
from tests.chaos.faults import Fleet
from tests.chaos.judge import Judgement, judge
from tests.chaos.scenario import SESSION_TIMEOUT_S, TRANSACTION_TIMEOUT_S, Scenario
from tests.chaos.traffic import Traffic
from tests.kafka.broker import own_broker

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from processor.books import Books
    from processor.simulator import SimulatedRecord
    from tests.chaos.judge import Input

DRAIN_S: Final = 90.0
"""Longest time, after the last fault, until everything is processed."""
_EVENTS_PER_S: Final = 1500.0
_UNKEYED_PARTITIONS: Final = 4
_BROKER: Final = {
    # A transaction of a worker that is gone is looked for every second, not every ten.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
}
_SETTINGS: Final = {
    "KAFKA__SESSION_TIMEOUT_MS": int(SESSION_TIMEOUT_S * 1000),
    "TRANSACTION__TIMEOUT_MS": int(TRANSACTION_TIMEOUT_S * 1000),
    "TRANSACTION__MAX_POLL_INTERVAL_MS": 30_000,
    "BATCH__RECORDS_MAX": 500,
}


@dataclass(slots=True)
class Result:
    """What came of one run."""

    scenario: Scenario
    counts: Counter[str]
    """Faults by kind, restarts by exit code, and rebalances: how often a worker was given partitions."""
    judgement: Judgement
    problems: list[str] = field(default_factory=list)
    """What went wrong beside the data: a worker that crashed, or something that did not drain."""
    seconds: float = 0.0
    drained_s: float = 0.0
    """Seconds from the last fault until everything was processed."""

    @property
    def passed(self) -> bool:
        """Whether all is as it should be."""
        return self.judgement.clean and not self.problems

    def words(self) -> list[str]:
        """Say what is wrong, line by line; what came again is only counted."""
        lines = Counter([*self.problems, *self.judgement.findings])
        return [f"{line} ({number} times)" if number > 1 else line for line, number in lines.items()]


def run(plan: Scenario, directory: Path) -> Result:
    """Run a scenario; logs lie in the directory, and stay there.

    Raises:
        AssertionError: The test itself could not do its work.
    """
    began = time.monotonic()
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    (directory / "faults.txt").write_text("".join(f"{fault}\n" for fault in plan.faults))
    with own_broker(directory / "kafka", _BROKER) as broker:
        deployment = Deployment(broker, directory, **_SETTINGS)
        raw = _create_topics(deployment, plan)
        unkeyed = raw[1] if plan.forwarded else None
        with Fleet(deployment, plan) as fleet, Traffic(broker, plan.seed, raw[0], unkeyed, _EVENTS_PER_S) as traffic:
            fleet.suffer()
            calm_at = time.monotonic()
            drained, sent = _drain(deployment, fleet, traffic, raw)
            drained_s = time.monotonic() - calm_at
            if drained:
                fleet.stop()
            else:
                fleet.abort()
            evidence = gather(deployment, sent, raw, exact=not plan.forwarded)
        judgement = judge(evidence)
        counts = fleet.counts + Counter(rebalances=_rebalances(fleet.logs()))
        result = Result(plan, counts, judgement, fleet.problems, time.monotonic() - began, drained_s)
    if not drained:
        result.problems.append(f"not everything was processed {DRAIN_S:.0f} s after the last fault")
    result.problems += [f"traceback in a log: {_last_line(log)}" for log in fleet.logs() if "Traceback" in log]
    (directory / "books.txt").write_text(_spell(evidence.books))
    (directory / "findings.txt").write_text("".join(f"{line}\n" for line in result.words()))
    return result


def _create_topics(deployment: Deployment, plan: Scenario) -> list[str]:
    """Make all topics and return the raw ones: the keyed one, and where events are forwarded one of another size."""
    raw = [deployment.topics["raw"]]
    if plan.forwarded:
        raw.append(f"{deployment.name}.unkeyed")
        new = NewTopic(raw[1], _UNKEYED_PARTITIONS, 1)
        deployment.broker.admin.create_topics([new])[raw[1]].result(30)
        deployment.settings["TOPICS__RAW"] = ",".join(raw)
    deployment.create_topics()
    return raw


def _drain(
    deployment: Deployment, fleet: Fleet, traffic: Traffic, raw: Sequence[str]
) -> tuple[bool, Sequence[SimulatedRecord]]:
    """Stop the faults and the traffic, and wait until every record has its final outcome in the books."""
    calm = fleet.settle(lambda: True, DRAIN_S)
    sent = traffic.stop()
    ends = {(topic, number): end for topic in raw for number, end in deployment.broker.ends(topic).items()}

    def is_drained() -> bool:
        try:
            committed = {(tp.topic, tp.partition): tp.offset for tp in deployment.committed()}
            books = deployment.books()
        except KafkaException:
            return False
        if any(committed.get(key, 0) < end for key, end in ends.items()):
            return False
        forwarded = sum(entry.outcomes[Outcome.FORWARDED] for entry in books.values())
        return forwarded <= sum(books[key].events for key in books if key[0] == deployment.topics["rekeyed"])

    return calm and fleet.settle(is_drained, DRAIN_S), sent


def _rebalances(logs: Iterable[str]) -> int:
    lines = [json.loads(line) for log in logs for line in log.splitlines() if line.startswith("{")]
    return sum(line.get("event") == "partitions assigned" and line["count"] > 0 for line in lines)


def _spell(books: Mapping[Input, Books]) -> str:
    return "".join(f"{topic}[{number}] {encode_books(entry)}\n" for (topic, number), entry in sorted(books.items()))


def _last_line(log: str) -> str:
    return log.rstrip().rpartition("\n")[2][:300]
