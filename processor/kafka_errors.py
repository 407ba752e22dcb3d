"""The only reader of librdkafka's error codes: what an error means for the worker."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from confluent_kafka import KafkaError, KafkaException

from processor.errors import ExitCode, FatalError

_DENIED: Final = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }
)
_TOO_LARGE: Final = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE})


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
    """Sort an error of a transactional call; one without any flag counts as fatal, as librdkafka's manual says."""
    if error.fatal():
        return Kind.FATAL
    if error.txn_requires_abort():
        return Kind.TOO_LARGE if error.code() in _TOO_LARGE else Kind.ABORT
    if error.retriable():
        return Kind.RETRY
    return Kind.FATAL


def is_denied(error: KafkaError) -> bool:
    """Tell whether an access control list is what refuses."""
    return error.code() in _DENIED


def is_out_of_range(error: KafkaError) -> bool:
    """Tell whether a consumer stands at an offset that the log does not have."""
    return error.code() in {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}  # noqa: SLF001


def describe(error: KafkaError) -> str:
    """Return the error as part of one line: its name and librdkafka's words."""
    return f"{error.name()}: {error.str()}"


def fatal(doing: str, error: KafkaError) -> FatalError:
    """Make the error that ends the worker, with an exit code that tells a denial from an unknown outcome."""
    if is_denied(error):
        return FatalError(
            f"not permitted while {doing} ({describe(error)}): grant the worker's principal the access "
            "and start again; nothing uncommitted was published",
            ExitCode.NOT_PERMITTED,
        )
    return FatalError(
        f"{doing} failed with an unknown outcome ({describe(error)}); start again: it continues from what is committed",
        ExitCode.UNKNOWN_OUTCOME,
    )
