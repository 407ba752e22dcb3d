"""Avro both ways: frames and values in, our nouns out, and back. Batch-wise, so that a compiled codec fits in later.

A frame is Avro single-object encoding (our schemas, no registry) or Confluent's wire format (a registry); the reader
takes both and any known writer's schema, and resolves it to ours. Values of our own schemas go through functions
compiled from them (`processor.avro_compile`); those of other writers through fastavro.
"""

from __future__ import annotations

import json
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import fastavro

from processor.avro_compile import compile_decoder, compile_encoder
from processor.errors import DeadLetterReason, DecodeError
from processor.model import Action, Parts, RawCallback, RawStatusEvent, Source, StatusChange
from processor.schemas import (
    REGISTRY_MAGIC,
    SINGLE_OBJECT_MAGIC,
    Schema,
    lint,
    load_schema,
    single_object_prefix,
)
from processor.speedups import SPEEDUPS
from processor.status import Channel, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import ModuleType

    from processor.model import StatusEvent

RECORD_BYTES_MAX: Final = 65_536
_SCHEMA_IDS_MAX: Final = 10_000
_SINGLE_OBJECT_BYTES: Final = 10
_REGISTRY_BYTES: Final = 5


class MappedFields(NamedTuple):
    """A forwarded event as it travels. Fields as in mapped_status_event.avsc."""

    message_id: str
    chain: str
    carrier: str
    channel: Channel
    status: Status
    raw_status: str
    error_code: str | None
    error_text: str | None
    event_id: str | None
    account: str | None
    recipient: str | None
    client_reference: str | None
    parts_total: int | None
    part_number: int | None
    action: Action | None
    occurred_at: int | None
    received_at: int


_CLASSES: Final[dict[str, Callable[..., Any]]] = {
    "RawStatusEvent": RawStatusEvent,
    "RawCallback": RawCallback,
    "StatusChange": StatusChange,
    "MappedStatusEvent": MappedFields,
    "Action": Action,
    "Parts": Parts,
    "Source": Source,
    "Channel": Channel,
    "Status": Status,
}
_RAW_SCHEMAS: Final = {
    schema["name"]: schema for schema in (load_schema("raw_status_event"), load_schema("raw_callback"))
}
_CHANGE_SCHEMA: Final = load_schema("status_change")
_MAPPED_SCHEMA: Final = load_schema("mapped_status_event")
_MAPPED_PREFIX: Final = single_object_prefix(_MAPPED_SCHEMA)


def _symbols(field: str) -> list[str]:
    """Return the symbols of an enum of the change's schema, in the schema's order."""
    (symbols,) = (each["type"]["symbols"] for each in _CHANGE_SCHEMA["fields"] if each["name"] == field)
    return list(symbols)


RawItem = RawStatusEvent | RawCallback | DecodeError
"""What a raw record's value decodes to; an error is returned rather than raised, one for each value."""


_MOSTLY_ABSENT: Final = (
    ("event_id", "account"),
    ("error_code", "error_text"),
    ("parts_total", "part_number", "client_reference", "action", "attributes"),
)
"""Neighbours in a raw event that most carriers' reports do not have."""


class Decoder:
    """Decodes the values of raw topics. Holds the writers' schemas that it has learned."""

    def __init__(
        self,
        max_bytes: int = RECORD_BYTES_MAX,
        extra_schemas: Iterable[str] = (),
        speedups: ModuleType | None = SPEEDUPS,
    ) -> None:
        """Know our own schemas and, besides, those of other writers who use single-object encoding.

        Raises:
            ValueError: An extra schema must not be used; the message says why.
        """
        self._max_bytes = max_bytes
        self._speedups = speedups
        self._readers: dict[bytes, Callable[[bytes], RawItem]] = {}
        self._by_id: dict[bytes, Callable[[bytes], RawItem]] = {}
        for schema in _RAW_SCHEMAS.values():
            self._readers[single_object_prefix(schema)] = _own_reader(schema, _SINGLE_OBJECT_BYTES)
        for text in extra_schemas:
            problems = _problems(text)
            if problems:
                raise ValueError("; ".join(problems))
            schema = _parse(text)
            self._readers.setdefault(single_object_prefix(schema), _foreign_reader(schema, _SINGLE_OBJECT_BYTES))

    def decode_batch(self, values: Sequence[bytes | None]) -> list[RawItem]:
        """Return one item for each value. Time and memory are bounded for any bytes; nothing is raised."""
        if self._speedups is not None:
            found: list[RawItem] = self._speedups.decode_raw_events(
                list(values), _RAW_EVENT_PREFIX, self._max_bytes, RawStatusEvent, self._decode_one
            )
            return found
        return [self._decode_one(value) for value in values]

    def missing_schema_ids(self, values: Iterable[bytes | None]) -> set[int]:
        """Return the registry's ids that values name and this decoder has not learned yet."""
        frames = {
            value[:_REGISTRY_BYTES]
            for value in values
            if value is not None and value[:1] == REGISTRY_MAGIC and len(value) >= _REGISTRY_BYTES
        }
        return {int.from_bytes(frame[1:], "big") for frame in frames if frame not in self._by_id}

    def learn(self, schema_id: int, text: str | None) -> None:
        """Remember what the registry says of an id: the schema's text, or None for an id that it does not know."""
        if len(self._by_id) >= _SCHEMA_IDS_MAX:
            self._by_id.clear()
        frame = REGISTRY_MAGIC + schema_id.to_bytes(4, "big")
        problems = [f"the registry knows no schema {schema_id}"] if text is None else _problems(text)
        if problems:
            self._by_id[frame] = _refusing(f"schema {schema_id}: {'; '.join(problems)}")
            return
        schema = _parse(text or "")
        own = next((each for each in _RAW_SCHEMAS.values() if _same(each, schema)), None)
        self._by_id[frame] = (
            _foreign_reader(schema, _REGISTRY_BYTES) if own is None else _own_reader(own, _REGISTRY_BYTES)
        )

    def _decode_one(self, value: bytes | None) -> RawItem:
        if value is None:
            return DecodeError("no value")
        if len(value) > self._max_bytes:
            return DecodeError(f"{len(value)} bytes, the limit is {self._max_bytes}", DeadLetterReason.TOO_LARGE)
        reader = self._readers.get(value[:_SINGLE_OBJECT_BYTES]) or self._by_id.get(value[:_REGISTRY_BYTES])
        return reader(value) if reader is not None else DecodeError(_why_no_frame(value))


class ChangeEncoder:
    """Encodes changes behind a fixed frame."""

    def __init__(self, frame: bytes | None = None, speedups: ModuleType | None = SPEEDUPS) -> None:
        """Use a registry's frame, or single-object encoding where there is none."""
        self._speedups = speedups
        self._frame = single_object_prefix(_CHANGE_SCHEMA) if frame is None else frame
        self._encode = compile_encoder(_CHANGE_SCHEMA, _CHANGE_RUNS)

    def encode_changes(self, changes: list[StatusChange]) -> list[bytes]:
        """Return the bytes of each change; equal changes give equal bytes."""
        frame, encode = self._frame, self._encode
        if self._speedups is not None:
            encoded: list[bytes] = self._speedups.encode_changes(changes, frame, _CHANNELS, _STATUSES, encode)
            return encoded
        return [frame + encode(change) for change in changes]


_CHANNELS: Final = {Channel(symbol): at for at, symbol in enumerate(_symbols("channel"))}
_STATUSES: Final = {Status[symbol]: at for at, symbol in enumerate(_symbols("status"))}
_CHANGE_RUNS: Final = (
    ("channel", "status", "previous", "final", "carrier", "raw_status", "error_code"),
    ("topic", "partition"),
)


def encode_raw_events(events: Sequence[RawStatusEvent], frame: bytes | None = None) -> list[bytes]:
    """Return the bytes of each raw event."""
    prefix = _RAW_EVENT_PREFIX if frame is None else frame
    return [prefix + _encode_raw_event(event) for event in events]


def encode_callback(callback: RawCallback, frame: bytes | None = None) -> bytes:
    """Return the bytes of a verbatim callback."""
    return (_CALLBACK_PREFIX if frame is None else frame) + _encode_callback(callback)


def encode_mapped(event: StatusEvent) -> bytes:
    """Return the bytes of a mapped event for the rekeyed topic."""
    meaning, report = event.meaning, event.report
    return _MAPPED_PREFIX + _encode_mapped(
        MappedFields(
            message_id=event.message_id,
            chain=event.chain,
            carrier=meaning.carrier,
            channel=meaning.channel,
            status=meaning.status,
            raw_status=meaning.raw_status,
            error_code=meaning.error_code,
            error_text=report.error_text or meaning.words,
            event_id=report.event_id,
            account=report.account,
            recipient=report.recipient,
            client_reference=report.client_reference,
            parts_total=report.parts_total,
            part_number=report.part_number,
            action=report.action,
            occurred_at=report.occurred_at,
            received_at=report.received_at,
        )
    )


def decode_mapped(value: bytes | None) -> MappedFields:
    """Return the mapped event in a value of the rekeyed topic.

    Raises:
        DecodeError: The value is none.
    """
    if value is None or not value.startswith(_MAPPED_PREFIX):
        raise DecodeError("not a mapped event")
    item: MappedFields | DecodeError = _read_mapped(value)
    if isinstance(item, DecodeError):
        raise item
    return item


def decode_changes(values: Iterable[bytes | None]) -> list[StatusChange | DecodeError]:
    """Return the change in each value of the changes topic, in either frame, as this version's schema has it."""
    changes: list[StatusChange | DecodeError] = []
    for value in values:
        if value is not None and value.startswith(_CHANGE_PREFIX):
            changes.append(_read_change(value))
        elif value is not None and value[:1] == REGISTRY_MAGIC:
            changes.append(_read_registry_change(value))
        else:
            changes.append(DecodeError("not a status change of this version's schema"))
    return changes


def _own_reader(schema: Schema, at: int) -> Callable[[bytes], Any]:
    """Return a reader of values of our own schema that begin behind a frame of `at` bytes."""
    decode = compile_decoder(schema, _CLASSES, _MOSTLY_ABSENT if schema["name"] == "RawStatusEvent" else ())

    def read(value: bytes) -> Any:  # noqa: ANN401
        try:
            item, end = decode(value, at)
        except IndexError:
            return DecodeError("truncated")
        except UnicodeDecodeError:
            return DecodeError("a string that is not UTF-8")
        except ValueError as error:
            return DecodeError(str(error))
        if end == len(value):
            return item
        return DecodeError("truncated" if end > len(value) else f"{len(value) - end} bytes left over")

    return read


def _foreign_reader(schema: Schema, at: int) -> Callable[[bytes], RawItem]:
    """Return a reader of values of another writer's schema, resolved to ours by fastavro."""
    name = str(schema["name"]).rsplit(".", 1)[-1]
    writer = fastavro.parse_schema(schema)
    reader = fastavro.parse_schema(_plain(_RAW_SCHEMAS[name]))
    # Encoding and decoding once more holds every value to our schema's types and ranges, in one place.
    encode, decode = compile_encoder(_RAW_SCHEMAS[name]), _own_reader(_RAW_SCHEMAS[name], 0)

    def read(value: bytes) -> RawItem:
        body = BytesIO(value)
        body.seek(at)
        try:
            fields: Any = fastavro.schemaless_reader(body, writer, reader)
            action = fields.get("action")
            if action is not None:
                fields["action"] = Action(**action)
            item: RawItem = decode(encode(_CLASSES[name](**fields)))
        except Exception as error:  # noqa: BLE001  # fastavro raises whatever the bytes lead it to
            return DecodeError(f"not readable with its writer's schema ({type(error).__name__})")
        if body.tell() != len(value):
            return DecodeError(f"{len(value) - body.tell()} bytes left over")
        return item

    return read


def _why_no_frame(value: bytes) -> str:
    """Tell what is wrong with a frame that no reader is known for."""
    if value[:2] == SINGLE_OBJECT_MAGIC:
        if len(value) < _SINGLE_OBJECT_BYTES:
            return "truncated inside the fingerprint"
        return f"unknown schema fingerprint {value[2:10][::-1].hex()}"
    if value[:1] == REGISTRY_MAGIC and len(value) >= _REGISTRY_BYTES:
        return f"schema id {int.from_bytes(value[1:5], 'big')} is not known: no registry was asked for it"
    return "wrong magic: neither Avro single-object encoding nor Confluent's wire format"


def _refusing(why: str) -> Callable[[bytes], RawItem]:
    return lambda _: DecodeError(why)


def _parse(text: str) -> Schema:
    return _plain(json.loads(text))


def _plain(schema: Schema) -> Schema:
    """Return the schema without logical types: times stay numbers."""
    if isinstance(schema, list):
        return [_plain(branch) for branch in schema]
    if isinstance(schema, dict):
        return {key: _plain(value) if key in _NESTED else value for key, value in schema.items() if key in _KEPT}
    return schema


_NESTED: Final = frozenset({"type", "fields", "items", "values"})
_KEPT: Final = _NESTED | {"name", "namespace", "aliases", "default", "symbols", "size", "order"}


def _problems(text: str) -> list[str]:
    """Return why a writer's schema cannot be used, nothing where it can."""
    problems = lint(text)
    if problems:
        return problems
    schema = json.loads(text)
    name = str(schema.get("name", "")).rsplit(".", 1)[-1] if isinstance(schema, dict) else ""
    if name not in _RAW_SCHEMAS:
        return [f"a schema of another record than {' or '.join(_RAW_SCHEMAS)}"]
    return []


def _same(own: Schema, other: Schema) -> bool:
    return single_object_prefix(own) == single_object_prefix(other)


_RAW_EVENT_PREFIX: Final = single_object_prefix(_RAW_SCHEMAS["RawStatusEvent"])
_CALLBACK_PREFIX: Final = single_object_prefix(_RAW_SCHEMAS["RawCallback"])
_CHANGE_PREFIX: Final = single_object_prefix(_CHANGE_SCHEMA)
_encode_raw_event: Final = compile_encoder(_RAW_SCHEMAS["RawStatusEvent"])
_encode_callback: Final = compile_encoder(_RAW_SCHEMAS["RawCallback"])
_encode_mapped: Final = compile_encoder(_MAPPED_SCHEMA)
_read_mapped: Final = _own_reader(_MAPPED_SCHEMA, _SINGLE_OBJECT_BYTES)
_read_change: Final = _own_reader(_CHANGE_SCHEMA, _SINGLE_OBJECT_BYTES)
_read_registry_change: Final = _own_reader(_CHANGE_SCHEMA, _REGISTRY_BYTES)
