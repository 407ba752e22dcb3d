"""Names and values of the record headers that this program writes and reads.

Dead letters carry `status.errors.*`, close to Kafka Connect's `__connect.errors.*`; forwarded events carry
`status.origin`, control records `status.control`; a replayed dead letter carries `status.replay.*`. Values are UTF-8
text, numbers in decimal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from processor.errors import DeadLetterReason, InputError
from processor.model import Source

if TYPE_CHECKING:
    from processor.model import Record
    from processor.outbox import DeadLetter

Headers = list[tuple[str, bytes | None]]

ERRORS_TOPIC: Final = "status.errors.topic"
ERRORS_PARTITION: Final = "status.errors.partition"
ERRORS_OFFSET: Final = "status.errors.offset"
ERRORS_TIMESTAMP: Final = "status.errors.timestamp"
ERRORS_INDEX: Final = "status.errors.index"
"""Index of the failed element of a batch; missing where the whole record failed."""
ERRORS_STAGE: Final = "status.errors.stage"
ERRORS_REASON: Final = "status.errors.reason"
ERRORS_MESSAGE: Final = "status.errors.message"
ERRORS_VERSION: Final = "status.errors.version"
"""Version of the processor that wrote the dead letter."""
ERRORS_HEADERS_LEFT_OUT: Final = "status.errors.headers_left_out"
ERRORS_KEY_BYTES: Final = "status.errors.key_bytes"
"""Length of the original key, where it was too large for the dead-letter topic and was cut."""
ERRORS_KEY_SHA256: Final = "status.errors.key_sha256"
ERRORS_VALUE_BYTES: Final = "status.errors.value_bytes"
"""Length of the original value, where it was too large even for the dead-letter topic and was cut."""
ERRORS_VALUE_SHA256: Final = "status.errors.value_sha256"
REPLAY_INDEX: Final = "status.replay.index"
"""On a replayed record: only this element of the batch is processed."""
REPLAY_ATTEMPT: Final = "status.replay.attempt"
"""Which replay of it this is: 1, 2, 3 …"""
REPLAY_OF: Final = "status.replay.of"
"""The dead letter that was replayed: its partition and offset, with a colon."""
REPLAY_TIMESTAMP: Final = "status.replay.timestamp"
"""Timestamp of the original raw record (ms), which counts in place of the replayed one's own."""
REPLAY_FIRST_FAILED: Final = "status.replay.first_failed"
"""When the first dead letter of it was written (ms)."""
REPLAY_MARK: Final = "status.replay.mark"
"""On a record of the dead-letter topic that is no letter: it says which letters have been replayed."""
ORIGIN: Final = "status.origin"
"""On a forwarded event: partition, offset, index, timestamp in ms and topic, separated by spaces."""
CONTROL: Final = "status.control"
"""On a control record: what is asked of the worker that owns its message."""

MESSAGE_BYTES_MAX: Final = 256
KEPT_HEADERS_BYTES_MAX: Final = 4096

_ERRORS_PREFIX: Final = "status.errors."
_REPLAY_PREFIX: Final = "status.replay."
_REPLAY_NAMES: Final = (REPLAY_INDEX, REPLAY_ATTEMPT, REPLAY_OF, REPLAY_TIMESTAMP, REPLAY_FIRST_FAILED)
_REPLAY_BYTES_MAX: Final = 64
"""Longest value of a replay's header that is taken for one."""


class Replay(NamedTuple):
    """What a replayed record says of how it is to be processed."""

    element: int | None
    """The only element to process; None for all."""
    timestamp: int | None
    """The original record's timestamp (ms); None where the record's own counts."""


def headers_of(record: Record) -> Headers:
    """Return a record's headers as names and bytes, in order."""
    headers = record.headers()
    if not headers:
        return []
    pairs = headers.items() if isinstance(headers, dict) else headers
    return [(name, value.encode() if isinstance(value, str) else value) for name, value in pairs]


def dead_letter_headers(letter: DeadLetter, version: str) -> Headers:
    """Return the headers of a dead letter: the original's own, then why and from where.

    The original's headers are kept up to 4 KiB and the rest counted; errors of an earlier round are replaced, so that
    headers do not grow with every replay. What an earlier replay wrote is kept whatever stands beside it: it bounds
    the rounds.
    """
    headers = headers_of(letter.record)
    kept, left_out = _kept(headers)
    kept += {name: value for name, value in headers if is_of_a_replay(name, value)}.items()
    source = letter.source
    errors = {
        ERRORS_TOPIC: source.topic,
        ERRORS_PARTITION: str(source.partition),
        ERRORS_OFFSET: str(source.offset),
        ERRORS_TIMESTAMP: str(letter.record.timestamp()[1]),
        ERRORS_STAGE: letter.stage,
        ERRORS_REASON: str(letter.reason),
        ERRORS_MESSAGE: letter.detail.encode()[:MESSAGE_BYTES_MAX].decode(errors="ignore"),
        ERRORS_VERSION: version,
    }
    if source.index >= 0:
        errors[ERRORS_INDEX] = str(source.index)
    if left_out:
        errors[ERRORS_HEADERS_LEFT_OUT] = str(left_out)
    return kept + [(name, text.encode()) for name, text in errors.items()]


def _kept(headers: Headers) -> tuple[Headers, int]:
    own = own_headers(headers)
    kept: Headers = []
    size = 0
    for name, value in own:
        size += len(name.encode()) + len(value or b"")
        if size > KEPT_HEADERS_BYTES_MAX:
            break
        kept.append((name, value))
    return kept, len(own) - len(kept)


def own_headers(headers: Headers) -> Headers:
    """Return the headers that came from outside: without those of dead letters and of replays."""
    return [header for header in headers if not header[0].startswith((_ERRORS_PREFIX, _REPLAY_PREFIX))]


def is_of_a_replay(name: str, value: bytes | None) -> bool:
    """Tell whether a header is one that a replay writes."""
    return name in _REPLAY_NAMES and value is not None and len(value) <= _REPLAY_BYTES_MAX


def is_replayed(record: Record) -> bool:
    """Tell whether a record is a replayed dead letter."""
    headers = record.headers()
    # A replay writes several; an event that was forwarded has one, and most records have none.
    return headers is not None and len(headers) > 1 and any(name == REPLAY_ATTEMPT for name, _ in headers_of(record))


def is_replayed_forward(record: Record) -> bool:
    """Tell whether a record is a dead letter of the rekeyed topic that a replay sent there again."""
    return is_replayed(record) and any(name == ORIGIN for name, _ in headers_of(record))


def replay_of(record: Record) -> Replay:
    """Return what a replayed dead letter's headers ask for; nothing, where it is none.

    Raises:
        InputError: A header is there and is not a number.
    """
    index = timestamp = None
    for name, value in headers_of(record):
        if name == REPLAY_INDEX:
            index = _number(name, value, 9)
        elif name == REPLAY_TIMESTAMP:
            timestamp = _number(name, value, 15)
    return Replay(index, timestamp)


def _number(name: str, value: bytes | None, digits_max: int) -> int:
    text = value or b""
    if not text.isdigit() or len(text) > digits_max:
        raise InputError(DeadLetterReason.MALFORMED, f"header {name} is not a number")
    return int(text)


def is_control(record: Record) -> bool:
    """Tell whether a record of the rekeyed topic is a control record, which nobody forwarded."""
    return any(name == CONTROL for name, _ in headers_of(record))


def origin_header(source: Source, timestamp: int) -> tuple[str, bytes | None]:
    """Return the header that carries a forwarded event's original raw record along."""
    topic, partition, offset, index = source
    return ORIGIN, f"{partition} {offset} {index} {timestamp} {topic}".encode()


def origin_of(headers: Headers) -> tuple[Source, int] | None:
    """Return the original raw record of a forwarded event and that record's timestamp (ms).

    None where there is no such header: then it is no forwarded event.

    Raises:
        InputError: The header is broken; only the processor may write the rekeyed topic.
    """
    for name, value in headers:
        if name == ORIGIN:
            try:
                partition, offset, index, timestamp, topic = (value or b"").decode().split(" ", 4)
                return Source(topic, int(partition), int(offset), int(index)), int(timestamp)
            except ValueError:
                detail = f"a forwarded event without a sound header {ORIGIN}"
                raise InputError(DeadLetterReason.MALFORMED, detail) from None
    return None
