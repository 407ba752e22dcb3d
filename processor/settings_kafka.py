"""librdkafka's own settings: which may be given, which are the worker's, and what each client gets."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import AfterValidator, SecretStr

from processor.errors import ExitCode, FatalError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from processor.settings_model import Settings

_CLASSIC_ONLY: Final = frozenset({"session.timeout.ms", "heartbeat.interval.ms"})
"""What a member of a classic group may say; with KIP-848 the broker does, and librdkafka refuses these."""

_SILENT: Final = {"log_level": 0}
"""For clients beside the consumer and the producer: about a broker that is down they would only say the same."""

PRODUCER_BYTES_MAX: Final = 100_000_000
"""Largest record that the producer sends unless kafka."message.max.bytes" says otherwise: as much as a client reads."""

Plain = str | int | float | bool
DEFAULT_KAFKA: Final[dict[str, Plain | SecretStr]] = {"bootstrap.servers": "localhost:9092"}

_SECRET: Final = re.compile(r"password|passphrase|secret|\.pem$|private|user\.info|oauthbearer\.config|auth\.token")

_EXACTLY_ONCE: Final = "the worker sets it, exactly-once rests on it"
OWNED: Final[dict[str, str]] = {
    "group.id": "use group",
    "group.protocol": "use group_protocol",
    "group.remote.assignor": "the worker sets it, state and input have to go to the same worker",
    "partition.assignment.strategy": "the worker sets it, state and input have to go to the same worker",
    "group.instance.id": "static_membership sets it, for each worker its own",
    "client.rack": "reads from followers lag behind, and a restore has to see the log's end",
    "enable.auto.commit": _EXACTLY_ONCE,
    "auto.commit.interval.ms": _EXACTLY_ONCE,
    "enable.auto.offset.store": _EXACTLY_ONCE,
    "isolation.level": _EXACTLY_ONCE,
    "auto.offset.reset": "use start_offset, which only counts where no offset is committed",
    "enable.partition.eof": "the worker sets it, a restore ends by it, and lag is told by it",
    "transactional.id": "it is made of application, group and ordinal",
    "transaction.timeout.ms": "use transaction.timeout_ms",
    "message.timeout.ms": "it follows from transaction.timeout_ms",
    "delivery.timeout.ms": "it follows from transaction.timeout_ms",
    "max.poll.interval.ms": "use transaction.max_poll_interval_ms",
    "enable.idempotence": _EXACTLY_ONCE,
    "acks": _EXACTLY_ONCE,
    "request.required.acks": _EXACTLY_ONCE,
    "max.in.flight": _EXACTLY_ONCE,
    "max.in.flight.requests.per.connection": _EXACTLY_ONCE,
    "retries": _EXACTLY_ONCE,
    "message.send.max.retries": _EXACTLY_ONCE,
    "enable.gapless.guarantee": _EXACTLY_ONCE,
    "partitioner": "the worker names every partition itself",
    "log.connection.close": "the worker sets it, it has to see lost connections",
    "log_level": "the worker sets it, it has to see lost connections; use log.level",
    "metadata.broker.list": "use bootstrap.servers",
    "statistics.interval.ms": "use metrics.client_statistics_ms",
    "debug": "it logs what a record holds",
    "plugin.library.paths": "code from a path is not loaded",
}
"""Keys that may not be given, and why, or what to use instead."""

KNOWN_KEYS: Final = (
    "bootstrap.servers",
    "broker.address.family",
    "client.id",
    "compression.level",
    "compression.type",
    "batch.size",
    "connections.max.idle.ms",
    "fetch.max.bytes",
    "fetch.message.max.bytes",
    "fetch.min.bytes",
    "fetch.wait.max.ms",
    "heartbeat.interval.ms",
    "linger.ms",
    "max.partition.fetch.bytes",
    "message.max.bytes",
    "metadata.max.age.ms",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "queued.max.messages.kbytes",
    "queued.min.messages",
    "reconnect.backoff.max.ms",
    "reconnect.backoff.ms",
    "retry.backoff.max.ms",
    "retry.backoff.ms",
    "sasl.kerberos.keytab",
    "sasl.kerberos.principal",
    "sasl.kerberos.service.name",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.oauthbearer.client.id",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.config",
    "sasl.oauthbearer.method",
    "sasl.oauthbearer.scope",
    "sasl.oauthbearer.token.endpoint.url",
    "sasl.password",
    "sasl.username",
    "security.protocol",
    "session.timeout.ms",
    "socket.connection.setup.timeout.ms",
    "socket.keepalive.enable",
    "socket.timeout.ms",
    "ssl.ca.location",
    "ssl.ca.pem",
    "ssl.certificate.location",
    "ssl.certificate.pem",
    "ssl.cipher.suites",
    "ssl.endpoint.identification.algorithm",
    "ssl.key.location",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.location",
    "ssl.keystore.password",
    *OWNED,
)
"""Keys that people use, to say what was meant; librdkafka itself knows all of them and is asked."""


def secret_where_named(table: dict[str, Plain | SecretStr]) -> dict[str, Plain | SecretStr]:
    """Wrap the values whose keys name a secret."""
    return {
        key: SecretStr(str(value)) if is_secret(key) and not isinstance(value, SecretStr) else value
        for key, value in table.items()
    }


FreeTable = Annotated[dict[str, Plain | SecretStr], AfterValidator(secret_where_named)]
"""Options of a library, by its own dotted keys."""


def is_secret(key: str) -> bool:
    """Tell whether a library's key names a secret."""
    return _SECRET.search(key) is not None


def revealed(table: Mapping[str, Plain | SecretStr]) -> dict[str, Plain]:
    """Return the table for the library, secrets in plain."""
    return {key: value.get_secret_value() if isinstance(value, SecretStr) else value for key, value in table.items()}


def transactional_id(settings: Settings) -> str:
    """Return the id that is unique among live workers and the same after a restart.

    Raises:
        FatalError: No ordinal is set.
    """
    if settings.ordinal is None:
        raise FatalError(
            "ordinal: not set; give each worker its own number, the same after a restart "
            "(--ordinal 0, or STATUS_PROCESSOR_ORDINAL=0)",
            ExitCode.SETTINGS,
        )
    return f"{settings.application}-{settings.group}-{settings.ordinal}"


def _client_id(settings: Settings) -> dict[str, Plain]:
    number = "" if settings.ordinal is None else f"-{settings.ordinal}"
    return {"client.id": f"{settings.application}{number}"}


def _statistics(settings: Settings) -> dict[str, Plain]:
    return {"statistics.interval.ms": settings.metrics.client_statistics_ms}


def replay_id(settings: Settings) -> str:
    """Return the transactional id of whoever replays dead letters: of all that do, only the last one may."""
    return f"{settings.topics.dead_letter}-replay"


def consumer_config(settings: Settings, group_protocol: str = "") -> dict[str, Plain]:
    """Return the settings of the consumer of raw and rekeyed topics.

    `group_protocol` is what is tried where the setting is auto, `classic` or `consumer`.
    """
    protocol = group_protocol or settings.group_protocol
    classic = protocol != "consumer"
    group = (
        {"group.protocol": "classic", "partition.assignment.strategy": "range"}
        if classic
        else {"group.protocol": "consumer", "group.remote.assignor": "range"}
    )
    return {
        **_client_id(settings),
        "queued.max.messages.kbytes": 65_536,
        "fetch.message.max.bytes": 4_194_304,
        **_without(settings, frozenset() if classic else _CLASSIC_ONLY),
        **group,
        **({"group.instance.id": transactional_id(settings)} if settings.static_membership else {}),
        "group.id": settings.group,
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        # Tells lag apart from the control records behind a transaction.
        "enable.partition.eof": True,
        "max.poll.interval.ms": settings.transaction.max_poll_interval_ms,
        **_statistics(settings),
    }


def producer_config(settings: Settings) -> dict[str, Plain]:
    """Return the settings of the transactional producer.

    Raises:
        FatalError: No ordinal is set.
    """
    return {
        **_client_id(settings),
        "linger.ms": 5,
        "batch.size": 1_000_000,
        # Topics say what is too large. The client's own limit is below theirs, so it would refuse what they take.
        "message.max.bytes": PRODUCER_BYTES_MAX,
        "queue.buffering.max.messages": 2_000_000,
        "queue.buffering.max.kbytes": 1_048_576,
        **_without(settings, _CLASSIC_ONLY),
        "transactional.id": transactional_id(settings),
        "transaction.timeout.ms": settings.transaction.timeout_ms,
        "message.timeout.ms": settings.transaction.message_timeout_ms,
        "acks": "all",
        "enable.idempotence": True,
        # A lost connection is seen in the log only, and makes a new producer.
        "log.connection.close": True,
        "log_level": 6,
        **_statistics(settings),
    }


def replay_config(settings: Settings) -> dict[str, Plain]:
    """Return the settings of the producer that replays dead letters."""
    return {
        **_client_id(settings),
        "linger.ms": 5,
        **_without(settings, _CLASSIC_ONLY),
        # Raw topics may take less than the worker's own: a batch is held against their limit as a record is.
        "batch.size": 16_384,
        "transactional.id": replay_id(settings),
        "transaction.timeout.ms": settings.transaction.timeout_ms,
        "message.timeout.ms": settings.transaction.message_timeout_ms,
        "acks": "all",
        "enable.idempotence": True,
        "log.connection.close": True,
        "log_level": 6,
    }


def admin_config(settings: Settings) -> dict[str, Plain]:
    """Return the settings of the admin client, and of any other that has no part in the group."""
    return {**_client_id(settings), **_without(settings, _CLASSIC_ONLY), **_SILENT}


def changelog_config(settings: Settings) -> dict[str, Plain]:
    """Return the settings of the consumer that restores state; it never joins its group."""
    return {
        **_client_id(settings),
        **_SILENT,
        "fetch.message.max.bytes": 8_388_608,
        "fetch.max.bytes": 67_108_864,
        "queued.max.messages.kbytes": 131_072,
        # A fetch that finds some partitions at their end waits so long for the others: a third of a restore's time.
        "fetch.wait.max.ms": 10,
        **_without(settings, _CLASSIC_ONLY),
        # It joins nothing, but the client asks for the group's coordinator, which takes Read on the group.
        "group.id": settings.group,
        "enable.partition.eof": True,
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        **_statistics(settings),
    }


def standby_config(settings: Settings) -> dict[str, Plain]:
    """Return the settings of the consumer that follows other workers' state: it is never in a hurry."""
    patient: dict[str, Plain] = {"fetch.wait.max.ms": 500, "queued.max.messages.kbytes": 16_384}
    return {**changelog_config(settings), **patient}


def registry_config(settings: Settings) -> dict[str, Plain] | None:
    """Return the settings of confluent-kafka's SchemaRegistryClient, None where no registry is set."""
    registry = settings.registry
    if registry.url is None:
        return None
    config: dict[str, Plain] = {"url": registry.url, **revealed(registry.options)}
    if registry.username is not None and registry.password is not None:
        config["basic.auth.user.info"] = f"{registry.username}:{registry.password.get_secret_value()}"
    return config


def _without(settings: Settings, keys: frozenset[str]) -> dict[str, Plain]:
    return {key: value for key, value in revealed(settings.kafka).items() if key not in keys}
