"""The settings as values: names, defaults, what is allowed. Where they come from is `processor.settings`'s business.

`docs/settings.md` is written from the descriptions here.
"""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from processor.settings_kafka import DEFAULT_KAFKA, FreeTable

if TYPE_CHECKING:
    from typing import Self

    from pydantic_settings import PydanticBaseSettingsSource

MESSAGE_TIMEOUT_SHARE: Final = 0.8
"""Share of the transaction's time within which every record of it has to be delivered."""

_DURATION: Final = re.compile(r"(\d{1,9})\s*(ms|s|m|h|d|w)")
_UNITS: Final = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")
_WORD: Final = re.compile(r"[A-Za-z0-9._-]{1,200}")
_ADDRESS: Final = re.compile(r"https?://[^\s/@?#]+(/[^\s@?#]*)?")
PRIVACY_KEY_CHARS_MIN: Final = 16
_ISO8601: Final = TypeAdapter(timedelta)
_STATISTICS_MIN_MS: Final = 1000
_RETENTION_MAX: Final = timedelta(days=3650)


def parse_duration(value: object) -> timedelta:
    """Read a duration such as ``7d``, ``36h`` or ISO 8601's ``P7D``.

    Raises:
        ValueError: It is none; a bare number is none either, since its unit would be a guess.
    """
    allowed = "must be a duration such as 7d, 36h or P7D"
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        raise ValueError(allowed)  # noqa: TRY004  # pydantic collects ValueError
    if match := _DURATION.fullmatch(value.strip()):
        return timedelta(**{_UNITS[match[2]]: int(match[1])})
    if not value.strip().startswith("P"):
        raise ValueError(allowed)
    try:
        return _ISO8601.validate_python(value.strip())
    except ValidationError:
        raise ValueError(allowed) from None


def duration_text(value: timedelta) -> str:
    """Write a duration as `parse_duration` takes it: in the largest unit that gives a whole number."""
    for unit, size in (("d", timedelta(days=1)), ("h", timedelta(hours=1)), ("m", timedelta(minutes=1))):
        if not value % size:
            return f"{value // size}{unit}"
    return f"{value // timedelta(milliseconds=1)}ms"


def _words(value: object) -> object:
    """Take a list from one text too, as a variable or a flag gives it: with commas, or as JSON."""
    if not isinstance(value, str):
        return value
    if value.startswith("["):
        try:
            return json.loads(value)
        except ValueError:
            raise ValueError("must be a list with commas, or a JSON list") from None
    return [word.strip() for word in value.split(",") if word.strip()]


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _topic(value: str) -> str:
    if not _TOPIC.fullmatch(value) or value in {".", ".."}:
        raise ValueError("must be a topic's name: letters, digits, '.', '_' and '-', at most 249")
    return value


def _raw_topic(value: str) -> str:
    if not value.startswith("^"):
        return _topic(value)
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"must be a topic's name or a regular expression ({error})") from None
    return value


def _word(value: str) -> str:
    if not _WORD.fullmatch(value):
        raise ValueError("must be 1 to 200 letters, digits, '.', '_' and '-'")
    return value


def _address(value: str) -> str:
    if not _ADDRESS.fullmatch(value):
        raise ValueError(
            "must be an http:// or https:// address without a query; user and password have settings of their own"
        )
    return value


def _replicas(value: int) -> int:
    if value == 0:
        raise ValueError("must be at least 1, or -1 for the broker's default")
    return value


def _statistics_interval(value: int) -> int:
    if 0 < value < _STATISTICS_MIN_MS:
        raise ValueError("must be 0 for never, or from 1000 to 3600000")
    return value


def _retention(value: timedelta) -> timedelta:
    if not timedelta(minutes=1) <= value <= _RETENTION_MAX:
        raise ValueError("must be a duration from 1m to 3650d")
    return value


def _stall_after(value: timedelta) -> timedelta:
    if not timedelta(seconds=1) <= value <= timedelta(days=1):
        raise ValueError("must be a duration from 1s to 1d")
    return value


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
TopicName = Annotated[str, AfterValidator(_topic)]
RawTopic = Annotated[str, AfterValidator(_raw_topic)]
Word = Annotated[str, AfterValidator(_word)]


class Table(BaseModel):
    """A table of settings."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True)


class Topics(Table):
    """Names of the topics."""

    raw: Annotated[list[RawTopic], BeforeValidator(_words), Field(min_length=1)] = Field(
        default=["carrier.status.raw"],
        description="Topics to read; one that starts with ^ is a regular expression as grep -E knows them, searched "
        "for in names",
    )
    changes: TopicName = Field(default="message.status.changes", description="Where status changes go")
    dead_letter: TopicName = Field(
        default="carrier.status.dead-letter", description="Where goes what cannot be processed"
    )
    state: TopicName = Field(default="status-processor.state", description="Changelog of what is known of each message")
    rekeyed: TopicName = Field(
        default="status-processor.rekeyed", description="Mapped events on the way to their owner"
    )

    @property
    def own(self) -> dict[str, str]:
        """The topics that the worker writes, by the name of their setting."""
        return {name: str(getattr(self, name)) for name in ("changes", "dead_letter", "state", "rekeyed")}

    @model_validator(mode="after")
    def _own_topics_are_never_raw(self) -> Self:
        problems = [
            f"topics.raw: {raw!r} takes in {topic!r}, which is topics.{name}; a topic of the worker's own is never raw"
            for raw in self.raw
            for name, topic in self.own.items()
            if (re.search(raw, topic) if raw.startswith("^") else raw == topic)
        ]
        first: dict[str, str] = {}
        for name, topic in self.own.items():
            if topic in first:
                problems.append(f"topics.{name}: {topic!r} is topics.{first[topic]} already; each needs its own topic")
            first.setdefault(topic, name)
        if problems:
            raise ValueError("\n".join(problems))
        return self


class Batch(Table):
    """How much goes into one transaction."""

    records_max: int = Field(default=20_000, ge=1, le=1_000_000, description="Most records of one transaction")
    commit_interval_ms: int = Field(
        default=100,
        ge=1,
        le=10_000,
        description="Longest wait for a batch to fill, in ms: what throughput costs in latency",
    )


class State(Table):
    """What is known of each message, and for how long."""

    directory: Path = Field(
        default=Path("state"), description="Where the local store lies; it is rebuilt where it is lost"
    )
    retention: Annotated[Duration, AfterValidator(_retention)] = Field(
        default=timedelta(days=7), description="How long after its last change a message is remembered: 7d, 36h, P7D"
    )
    standbys: int = Field(
        default=0,
        ge=0,
        le=10,
        description="Warm standbys: replicas of the partitions next to a worker's own, so that taking one over reads "
        "seconds of changelog; each costs twice the worker's own share of state in disk and reading",
    )
    cache_entries: int = Field(default=100_000, ge=0, le=100_000_000, description="Messages held in memory")

    @property
    def retention_ms(self) -> int:
        """The retention in ms."""
        return self.retention // timedelta(milliseconds=1)


class DeadLetters(Table):
    """When bad input stops the worker instead of filling the dead-letter topic, and how often it may be replayed."""

    share_max: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Largest share of dead letters in the last `window_records` of a partition; 0: no limit",
    )
    window_records: int = Field(default=1000, ge=10, le=1_000_000, description="Records that the share is taken of")
    run_max: int = Field(default=200, ge=0, le=1_000_000, description="Longest run of dead letters; 0: no limit")
    attempts_max: int = Field(
        default=3, ge=1, le=1000, description="How often `dead-letters replay` sends one letter back at most"
    )


class Limits(Table):
    """What one record or message may take."""

    record_bytes_max: int = Field(
        default=65_536, ge=1024, le=16_777_216, description="Largest raw record in bytes; a larger one is a dead letter"
    )
    replies_max: int = Field(default=64, ge=1, le=255, description="Most distinct replies of one message")


class Transaction(Table):
    """The time budget of a transaction: message timeout (80 % of it) < transaction < poll interval."""

    timeout_ms: int = Field(
        default=15_000,
        ge=1000,
        le=900_000,
        description="transaction.timeout.ms: a killed worker holds readers up so long",
    )
    max_poll_interval_ms: int = Field(
        default=90_000,
        ge=2000,
        le=86_400_000,
        description="Longest time between two polls before the group drops a worker",
    )

    @property
    def message_timeout_ms(self) -> int:
        """Time for a record to be delivered, below the transaction's own."""
        return int(self.timeout_ms * MESSAGE_TIMEOUT_SHARE)

    @property
    def budget_s(self) -> float:
        """Time in seconds for one transaction to be published and committed."""
        return self.message_timeout_ms / 1000

    @model_validator(mode="after")
    def _budgets_nest(self) -> Self:
        if self.timeout_ms >= self.max_poll_interval_ms:
            raise ValueError(
                f"transaction.timeout_ms: {self.timeout_ms} must be less than transaction.max_poll_interval_ms "
                f"({self.max_poll_interval_ms}), or the group gives a worker up inside a transaction"
            )
        return self


class Registry(Table):
    """The schema registry; without a URL values carry Avro's single-object encoding."""

    url: Annotated[str, AfterValidator(_address)] | None = Field(
        default=None, description="Address, http:// or https://"
    )
    username: str | None = Field(default=None, description="User name of basic authentication")
    password: SecretStr | None = Field(default=None, description="Password of basic authentication")
    options: FreeTable = Field(
        default_factory=dict, description="Further options of confluent-kafka's SchemaRegistryClient, as they are"
    )


class Packs(Table):
    """Carrier packs beside the built-in ones."""

    directory: Path | None = Field(
        default=None, description="Directory of your own packs (*.toml); they override built-in ones"
    )


class Privacy(Table):
    """What goes out of people's numbers. Logs, metrics and pages never show one."""

    recipients: Annotated[Literal["keep", "mask", "hash", "drop"], BeforeValidator(_lower)] = Field(
        default="keep",
        description="The recipient in a status change: keep it, mask all but two characters, hash it with "
        "`privacy.key`, drop it; all but keep also mask numbers in error_text",
    )
    key: SecretStr = Field(
        default=SecretStr(""),
        description="Keys the hash of recipients, at least 16 characters; with another key one number has another hash",
    )

    @model_validator(mode="after")
    def _hash_has_a_key(self) -> Self:
        if self.recipients == "hash" and len(self.key.get_secret_value()) < PRIVACY_KEY_CHARS_MIN:
            raise ValueError(
                f"privacy.key: must have at least {PRIVACY_KEY_CHARS_MIN} characters where privacy.recipients is hash: "
                "without a key a number's hash is undone by trying all numbers"
            )
        return self


class Metrics(Table):
    """The HTTP pages for metrics and health."""

    enabled: bool = Field(default=True, description="Whether the pages are served")
    host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on; 0.0.0.0 in a container")
    port: int = Field(default=9464, ge=0, le=65_535, description="Port; 0 takes any free one")
    client_statistics_ms: Annotated[int, AfterValidator(_statistics_interval)] = Field(
        default=5000,
        ge=0,
        le=3_600_000,
        description="How often librdkafka's clients tell of themselves, in ms; 0 for never, else at least 1000",
    )


class Health(Table):
    """When the health checks fail."""

    stall_after: Annotated[Duration, AfterValidator(_stall_after)] = Field(
        default=timedelta(minutes=2),
        description="How long a partition that has records left may stand still before /livez fails",
    )


class Log(Table):
    """The log, on standard error."""

    level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = Field(
        default="info", description="Least level that is written"
    )
    format: Annotated[Literal["auto", "json", "console"], BeforeValidator(_lower)] = Field(
        default="auto", description="auto: console on a terminal, JSON lines elsewhere"
    )


class Settings(BaseSettings):
    """All settings of a worker."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True)

    application: Word = Field(
        default="status-processor",
        description="Names this deployment; a part of the transactional id",
    )
    group: Word = Field(
        default_factory=lambda known: str(known.get("application", "status-processor")),
        description="Consumer group; the application's name where it is not set",
    )
    ordinal: int | None = Field(
        default=None,
        ge=0,
        le=1_000_000,
        description="This worker's number, unique among live ones and the same after a restart; "
        "on Kubernetes the StatefulSet's ordinal, elsewhere `run` needs it",
    )
    topics: Topics = Topics()
    partitions: int = Field(
        default=12, ge=1, le=10_000, description="Partitions of changes, state and rekeyed; fixed once they exist"
    )
    create_topics: bool = Field(default=True, description="Whether `run` creates its own topics where they are missing")
    replication_factor: Annotated[int, AfterValidator(_replicas)] = Field(
        default=-1, ge=-1, le=100, description="Replicas of the topics that it creates; -1 is the broker's default"
    )
    start_offset: Literal["earliest", "latest"] = Field(
        default="earliest",
        description="Where a raw partition without a committed offset starts; one that its topic gets later is read "
        "from its first record",
    )
    group_protocol: Literal["auto", "classic", "consumer"] = Field(
        default="auto",
        description="classic works with every broker, consumer (KIP-848) from Kafka 4.0 on; auto takes the newer one "
        "where the brokers have it",
    )
    static_membership: bool = Field(
        default=False,
        description="Whether a worker joins under its own fixed group.instance.id, so that a quick restart moves no "
        "partition; a trap under the consumer protocol: a killed worker's restart is refused until its session times "
        "out",
    )
    batch: Batch = Batch()
    state: State = State()
    dead_letters: DeadLetters = DeadLetters()
    limits: Limits = Limits()
    transaction: Transaction = Transaction()
    registry: Registry = Registry()
    packs: Packs = Packs()
    identity_key: SecretStr = Field(
        default=SecretStr(""),
        description="Keys the hash of a recipient in a message's identity; fixed as long as state is kept",
    )
    tracing: Annotated[Literal["off", "propagate"], BeforeValidator(_lower)] = Field(
        default="off",
        description="propagate: the W3C trace context of a raw record (headers traceparent, tracestate) goes on to "
        "its changes; costs nothing for records without one",
    )
    privacy: Privacy = Privacy()
    metrics: Metrics = Metrics()
    health: Health = Health()
    log: Log = Log()
    kafka: FreeTable = Field(
        default_factory=lambda: dict(DEFAULT_KAFKA),
        description="Settings of librdkafka for every client, as they are, for example bootstrap.servers",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  # the signature is pydantic-settings'
        init_settings: PydanticBaseSettingsSource,
        *_: PydanticBaseSettingsSource,
        **__: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take only what is given: `load_settings` lays the sources over each other, since it names them in errors."""
        return (init_settings,)
