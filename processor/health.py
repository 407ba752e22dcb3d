"""When a worker that looks alive is not: pure rules over what the loop last saw, for metrics and health checks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from processor.telemetry import InputView, PartitionView

STALL_AFTER_S: Final = 120.0
"""How long an input may stand still in front of records: longer than any wait that ends by itself."""
NAMED_MAX: Final = 10
"""Partitions that a verdict names; of more it tells how many."""


class Phase(StrEnum):
    """How far a worker's process is."""

    STARTING = "starting"
    """It asks the cluster and the registry for what it must know, and turns no loop yet."""
    RUNNING = "running"
    STOPPING = "stopping"
    """It leaves the group."""


class Cause(StrEnum):
    """Why a check fails: one closed list."""

    LOOP_STUCK = "loop_stuck"
    PARTITION_STALLED = "partition_stalled"
    STARTING = "starting"
    STOPPING = "stopping"
    NOT_IN_GROUP = "not_in_group"
    RESTORING = "restoring"
    WAITING = "waiting"


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason why a check fails."""

    cause: Cause
    text: str
    """For people: one sentence."""
    topic: str | None = None
    partition: int | None = None
    seconds: float | None = None
    """For how long it has been so."""


@dataclass(frozen=True, slots=True)
class Vitals:
    """What the checks look at."""

    phase: Phase
    since: float
    """When this phase began (s since the epoch)."""
    view: PartitionView
    now: float
    loop_within_s: float
    """Longest time between two turns: after it the group has given the worker up."""
    stall_after_s: float = STALL_AFTER_S


def stalled(inputs: Mapping[tuple[str, int], InputView], now: float, after_s: float) -> list[tuple[str, int]]:
    """Return the inputs (topic, partition) that stand still, in order.

    One stands still when it is being processed, has something left to process, and has not moved for longer than
    `after_s` seconds. One that waits for its state does not, nor does one whose end nobody knows yet.

    Args:
        inputs: What the loop last saw of each input.
        now: Seconds since the epoch; the present time, not that of the view: a loop that hangs looks at nothing.
        after_s: How long standing still is nothing yet, in seconds.
    """
    return sorted(key for key, one in inputs.items() if one.running and one.lag and now - one.moved_at > after_s)


def not_live(vitals: Vitals) -> list[Reason]:
    """Return why a restart may help; nothing where the worker is alive.

    Alive is a loop that turns and moves every partition that it processes. A worker that starts or stops is alive:
    each has a limit of its own, after which the process ends.
    """
    if vitals.phase is not Phase.RUNNING:
        return []
    reasons = []
    # A loop that has not looked yet began with the phase.
    silent_s = vitals.now - max(vitals.view.seen_at, vitals.since)
    if silent_s > vitals.loop_within_s:
        text = f"the loop has not turned for {duration(silent_s)}"
        reasons.append(Reason(Cause.LOOP_STUCK, text, seconds=silent_s))
    inputs = vitals.view.inputs
    for topic, partition in stalled(inputs, vitals.now, vitals.stall_after_s):
        one = inputs[topic, partition]
        still_s = vitals.now - one.moved_at
        records = f"{one.lag} record{'s' if one.lag != 1 else ''}"
        text = f"{topic}[{partition}] has {records} left and has not moved for {duration(still_s)}"
        reasons.append(Reason(Cause.PARTITION_STALLED, text, topic, partition, still_s))
    return _bounded(reasons)


def not_ready(vitals: Vitals) -> list[Reason]:
    """Return why a worker does not do its share yet; nothing where it does.

    Ready is a member of the group all of whose partitions are processed. The group may have none for it: such a worker
    is as ready as it will be, and a rollout need not wait for it.
    """
    view = vitals.view
    match vitals.phase:
        case Phase.STARTING:
            return [Reason(Cause.STARTING, "waiting for the brokers, the topics and the registry")]
        case Phase.STOPPING:
            return [Reason(Cause.STOPPING, "leaving the group")]
        case Phase.RUNNING if not view.member:
            return [Reason(Cause.NOT_IN_GROUP, "not a member of the consumer group yet")]
    restoring = [
        Reason(Cause.RESTORING, f"the state of partition {number} is restored to {share:.0%}", partition=number)
        for number, share in sorted(view.restore_share.items())
    ]
    waiting = [
        Reason(Cause.WAITING, f"{topic}[{number}] is not being processed yet", topic, number)
        for (topic, number), one in sorted(view.inputs.items())
        # What its state holds up is told above.
        if not one.running and number not in view.restore_share
    ]
    return _bounded([*restoring, *waiting])


def duration(seconds: float) -> str:
    """Return a duration for people: `42 s`, `2 min 10 s`, `3 h 5 min`."""
    whole = round(max(0.0, seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _bounded(reasons: Iterable[Reason]) -> list[Reason]:
    """Name the first, and of the rest of each cause how many there are."""
    kept: list[Reason] = []
    more: dict[Cause, int] = {}
    for reason in reasons:
        if len(kept) < NAMED_MAX:
            kept.append(reason)
        else:
            more[reason.cause] = more.get(reason.cause, 0) + 1
    return kept + [Reason(cause, f"and {count} more like this ({cause})") for cause, count in more.items()]
