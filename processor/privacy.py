"""Phone numbers: how they are hidden in what goes out, and in what people read.

State and the rekeyed topic hold recipients as the raw topics do, and dead letters are the original bytes; what is
said here is about status changes, and about logs, metrics and pages, which never show a number.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from hmac import digest
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from processor.model import StatusChange

_PHONE: Final = re.compile(
    r"(?P<uuid>(?<![A-Za-z0-9])[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}(?![A-Za-z0-9]))"
    r"|(?<![A-Za-z0-9.])\+?\(?\d(?:[ ()-]{0,2}\d){6,17}(?![A-Za-z0-9])"
)
"""E.164 has at most 15 digits; national forms have separators. Seven digits and fewer are no number to call.

A UUID is found first, since groups of its digits look like one.
"""
_WRITTEN: Final = re.compile(r"[+0-9 ().\-/]+")
_DIGITS_SHOWN: Final = 2
_SHOWN_FROM: Final = 5
"""Shorter recipients are hidden whole."""
_HASH_BYTES: Final = 16


class Recipients(StrEnum):
    """What a status change tells of its recipient."""

    KEEP = "keep"
    MASK = "mask"
    HASH = "hash"
    DROP = "drop"


def masked(text: str) -> str:
    """Return text without what looks like a phone number; two digits stay, to tell one from another."""
    return _PHONE.sub(lambda match: match["uuid"] or f"***{match[0][-_DIGITS_SHOWN:]}", text)


def masked_recipient(recipient: str) -> str:
    """Hide a recipient, whatever it looks like: it may be a number, a user name or an address."""
    return f"***{recipient[-_DIGITS_SHOWN:]}" if len(recipient) >= _SHOWN_FROM else "***"


def hashed_recipient(recipient: str, key: bytes) -> str:
    """Return 32 hexadecimal digits that only the holder of the key can tie to a recipient (HMAC-SHA-256, cut).

    A plain hash of a number is undone by trying all numbers. Spellings of one number that differ in separators or in
    a plus get the same hash, so that a subscriber can group by it.
    """
    if _WRITTEN.fullmatch(recipient):
        recipient = "".join(filter(str.isdecimal, recipient))
    return digest(key, recipient.encode(), "sha256")[:_HASH_BYTES].hex()


@dataclass(frozen=True, slots=True)
class RecipientRule:
    """What becomes of the recipient in a status change, and of numbers in the carrier's words beside it."""

    policy: Recipients
    key: bytes = b""
    """Keys the hash."""

    def __call__(self, change: StatusChange) -> StatusChange:
        """Return the change as it may go out."""
        if self.policy is Recipients.KEEP:
            return change
        text = change.error_text
        return change._replace(
            recipient=self._shown(change.recipient) if change.recipient else None,
            error_text=masked(text) if text else text,
        )

    def _shown(self, recipient: str) -> str | None:
        match self.policy:
            case Recipients.MASK:
                return masked_recipient(recipient)
            case Recipients.HASH:
                return hashed_recipient(recipient, self.key)
            case _:
                return None
