"""Control records: what an operator asks of the worker that owns a message, by way of the rekeyed topic.

A control record has the header `status.control`, which says what is asked, and a JSON object as its value. One kind
exists: `forget` drops what is known of one message, because a status never falls, so what a wrong pack row once said
can be lowered no other way. It is carried out once: an entry under the request's own id goes into the changelog in the
same transaction, and a request whose entry is there has no effect. The entry is the audit too.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID, uuid5

from processor.errors import DeadLetterReason, InputError
from processor.headers import CONTROL
from processor.identity import identity_of
from processor.status import STATUSES_BY_RANK

if TYPE_CHECKING:
    from processor.headers import Headers
    from processor.model import MessageState, Record

FORGET: Final = b"forget"
"""The header's value."""
AUDIT_PREFIX: Final = b"\0forget\0"
"""No identity starts with NUL: the first part of one is a carrier's name."""
NOTE_CHARS_MAX: Final = 200

_BYTES_MAX: Final = 16_384
_CHARS_MAX: Final = 1024
_REQUESTS: Final = UUID("5c0bb1a8-02c3-5d2b-8f6e-6a3d8f0f7c55")
"""Namespace of the requests' UUIDv5s."""


class Forget(NamedTuple):
    """Asks for one message to be forgotten."""

    request: str
    """Its own id, a UUID: what has been carried out under it is not carried out again."""
    account: str | None
    carrier: str
    message_id: str
    chain: str
    requested_at: int
    note: str
    """Why, in the operator's words; empty where nothing was said."""

    @property
    def identity(self) -> str:
        """The identity of the message."""
        return identity_of(self.account, self.carrier, self.message_id, self.chain)


class Forgotten(NamedTuple):
    """A request that was carried out, and what it dropped."""

    forget: Forget
    status: str | None
    """The status that was known, None where none was."""
    sequence: int
    """Number of the last change, 0 where there was none."""


def request_id(identity: str, place: str) -> str:
    """Name a request after the state that it is about, so that asking twice for the same is one request.

    `place` tells one state of the message from every other: where in the changelog it lies.
    """
    return str(uuid5(_REQUESTS, f"{identity}\0{place}"))


def encode_forget(forget: Forget) -> bytes:
    """Return the value of a control record."""
    return json.dumps(forget._asdict(), ensure_ascii=False).encode()


def decode_control(record: Record, headers: Headers) -> Forget:
    """Return what a control record asks for.

    Raises:
        InputError: It is no control record, of a kind that does not exist, or not in its form.
    """
    kinds = [value for name, value in headers if name == CONTROL]
    if not kinds:
        raise _malformed("neither a forwarded event nor a control record: only the processor may write here")
    if kinds != [FORGET]:
        raise _malformed("a control record of a kind that this version does not know")
    fields = _object(record.value())
    if fields.keys() != set(Forget._fields):
        raise _malformed("a control record with a missing or an unknown field")
    forget = _forget(fields)
    if forget is None:
        raise _malformed("a control record with a field that is not as it must be")
    return forget


def audit_key(request: str) -> bytes:
    """Return the changelog's key of a request that was carried out."""
    return AUDIT_PREFIX + request.encode()


def forgotten_of(forget: Forget, state: MessageState | None) -> Forgotten:
    """Say what a request drops."""
    if state is None:
        return Forgotten(forget, None, 0)
    return Forgotten(forget, str(STATUSES_BY_RANK[state.status]) if state.status >= 0 else None, state.sequence)


def encode_audit(forgotten: Forgotten) -> bytes:
    """Return the changelog's value of a request that was carried out; when, the record's own time says."""
    fields = forgotten.forget._asdict() | {"status": forgotten.status, "sequence": forgotten.sequence}
    return json.dumps(fields, ensure_ascii=False).encode()


def decode_audit(value: bytes) -> Forgotten | None:
    """Return the audit in a changelog's value, None where a later version has written it in another form."""
    try:
        fields = _object(value)
        status, sequence = fields.pop("status"), fields.pop("sequence")
    except (InputError, KeyError):
        return None
    forget = _forget(fields) if fields.keys() == set(Forget._fields) else None
    if forget is None or not isinstance(status, str | None) or not isinstance(sequence, int):
        return None
    return Forgotten(forget, status, sequence)


def _object(value: bytes | None) -> dict[str, object]:
    if value is None or len(value) > _BYTES_MAX:
        raise _malformed(f"a control record without a value, or with one above {_BYTES_MAX} bytes")
    try:
        fields = json.loads(value)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise _malformed("a control record whose value is no JSON object")
    return fields


def _forget(fields: dict[str, object]) -> Forget | None:
    """Return the request in these fields, None where one is not as it must be."""
    texts = [fields[name] for name in ("request", "carrier", "message_id", "chain", "note")]
    account, requested_at = fields["account"], fields["requested_at"]
    if account is not None:
        texts.append(account)
    if not all(_is_sound(text) for text in texts) or not fields["carrier"] or not fields["message_id"]:
        return None
    if type(requested_at) is not int or not 0 <= requested_at < 2**63 or len(str(fields["note"])) > NOTE_CHARS_MAX:
        return None
    try:
        if str(UUID(str(fields["request"]))) != fields["request"]:
            return None
    except ValueError:
        return None
    return Forget(**fields)  # type: ignore[arg-type]  # each was looked at


def _is_sound(text: object) -> bool:
    if not isinstance(text, str) or len(text) > _CHARS_MAX or "\0" in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _malformed(detail: str) -> InputError:
    return InputError(DeadLetterReason.MALFORMED, detail)
