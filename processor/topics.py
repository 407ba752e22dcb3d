"""The worker's own topics: what they must be, making them, and checking what is there."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeVar, cast

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import ConfigResource, NewTopic, ResourceType

from processor.errors import ExitCode, FatalError, TransientError
from processor.kafka_errors import DeniedError, error_of, is_denied
from processor.kafka_errors import describe as describe_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from concurrent.futures import Future

    from confluent_kafka.admin import AdminClient

DAY_MS: Final = 24 * 3600 * 1000
RAW_RETENTION_MS: Final = 7 * DAY_MS
"""Retention that raw topics are taken to have: Kafka's default."""
MESSAGE_BYTES_MAX: Final = 1_048_588
"""Kafka's default of max.message.bytes."""
BATCH_BYTES_MAX: Final = 1_000_000
"""Largest record batch that the worker's producer makes. The broker holds max.message.bytes against whole batches."""
_REPLICAS_SAFE: Final = 3
"""From so many on a partition may lose a broker and still have two replicas that hold everything."""
_METADATA_S: Final = 3.0
"""Longest single question for metadata: it does not see signals, and whoever asks asks again."""
_CALL_S: Final = 15.0
_ANSWER_S: Final = _CALL_S + 5
"""The client gives up by itself after `_CALL_S`, with a better word for it."""
_REFUSED: Final = frozenset(
    {
        KafkaError.INVALID_CONFIG,
        KafkaError.INVALID_PARTITIONS,
        KafkaError.INVALID_REPLICATION_FACTOR,
        KafkaError.POLICY_VIOLATION,
    }
)
"""Answers to a creation that trying again does not change."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class OwnTopics:
    """Names of the topics that the worker writes."""

    changes: str
    dead_letter: str
    state: str
    rekeyed: str


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as it should be made."""

    name: str
    partitions: int
    config: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """A topic as it is."""

    partitions: int
    topic_id: str
    config: Mapping[str, str] = field(default_factory=dict)
    replicas: int = 1
    """Fewest replicas of any partition."""

    @property
    def message_bytes_max(self) -> int:
        """Largest record batch that the topic takes."""
        return int(self.config.get("max.message.bytes", MESSAGE_BYTES_MAX))

    @property
    def keep_ms(self) -> int | None:
        """How long the topic keeps a record; None where it deletes none by time, or its settings cannot be seen."""
        retention = int(self.config.get("retention.ms", -1))
        return retention if retention > 0 and "delete" in _policies(self.config) else None

    @property
    def tombstones_ms(self) -> int:
        """How long the topic keeps a tombstone."""
        return int(self.config.get("delete.retention.ms", DAY_MS))


class Severity(StrEnum):
    """Whether a worker can run with a problem."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something about a topic, and what to do."""

    severity: Severity
    topic: str
    text: str

    def __str__(self) -> str:
        """Return the problem as one line."""
        return f"{self.severity}: {self.topic}: {self.text}"


def state_keep_ms(state_retention_ms: int) -> int:
    """Return how long state is kept: its retention, the longest one of a raw record that may refer to it, and a day."""
    return state_retention_ms + RAW_RETENTION_MS + DAY_MS


def plan(names: OwnTopics, partitions: int, state_retention_ms: int, raw: Sequence[str] = ()) -> list[TopicSpec]:
    """Return the own topics as they should be, and the raw ones with as many partitions, which saves them a hop.

    State is kept for its retention, plus the longest retention of a raw record that may still refer to it, plus a day.
    It stands in LogAppendTime: whatever time a carrier claims, nothing is deleted early.
    """
    state = {
        "cleanup.policy": "compact,delete",
        "message.timestamp.type": "LogAppendTime",
        "retention.ms": str(state_keep_ms(state_retention_ms)),
        "segment.ms": str(DAY_MS),
    }
    return [
        TopicSpec(names.changes, partitions, {"cleanup.policy": "delete"}),
        TopicSpec(names.dead_letter, partitions, {"cleanup.policy": "delete"}),
        TopicSpec(names.state, partitions, state),
        TopicSpec(names.rekeyed, partitions, {"cleanup.policy": "delete"}),
        *(TopicSpec(name, partitions, {}) for name in raw if not name.startswith("^")),
    ]


def create(admin: AdminClient, specs: Sequence[TopicSpec], replication_factor: int = -1) -> list[str]:
    """Make the topics that are missing; return their names. Those that are there stay as they are.

    Raises:
        FatalError: The principal may not, or the cluster refuses; the message says exactly what is missing.
        TransientError: No answer.
    """
    there = describe(admin, [spec.name for spec in specs])
    missing = [spec for spec in specs if spec.name not in there]
    if not missing:
        return []
    topics = [
        NewTopic(spec.name, spec.partitions, replication_factor, config=_durable(spec.config, replication_factor))
        for spec in missing
    ]
    made: list[str] = []
    denied: list[TopicSpec] = []
    futures = admin.create_topics(topics, operation_timeout=_CALL_S, request_timeout=_CALL_S)
    for spec in missing:
        doing = f"create {spec.name}"
        try:
            _answer(futures[spec.name], doing)
            made.append(spec.name)
        except KafkaException as exception:
            error = error_of(exception)
            if is_denied(error):
                denied.append(spec)
            elif error.code() in _REFUSED:
                command = command_for(spec, replication_factor)
                text = f"the cluster refuses to {doing} ({describe_error(error)}); change the settings, or have it made"
                raise FatalError(f"{text}:\n  {command}", ExitCode.UNAVAILABLE) from exception
            elif error.code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise _failed(doing, error) from exception
    if denied:
        raise FatalError(
            "not permitted to create topics; have these made, or grant Create on them:\n"
            + "\n".join(f"  {command_for(spec, replication_factor)}" for spec in denied),
            ExitCode.NOT_PERMITTED,
        )
    return made


def command_for(spec: TopicSpec, replication_factor: int = -1) -> str:
    """Return the command of Kafka's own tools that makes a topic, for any of the cluster's brokers."""
    replicas = f" --replication-factor {replication_factor}" if replication_factor > 0 else ""
    config = "".join(f" --config {key}={value}" for key, value in _durable(spec.config, replication_factor).items())
    return (
        "kafka-topics.sh --bootstrap-server BROKER:9092 --create "
        f"--topic {spec.name} --partitions {spec.partitions}{replicas}{config}"
    )


def _durable(config: Mapping[str, str], replication_factor: int) -> dict[str, str]:
    """Add what makes a commit survive the loss of one broker, where there are replicas enough to go on without it."""
    return {**({"min.insync.replicas": "2"} if replication_factor >= _REPLICAS_SAFE else {}), **config}


def describe(admin: AdminClient, names: Iterable[str]) -> dict[str, TopicFacts]:
    """Return the facts of those topics that are there.

    Raises:
        TransientError: No answer.
        FatalError: The principal may not see a topic.
    """
    found: dict[str, TopicFacts] = {}
    for name, future in admin.describe_topics(TopicCollection(list(names)), request_timeout=_CALL_S).items():
        try:
            facts = _answer(future, f"describe {name}")
        except KafkaException as exception:
            if error_of(exception).code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                continue
            raise _failed(f"describe {name}", error_of(exception)) from exception
        replicas = min((len(partition.replicas) for partition in facts.partitions), default=1)
        found[name] = TopicFacts(len(facts.partitions), str(facts.topic_id), _config(admin, name), replicas)
    return found


def _config(admin: AdminClient, name: str) -> dict[str, str]:
    """Return a topic's settings; nothing where the principal may not see them."""
    resource = ConfigResource(ResourceType.TOPIC, name)
    (future,) = admin.describe_configs([resource], request_timeout=_CALL_S).values()
    try:
        entries = _answer(future, f"describe the settings of {name}")
    except KafkaException as exception:
        if is_denied(error_of(exception)):
            return {}
        raise _failed(f"describe the settings of {name}", error_of(exception)) from exception
    return {key: entry.value for key, entry in entries.items() if entry.value is not None}


def cluster_id(admin: AdminClient) -> str:
    """Return the cluster's id.

    `describe_cluster` would be the call for it, but a broker that is just starting names no broker in its answer, and
    then an assertion in librdkafka 2.16 ends the process (rd_kafka_admin_response_parse).

    Raises:
        TransientError: No answer.
    """
    try:
        # The class leaves its type open.
        found = cast("str | None", admin.list_topics(timeout=_METADATA_S).cluster_id)
    except KafkaException as exception:
        raise _failed("describe the cluster", error_of(exception)) from exception
    if not found:
        raise _unreachable("describe the cluster", "it has no id yet")
    return found


def check(
    facts: Mapping[str, TopicFacts],
    names: OwnTopics,
    partitions: int,
    state_retention_ms: int,
    raw: Sequence[str] = (),
    replication_factor: int = -1,
) -> list[Problem]:
    """Hold the topics against what they must be; pure, on facts that `describe` found.

    A raw topic must only be there: its partitions, keys and policies are its owner's. A replication factor of -1 asks
    for no number of replicas.
    """
    own = [names.changes, names.dead_letter, names.state, names.rekeyed]
    specs = plan(names, partitions, state_retention_ms, raw)
    problems = [
        Problem(
            Severity.ERROR,
            spec.name,
            "missing; make it with `status-processor topics create` or: " + command_for(spec, replication_factor),
        )
        for spec in specs
        if spec.name not in facts
    ]
    problems += _counts(facts, names, partitions)
    if names.state in facts:
        longest = max((_retention_ms(facts[name].config) for name in raw if name in facts), default=RAW_RETENTION_MS)
        problems += _state(names.state, facts[names.state].config, state_retention_ms, longest)
    problems += _losing(facts, names)
    problems += _too_small(facts, own)
    for name in own:
        if name in facts:
            problems += _undurable(name, facts[name], replication_factor)
    return problems


def _counts(facts: Mapping[str, TopicFacts], names: OwnTopics, partitions: int) -> list[Problem]:
    """Keys would move between partitions, and state with them."""
    return [
        Problem(
            Severity.ERROR,
            name,
            f"has {facts[name].partitions} partitions where the setting `partitions` says {partitions}; changes, state "
            "and rekeyed must have the same number for ever: set `partitions` to it, or make the topic anew",
        )
        for name in (names.changes, names.state, names.rekeyed)
        if name in facts and facts[name].partitions != partitions
    ]


def _losing(facts: Mapping[str, TopicFacts], names: OwnTopics) -> list[Problem]:
    reasons = {
        names.rekeyed: "forwarded events of a message are lost but for the last",
        names.dead_letter: "a dead letter without a key is refused, and so is the whole transaction",
    }
    return [
        Problem(Severity.ERROR, name, f"is compacted, so {reason}: set cleanup.policy=delete")
        for name, reason in reasons.items()
        if name in facts and "compact" in _policies(facts[name].config)
    ]


def _undurable(name: str, facts: TopicFacts, replication_factor: int) -> list[Problem]:
    """Tell what a commit would not survive; a cluster of one broker is taken as meant."""
    texts: list[str] = []
    if facts.replicas < replication_factor:
        texts.append(
            f"has {facts.replicas} replicas where the setting `replication_factor` says {replication_factor}: "
            "add some with kafka-reassign-partitions.sh"
        )
    if facts.replicas >= _REPLICAS_SAFE and facts.config.get("min.insync.replicas") == "1":
        texts.append("a commit may be on one broker only, and lost with it: set min.insync.replicas=2")
    if facts.config.get("unclean.leader.election.enable") == "true":
        texts.append("may lose committed records to an unclean election: set unclean.leader.election.enable=false")
    return [Problem(Severity.WARNING, name, text) for text in texts]


def _too_small(facts: Mapping[str, TopicFacts], own: Sequence[str]) -> list[Problem]:
    return [
        Problem(
            Severity.WARNING,
            name,
            f"takes batches of {facts[name].message_bytes_max} bytes where the worker sends up to {BATCH_BYTES_MAX}, "
            'which fails whole transactions: raise max.message.bytes, or lower kafka."batch.size"',
        )
        for name in own
        if name in facts and facts[name].message_bytes_max < BATCH_BYTES_MAX
    ]


def _policies(config: Mapping[str, str]) -> set[str]:
    return set(config.get("cleanup.policy", "").replace(" ", "").split(","))


def _retention_ms(config: Mapping[str, str]) -> int:
    """Return how long a topic keeps a record; what it keeps for ever counts as Kafka's default."""
    retention = int(config.get("retention.ms", RAW_RETENTION_MS))
    return retention if retention >= 0 else RAW_RETENTION_MS


def _state(name: str, config: Mapping[str, str], state_retention_ms: int, raw_retention_ms: int) -> list[Problem]:
    if not config:
        return [Problem(Severity.WARNING, name, "its settings cannot be seen: grant DescribeConfigs to check them")]
    problems: list[Problem] = []
    policies = _policies(config)
    if "compact" not in policies:
        text = "is not compacted, so it grows for ever and restores slowly: set cleanup.policy=compact,delete"
        problems.append(Problem(Severity.ERROR, name, text))
    if config.get("message.timestamp.type") != "LogAppendTime":
        text = "set message.timestamp.type=LogAppendTime, or a carrier's clock decides when state is deleted"
        problems.append(Problem(Severity.WARNING, name, text))
    retention = int(config.get("retention.ms", "-1"))
    needed = state_retention_ms + raw_retention_ms + DAY_MS
    if "delete" in policies and 0 <= retention < state_retention_ms + DAY_MS:
        text = (
            f"deletes state after {retention} ms, before state.retention ({state_retention_ms} ms) and a day are over: "
            f"set retention.ms={needed}"
        )
        problems.append(Problem(Severity.ERROR, name, text))
    elif "delete" in policies and 0 <= retention < needed:
        text = (
            f"deletes state after {retention} ms, so a worker that lags may find none for a raw record that is still "
            f"kept: set retention.ms={needed}"
        )
        problems.append(Problem(Severity.WARNING, name, text))
    return problems


def _answer(future: Future[T], doing: str) -> T:
    try:
        return future.result(_ANSWER_S)
    except TimeoutError as error:
        raise _unreachable(doing, f"no answer within {_ANSWER_S:.0f} s") from error


def _failed(doing: str, error: KafkaError) -> TransientError | FatalError:
    if is_denied(error):
        return DeniedError(f"trying to {doing} ({describe_error(error)})")
    return _unreachable(doing, describe_error(error))


def _unreachable(doing: str, why: str) -> TransientError:
    return TransientError(f'cannot {doing} ({why}); see kafka."bootstrap.servers" and the brokers')
