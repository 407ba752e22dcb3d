"""Which state an input gets, as its topic grows under it, and what a new one costs those that run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from processor.assignment import Assignment, AssignmentOptions, Progress
from processor.errors import TransientError

PARTITIONS = 2
RAW = ("raw", 1)


class Scene:
    """An assignment of one raw partition that runs; its topic has as many partitions as one says."""

    def __init__(self, count: int) -> None:
        self.count = count
        consumer: Any = SimpleNamespace(list_topics=self._list_topics)
        absent: Any = None
        options = AssignmentOptions("rekeyed", "state", "id", PARTITIONS, start_earliest=True, incremental=True)
        self.assignment = Assignment(consumer, absent, absent, absent, absent, options)
        self.assignment.inputs[RAW] = Progress(0, running=True)

    def _list_topics(self, topic: str, timeout: float) -> Any:
        assert timeout > 0
        error = None if self.count else KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)
        return SimpleNamespace(
            topics={topic: SimpleNamespace(error=error, partitions=dict.fromkeys(range(self.count)))}
        )

    def states(self) -> object:
        return self.assignment.states_for(*RAW)


def test_a_topic_with_other_partitions_than_the_own_ones_forwards() -> None:
    assert Scene(PARTITIONS + 1).states() is None


def test_a_topic_with_as_many_partitions_is_reduced_in_its_state() -> None:
    scene = Scene(PARTITIONS)
    state: Any = object()
    scene.assignment.ready[RAW[1]] = state

    assert scene.states() is state


def test_an_input_that_runs_waits_where_its_topic_has_grown_and_its_state_is_not_there_yet() -> None:
    scene = Scene(PARTITIONS - 1)
    assert scene.states() is None
    scene.count = PARTITIONS
    scene.assignment._partition_counts.clear()

    with pytest.raises(TransientError, match=r"raw\[1\] waits for its state"):
        scene.states()


def test_a_topic_that_a_broker_does_not_know_yet_is_not_taken_for_one_that_forwards() -> None:
    scene = Scene(0)

    with pytest.raises(TransientError):
        scene.states()
    scene.count = PARTITIONS + 1
    assert scene.states() is None


class HeldUp:
    """An assignment of an input that runs and of one whose committed offset a predecessor's transaction holds back."""

    def __init__(self, held_s: float) -> None:
        self.now = 1_000.0
        self.waited_s = 0.0
        self.longest_s = 0.0
        self._free_at = self.now + held_s
        consumer: Any = SimpleNamespace(
            list_topics=lambda topic, timeout: SimpleNamespace(
                topics={topic: SimpleNamespace(error=None, partitions={0: timeout})}
            ),
            committed=self._committed,
            **dict.fromkeys(("incremental_assign", "pause", "resume", "seek"), lambda _: None),
        )
        self.restored = 0
        self.restores: dict[int, object] = {}
        reader: Any = SimpleNamespace(restores=self.restores, step=self._restore)
        standbys: Any = SimpleNamespace(step=lambda: None)
        options = AssignmentOptions("rekeyed", "state", "id", PARTITIONS, start_earliest=True, incremental=True)
        absent: Any = None
        self.assignment = Assignment(consumer, absent, reader, absent, standbys, options, lambda: self.now)
        self.assignment.inputs["raw", 0] = Progress(0, running=True)
        self.assignment._given.add(("raw", 0))

    def _committed(self, asked: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        wait = min(timeout, max(0.0, self._free_at - self.now))
        self.now += wait
        self.waited_s += wait
        self.longest_s = max(self.longest_s, wait)
        if self.now < self._free_at:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return [TopicPartition(tp.topic, tp.partition, 5) for tp in asked]

    def _restore(self, *_: object) -> list[int]:
        self.restored += len(self.restores)
        return []

    def turn_until_it_runs(self) -> float:
        """Turn the loop, whose batches take 50 ms, and return how long that was."""
        began_at = self.now
        self.assignment.inputs["raw", 1] = new = Progress()
        while not new.running:
            self.assignment.step()
            self.now += 0.05
        return self.now - began_at


@pytest.mark.parametrize("held_s", [0.0, 1.0, 25.0])
def test_an_offset_that_is_held_back_leaves_most_of_the_time_to_what_runs(held_s: float) -> None:
    scene = HeldUp(held_s)

    took_s = scene.turn_until_it_runs()

    assert scene.waited_s <= 0.5 * took_s
    assert scene.longest_s <= 2.0
    assert took_s <= 1.5 * held_s + 0.5


def test_with_nothing_running_an_offset_that_is_held_back_is_waited_for() -> None:
    scene = HeldUp(20.0)
    scene.assignment.inputs.clear()

    assert scene.turn_until_it_runs() <= 20.3


def test_what_an_abort_has_stopped_runs_again_at_once_beside_an_offset_that_is_held_back() -> None:
    scene = HeldUp(20.0)
    scene.assignment.inputs["raw", 1] = Progress()
    scene.assignment.rewind([("raw", 0)])

    scene.assignment.step()

    assert scene.assignment.inputs["raw", 0].running
    assert scene.waited_s < 0.2


def test_a_restore_goes_on_beside_an_offset_that_is_held_back() -> None:
    scene = HeldUp(20.0)
    scene.assignment.inputs.clear()
    scene.restores[7] = SimpleNamespace()

    took_s = scene.turn_until_it_runs()

    assert scene.restored > took_s * 5
