"""Message state to bytes and back, for the changelog and the local store.

Layout, big-endian: format (1 byte), status code (1; 0 for none), sequence (4), changed_at in ms (8). A message with
parts or replies goes on with: parts total (1; 0 for unknown), number of parts (1), then number (1) and status code (1)
of each, number of replies (1), then 8 bytes of each.
"""

from __future__ import annotations

from struct import Struct
from struct import error as StructError  # noqa: N812
from typing import Final

from processor.errors import ExitCode, FatalError
from processor.model import MessageState
from processor.status import STATUSES_BY_CODE, STATUSES_BY_RANK

FORMAT: Final = 1

RESET_KEY: Final = b"\0reset"
"""Key of a changelog record that voids everything before it: what an operator's `reset` writes."""

_HEAD: Final = Struct(">BBIq")
_CODES: Final = [*(status.code for status in STATUSES_BY_RANK), 0]
"""Codes by rank; rank -1 (none) finds the last, 0."""
_RANKS: Final = {0: -1} | {code: status.rank for code, status in STATUSES_BY_CODE.items()}


def encode_state(state: MessageState) -> bytes:
    """Return the bytes of a state; equal states give equal bytes."""
    status, sequence, changed_at, total, parts, replies = state
    head = _HEAD.pack(FORMAT, _CODES[status], sequence, changed_at)
    if not parts and not replies:
        return head
    return b"".join(
        (
            head,
            bytes((total or 0, len(parts))),
            bytes(byte for number, rank in parts for byte in (number, _CODES[rank])),
            bytes((len(replies),)),
            *map(bytes.fromhex, replies),
        )
    )


def decode_state(value: bytes) -> MessageState:
    """Return the state in `value`.

    Raises:
        FatalError: The bytes are not a state of a format that this version knows; the changelog is written by
            nobody else, so going on would lose what is known of messages.
    """
    try:
        found, code, sequence, changed_at = _HEAD.unpack_from(value)
        if found != FORMAT:
            raise FatalError(
                f"the state changelog has format {found}, this version knows {FORMAT}: run the newer version again",
                ExitCode.STATE_REFUSED,
            )
        if len(value) == _HEAD.size:
            return MessageState(_RANKS[code], sequence, changed_at)
        return MessageState(_RANKS[code], sequence, changed_at, *_decode_tail(value))
    except (StructError, IndexError, KeyError, ValueError) as error:
        raise _corrupt() from error


def _decode_tail(value: bytes) -> tuple[int | None, tuple[tuple[int, int], ...], tuple[str, ...]]:
    at = _HEAD.size
    total, count = value[at], value[at + 1]
    at += 2
    parts = tuple((value[i], _RANKS[value[i + 1]]) for i in range(at, at + 2 * count, 2))
    at += 2 * count
    count = value[at]
    at += 1
    if len(value) != at + 8 * count:
        raise ValueError
    replies = tuple(value[i : i + 8].hex() for i in range(at, len(value), 8))
    return total or None, parts, replies


def _corrupt() -> FatalError:
    return FatalError(
        "a record of the state changelog is not a message state: only the processor may write that topic; "
        "restore it or start over with --reset-state",
        ExitCode.STATE_REFUSED,
    )
