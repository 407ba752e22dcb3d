"""Canonical statuses: the channels, the statuses of each, their one total order.

Nothing else repeats these facts; the Avro enum in `schemas/status_change.avsc` is held against them by a test.

Theory of operation: carriers repeat, reorder and contradict themselves, so a message's status is the maximum,
in the one total order below, of all that was ever said of it. Failures stand above progress (a late SENT cannot
revive a failed message), the specific above the generic, and positive evidence above failures (a handset receipt
after "expired" is the truth). A maximum does not care about order or repetition.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Self


class Channel(StrEnum):
    """Where a message travels."""

    SMS = "SMS"
    RCS = "RCS"
    WHATSAPP = "WHATSAPP"


class Status(StrEnum):
    """What became of a message. Members stand in the total order, lowest first.

    `rank` is the position in that order; `code` is the number that the state changelog stores and never
    changes, so that a status may be added in the middle of the order.
    """

    rank: int
    code: int
    description: str

    def __new__(cls, name: str, code: int, description: str) -> Self:
        """Make a member whose value is its own name."""
        member = str.__new__(cls, name)
        member._value_ = name
        member.rank = len(cls.__members__)
        member.code = code
        member.description = description
        return member

    # Progress
    PENDING = "PENDING", 1, "The message is waiting to be sent."
    QUEUED = "QUEUED", 2, "The message has been added to the queue and will be sent soon."
    PARTIALLYSENT = "PARTIALLYSENT", 3, "The message was only partially delivered to the recipient."
    SENT = "SENT", 4, "The message has been sent to the carrier for delivery."
    ACCEPTED = "ACCEPTED", 5, "The message has been accepted by the carrier for delivery."
    # Failures, the generic first
    FAILED = "FAILED", 6, "The message failed to be delivered to the recipient."
    NOTDELIVERED = "NOTDELIVERED", 7, "The message could not be delivered to the recipient."
    UNDELIVERED = "UNDELIVERED", 8, "The message could not be delivered to the recipient."
    FAILEDTOSEND = "FAILEDTOSEND", 9, "The message failed to be sent to the carrier for delivery."
    INTERNALERROR = "INTERNALERROR", 10, "An internal error occurred and the message could not be sent."
    FAILEDTOQUEUE = (
        "FAILEDTOQUEUE",
        11,
        "The message failed to be added to the queue and will not be sent.",
    )
    EXPIRED = "EXPIRED", 12, "The message has expired and cannot be delivered."
    REJECTED = "REJECTED", 13, "The message was rejected by the carrier and not sent."
    DND = (
        "DND",
        14,
        "The recipient has activated the Do Not Disturb (DND) service and the message cannot be delivered.",
    )
    INVALIDNUMBER = (
        "INVALIDNUMBER",
        15,
        "The recipient's phone number is invalid and the message cannot be delivered.",
    )
    DUPLICATE = "DUPLICATE", 16, "The message has already been sent to the recipient previously."
    # Evidence of arrival
    PARTIALDELIVERED = "PARTIALDELIVERED", 17, "The message was partially delivered to the recipient."
    DELIVERED = "DELIVERED", 18, "The message has been successfully delivered to the recipient."
    READ = "READ", 19, "The message was opened by the recipient."
    REPLY = "REPLY", 20, "The recipient answered with an engagement action."

    @property
    def is_failure(self) -> bool:
        """Whether this says that the message did not arrive."""
        return Status.FAILED.rank <= self.rank <= Status.DUPLICATE.rank


STATUSES_BY_RANK: Final[tuple[Status, ...]] = tuple(Status)
STATUSES_BY_CODE: Final[dict[int, Status]] = {status.code: status for status in Status}

_SMS: Final = frozenset(Status) - {Status.READ, Status.REPLY}

CHANNEL_STATUSES: Final[dict[Channel, frozenset[Status]]] = {
    Channel.SMS: _SMS,
    Channel.RCS: _SMS | {Status.READ, Status.REPLY},
    Channel.WHATSAPP: frozenset(
        {
            Status.PENDING,
            Status.DELIVERED,
            Status.SENT,
            Status.FAILED,
            Status.UNDELIVERED,
            Status.READ,
        }
    ),
}
"""Which statuses exist on which channel."""


def is_final(channel: Channel, status: Status) -> bool:
    """Tell whether no further status is expected; none is ever impossible.

    A failure ends what the carrier tries. DELIVERED is the last word of a plain SMS; where the channel has read
    receipts, READ may follow it, so there only READ and REPLY are final.
    """
    if status.is_failure or status in {Status.READ, Status.REPLY}:
        return True
    return status is Status.DELIVERED and Status.READ not in CHANNEL_STATUSES[channel]
