"""Avro both ways: values of records in, our nouns out, and back. Batch-wise, so that a compiled codec may follow.

A value is a frame and a body. The frame names the writer's schema, by fingerprint or by a registry's id; the body is
read with it into our types, by a function that is compiled for just this pair of schemas. Nothing here raises for
what bytes say: a value that cannot be read is a `DecodeError` in its place.
"""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from processor.avro_fast_reader import compile_reader
from processor.avro_fast_writer import compile_writer
from processor.avro_schema import SchemaError
from processor.avro_types import MappedFields
from processor.errors import DeadLetterReason, DecodeError, ExitCode, FatalError
from processor.model import RawCallback, RawStatusEvent, StatusChange
from processor.schemas import (
    RAW_NAMES,
    REGISTRY_BYTES,
    REGISTRY_MAGIC,
    SINGLE_OBJECT_BYTES,
    SINGLE_OBJECT_MAGIC,
    known_texts,
    lint,
    load_schema,
    match,
    our_record,
    registry_prefix,
    single_object_prefix,
)
from processor.speedups import SPEEDUPS
from processor.status import Channel, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import ModuleType

    from processor.model import StatusEvent

RECORD_BYTES_MAX: Final = 65_536
SCHEMA_IDS_MAX: Final = 10_000
"""Ids of a registry that are remembered, the latest ones."""
SCHEMA_IDS_ASKED_MAX: Final = 1_000
"""Unknown ids that one batch may ask the registry for: only bytes that are no Avro at all name more."""
UNKNOWN_ID_BATCHES: Final = 1_000
"""Batches after which an id that the registry did not know is asked for again: it may have been registered since."""

T = TypeVar("T", bound=tuple[object, ...])


class _Frames(Generic[T]):
    """Decodes framed values written with the schemas that it knows."""

    def __init__(self, names: Sequence[str], max_bytes: int, extra_schemas: Iterable[str]) -> None:
        self._names = names
        self._max_bytes = max_bytes
        self._by_fingerprint: dict[bytes, Callable[[bytes, int], T | DecodeError]] = {}
        self._by_id: dict[bytes, Callable[[bytes, int], T | DecodeError]] = {}
        self._unknown: dict[bytes, int] = {}
        """Frames whose ids the registry did not know, and the batch in which it was asked."""
        self._batches = 0
        ours = [text for text in known_texts() if not lint(text, names)]
        for text in [*ours, *extra_schemas]:
            self._by_fingerprint[_prefix_of(text)] = self._reader_of(text)

    def decode_batch(self, values: Sequence[bytes | None]) -> list[T | DecodeError]:
        """Return one item for each value. Time and memory are bounded for any bytes; nothing is raised."""
        decode = self.decode
        return [decode(value) for value in values]

    def decode(self, value: bytes | None) -> T | DecodeError:
        """Return the item of one value."""
        if value is None or len(value) > self._max_bytes:
            return self._refuse(value)
        read = self._by_fingerprint.get(value[:10])
        if read is not None:
            return read(value, 10)
        read = self._by_id.get(value[:5])
        if read is not None:
            return read(value, 5)
        return self._refuse(value)

    def missing_schema_ids(self, values: Iterable[bytes | None]) -> set[int]:
        """Return the registry's ids that values name and that `learn` has not told yet.

        They are the lowest `SCHEMA_IDS_ASKED_MAX` of them: registries count up, garbage names any number.
        """
        self._batches += 1
        frames = {value[:REGISTRY_BYTES] for value in values if value}
        missing = sorted(int.from_bytes(frame[1:], "big") for frame in frames if self._is_missing(frame))
        return set(missing[:SCHEMA_IDS_ASKED_MAX])

    def learn(self, schema_id: int, schema_json: str | None) -> None:
        """Remember a registry's answer: the schema's text, or None where it has no schema of that id."""
        frame = registry_prefix(schema_id)
        self._unknown.pop(frame, None)
        if schema_json is None:
            self._unknown[frame] = self._batches
            read = _refusing(f"schema id {schema_id}: the registry does not know it")
        else:
            try:
                read = self._reader_of(schema_json)
            except SchemaError as error:
                read = _refusing(f"schema id {schema_id}: {error.problems[0]}")
        self._by_id.pop(frame, None)
        if len(self._by_id) >= SCHEMA_IDS_MAX:
            oldest = next(iter(self._by_id))
            del self._by_id[oldest]
            self._unknown.pop(oldest, None)
        self._by_id[frame] = read

    def _reader_of(self, text: str) -> Callable[[bytes, int], T | DecodeError]:
        return compile_reader(*match(text, self._names))

    def _is_missing(self, frame: bytes) -> bool:
        if frame[:1] != REGISTRY_MAGIC or len(frame) < REGISTRY_BYTES or frame[1] > 127:  # Ids are positive.
            return False
        if frame in self._unknown:
            return self._batches - self._unknown[frame] >= UNKNOWN_ID_BATCHES
        return frame not in self._by_id

    def _refuse(self, value: bytes | None) -> DecodeError:
        """Say why there is no reader for a value."""
        if value is None:
            return DecodeError("no value")
        if len(value) > self._max_bytes:
            return DecodeError(f"{len(value)} bytes, the limit is {self._max_bytes}", DeadLetterReason.TOO_LARGE)
        return DecodeError(_why_no_frame(value))


class Decoder(_Frames[RawStatusEvent | RawCallback]):
    """Decodes the values of raw topics. Holds the writers' schemas that it has learned."""

    def __init__(
        self,
        max_bytes: int = RECORD_BYTES_MAX,
        extra_schemas: Iterable[str] = (),
        speedups: ModuleType | None = SPEEDUPS,
    ) -> None:
        """Know our own schemas and, besides, those of other writers who use single-object encoding.

        Raises:
            FatalError: An extra schema cannot be used; the message says why.
        """
        super().__init__(RAW_NAMES, max_bytes, _usable(extra_schemas))
        self._speedups = speedups

    def decode_batch(self, values: Sequence[bytes | None]) -> list[RawStatusEvent | RawCallback | DecodeError]:
        """Return one item for each value. Time and memory are bounded for any bytes; nothing is raised."""
        if self._speedups is None:
            return super().decode_batch(values)
        items: list[RawStatusEvent | RawCallback | DecodeError] = self._speedups.decode_raw_events(
            list(values), _RAW_EVENT_PREFIX, self._max_bytes, RawStatusEvent, self.decode
        )
        return items


class ChangeEncoder:
    """Encodes changes behind a fixed frame."""

    def __init__(self, frame: bytes | None = None, speedups: ModuleType | None = SPEEDUPS) -> None:
        """Use a registry's frame, or single-object encoding where there is none."""
        self._frame = _own_frame("status_change", frame)
        self._write = compile_writer(our_record("status_change"), _CHANGE_RUNS)
        self._speedups = speedups

    def encode_changes(self, changes: Sequence[StatusChange]) -> list[bytes]:
        """Return the bytes of each change; equal changes give equal bytes."""
        frame, write = self._frame, self._write
        if self._speedups is None:
            return [write(change, frame) for change in changes]
        encoded: list[bytes] = self._speedups.encode_changes(
            list(changes), frame.encode("latin-1"), _CHANNELS, _STATUSES, lambda change: write(change, "")
        )
        return encoded


_RAW_EVENT_PREFIX: Final = single_object_prefix(load_schema("raw_status_event"))
_CHANNELS: Final = {channel: index for index, channel in enumerate(Channel)}
_STATUSES: Final = {status: status.code - 1 for status in Status}  # Symbols stand by code; a test holds them to it.
_CHANGE_RUNS: Final = (("channel", "error_text"), ("source.topic", "source.partition"))
"""A handful of carriers and statuses make most changes, and a batch comes from few partitions."""


def encode_raw_events(events: Sequence[RawStatusEvent], frame: bytes | None = None) -> list[bytes]:
    """Return the bytes of each raw event."""
    prefix, write = _own_frame("raw_status_event", frame), _writer("raw_status_event")
    return [write(event, prefix) for event in events]


def encode_callback(callback: RawCallback, frame: bytes | None = None) -> bytes:
    """Return the bytes of a verbatim callback."""
    return _writer("raw_callback")(callback, _own_frame("raw_callback", frame))


def encode_mapped(event: StatusEvent) -> bytes:
    """Return the bytes of a mapped event for the rekeyed topic."""
    _, message_id, chain, meaning, report = event
    fields = (
        message_id,
        chain,
        meaning.carrier,
        meaning.channel,
        meaning.status,
        meaning.raw_status,
        meaning.error_code,
        report.error_text or meaning.words,
        report.event_id,
        report.account,
        report.recipient,
        report.client_reference,
        report.parts_total,
        report.part_number,
        report.action,
        report.occurred_at,
        report.received_at,
    )
    return _write_mapped(fields, _MAPPED_FRAME)


def decode_mapped(value: bytes | None) -> MappedFields:
    """Return the mapped event in a value of the rekeyed topic.

    Raises:
        DecodeError: There is none in it.
    """
    item = _MAPPED.decode(value)
    if isinstance(item, DecodeError):
        raise item
    return item


def decode_changes(values: Iterable[bytes | None]) -> list[StatusChange | DecodeError]:
    """Return the change in each value of the changes topic.

    A registry's frame is taken to name this version's schema: whoever reads our changes does not need the registry.
    """
    items: list[StatusChange | DecodeError] = []
    for value in values:
        if value is not None and value[:1] == REGISTRY_MAGIC:
            items.append(_read_change(value, REGISTRY_BYTES))
        else:
            items.append(_CHANGES.decode(value))
    return items


def _why_no_frame(value: bytes) -> str:
    single_object = value[:2] == SINGLE_OBJECT_MAGIC
    if not single_object and value[:1] != REGISTRY_MAGIC:
        return "wrong magic: neither Avro single-object encoding nor a schema registry's frame"
    if len(value) < (SINGLE_OBJECT_BYTES if single_object else REGISTRY_BYTES):
        return "truncated in its frame"
    if single_object:
        return f"unknown schema fingerprint {value[2:SINGLE_OBJECT_BYTES].hex()}"
    return f"unknown schema id {int.from_bytes(value[1:REGISTRY_BYTES], 'big')}"


def _usable(texts: Iterable[str]) -> list[str]:
    texts = list(texts)
    for place, text in enumerate(texts, 1):
        if problems := lint(text):
            raise FatalError(f"extra schema {place} cannot be used: {'; '.join(problems)}", ExitCode.SETTINGS)
    return texts


def _prefix_of(text: str) -> bytes:
    return single_object_prefix(json.loads(text))


def _refusing(why: str) -> Callable[[bytes, int], Any]:
    return lambda _data, _at: DecodeError(why)


@cache
def _writer(name: str) -> Callable[[Any, str], bytes]:
    return compile_writer(our_record(name), (("carrier", "raw_status"),) if name == "mapped_status_event" else ())


@cache
def _own_frame(name: str, frame: bytes | None = None) -> str:
    """Return the text that stands for the bytes of a frame, of our own fingerprint unless another is given."""
    return (single_object_prefix(load_schema(name)) if frame is None else frame).decode("latin-1")


# What comes from our own topics was bounded when it was written.
_CHANGES: Final = _Frames[StatusChange](("status_change",), 1 << 30, ())
_MAPPED: Final = _Frames[MappedFields](("mapped_status_event",), 1 << 30, ())
_MAPPED_FRAME: Final = _own_frame("mapped_status_event")
_read_change: Final = compile_reader(our_record("status_change"), our_record("status_change"))
_write_mapped: Final = _writer("mapped_status_event")
