"""The command `run`: from settings to a worker that turns, until a signal or a fatal error ends it."""

from __future__ import annotations

import gc
import os
import signal
import time
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import structlog
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

import processor
from processor import topics
from processor.access import worker_access
from processor.assembly import ClientConfigs, Plan, worker
from processor.books import DeadLetterLimit
from processor.errors import ExitCode, FatalError, PackError, TransientError
from processor.group_protocol import CLASSIC, CONSUMER, ProtocolRefusedError, protocols_to_try, subscription
from processor.kafka_errors import Heard, describe, error_of
from processor.pack_files import PackSource
from processor.pages import serving_pages
from processor.privacy import RecipientRule, Recipients
from processor.publisher import OutputTopics
from processor.registry import Registry
from processor.schemas import registry_prefix, schema_text
from processor.settings import (
    admin_config,
    changelog_config,
    consumer_config,
    producer_config,
    registry_config,
    standby_config,
    transactional_id,
)
from processor.telemetry import Telemetry
from processor.watchdog import MARGIN_S, Watchdog

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from processor.packs import Packs
    from processor.pages import Pages
    from processor.settings import Settings
    from processor.worker import Worker

_log = structlog.get_logger(__name__)

_ANSWER_WITHIN_S: Final = 60.0
_PAUSE_S: Final = 1.0
_COLLECT_EVERY: Final = 100_000

T = TypeVar("T")


def run(settings: Settings, *, reset_state: bool = False) -> int:
    """Run a worker until SIGTERM or SIGINT, and return the exit code.

    The first signal lets the present batch commit and leaves the group; a second one ends the process at once.

    Raises:
        FatalError: The worker cannot start or cannot go on; its exit code says why.
    """
    telemetry = Telemetry(processor.__version__, stall_after_s=settings.health.stall_after.total_seconds())
    with ExitStack() as closing:
        signals = closing.enter_context(_Signals())
        pages = closing.enter_context(serving_pages(settings, telemetry))
        plan = make_plan(settings, telemetry, reset_state=reset_state)
        first, *others = protocols_to_try(settings.group_protocol, plan.clients.admin)
        try:
            # What is tried is the real thing: the group's first answer tells.
            _turn(with_protocol(plan, settings, first), settings, signals, pages)
        except ProtocolRefusedError as refusal:
            if not others:
                raise FatalError(
                    f"the brokers do not take group_protocol={first} ({refusal}); set group_protocol=auto",
                    ExitCode.SETTINGS,
                ) from refusal
            _log.info("the group coordinator does not take this protocol", group_protocol=first, why=str(refusal))
            _turn(with_protocol(plan, settings, others[0]), settings, signals, pages)
    return ExitCode.OK


def with_protocol(plan: Plan, settings: Settings, protocol: str) -> Plan:
    """Return the plan of a worker that speaks this group protocol."""
    clients = replace(plan.clients, consumer=consumer_config(settings, protocol))
    return replace(plan, clients=clients, incremental=protocol == CONSUMER)


def _turn(plan: Plan, settings: Settings, signals: _Signals, pages: Pages) -> None:
    limit_s = settings.transaction.max_poll_interval_ms / 1000 + MARGIN_S
    with Watchdog(limit_s) as watchdog, worker(replace(plan, beat=watchdog.beat)) as started:
        signals.tell(started)
        protocol = CONSUMER if plan.incremental else CLASSIC
        _subscribe(started, subscription(plan.raw, protocol))
        spare_the_collector()
        _log.info(
            "running",
            version=processor.__version__,
            group=settings.group,
            group_protocol=protocol,
            partitions=plan.partitions,
        )
        pages.running(protocol, lambda: len(started.pipeline.packs.carriers))
        try:
            started.run()
        finally:
            pages.stopping()
        _log.info("stopping: leaving the group")


def _subscribe(started: Worker, topics: list[str]) -> None:
    try:
        started.subscribe(topics)
    except KafkaException as exception:
        raise FatalError(
            f"topics.raw: the client takes no such expression ({describe(error_of(exception))}); what it knows is what "
            "grep -E knows: no \\d, no (?:...), no look-ahead",
            ExitCode.SETTINGS,
        ) from exception


def spare_the_collector() -> None:
    """Let Python's cycle collector look less often.

    A batch makes some hundred thousand tuples that are all gone after it, and no cycles. With the default thresholds
    the collector walks over them again and again, which was a third of the core's time. What lives since the start is
    frozen; a collection still comes once every 100,000 objects more.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_EVERY, 20, 100)


def make_plan(settings: Settings, telemetry: Telemetry, *, reset_state: bool = False) -> Plan:
    """Ask the cluster and the registry for what the worker must know before it starts.

    Raises:
        FatalError: A pack, a topic or an access is not as it must be, or nobody answered in time.
    """
    source = pack_source(settings)
    packs = load_packs(source)
    clients = ClientConfigs(
        consumer=consumer_config(settings),
        producer=producer_config(settings),
        admin=admin_config(settings),
        changelog=changelog_config(settings),
        standby=standby_config(settings),
    )
    names = settings.topics
    heard = Heard()
    listening: dict[str, Any] = dict(clients.admin)
    listening["error_cb"] = heard
    admin = AdminClient(listening)
    access = worker_access(admin, names.raw, names, settings.group, transactional_id(settings))
    with access.naming():
        cluster = _until_answered(lambda: topics.cluster_id(admin), lambda: _listen(admin, heard))
        facts = _until_answered(lambda: _own_topics(settings, admin), lambda: _listen(admin, heard))
    registry_settings = registry_config(settings)
    registry = Registry(registry_settings) if registry_settings is not None else None
    return Plan(
        clients=clients,
        raw=list(names.raw),
        topics=OutputTopics(
            changes=names.changes,
            dead_letter=names.dead_letter,
            state=names.state,
            rekeyed=names.rekeyed,
            dead_letter_bytes_max=facts[names.dead_letter].message_bytes_max,
        ),
        partitions=settings.partitions,
        cluster_id=cluster,
        state_topic_id=facts[names.state].topic_id,
        # Workers of one machine may share the setting: each has a directory of its own in it.
        state_directory=settings.state.directory / transactional_id(settings),
        packs=packs,
        pack_source=source,
        limit=DeadLetterLimit(
            settings.dead_letters.share_max, settings.dead_letters.window_records, settings.dead_letters.run_max
        ),
        cache_entries=settings.state.cache_entries,
        retention_ms=settings.state.retention_ms,
        replies_max=settings.limits.replies_max,
        record_bytes_max=settings.limits.record_bytes_max,
        records_max=settings.batch.records_max,
        commit_interval_s=settings.batch.commit_interval_ms / 1000,
        transaction_budget_s=settings.transaction.budget_s,
        start_earliest=settings.start_offset == "earliest",
        standbys=settings.state.standbys,
        state_keep_ms=facts[names.state].keep_ms or topics.state_keep_ms(settings.state.retention_ms),
        tombstones_ms=facts[names.state].tombstones_ms,
        reset_state=reset_state,
        registry=registry,
        change_frame=_change_frame(registry, names.changes),
        recipients=_recipient_rule(settings),
        tracing=settings.tracing == "propagate",
        telemetry=telemetry,
    )


def pack_source(settings: Settings) -> PackSource:
    """Say where the packs are: the built-in ones and the user's own, which override them."""
    key = settings.identity_key.get_secret_value().encode() if settings.identity_key else b""
    return PackSource(settings.packs.directory, key)


def _recipient_rule(settings: Settings) -> RecipientRule | None:
    policy = Recipients(settings.privacy.recipients)
    key = settings.privacy.key.get_secret_value().encode()
    return None if policy is Recipients.KEEP else RecipientRule(policy, key)


def load_packs(source: PackSource) -> Packs:
    """Load the packs for the first time.

    Raises:
        FatalError: A pack breaks the rules; the message has every problem.
    """
    try:
        return source.load()
    except PackError as error:
        raise FatalError(f"carrier packs are refused:\n{error}", ExitCode.SETTINGS) from error


def _own_topics(settings: Settings, admin: AdminClient) -> dict[str, topics.TopicFacts]:
    """Create what is missing where that is allowed, and refuse what is wrong, all at once."""
    names = topics.OwnTopics(**settings.topics.own)
    retention = settings.state.retention_ms
    if settings.create_topics:
        specs = topics.plan(names, settings.partitions, retention, settings.topics.raw)
        for made in topics.create(admin, specs, settings.replication_factor):
            _log.info("created topic", topic=made)
    facts = _facts(admin, settings)
    raw, replicas = settings.topics.raw, settings.replication_factor
    problems = topics.check(facts, names, settings.partitions, retention, raw, replicas)
    for problem in problems:
        if problem.severity is topics.Severity.WARNING:
            _log.warning(problem.text, topic=problem.topic)
    problems = [problem for problem in problems if problem.severity is topics.Severity.ERROR]
    if problems:
        raise FatalError("\n".join(f"{problem.topic}: {problem.text}" for problem in problems), ExitCode.UNAVAILABLE)
    return facts


def _facts(admin: AdminClient, settings: Settings) -> dict[str, topics.TopicFacts]:
    raw = [topic for topic in settings.topics.raw if not topic.startswith("^")]
    wanted = [*settings.topics.own.values(), *raw]
    deadline = time.monotonic() + 10
    while True:
        facts = topics.describe(admin, wanted)
        # A topic that was just made may take a moment to be seen on every broker.
        if len(facts) == len(set(wanted)) or not settings.create_topics or time.monotonic() > deadline:
            return facts
        time.sleep(0.1)


def _change_frame(registry: Registry | None, topic: str) -> bytes | None:
    if registry is None:
        return None
    schema_id = _until_answered(lambda: registry.register(f"{topic}-value", schema_text("status_change")))
    return registry_prefix(schema_id)


def _listen(admin: AdminClient, heard: Heard) -> None:
    """Hear what the client complains of, which may be that it is refused."""
    admin.poll(0)
    heard.raise_refusal()


def _until_answered(ask: Callable[[], T], on_silence: Callable[[], None] = lambda: None) -> T:
    """Ask until somebody answers: what is down for now is waited for.

    Raises:
        FatalError: Nobody did in time, or `on_silence` knows that nobody will.
    """
    deadline = time.monotonic() + _ANSWER_WITHIN_S
    while True:
        try:
            return ask()
        except TransientError as error:
            on_silence()
            if time.monotonic() > deadline:
                raise FatalError(f"gave up after {_ANSWER_WITHIN_S:.0f} s: {error}", ExitCode.UNAVAILABLE) from error
            _log.warning("waiting", error=str(error))
            time.sleep(_PAUSE_S)


class _Signals:
    """Lets the first SIGTERM or SIGINT stop the worker in order, and a second one end the process at once.

    Before there is a worker nothing is held that would need an order: it is in no group and no transaction is open, so
    the first signal ends the process, whoever is waited for.

    SIGHUP has the worker read its carrier packs anew; one that comes before it turns is nothing new to it.

    It stays in force until the worker has left the group, so that a broker that does not answer then is no trap.
    """

    def __init__(self) -> None:
        self._worker: Worker | None = None
        self._asked = False

    def tell(self, started: Worker) -> None:
        """Stop this worker at the first signal; at once where that has come already."""
        self._worker = started
        if self._asked:
            started.stop()

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        self._before[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._on_hangup)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_hangup(self, _number: int, _: FrameType | None) -> None:
        if self._worker is not None:
            self._worker.packs.ask()

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if self._asked:
            os._exit(128 + number)
        if self._worker is None:
            os._exit(ExitCode.OK)
        self._asked = True
        self._worker.stop()
