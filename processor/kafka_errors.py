"""The only reader of librdkafka's error codes: what an error means for the worker."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from confluent_kafka import KafkaError, KafkaException

from processor.errors import AbortCause, ExitCode, FatalError

_DENIED: Final = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }
)
_FENCED: Final = frozenset(
    {KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH}  # noqa: SLF001  # its own name
)
_TOO_LARGE: Final = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE})
_CAUSES: Final = {
    AbortCause.STALE_MEMBER: (
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.FENCED_MEMBER_EPOCH,
        KafkaError.STALE_MEMBER_EPOCH,
    ),
    AbortCause.TIMEOUT: (
        KafkaError._TIMED_OUT,  # noqa: SLF001  # its own name, as below
        KafkaError._TIMED_OUT_QUEUE,  # noqa: SLF001
        KafkaError._MSG_TIMED_OUT,  # noqa: SLF001
        KafkaError.REQUEST_TIMED_OUT,
    ),
    AbortCause.UNAVAILABLE: (
        KafkaError._TRANSPORT,  # noqa: SLF001
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
        KafkaError._RESOLVE,  # noqa: SLF001
        KafkaError._WAIT_COORD,  # noqa: SLF001
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.KAFKA_STORAGE_ERROR,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError.NOT_COORDINATOR,
        KafkaError.NOT_ENOUGH_REPLICAS,
        KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.REPLICA_NOT_AVAILABLE,
    ),
    AbortCause.FENCED: tuple(_FENCED),
    AbortCause.REFUSED: tuple(_TOO_LARGE),
}
_CAUSE_BY_CODE: Final = {code: cause for cause, codes in _CAUSES.items() for code in codes}
_REFUSED: Final = _TOO_LARGE | {KafkaError.INVALID_RECORD, KafkaError.INVALID_TIMESTAMP}


class DeniedError(FatalError):
    """The broker denies an access; it says what was being done, and how it was refused."""

    def __init__(self, doing: str) -> None:
        super().__init__(f"not permitted while {doing}", ExitCode.NOT_PERMITTED)
        self.doing = doing


class Kind(Enum):
    """What to do about an error."""

    RETRY = auto()
    """The same call again: it has not answered yet."""
    ABORT = auto()
    """Abort the transaction, rewind, try the batch again."""
    TOO_LARGE = auto()
    """As ABORT, but the same batch would fail for ever: take it apart."""
    FATAL = auto()
    """The outcome is unknown: no abort, exit, continue from what is committed."""


def error_of(exception: KafkaException) -> KafkaError:
    """Return the KafkaError that the exception carries."""
    error = exception.args[0]
    assert isinstance(error, KafkaError)  # noqa: S101  # the client raises nothing else
    return error


def classify(error: KafkaError) -> Kind:
    """Sort an error of a transactional call; one without any flag counts as fatal, as librdkafka's manual says.

    A size is the exception: the client itself refuses a record that is too large for it without any flag, and such a
    record was never sent.
    """
    if error.fatal():
        return Kind.FATAL
    if error.code() in _TOO_LARGE:
        return Kind.TOO_LARGE
    if error.txn_requires_abort():
        return Kind.ABORT
    if error.retriable():
        return Kind.RETRY
    return Kind.FATAL


def abort_cause(error: KafkaError) -> AbortCause:
    """Sort an error that a batch went back for."""
    return _CAUSE_BY_CODE.get(error.code(), AbortCause.TRANSIENT)


def is_denied(error: KafkaError) -> bool:
    """Tell whether an access control list is what refuses; of a consumer's fatal error only the words say it."""
    fatal_event = error.code() == KafkaError._FATAL  # noqa: SLF001  # so librdkafka's own codes are named
    return error.code() in _DENIED or (fatal_event and "authorization failed" in error.str())


def is_fenced(error: KafkaError) -> bool:
    """Tell whether the transactional id has gone to somebody else, or to the coordinator after a timeout."""
    return error.code() in _FENCED


def is_record_refused(error: KafkaError) -> bool:
    """Tell whether a record is what the broker, or the client itself, does not take, however often it is sent."""
    return error.code() in _REFUSED


def is_out_of_range(error: KafkaError) -> bool:
    """Tell whether a consumer stands at an offset that the log does not have."""
    return error.code() == KafkaError.OFFSET_OUT_OF_RANGE or (
        is_position_lost(error) and "Offset out of range" in error.str()
    )


def is_position_lost(error: KafkaError) -> bool:
    """Tell whether a consumer no longer knows where it stands; the reason is in the words only."""
    return error.code() == KafkaError._AUTO_OFFSET_RESET  # noqa: SLF001


def is_end(error: KafkaError) -> bool:
    """Tell whether an event only says that a partition has been read to its end."""
    return error.code() == KafkaError._PARTITION_EOF  # noqa: SLF001


def is_unknown_topic(error: KafkaError) -> bool:
    """Tell whether the cluster has no such topic."""
    return error.code() in {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC}  # noqa: SLF001


def describe(error: KafkaError) -> str:
    """Return the error as part of one line: its name and librdkafka's words."""
    return f"{error.name()}: {error.str()}"


def fatal(doing: str, error: KafkaError) -> FatalError:
    """Make the error that ends the worker, with an exit code that tells a denial from an unknown outcome."""
    if is_denied(error):
        return DeniedError(f"{doing} ({describe(error)})")
    return FatalError(
        f"{doing} failed with an unknown outcome ({describe(error)}); start again: it continues from what is committed",
        ExitCode.UNKNOWN_OUTCOME,
    )


def fenced(doing: str, error: KafkaError, transactional_id: str, *, outlived: bool) -> FatalError:
    """Make the error that ends a worker whose transactional id is no longer its own."""
    why = (
        f"it stood still for longer than transaction.timeout_ms, or another worker uses its ordinal "
        f"(transactional id {transactional_id}); start again: it continues from what is committed"
        if outlived
        else f"another worker uses the same ordinal (transactional id {transactional_id}); give each worker its own, "
        "then start again: it continues from what is committed"
    )
    return FatalError(f"fenced while {doing} ({describe(error)}): {why}", ExitCode.UNKNOWN_OUTCOME)


class Heard:
    """Remembers what a client complained of between calls, for the one line that says why nobody answers."""

    def __init__(self) -> None:
        self.last = ""
        self._refusal: KafkaError | None = None

    def __call__(self, error: KafkaError) -> None:
        """Take one complaint; librdkafka's callback."""
        if error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001  # so librdkafka's own codes are named
            return
        self.last = describe(error)
        if error.code() in {KafkaError._AUTHENTICATION, KafkaError._SSL}:  # noqa: SLF001
            self._refusal = error

    def raise_refusal(self) -> None:
        """Tell that no patience will help.

        Raises:
            FatalError: The broker refused the login, or its certificate cannot be trusted.
        """
        if self._refusal is None:
            return
        why = describe(self._refusal)
        if self._refusal.code() == KafkaError._SSL:  # noqa: SLF001
            raise FatalError(
                f'no TLS with the broker ({why}); see kafka."ssl.ca.location", the host names in '
                'kafka."bootstrap.servers", and the certificates',
                ExitCode.UNAVAILABLE,
            )
        raise FatalError(
            f'the broker refuses the login ({why}); see kafka."security.protocol" and kafka."sasl.*"',
            ExitCode.NOT_PERMITTED,
        )
