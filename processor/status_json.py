"""What the operations page shows, as one JSON object: counts, places and words of closed lists, nothing of a message.

A carrier's own unmapped words are the one thing from outside; what looks like a phone number is masked in them.
"""

from __future__ import annotations

import platform
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import confluent_kafka

import processor
from processor.health import not_live, not_ready, stalled
from processor.outbox import Outcome
from processor.speedups import SPEEDUPS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from processor.health import Reason, Vitals
    from processor.recent import Sample
    from processor.telemetry import InputView, Telemetry

INPUTS_MAX: Final = 500
"""Partitions that are told one by one: those with the most left to process."""
UNMAPPED_MAX: Final = 20
CARRIERS_MAX: Final = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerFacts:
    """Which worker it is, and what it was built from."""

    application: str
    group: str
    ordinal: int | None
    started_at: float
    """Seconds since the epoch."""
    partitions: int
    """P: partitions of changes, state and rekeyed."""
    group_protocol: str | None
    """None before the worker runs."""
    packs: int | None
    """Carrier packs at work; None before the worker runs."""


def status(telemetry: Telemetry, facts: WorkerFacts, vitals: Vitals) -> dict[str, Any]:
    """Return everything that the page shows; times are seconds since the epoch, durations seconds."""
    view = vitals.view
    outcomes = telemetry.outcomes()
    samples = telemetry.recent.samples()
    ages = [_oldest_s(one, vitals.now) for one in view.inputs.values()]
    return {
        "at": round(vitals.now, 3),
        "worker": {
            "application": facts.application,
            "group": facts.group,
            "ordinal": facts.ordinal,
            "phase": str(vitals.phase),
            "started_at": round(facts.started_at, 3),
        },
        "health": {"live": verdict(not_live(vitals)), "ready": verdict(not_ready(vitals))},
        "partitions": {
            "assigned": len(view.inputs),
            "running": view.running,
            "standbys": view.standbys,
            "lag": sum(one.lag or 0 for one in view.inputs.values()),
            "oldest_s": max((age for age in ages if age is not None), default=None),
            "inputs": _inputs(vitals),
            "left_out": max(0, len(view.inputs) - INPUTS_MAX),
        },
        "restore": [
            {"partition": number, "share": round(share, 4), "left": view.restore_left.get(number)}
            for number, share in sorted(view.restore_share.items())
        ],
        "state_entries": sum(view.state_entries.values()),
        "outcomes": _by_outcome(outcomes),
        "carriers": _carriers(outcomes),
        "transactions": {result: count for result, count in sorted(telemetry.transactions().items()) if count},
        "history": _history(samples),
        "unmapped": [
            {**words._asdict(), "events": count} for words, count in telemetry.unmapped().most_common(UNMAPPED_MAX)
        ],
        "dead_letters": [{**letter._asdict(), "at": round(letter.at, 3)} for letter in telemetry.recent.letters()],
        "versions": {
            "processor": processor.__version__,
            "python": platform.python_version(),
            "librdkafka": confluent_kafka.libversion()[0],
            "codec": "C" if SPEEDUPS is not None else "pure Python",
            "packs": facts.packs,
            "group_protocol": facts.group_protocol,
            "partitions": facts.partitions,
        },
    }


def verdict(reasons: list[Reason]) -> dict[str, Any]:
    """Return a check's answer: whether it holds, and why not."""
    told = [{name: value for name, value in asdict(reason).items() if value is not None} for reason in reasons]
    return {"ok": not reasons, "reasons": told}


def _inputs(vitals: Vitals) -> list[dict[str, Any]]:
    """Return the partitions, those with the most left first."""
    still = set(stalled(vitals.view.inputs, vitals.now, vitals.stall_after_s))
    ordered = sorted(vitals.view.inputs.items(), key=lambda item: (item[0] not in still, -(item[1].lag or 0), item[0]))
    return [
        {
            "topic": topic,
            "partition": number,
            "lag": one.lag,
            "state": "stalled" if (topic, number) in still else _state(number, one, vitals.view.restore_share),
            "oldest_s": _oldest_s(one, vitals.now),
            "still_s": round(max(0.0, vitals.now - one.moved_at), 1) if one.moved_at else None,
        }
        for (topic, number), one in ordered[:INPUTS_MAX]
    ]


def _oldest_s(one: InputView, now: float) -> float | None:
    """Return how old the oldest unprocessed record is, None where there is none."""
    return None if one.oldest_at is None else round(max(0.0, now - one.oldest_at), 1)


def _state(number: int, one: InputView, restoring: Mapping[int, float]) -> str:
    if one.running:
        return "running"
    return "restoring" if number in restoring else "waiting"


def _by_outcome(outcomes: Mapping[tuple[str, str, str], int]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for (_, outcome, _), count in outcomes.items():
        found[outcome] += count
    return {str(outcome): found[outcome] for outcome in Outcome}


def _carriers(outcomes: Mapping[tuple[str, str, str], int]) -> list[dict[str, Any]]:
    """Return the carriers with the most events; an event that was forwarded is counted where it ends."""
    events: Counter[str] = Counter()
    published: Counter[str] = Counter()
    dead: Counter[str] = Counter()
    for (carrier, outcome, _), count in outcomes.items():
        if outcome != Outcome.FORWARDED:
            events[carrier] += count
        if outcome == Outcome.PUBLISHED:
            published[carrier] += count
        if outcome == Outcome.DEAD_LETTERED:
            dead[carrier] += count
    return [
        {"carrier": name, "events": count, "published": published[name], "dead_lettered": dead[name]}
        for name, count in events.most_common(CARRIERS_MAX)
    ]


def _history(samples: Iterable[Sample]) -> dict[str, Any]:
    """Return the samples by column, which is half as long as by row."""
    rows = list(samples)
    return {
        "at": [round(row.at, 1) for row in rows],
        "seconds": [round(row.seconds, 3) for row in rows],
        "records": [row.records for row in rows],
        "outcomes": {str(outcome): [row.outcomes.get(outcome, 0) for row in rows] for outcome in Outcome},
        "committed": [row.committed for row in rows],
        "aborted": [row.aborted for row in rows],
        "lag": [row.lag for row in rows],
        "delay_median": [_shortened(row.delay_median) for row in rows],
        "delay_p95": [_shortened(row.delay_p95) for row in rows],
    }


def _shortened(seconds: float | None) -> float | None:
    return None if seconds is None else float(f"{seconds:.3g}")
