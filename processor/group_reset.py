"""Resets a group: its offsets and its state together, in one transaction, as the group's only member.

Theory of operation: what a worker may do, and nobody else, is to commit state and offsets together, fenced by its
membership. So the reset is a worker of its own kind. It joins the group, which nobody else may be in, until it holds
every input; waits until no transaction is open that could still change an offset, the changelog or the rekeyed topic;
and commits, in one transaction, the new offsets with fresh books and one record in each changelog partition that voids
everything before it (`RESET_KEY`). Before the commit nothing has happened, after it everything. A worker that
starts meanwhile waits for its partitions until this member has left, or has taken some and the commit is refused.
"""

from __future__ import annotations

import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from confluent_kafka import Consumer, KafkaError, TopicPartition

import processor
from processor import topics
from processor.codec import ChangeEncoder
from processor.errors import ExitCode, FatalError, TransientError
from processor.group_protocol import CONSUMER, ProtocolRefusedError, is_refusal, protocols_to_try
from processor.group_reader import GroupReader
from processor.kafka_errors import DeniedError, describe, is_denied
from processor.outbox import Outbox
from processor.publisher import OutputTopics, Publisher
from processor.reset_plan import Move, ResetPlan, moves_to
from processor.settings import admin_config, consumer_config, producer_config
from processor.topic_reader import silent_logger
from processor.worker import names_member

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from processor.group_members import Input, Member
    from processor.settings import Settings

_JOIN_S: Final = 30.0
_SCAN_S: Final = 45.0
"""How much longer than its timeout a transaction may stay open: brokers look every ten seconds."""
_PAUSE_S: Final = 0.2
_TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class Facts:
    """What does not change while a reset is planned."""

    inputs: list[Input]
    state_topic_id: str


class GroupReset:
    """Plans and does one reset; a context manager that leaves the group at its end."""

    def __init__(self, settings: Settings, to: int | str) -> None:
        """Keep what is needed.

        Args:
            settings: The workers' own; without an ordinal, the transactional id of worker 0 is used.
            to: A time in ms, or `earliest` or `latest`.
        """
        # A static member would be in the way of the worker whose name it takes.
        mine = {"ordinal": settings.ordinal or 0, "static_membership": False}
        self._settings = settings.model_copy(update=mine)
        self._to = to
        self._closing = ExitStack()
        self._reader = GroupReader(admin_config(self._settings), settings.group)
        self._closing.callback(self._reader.close)
        self._member: _SoleMember | None = None
        self._publisher: Publisher | None = None

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Leave the group, and close every client."""
        self._closing.close()

    def members(self) -> Sequence[Member]:
        """Return who is in the group; raises as `describe_group` does."""
        return self._reader.describe().members

    def plan(self) -> ResetPlan:
        """Say what a reset would change now.

        Raises:
            TransientError: No broker answers, or a transaction stays open.
            FatalError: A topic is not as it must be, or an access is denied.
        """
        facts = self._facts()
        rekeyed = self._settings.topics.rekeyed
        partitions = [*dict.fromkeys([*self._reader.all_partitions(), *facts.inputs])]
        all_offsets = self._reader.committed(partitions)
        committed = {key: tp.offset for key, tp in all_offsets.items()}
        raw = [key for key in facts.inputs if key[0] != rekeyed]
        ranges = self._reader.ranges(raw)
        own = self._reader.ranges([key for key in facts.inputs if key[0] == rekeyed])
        return ResetPlan(
            group=self._settings.group,
            to=self._to,
            state=self._settings.topics.state,
            state_topic_id=facts.state_topic_id,
            partitions=self._settings.partitions,
            raw=moves_to(self._to, committed, ranges, self._at(raw)),
            rekeyed=moves_to("latest", committed, own, {}),
            left=tuple(
                Move(topic, number, at, at, 0)
                for (topic, number), at in sorted(committed.items())
                if (topic, number) not in set(facts.inputs)
            ),
            counts=Counter(topic for topic, _ in partitions),
        )

    def join(self) -> None:
        """Become the group's only member, with every input.

        Raises:
            FatalError: Somebody else is in the group, or an access is denied.
            TransientError: No broker answers.
        """
        inputs = set(self._facts().inputs)
        self._refuse_members()
        publisher = self._started_publisher()
        first, *others = protocols_to_try(self._settings.group_protocol, admin_config(self._settings))
        try:
            self._member = self._joined(first, inputs)
        except ProtocolRefusedError as refusal:
            if not others:
                raise FatalError(
                    f"the brokers do not take group_protocol={first} ({refusal}); set group_protocol=auto",
                    ExitCode.SETTINGS,
                ) from refusal
            self._member = self._joined(others[0], inputs)
        self._publisher = publisher

    def commit(self) -> ResetPlan:
        """Do it, all at once, and return what was done; needs `join` before.

        Raises:
            FatalError: Nothing was changed, or the outcome is unknown; the message says which.
            TransientError: Nothing was changed: no broker answers, or a transaction stays open.
        """
        member, publisher = self._member, self._publisher
        assert member is not None  # noqa: S101  # `join` has been called
        assert publisher is not None  # noqa: S101
        tries = 0
        while True:
            self._settle(member)
            plan = self.plan()
            now_ms = time.time_ns() // 1_000_000
            offsets = [TopicPartition(*one) for one in plan.offsets(now_ms)]
            try:
                publisher.publish(Outbox(), plan.markers(now_ms, processor.__version__), offsets, member.metadata())
            except TransientError as error:
                tries += 1
                if tries == _TRIES:
                    raise FatalError(
                        f"the transaction was refused, nothing was changed ({error}); has a worker started meanwhile? "
                        "Stop all workers and try again",
                    ) from error
            else:
                return plan

    def _at(self, raw: list[Input]) -> dict[Input, int]:
        return {} if isinstance(self._to, str) else self._reader.at_time(raw, self._to)

    def _facts(self) -> Facts:
        names = self._settings.topics
        found = topics.describe(self._reader.admin, names.own.values())
        problems = topics.check(
            found, topics.OwnTopics(**names.own), self._settings.partitions, self._settings.state.retention_ms
        )
        errors = [problem for problem in problems if problem.severity is topics.Severity.ERROR]
        if errors:
            raise FatalError("topics are not as they must be:\n" + "\n".join(map(str, errors)), ExitCode.UNAVAILABLE)
        return Facts(self._reader.inputs(names.raw, names.rekeyed), found[names.state].topic_id)

    def _refuse_members(self) -> None:
        members = self.members()
        if members:
            raise FatalError(refusal(self._settings.group, members))

    def _started_publisher(self) -> Publisher:
        """Return a publisher that has ended whatever its transactional id left open."""
        names, settings = self._settings.topics, self._settings
        output = OutputTopics(
            changes=names.changes, dead_letter=names.dead_letter, state=names.state, rekeyed=names.rekeyed
        )
        publisher = Publisher(
            producer_config(settings), output, ChangeEncoder(None), budget_s=settings.transaction.budget_s
        )
        self._closing.callback(publisher.close)
        publisher.start()
        return publisher

    def _joined(self, protocol: str, inputs: set[Input]) -> _SoleMember:
        config = {
            **consumer_config(self._settings, protocol),
            "client.id": f"{self._settings.application}-reset",
        }
        names = self._settings.topics
        member = _SoleMember(config, [*names.raw, names.rekeyed], incremental=protocol == CONSUMER)
        self._closing.callback(member.close)
        member.join(inputs)
        return member

    def _settle(self, member: _SoleMember) -> None:
        """Wait until nothing that was begun before can change what this is about.

        Raises:
            TransientError: A transaction stays open.
        """
        names = self._settings.topics
        wanted = [
            (name, number) for name in (names.state, names.rekeyed) for number in range(self._settings.partitions)
        ]
        deadline = time.monotonic() + self._settings.transaction.timeout_ms / 1000 + _SCAN_S
        while wanted:
            member.turn()
            ends = self._reader.ranges(wanted)
            wanted = [key for key in wanted if self._reader.stable_end(key) < ends[key].high]
            if wanted and time.monotonic() > deadline:
                topic, number = wanted[0]
                raise TransientError(
                    f"a transaction stays open in {topic}[{number}], nothing was changed; wait until it has run out "
                    "(transaction.timeout_ms), or end it with kafka-transactions.sh, and try again"
                )
            if wanted:
                time.sleep(_PAUSE_S)


def refusal(group: str, members: Iterable[Member]) -> str:
    """Say why nothing is reset while somebody is in the group."""
    names = ", ".join(member.name for member in members)
    return (
        f"group {group} has members ({names}): stop all workers first; one that was killed is a member until its "
        "session has run out"
    )


class _SoleMember:
    """The only member of a group, which reads nothing."""

    def __init__(self, config: Mapping[str, Any], names: list[str], *, incremental: bool) -> None:
        self._held: set[Input] = set()
        self._incremental = incremental
        self._consumer = Consumer({**config, "error_cb": lambda _: None}, logger=silent_logger())
        self._consumer.subscribe(names, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke)
        self._wanted: set[Input] = set()

    @property
    def is_alone(self) -> bool:
        """Whether it holds every input, so that nobody else holds any."""
        return self._held == self._wanted

    def join(self, inputs: set[Input]) -> None:
        """Wait until every input is held.

        Raises:
            FatalError: Somebody else holds some, or an access is denied.
            ProtocolRefusedError: The coordinator does not take this protocol.
        """
        self._wanted = inputs
        deadline = time.monotonic() + _JOIN_S
        while not self.is_alone:
            self.turn(0.1)
            if time.monotonic() > deadline:
                raise FatalError(
                    f"the group gave {len(self._held)} of {len(inputs)} partitions within {_JOIN_S:.0f} s, nothing was "
                    "changed; has a worker started meanwhile? Stop all workers and try again"
                )

    def turn(self, timeout_s: float = 0.0) -> None:
        """Let the client take part in the group."""
        message = self._consumer.poll(timeout_s)
        error = message.error() if message is not None else None
        if error is None:
            return
        if is_denied(error):
            raise DeniedError(f"joining the group ({describe(error)})")
        if error.fatal() or error.code() == KafkaError._FATAL:  # noqa: SLF001  # so librdkafka's own codes are named
            if is_refusal(error):
                raise ProtocolRefusedError(describe(error))
            raise FatalError(f"cannot join the group ({describe(error)})", ExitCode.UNAVAILABLE)

    def metadata(self) -> object:
        """Return the group's metadata of this moment.

        Raises:
            FatalError: Somebody else has joined.
        """
        self.turn()
        metadata = self._consumer.consumer_group_metadata()
        if not self.is_alone or not names_member(metadata):
            raise FatalError("a worker has joined the group meanwhile, nothing was changed; stop it and try again")
        return metadata

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._held |= {(tp.topic, tp.partition) for tp in partitions}
        if self._incremental:
            consumer.incremental_assign([])
        else:
            consumer.assign([])

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._held -= {(tp.topic, tp.partition) for tp in partitions}
        if self._incremental:
            consumer.incremental_unassign([])
        else:
            consumer.unassign()
