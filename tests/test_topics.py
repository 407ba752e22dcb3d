"""What the worker's topics must be, and what is said where they are not or may not be made."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from processor import topics
from processor.errors import ExitCode, FatalError, TransientError
from processor.topics import DAY_MS, OwnTopics, Severity, TopicFacts, TopicSpec

NAMES = OwnTopics(changes="changes", dead_letter="dead", state="state", rekeyed="rekeyed")
PARTITIONS = 6
RETENTION_MS = 7 * DAY_MS


def facts_as_planned() -> dict[str, TopicFacts]:
    return {
        spec.name: TopicFacts(spec.partitions, "id", spec.config)
        for spec in topics.plan(NAMES, PARTITIONS, RETENTION_MS, ["raw"])
    }


def check(facts: Mapping[str, TopicFacts]) -> list[tuple[str, str]]:
    problems = topics.check(facts, NAMES, PARTITIONS, RETENTION_MS, ["raw"])
    return [(problem.severity.value, problem.topic) for problem in problems]


def with_config(name: str, **config: str) -> dict[str, TopicFacts]:
    facts = facts_as_planned()
    changed = {key.replace("_", "."): value for key, value in config.items()}
    facts[name] = replace(facts[name], config={**facts[name].config, **changed})
    return facts


def test_state_is_kept_for_its_retention_and_that_of_raw_and_a_day() -> None:
    specs = {spec.name: spec for spec in topics.plan(NAMES, PARTITIONS, RETENTION_MS)}

    assert specs["state"].config == {
        "cleanup.policy": "compact,delete",
        "message.timestamp.type": "LogAppendTime",
        "retention.ms": str((7 + 7 + 1) * DAY_MS),
        "segment.ms": str(DAY_MS),
    }


def test_all_own_topics_have_the_same_number_of_partitions() -> None:
    specs = topics.plan(NAMES, PARTITIONS, RETENTION_MS)

    assert {spec.name: spec.partitions for spec in specs} == {
        "changes": PARTITIONS,
        "dead": PARTITIONS,
        "state": PARTITIONS,
        "rekeyed": PARTITIONS,
    }


def test_a_raw_topic_given_as_a_regular_expression_is_never_made() -> None:
    specs = topics.plan(NAMES, PARTITIONS, RETENTION_MS, ["raw", "^raw-.*"])

    assert [spec.name for spec in specs if spec.name not in {"changes", "dead", "state", "rekeyed"}] == ["raw"]


def test_topics_as_planned_have_no_problem() -> None:
    assert check(facts_as_planned()) == []


@pytest.mark.parametrize("name", ["changes", "dead", "state", "rekeyed", "raw"])
def test_a_missing_topic_is_an_error(name: str) -> None:
    facts = facts_as_planned()
    del facts[name]

    assert check(facts) == [("error", name)]


@pytest.mark.parametrize("name", ["changes", "state", "rekeyed"])
def test_another_number_of_partitions_is_an_error(name: str) -> None:
    facts = facts_as_planned()
    facts[name] = replace(facts[name], partitions=PARTITIONS + 1)

    assert check(facts) == [("error", name)]


@pytest.mark.parametrize("name", ["dead", "raw"])
def test_raw_and_dead_letter_may_have_any_number_of_partitions(name: str) -> None:
    facts = facts_as_planned()
    facts[name] = replace(facts[name], partitions=PARTITIONS + 1)

    assert check(facts) == []


@pytest.mark.parametrize(
    ("config", "severity"),
    [
        ({"cleanup_policy": "delete"}, "error"),
        ({"cleanup_policy": "compact"}, None),
        ({"cleanup_policy": "delete, compact"}, None),
        ({"cleanup_policy": "compact", "retention_ms": "1"}, None),
        ({"message_timestamp_type": "CreateTime"}, "warning"),
        ({"retention_ms": "-1"}, None),
        ({"retention_ms": str(15 * DAY_MS)}, None),
        ({"retention_ms": str(15 * DAY_MS - 1)}, "warning"),
        ({"retention_ms": str(8 * DAY_MS - 1)}, "error"),
    ],
)
def test_state_must_be_compacted_on_append_time_and_kept_long_enough(
    config: dict[str, str], severity: str | None
) -> None:
    assert check(with_config("state", **config)) == ([(severity, "state")] if severity else [])


def test_state_settings_that_may_not_be_seen_are_a_warning() -> None:
    facts = facts_as_planned()
    facts["state"] = replace(facts["state"], config={})

    assert check(facts) == [("warning", "state")]


def test_state_must_outlive_the_longest_raw_retention() -> None:
    assert check(with_config("raw", retention_ms=str(30 * DAY_MS))) == [("warning", "state")]


def test_a_raw_topic_that_is_kept_for_ever_asks_of_state_what_kafkas_default_does() -> None:
    facts = with_config("raw", retention_ms="-1")
    assert check(facts) == []

    facts["state"] = with_config("state", retention_ms=str(15 * DAY_MS - 1))["state"]
    assert check(facts) == [("warning", "state")]


def test_a_compacted_rekeyed_topic_is_an_error() -> None:
    assert check(with_config("rekeyed", cleanup_policy="compact,delete")) == [("error", "rekeyed")]


def test_a_compacted_dead_letter_topic_is_an_error() -> None:
    assert check(with_config("dead", cleanup_policy="compact")) == [("error", "dead")]


@pytest.mark.parametrize(
    ("replicas", "config", "wanted", "warned"),
    [
        (1, {}, -1, False),
        (1, {"min.insync.replicas": "1"}, 1, False),
        (2, {"min.insync.replicas": "1"}, 3, True),
        (2, {"min.insync.replicas": "1"}, 2, False),
        (3, {"min.insync.replicas": "2"}, 3, False),
        (3, {"min.insync.replicas": "1"}, 3, True),
        (1, {"unclean.leader.election.enable": "true"}, -1, True),
        (1, {"unclean.leader.election.enable": "false"}, -1, False),
    ],
)
def test_own_topics_that_may_lose_what_is_committed_are_a_warning(
    replicas: int, config: dict[str, str], wanted: int, warned: bool
) -> None:
    facts = {
        name: replace(found, replicas=wanted, config={**found.config, "min.insync.replicas": "2"})
        for name, found in facts_as_planned().items()
    }
    facts["changes"] = replace(facts["changes"], replicas=replicas, config={**facts["changes"].config, **config})

    problems = topics.check(facts, NAMES, PARTITIONS, RETENTION_MS, ["raw"], wanted)

    assert [(problem.severity, problem.topic) for problem in problems] == [(Severity.WARNING, "changes")] * warned


def test_with_three_replicas_a_commit_waits_for_two() -> None:
    spec = TopicSpec("state", 6, {"retention.ms": "5"})

    assert "--config min.insync.replicas=2" in topics.command_for(spec, 3)
    assert "min.insync.replicas" not in topics.command_for(spec, 2)
    assert "min.insync.replicas" not in topics.command_for(spec)


def test_compacted_changes_are_the_users_choice() -> None:
    assert check(with_config("changes", cleanup_policy="compact")) == []


@pytest.mark.parametrize("name", ["changes", "dead", "state", "rekeyed"])
def test_a_topic_that_takes_smaller_batches_than_the_worker_makes_is_a_warning(name: str) -> None:
    assert check(with_config(name, max_message_bytes=str(topics.BATCH_BYTES_MAX))) == []
    assert check(with_config(name, max_message_bytes=str(topics.BATCH_BYTES_MAX - 1))) == [("warning", name)]


def test_a_problem_is_one_line_with_its_severity_and_topic_first() -> None:
    (problem,) = topics.check({**facts_as_planned(), "state": TopicFacts(1, "id")}, NAMES, 6, RETENTION_MS)[:1]

    assert problem.severity is Severity.ERROR
    assert str(problem).startswith("error: state: has 1 partitions where the setting `partitions` says 6")
    assert "\n" not in str(problem)


def test_the_command_for_a_missing_topic_asks_for_the_replicas_of_the_settings() -> None:
    (problem,) = [one for one in topics.check({}, NAMES, 6, RETENTION_MS, (), 3) if one.topic == "changes"]

    assert "--topic changes --partitions 6 --replication-factor 3 --config min.insync.replicas=2" in problem.text


def test_the_command_makes_the_topic_with_its_settings() -> None:
    spec = TopicSpec("state", 6, {"cleanup.policy": "compact,delete", "retention.ms": "5"})

    assert topics.command_for(spec, 3) == (
        "kafka-topics.sh --bootstrap-server BROKER:9092 --create --topic state --partitions 6 --replication-factor 3 "
        "--config min.insync.replicas=2 --config cleanup.policy=compact,delete --config retention.ms=5"
    )


class FakeAdmin:
    """A cluster with no topics that answers each creation with a given error code; None is success."""

    def __init__(self, answers: Mapping[str, int | None]) -> None:
        self._answers = answers

    def describe_topics(self, wanted: Any, **_: object) -> dict[str, Future[object]]:
        return {name: failed(KafkaError.UNKNOWN_TOPIC_OR_PART) for name in wanted.topic_names}

    def create_topics(self, new: list[NewTopic], **_: object) -> dict[str, Future[object]]:
        return {topic.topic: failed(self._answers[topic.topic]) for topic in new}


def failed(code: int | None) -> Future[object]:
    future: Future[object] = Future()
    if code is None:
        future.set_result(None)
    else:
        future.set_exception(KafkaException(KafkaError(code)))
    return future


def create(answers: Mapping[str, int | None], replication_factor: int = -1) -> list[str]:
    specs = [TopicSpec(name, 1, {}) for name in answers]
    return topics.create(cast("AdminClient", FakeAdmin(answers)), specs, replication_factor)


def test_a_topic_that_another_worker_made_meanwhile_is_as_good() -> None:
    assert create({"a": None, "b": KafkaError.TOPIC_ALREADY_EXISTS, "c": None}) == ["a", "c"]


def test_a_denial_names_all_denied_topics_and_only_those() -> None:
    with pytest.raises(FatalError) as caught:
        create({"a": KafkaError.TOPIC_AUTHORIZATION_FAILED, "b": None, "c": KafkaError.CLUSTER_AUTHORIZATION_FAILED})

    assert caught.value.exit_code is ExitCode.NOT_PERMITTED
    assert [line.split("--topic ")[1] for line in str(caught.value).splitlines() if "--topic" in line] == [
        "a --partitions 1",
        "c --partitions 1",
    ]


@pytest.mark.parametrize(
    "code",
    [
        KafkaError.INVALID_REPLICATION_FACTOR,
        KafkaError.INVALID_CONFIG,
        KafkaError.INVALID_PARTITIONS,
        KafkaError.POLICY_VIOLATION,
    ],
)
def test_what_the_cluster_will_never_make_is_not_tried_again(code: int) -> None:
    with pytest.raises(FatalError) as caught:
        create({"a": code}, 3)

    assert caught.value.exit_code is ExitCode.UNAVAILABLE
    assert "--topic a --partitions 1 --replication-factor 3" in str(caught.value)


@pytest.mark.parametrize("code", [KafkaError._TIMED_OUT, KafkaError.NOT_CONTROLLER, KafkaError._TRANSPORT])
def test_a_cluster_that_cannot_answer_now_is_asked_again(code: int) -> None:
    with pytest.raises(TransientError, match=r"cannot create a \(.*bootstrap\.servers"):
        create({"a": code})


def test_an_answer_that_never_comes_is_transient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "_ANSWER_S", 0.01)

    class Silent:
        def describe_topics(self, *_: object, **__: object) -> dict[str, Future[object]]:
            return {"a": Future()}

    with pytest.raises(TransientError, match="cannot describe a"):
        topics.describe(cast("AdminClient", Silent()), ["a"])


def test_a_cluster_that_has_no_id_yet_is_asked_again() -> None:
    class Starting:
        cluster_id = None

        def list_topics(self, **_: object) -> Starting:
            return self

    with pytest.raises(TransientError, match="cannot describe the cluster"):
        topics.cluster_id(cast("AdminClient", Starting()))
