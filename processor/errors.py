"""Every error this program raises on purpose; the class says what the worker does next.

::

    ProcessorError
    ├── InputError(reason)        this record is at fault   → dead letter, go on
    ├── TransientError            the world is at fault     → abort, rewind, try again
    └── FatalError(exit_code)     we cannot go on           → one line on stderr, exit code

Anything else that surfaces is a bug in this program and ends in a traceback.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum


class DeadLetterReason(StrEnum):
    """Why a record or one of its events went to the dead-letter topic.

    One closed list: the same word is the header's value, the metric's label and the log's field.
    """

    UNDECODABLE = "undecodable"
    """Not a frame of a known schema: wrong magic, unknown fingerprint or id, truncated, trailing bytes."""
    TOO_LARGE = "too_large"
    """The value is larger than `limits.record_bytes_max`, or its output would not fit its topic."""
    MALFORMED = "malformed"
    """Decoded, but a required fact is missing, empty or out of its range, or the body is not what it claims."""
    UNKNOWN_CARRIER = "unknown_carrier"
    """No pack for this carrier."""
    UNKNOWN_CHANNEL = "unknown_channel"
    """The carrier's pack does not have this channel, or the event names none and the pack has no default."""
    UNKNOWN_STATUS = "unknown_status"
    """The pack has no row for this status."""
    STATUS_NOT_ON_CHANNEL = "status_not_on_channel"
    """The canonical status does not exist on the event's channel."""
    TOO_MANY_REPLIES = "too_many_replies"
    """The message already holds as many distinct replies as `limits.replies_max`."""
    UNPROCESSABLE = "unprocessable"
    """The broker refused the transaction that held this record, down to the record alone."""


class AbortCause(StrEnum):
    """Why a transaction was aborted, or a batch went back before one began; the batch is tried again.

    One closed list: the word, behind `aborted_`, is the metric's label.
    """

    STALE_MEMBER = "stale_member"
    """The group had moved on: a rebalance met the batch, or the worker was in no group just then."""
    UNAVAILABLE = "unavailable"
    """A broker, a partition's leader or a coordinator was away, loading, or short of replicas."""
    TIMEOUT = "timeout"
    """Something was not answered within the transaction's budget."""
    FENCED = "fenced"
    """The coordinator had ended the transaction, which outlived `transaction.timeout_ms`; a new producer goes on."""
    REGISTRY = "registry"
    """The schema registry did not answer as it should."""
    REFUSED = "refused"
    """The broker refused a record of it as too large; the batch was taken apart."""
    STORE = "store"
    """A local store could not be trusted; it is rebuilt."""
    TRANSIENT = "transient"
    """Anything else that passes."""


class ExitCode(IntEnum):
    """Documented exit codes of the command line."""

    OK = 0
    FAILED = 1
    USAGE = 2
    INTERRUPTED = 130
    DEAD_LETTER_LIMIT = 65
    """The share or the run of dead letters crossed its limit (sysexits: data error)."""
    UNAVAILABLE = 69
    """A broker or a topic that is needed is not there (sysexits: service unavailable)."""
    UNKNOWN_OUTCOME = 75
    """A transaction's outcome is unknown; start again, it continues from what is committed (sysexits: try again)."""
    STATE_REFUSED = 76
    """The changelog, the offsets or the partition counts are not the ones the state was built on."""
    NOT_PERMITTED = 77
    """The broker denies an access that is needed (sysexits: permission denied)."""
    SETTINGS = 78
    """One or more settings are wrong (sysexits: configuration error)."""


class ProcessorError(Exception):
    """Root of all errors raised on purpose. Never raised itself."""


class InputError(ProcessorError):
    """A record, or one event of it, cannot be processed and never will be with the packs as they are.

    `reason` becomes the dead letter's header and the metric's label; the message becomes the header
    that explains it. The message never holds a payload, a phone number or a message id.
    """

    def __init__(self, reason: DeadLetterReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class DecodeError(InputError):
    """The bytes are not a frame of a known Avro schema."""

    def __init__(self, detail: str, reason: DeadLetterReason = DeadLetterReason.UNDECODABLE) -> None:
        super().__init__(reason, detail)


class TransientError(ProcessorError):
    """Something outside is down for now: the batch is aborted, rewound and tried again."""

    def __init__(self, message: str, cause: AbortCause = AbortCause.TRANSIENT) -> None:
        super().__init__(message)
        self.cause = cause


class FatalError(ProcessorError):
    """The worker cannot go on; the message is one line that says what to do."""

    def __init__(self, message: str, exit_code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class PackError(ProcessorError):
    """A carrier pack breaks the rules; `problems` has one line for each, all of them at once."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
