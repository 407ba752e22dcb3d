"""The worker's topics on a real Kafka: made once, described as they are, and refused in words that help."""

from __future__ import annotations

import contextlib
import subprocess
import uuid

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from processor import topics
from processor.errors import ExitCode, FatalError, TransientError
from processor.topics import DAY_MS, OwnTopics, TopicFacts, TopicSpec
from tests.broker.deployment import wait_for
from tests.conftest import MakeBroker
from tests.kafka import maven
from tests.kafka.broker import Broker
from tests.kafka.readiness import HOST, free_port

PARTITIONS = 3
RETENTION_MS = 7 * DAY_MS
PASSWORD = "of-a-broker-for-one-test"


def unique_names() -> OwnTopics:
    name = f"topics-{uuid.uuid4().hex[:8]}"
    return OwnTopics(
        changes=f"{name}.changes", dead_letter=f"{name}.dead", state=f"{name}.state", rekeyed=f"{name}.rekeyed"
    )


def own(names: OwnTopics) -> list[str]:
    return [names.changes, names.dead_letter, names.state, names.rekeyed]


def seen(admin: AdminClient, wanted: list[str]) -> dict[str, TopicFacts]:
    """Describe topics as soon as the broker shows all of them."""
    facts: dict[str, TopicFacts] = {}

    def all_there() -> bool:
        with contextlib.suppress(FatalError):  # A grant takes a moment to count, too.
            facts.update(topics.describe(admin, wanted))
        return facts.keys() == set(wanted)

    wait_for("the topics to be seen", all_there)
    return facts


def test_topics_are_made_once_and_pass_their_own_check(broker: Broker) -> None:
    names = unique_names()
    specs = topics.plan(names, PARTITIONS, RETENTION_MS)

    assert topics.create(broker.admin, specs) == own(names)
    facts = seen(broker.admin, own(names))
    assert topics.create(broker.admin, specs) == []

    assert topics.check(facts, names, PARTITIONS, RETENTION_MS) == []
    assert {name: found.partitions for name, found in facts.items()} == dict.fromkeys(own(names), PARTITIONS)


def test_only_what_is_missing_is_made(broker: Broker) -> None:
    names = unique_names()
    specs = topics.plan(names, PARTITIONS, RETENTION_MS)
    topics.create(broker.admin, specs[:2])
    seen(broker.admin, [spec.name for spec in specs[:2]])

    assert topics.create(broker.admin, specs) == [spec.name for spec in specs[2:]]


def test_facts_are_those_of_the_topic(broker: Broker) -> None:
    name = broker.topic(2, {"cleanup.policy": "compact", "max.message.bytes": "2000"})

    facts = seen(broker.admin, [name])[name]

    assert (facts.partitions, facts.replicas, facts.message_bytes_max) == (2, 1, 2000)
    assert facts.config["cleanup.policy"] == "compact"


def test_a_topic_that_is_made_anew_has_another_id(broker: Broker) -> None:
    name = broker.topic()
    first = seen(broker.admin, [name])[name].topic_id
    broker.admin.delete_topics([name])[name].result(30)
    wait_for("the topic to go", lambda: not topics.describe(broker.admin, [name]))

    topics.create(broker.admin, [TopicSpec(name, 1, {})])

    assert seen(broker.admin, [name])[name].topic_id != first


def test_a_topic_that_is_not_there_has_no_facts(broker: Broker) -> None:
    assert topics.describe(broker.admin, [f"absent-{uuid.uuid4().hex}"]) == {}


def test_the_cluster_has_one_id(broker: Broker) -> None:
    first = topics.cluster_id(broker.admin)

    assert first
    assert topics.cluster_id(AdminClient(broker.client())) == first


def test_too_many_replicas_are_refused_with_the_command_that_asks_for_them(broker: Broker) -> None:
    spec = TopicSpec(f"wide-{uuid.uuid4().hex[:8]}", 1, {})

    with pytest.raises(FatalError, match=f"--topic {spec.name} --partitions 1 --replication-factor 99") as caught:
        topics.create(broker.admin, [spec], 99)

    assert caught.value.exit_code is ExitCode.UNAVAILABLE


def test_the_command_in_the_messages_makes_the_very_topic(broker: Broker) -> None:
    if maven.missing():
        pytest.skip(f"{maven.missing()}: needs Kafka's own tools")
    names = unique_names()
    (spec,) = (spec for spec in topics.plan(names, PARTITIONS, RETENTION_MS) if spec.name == names.state)
    tool, *arguments = topics.command_for(spec, 1).replace("BROKER:9092", broker.bootstrap).split()
    assert tool == "kafka-topics.sh"

    command = ["java", "-Xmx128m", "-cp", f"{maven.fetch_jars()}/*", "org.apache.kafka.tools.TopicCommand", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    facts = seen(broker.admin, [names.state])[names.state]
    assert facts.partitions == PARTITIONS
    assert {key: facts.config[key] for key in spec.config} == spec.config


def test_a_cluster_that_is_not_there_is_transient_and_names_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "_CALL_S", 1.0)
    admin = AdminClient({"bootstrap.servers": f"{HOST}:{free_port()}", "log_level": 0})

    with pytest.raises(TransientError, match=r'cannot describe the cluster .*kafka\."bootstrap\.servers"'):
        topics.cluster_id(admin)


def user(name: str) -> dict[str, str | float]:
    return {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": name,
        "sasl.password": PASSWORD,
    }


@pytest.fixture
def guarded(make_broker: MakeBroker) -> Broker:
    """A broker where `admin` may do everything, and `worker` what it is granted."""
    login = f'org.apache.kafka.common.security.plain.PlainLoginModule required username="admin" password="{PASSWORD}"'
    users = " ".join(f'user_{name}="{PASSWORD}"' for name in ("admin", "worker"))
    config = {
        "listeners": f"SASL_PLAINTEXT://{HOST}:{{port}},CONTROLLER://{HOST}:{{controller_port}}",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT",
        "inter.broker.listener.name": "SASL_PLAINTEXT",
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.sasl_plaintext.plain.sasl.jaas.config": f"{login} {users};",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        # Nobody but the broker itself speaks to its controller.
        "super.users": "User:admin;User:ANONYMOUS",
    }
    return make_broker(config, user("admin"))


def grant(broker: Broker, topic: str, *operations: AclOperation) -> None:
    bindings = [
        AclBinding(
            ResourceType.TOPIC,
            topic,
            ResourcePatternType.LITERAL,
            "User:worker",
            "*",
            operation,
            AclPermissionType.ALLOW,
        )
        for operation in operations
    ]
    for future in broker.admin.create_acls(bindings).values():
        future.result(30)


def test_a_principal_that_may_not_create_is_told_what_to_have_made(guarded: Broker) -> None:
    names = unique_names()
    grant(guarded, names.changes, AclOperation.CREATE)
    for name in own(names):
        grant(guarded, name, AclOperation.DESCRIBE, AclOperation.DESCRIBE_CONFIGS)
    worker = AdminClient(guarded.client(user("worker")))

    def grants_count() -> bool:
        try:
            return topics.describe(worker, own(names)) == {}
        except FatalError:
            return False

    wait_for("the grants to count", grants_count)

    with pytest.raises(FatalError) as caught:
        topics.create(worker, topics.plan(names, PARTITIONS, RETENTION_MS))

    assert caught.value.exit_code is ExitCode.NOT_PERMITTED
    commands = [line for line in str(caught.value).splitlines() if "--create" in line]
    assert [command.split()[command.split().index("--topic") + 1] for command in commands] == own(names)[1:]
    assert PASSWORD not in str(caught.value)


def test_settings_that_may_not_be_seen_leave_a_warning(guarded: Broker) -> None:
    names = unique_names()
    topics.create(guarded.admin, topics.plan(names, PARTITIONS, RETENTION_MS))
    for name in own(names):
        grant(guarded, name, AclOperation.DESCRIBE)
    worker = AdminClient(guarded.client(user("worker")))

    problems = topics.check(seen(worker, own(names)), names, PARTITIONS, RETENTION_MS)

    assert [(problem.severity, problem.topic) for problem in problems] == [(topics.Severity.WARNING, names.state)]


def test_a_topic_that_may_not_be_described_is_a_denial(guarded: Broker) -> None:
    names = unique_names()
    topics.create(guarded.admin, topics.plan(names, PARTITIONS, RETENTION_MS))
    worker = AdminClient(guarded.client(user("worker")))

    with pytest.raises(FatalError, match=f"not permitted while trying to describe {names.state}") as caught:
        topics.describe(worker, [names.state])

    assert caught.value.exit_code is ExitCode.NOT_PERMITTED
