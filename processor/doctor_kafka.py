"""The checks of `doctor` that ask the brokers; they change nothing, beside live workers too."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from confluent_kafka import KafkaError, KafkaException, Producer, TopicCollection, TopicPartition
from confluent_kafka.admin import OffsetSpec

from processor import doctor, topics
from processor.books import decode_books
from processor.errors import FatalError, ProcessorError
from processor.group_members import operation_names
from processor.group_reader import GroupReader, matching
from processor.kafka_errors import error_of, is_denied
from processor.settings import admin_config, transactional_id
from processor.topic_reader import silent_logger

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from processor.doctor import Finding
    from processor.group_members import Member
    from processor.settings import Settings

_CONNECT_S: Final = 8.0
_ANSWER_S: Final = 10.0
_PROBE_S: Final = 10.0
_TIMEOUT_MAX_MS: Final = 2_147_483_647
"""Longer than any broker allows (transaction.max.timeout.ms), so that it refuses, once it has seen that we may ask."""


@dataclass(slots=True)
class KafkaFacts:
    """What the checks of Kafka learn for the others."""

    brokers: int = 1
    state_messages: int = 0
    """Most messages that the state may hold: offsets of its changelog."""
    newest_state_ms: int | None = None
    members: Sequence[Member] | None = None
    """Who is in the group; None where that cannot be seen."""


class KafkaChecks:
    """Checks connection, topics, accesses, offsets; a context manager."""

    def __init__(self, settings: Settings) -> None:
        self.facts = KafkaFacts()
        self._settings = settings
        self._complaints: list[str] = []
        config = {**admin_config(settings), "error_cb": self._hear}
        self._reader = GroupReader(admin_config(settings), settings.group)
        # One whose complaints are heard.
        self._probe = Producer(config, logger=silent_logger())

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the clients."""
        self._reader.close()

    def run(self) -> Iterator[Finding]:
        """Give findings one after the other; what cannot be asked without a connection is left out."""
        connected = self._connection()
        yield connected
        if connected.verdict is doctor.Verdict.FAIL:
            yield doctor.unknown("Kafka", "topics, accesses, group and offsets cannot be looked at without a broker")
            return
        try:
            seen, unseen = self._seen_topics()
        except ProcessorError as error:
            yield doctor.fail("topics", f"{error}; do the brokers name addresses that can be reached from here?")
            return
        yield from self._topics(seen, unseen)
        yield from self._accesses(seen, unseen)
        yield self._group()
        yield self._transactional_id()
        state = seen.get(self._settings.topics.state)
        try:
            yield from self._offsets(state.topic_id if state else "")
        except ProcessorError as error:
            yield doctor.unknown("offsets", str(error))
        if state is not None:
            self._look_at_state()

    def _hear(self, error: KafkaError) -> None:
        if error.code() != KafkaError._ALL_BROKERS_DOWN and len(self._complaints) < 100:  # noqa: SLF001  # its own code
            self._complaints.append(error.str())

    def _connection(self) -> Finding:
        found = why = None
        deadline = time.monotonic() + _CONNECT_S
        while found is None:
            try:
                found = self._probe.list_topics(timeout=_CONNECT_S / 4)
            except KafkaException as exception:
                why = error_of(exception).str()
            self._probe.poll(0.1)
            if found is None and (self._complaints or time.monotonic() > deadline):
                return doctor.connection_failed(self._complaints, str(why))
        self.facts.brokers = len(found.brokers)
        protocol = str(self._settings.kafka.get("security.protocol", "plaintext")).upper()
        text = f"{len(found.brokers)} brokers of cluster {found.cluster_id}, by {protocol}"
        servers = str(self._settings.kafka.get("bootstrap.servers", ""))
        if protocol in {"PLAINTEXT", "SASL_PLAINTEXT"} and not _is_loopback(servers):
            return doctor.warning(
                "connection", f"{text}: nothing is encrypted on the way; set security.protocol to SASL_SSL or SSL"
            )
        return doctor.ok("connection", text)

    def _seen_topics(self) -> tuple[dict[str, topics.TopicFacts], set[str]]:
        """Describe each topic alone: one that may not be seen must not hide the others."""
        seen: dict[str, topics.TopicFacts] = {}
        unseen: set[str] = set()
        for name in self._names():
            try:
                seen |= topics.describe(self._reader.admin, [name])
            except FatalError:
                unseen.add(name)
        return seen, unseen

    def _names(self) -> list[str]:
        names = self._settings.topics
        raw = [name for name in names.raw if not name.startswith("^")]
        known = self._probe.list_topics(timeout=_ANSWER_S).topics
        return list(dict.fromkeys([*names.own.values(), *raw, *matching(known, names.raw)]))

    def _topics(self, seen: dict[str, topics.TopicFacts], unseen: set[str]) -> Iterator[Finding]:
        settings = self._settings
        problems = topics.check(
            seen,
            topics.OwnTopics(**settings.topics.own),
            settings.partitions,
            settings.state.retention_ms,
            settings.topics.raw,
            settings.replication_factor,
        )
        found = doctor.topic_findings(problems, unseen, created=settings.create_topics)
        for pattern in (name for name in settings.topics.raw if name.startswith("^")):
            if not matching([*seen, *unseen], [pattern]):
                found.append(doctor.warning("topics", f"no topic that may be seen matches {pattern}"))
        yield from found or [doctor.ok("topics", f"{len(seen)} are there, as they must be")]

    def _accesses(self, seen: dict[str, topics.TopicFacts], unseen: set[str]) -> Iterator[Finding]:
        names = self._settings.topics
        own = {
            names.changes: ["Write"],
            names.dead_letter: ["Write"],
            names.state: ["Read", "Write"],
            names.rekeyed: ["Read", "Write"],
        }
        needed = {f"topic {name}": own.get(name, ["Read"]) for name in [*seen, *unseen]}
        allowed = {f"topic {name}": self._allowed_on(name) for name in seen}
        group = f"group {self._settings.group}"
        needed[group] = ["Read"]
        try:
            described = self._reader.describe()
            allowed[group], self.facts.members = described.operations, described.members
        except FatalError:
            allowed[group] = ()
        except ProcessorError:
            allowed[group] = None
        yield from doctor.access_findings(needed, allowed, [f"topic {name}" for name in own if name in seen])

    def _allowed_on(self, topic: str) -> tuple[str, ...] | None:
        request = TopicCollection([topic])
        (future,) = self._reader.admin.describe_topics(
            request, include_authorized_operations=True, request_timeout=_ANSWER_S
        ).values()
        try:
            return operation_names(future.result(_ANSWER_S + 1).authorized_operations)
        except (KafkaException, TimeoutError):
            return None

    def _group(self) -> Finding:
        members = self.facts.members
        if members is None:
            return doctor.unknown("group", "its coordinator does not say who is in it")
        if not members:
            return doctor.ok("group", f"{self._settings.group} has no members: no worker runs")
        names = ", ".join(member.name for member in members[:10])
        return doctor.ok("group", f"{len(members)} workers: {names}")

    def _transactional_id(self) -> Finding:
        """Ask to begin as a worker does, with a timeout that is refused, so that nothing begins.

        The broker looks at the access first and at the timeout second; only then would it fence whoever uses the id.
        Where a worker runs with this id it is not even asked.
        """
        settings = self._settings
        number = settings.ordinal or 0
        name = transactional_id(settings.model_copy(update={"ordinal": number}))
        if any(member.client_id == f"{settings.application}-{number}" for member in self.facts.members or ()):
            return doctor.ok("access", f"worker {number} is at work under transactional id {name}")
        error = self._refused(name)
        if error is None:
            return doctor.warning("access", f"transactional id {name} is usable, by brokers that allow any timeout")
        if error.code() == KafkaError.INVALID_TRANSACTION_TIMEOUT:
            return doctor.ok("access", f"Write on transactional id {name} is granted")
        if is_denied(error):
            return doctor.fail(
                "access", f"Write on transactional id {name} is missing: grant it to the worker's principal"
            )
        return doctor.unknown("access", f"Write on transactional id {name}: no answer ({error.str()})")

    def _refused(self, name: str) -> KafkaError | None:
        config = {
            **admin_config(self._settings),
            "transactional.id": name,
            "transaction.timeout.ms": _TIMEOUT_MAX_MS,
            "error_cb": lambda _: None,
        }
        try:
            Producer(config, logger=silent_logger()).init_transactions(_PROBE_S)
        except KafkaException as exception:
            return error_of(exception)
        return None

    def _offsets(self, state_topic_id: str) -> list[Finding]:
        names = self._settings.topics
        inputs = self._reader.inputs(names.raw, names.rekeyed)
        found = self._reader.committed(inputs)
        lows = {key: span.low for key, span in self._reader.ranges(inputs).items()}
        committed = {}
        for key, tp in found.items():
            books = decode_books(tp.metadata)
            committed[key] = (tp.offset, None if books is None else books.state_topic_id)
        return doctor.offset_findings(committed, lows, state_topic_id)

    def _look_at_state(self) -> None:
        name = self._settings.topics.state
        partitions = [(name, number) for number in range(self._settings.partitions)]
        try:
            self.facts.state_messages = sum(one.high - one.low for one in self._reader.ranges(partitions).values())
        except ProcessorError:
            return
        wanted = {TopicPartition(*key): OffsetSpec.max_timestamp() for key in partitions}  # type: ignore[no-untyped-call]
        try:
            answers = self._reader.admin.list_offsets(wanted, request_timeout=_ANSWER_S)
            times = [future.result(_ANSWER_S + 1).timestamp for future in answers.values()]
        except (KafkaException, TimeoutError):
            return
        self.facts.newest_state_ms = max((int(ms) for ms in times if ms is not None and ms > 0), default=None)


def _is_loopback(servers: str) -> bool:
    hosts = [server.rsplit("://", 1)[-1].rsplit(":", 1)[0].strip("[]") for server in servers.split(",")]
    return all(host in {"localhost", "::1"} or host.startswith("127.") for host in hosts)
