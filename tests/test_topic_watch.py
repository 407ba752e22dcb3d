"""Topics that vanish are seen: an own one ends the worker, a raw one is told."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicCollection

from processor.errors import ExitCode, FatalError
from processor.topic_watch import TopicWatch


class FakeAdmin:
    """A cluster of topics with ids."""

    def __init__(self, topics: dict[str, str]) -> None:
        self.topics = topics
        self.partitions = dict.fromkeys(topics, 3)
        self.asked = 0

    def describe_topics(self, _: TopicCollection, **__: object) -> dict[str, Future[Any]]:
        self.asked += 1
        answers: dict[str, Future[Any]] = {}
        for name in ("changes", "state", "raw"):
            answers[name] = Future()
            if name in self.topics:
                partitions = [SimpleNamespace(id=number) for number in range(self.partitions[name])]
                answers[name].set_result(SimpleNamespace(topic_id=self.topics[name], partitions=partitions))
            else:
                answers[name].set_exception(KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)))
        return answers


class Scene:
    """A watch and the clock that it looks at."""

    def __init__(self) -> None:
        self.now = 0.0
        self.admin = FakeAdmin({"changes": "c", "state": "s", "raw": "r"})
        self.watch = TopicWatch(
            self.admin,  # type: ignore[arg-type]  # as an admin client
            ["changes", "state"],
            ["raw"],
            ("state", "s"),
            {"state": 3},
            lambda: self.now,
        )

    def pass_time(self, seconds: float) -> None:
        for _ in range(int(seconds)):
            self.now += 1.0
            self.watch.step()


def test_topics_that_are_there_are_asked_for_seldom() -> None:
    scene = Scene()

    scene.pass_time(300)

    assert 5 <= scene.admin.asked <= 10


def test_a_doubt_is_followed_by_a_question_soon() -> None:
    scene = Scene()
    scene.watch.doubt()

    scene.pass_time(4)

    assert scene.admin.asked == 1


def test_an_own_topic_that_is_missing_twice_ends_the_worker() -> None:
    scene = Scene()
    del scene.admin.topics["changes"]

    with pytest.raises(FatalError, match="topic changes is gone") as caught:
        scene.pass_time(60)

    assert caught.value.exit_code is ExitCode.UNAVAILABLE
    assert scene.admin.asked == 2


def test_a_topic_that_is_missing_once_is_nothing() -> None:
    """A broker that has just started may not know every topic yet."""
    scene = Scene()
    del scene.admin.topics["changes"]
    while scene.admin.asked < 1:
        scene.pass_time(1)
    scene.watch.step()
    scene.admin.topics["changes"] = "c"

    scene.pass_time(120)

    assert scene.admin.asked > 2


def test_a_state_topic_that_was_made_anew_ends_the_worker() -> None:
    scene = Scene()
    scene.admin.topics["state"] = "another"

    with pytest.raises(FatalError, match="deleted and made anew") as caught:
        scene.pass_time(60)

    assert caught.value.exit_code is ExitCode.STATE_REFUSED


def test_a_raw_topic_that_is_missing_ends_nothing() -> None:
    scene = Scene()
    del scene.admin.topics["raw"]

    scene.pass_time(120)

    assert scene.admin.asked > 2


def test_a_state_topic_that_has_grown_ends_the_worker_and_a_raw_topic_may() -> None:
    scene = Scene()
    scene.admin.partitions["raw"] = 4
    scene.pass_time(60)
    scene.admin.partitions["state"] = 4

    with pytest.raises(FatalError, match="topic state has 4 partitions now, where it had 3") as caught:
        scene.pass_time(60)

    assert caught.value.exit_code is ExitCode.UNAVAILABLE
