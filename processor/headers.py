"""Names and values of the record headers that this program writes and reads.

Dead letters carry `status.errors.*`, close to Kafka Connect's `__connect.errors.*`; forwarded events carry
`status.origin.*`; a replayed dead letter carries `status.replay.*`. Values are UTF-8 text, numbers in decimal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

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
ORIGIN: Final = "status.origin"
"""On a forwarded event: partition, offset, index, timestamp in ms and topic, separated by spaces."""

MESSAGE_BYTES_MAX: Final = 256
KEPT_HEADERS_BYTES_MAX: Final = 4096

_ERRORS_PREFIX: Final = "status.errors."


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
    headers do not grow with every replay.
    """
    kept, left_out = _kept(headers_of(letter.record))
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
    own = [header for header in headers if not header[0].startswith(_ERRORS_PREFIX)]
    kept: Headers = []
    size = 0
    for name, value in own:
        size += len(name.encode()) + len(value or b"")
        if size > KEPT_HEADERS_BYTES_MAX:
            break
        kept.append((name, value))
    return kept, len(own) - len(kept)


def element_to_replay(record: Record) -> int | None:
    """Return the index of the only element to process, None for all: the header of a replayed dead letter.

    Raises:
        InputError: The header is there and is not a number.
    """
    for name, value in headers_of(record):
        if name == REPLAY_INDEX:
            text = value or b""
            if not text.isdigit() or len(text) > 9:
                raise InputError(DeadLetterReason.MALFORMED, f"header {REPLAY_INDEX} is not a number")
            return int(text)
    return None


def origin_header(source: Source, timestamp: int) -> tuple[str, bytes | None]:
    """Return the header that carries a forwarded event's original raw record along."""
    topic, partition, offset, index = source
    return ORIGIN, f"{partition} {offset} {index} {timestamp} {topic}".encode()


def origin_of(record: Record) -> tuple[Source, int]:
    """Return the original raw record of a forwarded event and that record's timestamp (ms).

    Raises:
        InputError: The header is missing or broken; only the processor may write the rekeyed topic.
    """
    for name, value in headers_of(record):
        if name == ORIGIN and value is not None:
            try:
                partition, offset, index, timestamp, topic = value.decode().split(" ", 4)
                return Source(topic, int(partition), int(offset), int(index)), int(timestamp)
            except ValueError:
                break
    raise InputError(DeadLetterReason.MALFORMED, f"a forwarded event without a sound header {ORIGIN}")
