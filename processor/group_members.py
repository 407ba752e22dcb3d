"""Who is in a consumer group, for both protocols; asked by a process of its own.

librdkafka 2.16 ends the process by a failed assertion where the connection to the group's coordinator is lost in the
middle of the question (confluentinc/librdkafka#4605, #5397): seen within seconds when a broker is killed. So a child
asks, and a child that was ended asks again.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from processor.errors import ExitCode, FatalError, TransientError
from processor.kafka_errors import describe, error_of, is_denied
from processor.topic_reader import silent_logger

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from confluent_kafka.admin import ConsumerGroupDescription

_WAIT_S: Final = 30.0
"""Longest wait for a coordinator that moves or loads."""
_ANSWER_S: Final = 10.0
_PAUSE_S: Final = 0.5

Input = tuple[str, int]
"""An input partition: topic and number."""


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a group."""

    member_id: str
    client_id: str
    host: str
    inputs: frozenset[Input]
    """What it holds."""

    @property
    def name(self) -> str:
        """What tells it from others, for people."""
        return f"{self.client_id} on {self.host.removeprefix('/')}"


@dataclass(frozen=True, slots=True)
class Group:
    """What the coordinator says of a group."""

    members: tuple[Member, ...]
    """By client id."""
    operations: tuple[str, ...] | None
    """What we may do to it, as Kafka's tools call it; None where the brokers do not tell."""


def describe_group(config: Mapping[str, Any], group: str, wait_s: float = _WAIT_S) -> Group:
    """Ask for a group; one that does not exist has no members.

    Args:
        config: librdkafka's settings; they go to the child through a pipe.
        group: The group's name.
        wait_s: Longest wait for an answer.

    Raises:
        TransientError: No coordinator answers.
        FatalError: The access is denied.
    """
    question = json.dumps({"config": dict(config), "group": group})
    deadline = time.monotonic() + wait_s
    while True:
        answer = _ask_child(question)
        if "members" in answer:
            return _group(answer)
        why = str(answer["error"])
        if answer["denied"]:
            raise FatalError(f"not permitted to describe group {group} ({why})", ExitCode.NOT_PERMITTED)
        if time.monotonic() > deadline:
            raise TransientError(f"cannot describe group {group} ({why})")
        time.sleep(_PAUSE_S)


def operation_names(operations: Iterable[Any] | None) -> tuple[str, ...] | None:
    """Give operations the names that Kafka's tools use: `Read`, `DescribeConfigs`; None where none were told."""
    if operations is None:
        return None
    return tuple("".join(word.title() for word in str(one.name).split("_")) for one in operations)


def _ask_child(question: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "processor.group_members"]
    try:
        done = subprocess.run(  # noqa: S603  # this very program, nothing from outside in its arguments
            command, input=question, capture_output=True, text=True, timeout=3 * _ANSWER_S, check=False
        )
    except subprocess.TimeoutExpired:
        return {"error": "no answer", "denied": False}
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        return {"error": f"the client broke off with {done.returncode}", "denied": False}
    return answer


def _group(answer: Mapping[str, Any]) -> Group:
    members = [
        Member(
            str(one["member_id"]),
            str(one["client_id"]),
            str(one["host"]),
            frozenset((str(topic), int(number)) for topic, number in one["inputs"]),
        )
        for one in answer["members"]
    ]
    operations = answer["operations"]
    return Group(
        tuple(sorted(members, key=lambda member: (member.client_id, member.member_id))),
        None if operations is None else tuple(map(str, operations)),
    )


def _ask(config: Mapping[str, Any], group: str) -> dict[str, object]:
    """Ask the coordinator once; what comes of it as JSON."""
    admin = AdminClient({**config}, logger=silent_logger())
    asked = admin.describe_consumer_groups([group], include_authorized_operations=True, request_timeout=_ANSWER_S)
    (future,) = asked.values()
    try:
        found: ConsumerGroupDescription = future.result(_ANSWER_S + 1)
    except KafkaException as exception:
        error = error_of(exception)
        return {"error": describe(error), "denied": is_denied(error)}
    except TimeoutError:
        return {"error": "no answer", "denied": False}
    members = [
        {
            "member_id": one.member_id,
            "client_id": one.client_id,
            "host": one.host,
            "inputs": [(tp.topic, tp.partition) for tp in one.assignment.topic_partitions],
        }
        for one in found.members
    ]
    return {"members": members, "operations": operation_names(found.authorized_operations)}


if __name__ == "__main__":
    _question = json.load(sys.stdin)
    sys.stdout.write(json.dumps(_ask(_question["config"], _question["group"])))
