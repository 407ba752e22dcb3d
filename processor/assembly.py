"""Builds a worker out of real parts; the only place that knows all of them."""

from __future__ import annotations

import logging
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import structlog
from confluent_kafka import Consumer, KafkaError
from confluent_kafka.admin import AdminClient

from processor.access import worker_access
from processor.assignment import Assignment, AssignmentOptions
from processor.changelog import ChangelogReader
from processor.codec import ChangeEncoder, Decoder
from processor.kafka_errors import describe
from processor.pack_reload import PackReload
from processor.pipeline import RETENTION_MS, Pipeline
from processor.publisher import OutputTopics, Publisher
from processor.purge import Purge
from processor.reduce import REPLIES_MAX
from processor.restore_report import RestoreReport
from processor.schema_supply import SchemaSupply
from processor.seldom import ClientLines, Seldom
from processor.standby import Standbys
from processor.store import StoreIdentity
from processor.stores import Stores
from processor.telemetry import Telemetry
from processor.topic_watch import TopicWatch
from processor.worker import LoopOptions, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from processor.books import DeadLetterLimit
    from processor.metric_table import Client
    from processor.pack_files import PackSource
    from processor.packs import Packs
    from processor.pipeline import Observer
    from processor.privacy import RecipientRule
    from processor.registry import Registry


_log = structlog.get_logger(__name__)
_CLIENT_LOG: Final = logging.getLogger("librdkafka")
"""librdkafka's own lines, which it would write to standard error as they are."""
_CLIENT_LINES: Final = ClientLines()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientConfigs:
    """librdkafka's settings for each client that a worker has."""

    consumer: Mapping[str, Any]
    producer: Mapping[str, Any]
    admin: Mapping[str, Any]
    changelog: Mapping[str, Any]
    standby: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything a worker is built from; facts about the cluster have been read already."""

    clients: ClientConfigs
    raw: list[str]
    topics: OutputTopics
    partitions: int
    cluster_id: str
    state_topic_id: str
    state_directory: Path
    packs: Packs
    pack_source: PackSource
    """Where packs are read anew, when that is asked for."""
    limit: DeadLetterLimit
    cache_entries: int = 100_000
    retention_ms: int = RETENTION_MS
    replies_max: int = REPLIES_MAX
    record_bytes_max: int = 65_536
    records_max: int = 20_000
    commit_interval_s: float = 0.1
    transaction_budget_s: float = 12.0
    start_earliest: bool = True
    incremental: bool = False
    reset_state: bool = False
    standbys: int = 0
    state_keep_ms: int = RETENTION_MS
    """How long an entry stays in the local store after the changelog got it."""
    tombstones_ms: int = 24 * 3600 * 1000
    registry: Registry | None = None
    change_frame: bytes | None = None
    observe: Observer | None = None
    recipients: RecipientRule | None = None
    """Hides recipients in changes; None where they are kept."""
    tracing: bool = False
    beat: Callable[[], object] = lambda: None
    """Tells the watchdog that the worker is alive."""
    telemetry: Telemetry = field(default_factory=lambda: Telemetry(""))


@contextmanager
def worker(plan: Plan) -> Iterator[Worker]:
    """Build and start a worker; on leaving, its clients leave the group and its stores close, in that order."""
    with ExitStack() as closing:
        _CLIENT_LOG.addFilter(_CLIENT_LINES)
        heard = {"error_cb": _log_errors(Seldom())}
        clients = plan.telemetry.clients
        decoder = Decoder(max_bytes=plan.record_bytes_max)
        stores = Stores(
            plan.state_directory,
            StoreIdentity(plan.cluster_id, plan.topics.state, plan.state_topic_id, -1, plan.partitions),
            max(1000, plan.cache_entries // plan.partitions),
        )
        closing.callback(stores.close_all_but)
        reader, followers = (
            ChangelogReader(
                {**config, **heard, "stats_cb": clients.callback(name)},
                plan.topics.state,
                stores.rebuild,
                on_error=partial(clients.fetch_failed, name),
            )
            for name, config in _changelog_clients(plan.clients)
        )
        closing.callback(reader.close)
        closing.callback(followers.close)
        standbys = Standbys(followers, stores, plan.partitions, plan.standbys)
        report = RestoreReport()
        closing.callback(report.close)
        publisher = Publisher(
            {**plan.clients.producer, "stats_cb": clients.callback("producer")},
            plan.topics,
            ChangeEncoder(plan.change_frame),
            budget_s=plan.transaction_budget_s,
            on_wait=_patience(plan.beat),
        )
        closing.callback(publisher.close)
        admin = AdminClient(dict(plan.clients.admin))
        group, transactional_id = plan.clients.consumer["group.id"], plan.clients.producer["transactional.id"]
        access = worker_access(admin, plan.raw, plan.topics, str(group), str(transactional_id))
        with access.naming():
            publisher.start()
        consumer = Consumer(
            {**plan.clients.consumer, **heard, "stats_cb": clients.callback("consumer")}, logger=_CLIENT_LOG
        )
        closing.callback(consumer.close)
        pipeline = Pipeline(
            decoder,
            plan.packs,
            plan.partitions,
            plan.retention_ms,
            plan.replies_max,
            observe=plan.observe,
            recipients=plan.recipients,
            tracing=plan.tracing,
        )
        yield Worker(
            consumer=consumer,
            assignment=Assignment(consumer, admin, reader, stores, standbys, _assignment_options(plan)),
            reader=reader,
            publisher=publisher,
            pipeline=pipeline,
            packs=PackReload(plan.pack_source, pipeline, plan.telemetry),
            schemas=SchemaSupply(decoder, plan.registry, plan.beat),
            telemetry=plan.telemetry,
            purge=Purge(plan.state_keep_ms),
            report=report,
            topics=TopicWatch(
                admin,
                [plan.topics.changes, plan.topics.dead_letter, plan.topics.state, plan.topics.rekeyed],
                [topic for topic in plan.raw if not topic.startswith("^")],
                (plan.topics.state, plan.state_topic_id),
                dict.fromkeys((plan.topics.changes, plan.topics.state, plan.topics.rekeyed), plan.partitions),
            ),
            access=access,
            beat=plan.beat,
            options=LoopOptions(
                rekeyed=plan.topics.rekeyed,
                records_max=plan.records_max,
                commit_interval_s=plan.commit_interval_s,
                dead_letter_limit=plan.limit,
            ),
        )


def _changelog_clients(clients: ClientConfigs) -> tuple[tuple[Client, Mapping[str, Any]], ...]:
    return ("changelog", clients.changelog), ("standby", clients.standby)


def _log_errors(seldom: Seldom) -> Callable[[KafkaError], None]:
    """Log what a client reports between calls; without this it would raise a fatal error out of any of them."""

    def log_error(error: KafkaError) -> None:
        seldom.warn(error.name(), "client error", error=describe(error))

    return log_error


def _patience(beat: Callable[[], object]) -> Callable[[str], None]:
    """Return what is called while the brokers are waited for: a wait is no hang, and it is told."""
    seldom = Seldom()

    def wait(what: str) -> None:
        beat()
        seldom.warn(what, f"waiting for the brokers {what}")

    return wait


def _assignment_options(plan: Plan) -> AssignmentOptions:
    return AssignmentOptions(
        rekeyed=plan.topics.rekeyed,
        state=plan.topics.state,
        state_topic_id=plan.state_topic_id,
        partitions=plan.partitions,
        start_earliest=plan.start_earliest,
        incremental=plan.incremental,
        reset_state=plan.reset_state,
        raw=tuple(plan.raw),
        tombstones_ms=plan.tombstones_ms,
    )
