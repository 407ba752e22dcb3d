"""Marks: records of the dead-letter topic that say which letters of their partition have been replayed.

A mark is written in the transaction that sends the letters' bytes back, so a letter is marked if and only if it was
sent. It lies behind its letters in the same partition: whatever deletes from the log's beginning takes the letters
first, and a topic that is made anew has neither.
"""

from __future__ import annotations

import json
from itertools import chain
from typing import TYPE_CHECKING, Final

from processor.errors import FatalError
from processor.headers import REPLAY_MARK, headers_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from processor.headers import Headers
    from processor.model import Record

_VERSION: Final = b"1"
_LETTERS_MAX: Final = 100_000
"""Far above what one transaction replays; a larger mark is none of ours."""


def mark_of(offsets: Iterable[int], by: str) -> tuple[bytes, Headers]:
    """Return value and headers of a mark of these letters, and who replayed them."""
    value = {"replayed": _intervals(offsets), "by": by}
    return json.dumps(value, separators=(",", ":")).encode(), [(REPLAY_MARK, _VERSION)]


def marked_offsets(record: Record) -> Iterable[int] | None:
    """Return the letters that a mark names; None where the record is a letter.

    Raises:
        FatalError: It is a mark that cannot be read: a letter might be replayed twice.
    """
    version = next((value for name, value in headers_of(record) if name == REPLAY_MARK), None)
    if version is None:
        return None
    try:
        intervals = [(int(first), int(last)) for first, last in json.loads(record.value() or b"")["replayed"]]
    except (ValueError, KeyError, TypeError):
        intervals = []
    if version != _VERSION or not 0 < sum(last - first + 1 for first, last in intervals) <= _LETTERS_MAX:
        raise FatalError(
            f"the mark of replayed letters at offset {record.offset()} cannot be read: a newer version has written it; "
            "replay with that one"
        )
    return chain.from_iterable(range(first, last + 1) for first, last in intervals)


def marked_by(record: Record) -> str:
    """Return who replayed the letters of a mark."""
    try:
        return str(json.loads(record.value() or b"")["by"])
    except (ValueError, KeyError, TypeError):
        return ""


def _intervals(offsets: Iterable[int]) -> list[list[int]]:
    found: list[list[int]] = []
    for offset in sorted(set(offsets)):
        if found and found[-1][1] == offset - 1:
            found[-1][1] = offset
        else:
            found.append([offset, offset])
    return found
