"""A worker that only looks alive is told from one that is."""

from __future__ import annotations

import pytest

from processor.health import NAMED_MAX, Cause, Phase, Reason, Vitals, duration, not_live, not_ready, stalled
from processor.telemetry import InputView, PartitionView

NOW = 1_000_000.0
AFTER_S = 120.0
WITHIN_S = 90.0
CALM = InputView(lag=0, running=True, moved_at=NOW)
STILL = InputView(lag=5, running=True, moved_at=NOW - 130)


def vitals(view: PartitionView, phase: Phase = Phase.RUNNING, since: float = NOW - 1000) -> Vitals:
    return Vitals(phase, since, view, NOW, WITHIN_S, AFTER_S)


def causes(reasons: list[Reason]) -> list[Cause]:
    return [reason.cause for reason in reasons]


def test_an_input_with_records_left_that_does_not_move_is_stalled() -> None:
    inputs = {
        ("raw", 1): InputView(lag=5, running=True, moved_at=NOW - AFTER_S - 1),
        ("raw", 0): InputView(lag=1, running=True, moved_at=NOW - 2 * AFTER_S),
        ("rekeyed", 0): InputView(lag=5, running=True, moved_at=NOW - 1),
    }

    assert stalled(inputs, NOW, AFTER_S) == [("raw", 0), ("raw", 1)]


@pytest.mark.parametrize(
    "calm",
    [
        pytest.param(InputView(lag=0, running=True, moved_at=0.0), id="nothing left"),
        pytest.param(InputView(lag=None, running=True, moved_at=0.0), id="end not known"),
        pytest.param(InputView(lag=9, running=False, moved_at=0.0), id="waits for its state"),
        pytest.param(InputView(lag=9, running=True, moved_at=NOW - AFTER_S), id="not long enough"),
        pytest.param(InputView(lag=9, running=True, moved_at=NOW + 3600), id="the clock was set back"),
    ],
)
def test_an_input_that_waits_for_a_reason_is_not_stalled(calm: InputView) -> None:
    assert stalled({("raw", 0): calm}, NOW, AFTER_S) == []


def test_a_worker_whose_loop_turns_and_whose_partitions_move_is_live() -> None:
    view = PartitionView(seen_at=NOW - 1, inputs={("raw", 0): CALM, ("raw", 1): CALM}, running=2, member=True)

    assert not_live(vitals(view)) == []
    assert not_ready(vitals(view)) == []


def test_a_stalled_partition_is_named_with_what_is_left_and_for_how_long() -> None:
    view = PartitionView(seen_at=NOW - 1, inputs={("raw", 0): CALM, ("raw", 3): STILL}, running=2, member=True)

    (reason,) = not_live(vitals(view))

    assert (reason.cause, reason.topic, reason.partition, reason.seconds) == (Cause.PARTITION_STALLED, "raw", 3, 130)
    assert reason.text == "raw[3] has 5 records left and has not moved for 2 min 10 s"


def test_a_loop_that_no_longer_turns_is_not_live_however_calm_its_partitions_were() -> None:
    view = PartitionView(seen_at=NOW - WITHIN_S - 1, inputs={("raw", 0): CALM}, running=1, member=True)

    assert causes(not_live(vitals(view))) == [Cause.LOOP_STUCK]


def test_a_loop_that_has_not_looked_yet_has_the_same_time_from_its_start() -> None:
    assert not_live(vitals(PartitionView(), since=NOW - WITHIN_S + 1)) == []
    assert causes(not_live(vitals(PartitionView(), since=NOW - WITHIN_S - 1))) == [Cause.LOOP_STUCK]


@pytest.mark.parametrize("phase", [Phase.STARTING, Phase.STOPPING])
def test_a_worker_that_starts_or_stops_is_live_and_not_ready(phase: Phase) -> None:
    view = PartitionView(seen_at=NOW - 1000, inputs={("raw", 3): STILL}, running=1, member=True)

    assert not_live(vitals(view, phase)) == []
    assert causes(not_ready(vitals(view, phase))) == [Cause(phase)]


def test_a_worker_outside_of_the_group_is_not_ready() -> None:
    assert causes(not_ready(vitals(PartitionView(seen_at=NOW)))) == [Cause.NOT_IN_GROUP]


def test_a_member_to_which_the_group_gives_no_partition_is_ready() -> None:
    assert not_ready(vitals(PartitionView(seen_at=NOW, member=True))) == []


def test_a_partition_that_is_restored_or_waits_makes_a_worker_not_ready_once_each() -> None:
    waiting = InputView(lag=9, running=False, moved_at=NOW)
    view = PartitionView(
        seen_at=NOW,
        inputs={("raw", 0): waiting, ("rekeyed", 0): waiting, ("raw", 1): waiting, ("raw", 2): CALM},
        restore_share={0: 0.25},
        running=1,
        waiting=3,
        member=True,
    )

    restoring, held = not_ready(vitals(view))

    assert (restoring.cause, restoring.partition) == (Cause.RESTORING, 0)
    assert restoring.text == "the state of partition 0 is restored to 25%"
    assert (held.cause, held.topic, held.partition) == (Cause.WAITING, "raw", 1)


def test_a_verdict_over_thousands_of_partitions_stays_short_and_counts_the_rest() -> None:
    view = PartitionView(seen_at=NOW, inputs={("raw", number): STILL for number in range(3000)}, member=True)

    reasons = not_live(vitals(view))

    assert len(reasons) == NAMED_MAX + 1
    assert reasons[-1].text == f"and {3000 - NAMED_MAX} more like this (partition_stalled)"


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0 s"), (42.4, "42 s"), (130, "2 min 10 s"), (11_100, "3 h 5 min"), (59.9, "1 min 0 s")]
)
def test_a_duration_is_told_as_people_say_it(seconds: float, text: str) -> None:
    assert duration(seconds) == text
