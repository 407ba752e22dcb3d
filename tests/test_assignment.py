"""Which state an input gets, as its topic grows under it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError

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
