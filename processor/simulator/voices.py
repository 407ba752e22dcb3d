"""How each simulated carrier speaks: its words and what they mean, its ids, its accounts.

Written by hand from the carriers' public documentation and not from the packs, so that the two can disagree. Words
whose meaning is a matter of judgement are left out.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from processor.simulator import callbacks
from processor.simulator.addresses import SENDERS
from processor.simulator.shapes import FAILURES, Beat
from processor.status import Channel, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from random import Random


class Word(NamedTuple):
    """A word of a carrier."""

    status: Status | None
    """None where it is no delivery status."""
    raw: str
    error_code: str | None = None
    error_text: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Voice:
    """A carrier on one channel."""

    carrier: str
    """The name of its pack."""
    channel: Channel
    weight: int
    """Share of the traffic, in parts of the sum of all."""
    words: Mapping[Beat, tuple[Word, ...]]
    new_id: Callable[[Random], str]
    callback: callbacks.Form
    accounts: tuple[str | None, ...] = (None,)
    channel_texts: tuple[str | None, ...] = (None,)
    """How the edge names the channel; None where it may leave that to the pack."""
    names: tuple[str, ...] = ()
    """Further names that the edge uses for it."""
    sender: str = "Acme"
    has_parts: bool = False
    """Whether it reports parts of long messages."""
    tells_time: bool = True
    """Whether its reports say when things happened."""
    foreign_word: str = ""
    """A word that the carrier has on another channel only, for a status that this channel lacks."""

    def say(self, beat: Beat) -> tuple[Word, ...]:
        """Give the words for a beat; none where this carrier never tells of it."""
        return self.words.get(beat) or (self.words.get(Beat.FAILED, ()) if beat in FAILURES else ())


def _twilio_id(rng: Random) -> str:
    return f"SM{rng.getrandbits(128):032x}"


def _uuid(rng: Random) -> str:
    text = f"{rng.getrandbits(128):032x}"
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"


def _wamid(rng: Random) -> str:
    return f"wamid.HBgL{urlsafe_b64encode(rng.randbytes(30)).decode()}"


def _message_centre_id(rng: Random) -> str:
    return str(10**18 + rng.getrandbits(59))


def _termii_id(rng: Random) -> str:
    return str(3 * 10**24 + rng.getrandbits(79))


def _africas_talking_id(rng: Random) -> str:
    return f"ATXid_{rng.getrandbits(128):032x}"


_TWILIO_ACCOUNTS: Final = tuple(f"AC{number:032x}" for number in (0x5EF8732A, 0x71B20C4D, 0xA09F33E1))

VOICES: Final = (
    Voice(
        "twilio",
        Channel.SMS,
        18,
        {
            Beat.WAITING: (
                Word(Status.PENDING, "accepted"),
                Word(Status.QUEUED, "queued"),
                Word(Status.QUEUED, "sending"),
            ),
            Beat.SENT: (Word(Status.SENT, "sent"),),
            Beat.DELIVERED: (Word(Status.DELIVERED, "delivered"), Word(Status.DELIVERED, "delivered", "30003")),
            Beat.FAILED: (
                Word(Status.UNDELIVERED, "undelivered", "30003", "Unreachable destination handset"),
                Word(Status.UNDELIVERED, "undelivered", "30008", "Unknown error"),
                Word(Status.INTERNALERROR, "failed", "30500"),
                Word(Status.FAILEDTOQUEUE, "failed", "30001", "Queue overflow"),
            ),
            Beat.REJECTED: (Word(Status.REJECTED, "undelivered", "30007", "Message filtered"),),
            Beat.DND: (Word(Status.DND, "failed", "21610"),),
            Beat.INVALID_NUMBER: (
                Word(Status.INVALIDNUMBER, "undelivered", "30005", "Unknown destination handset"),
                Word(Status.INVALIDNUMBER, "failed", "21211"),
            ),
            Beat.OTHER: (Word(None, "receiving"), Word(None, "received")),
        },
        _twilio_id,
        callbacks.TWILIO,
        tells_time=False,
        accounts=_TWILIO_ACCOUNTS,
        channel_texts=("SMS", "sms"),
        sender=SENDERS[0],
        foreign_word="read",
    ),
    Voice(
        "twilio",
        Channel.RCS,
        5,
        {
            Beat.WAITING: (Word(Status.PENDING, "accepted"), Word(Status.QUEUED, "queued")),
            Beat.SENT: (Word(Status.SENT, "sent"),),
            Beat.DELIVERED: (Word(Status.DELIVERED, "delivered"),),
            Beat.READ: (Word(Status.READ, "read"),),
            Beat.FAILED: (
                Word(Status.UNDELIVERED, "undelivered"),
                Word(Status.UNDELIVERED, "undelivered", "63036"),
                Word(Status.INTERNALERROR, "failed", "63012"),
            ),
            Beat.REJECTED: (Word(Status.REJECTED, "failed", "63013"),),
            Beat.DND: (Word(Status.DND, "undelivered", "63014"),),
            Beat.INVALID_NUMBER: (Word(Status.INVALIDNUMBER, "failed", "63024"),),
        },
        _twilio_id,
        callbacks.TWILIO,
        tells_time=False,
        accounts=_TWILIO_ACCOUNTS,
        channel_texts=("RCS", "rcs"),
        sender="acme_agent",
    ),
    Voice(
        "twilio",
        Channel.WHATSAPP,
        6,
        {
            Beat.WAITING: (Word(Status.PENDING, "accepted"), Word(Status.PENDING, "queued")),
            Beat.SENT: (Word(Status.SENT, "sent"),),
            Beat.DELIVERED: (Word(Status.DELIVERED, "delivered"),),
            Beat.READ: (Word(Status.READ, "read"),),
            Beat.FAILED: (
                Word(Status.FAILED, "failed", "63016", "Outside the allowed window"),
                Word(Status.UNDELIVERED, "undelivered"),
            ),
            Beat.DND: (Word(Status.UNDELIVERED, "undelivered", "63014"),),
            Beat.INVALID_NUMBER: (Word(Status.UNDELIVERED, "undelivered", "63003"),),
        },
        _twilio_id,
        callbacks.TWILIO,
        tells_time=False,
        accounts=_TWILIO_ACCOUNTS,
        channel_texts=("WHATSAPP", "whatsapp"),
        sender=SENDERS[1],
    ),
    Voice(
        "vonage",
        Channel.SMS,
        10,
        {
            Beat.SENT: (
                Word(Status.SENT, "submitted"),
                Word(Status.SENT, "buffered"),
                Word(Status.ACCEPTED, "accepted"),
            ),
            Beat.DELIVERED: (Word(Status.DELIVERED, "delivered"), Word(Status.DELIVERED, "delivered", "0")),
            Beat.EXPIRED: (
                Word(Status.EXPIRED, "expired"),
                Word(Status.EXPIRED, "rejected", "1360", "TTL was activated"),
            ),
            Beat.FAILED: (
                Word(Status.UNDELIVERED, "failed"),
                Word(Status.UNDELIVERED, "failed", "2"),
                Word(Status.FAILED, "failed", "99"),
                Word(Status.FAILEDTOSEND, "undeliverable"),
            ),
            Beat.REJECTED: (Word(Status.REJECTED, "rejected"), Word(Status.REJECTED, "rejected", "6")),
            Beat.DND: (Word(Status.DND, "rejected", "9"), Word(Status.DND, "rejected", "1240")),
            Beat.INVALID_NUMBER: (Word(Status.INVALIDNUMBER, "failed", "3"),),
            Beat.DUPLICATE: (Word(Status.DUPLICATE, "rejected", "1320"),),
        },
        _uuid,
        callbacks.VONAGE,
        accounts=(None, "abcd1234"),
        channel_texts=("SMS",),
        has_parts=True,
        foreign_word="read",
    ),
    Voice(
        "vonage",
        Channel.WHATSAPP,
        4,
        {
            Beat.SENT: (Word(Status.SENT, "submitted"),),
            Beat.DELIVERED: (Word(Status.DELIVERED, "delivered"),),
            Beat.READ: (Word(Status.READ, "read"),),
            Beat.FAILED: (Word(Status.FAILED, "rejected", "1340"), Word(Status.FAILED, "undeliverable")),
        },
        _uuid,
        callbacks.VONAGE,
        accounts=(None, "abcd1234"),
        channel_texts=("WHATSAPP",),
    ),
    Voice(
        "infobip",
        Channel.SMS,
        14,
        {
            Beat.WAITING: (Word(Status.PENDING, "PENDING_ACCEPTED"),),
            Beat.SENT: (
                Word(Status.SENT, "PENDING_ENROUTE"),
                Word(Status.SENT, "PENDING_WAITING_DELIVERY"),
                Word(Status.SENT, "DELIVERED_TO_OPERATOR"),
            ),
            Beat.DELIVERED: (Word(Status.DELIVERED, "DELIVERED_TO_HANDSET"),),
            Beat.EXPIRED: (Word(Status.EXPIRED, "EXPIRED_EXPIRED"),),
            Beat.FAILED: (
                Word(Status.UNDELIVERED, "UNDELIVERABLE_NOT_DELIVERED"),
                Word(Status.UNDELIVERED, "UNDELIVERABLE_NOT_DELIVERED", "6", "EC_ABSENT_SUBSCRIBER_SM"),
                Word(Status.FAILEDTOSEND, "UNDELIVERABLE_NOT_SENT"),
                Word(Status.INTERNALERROR, "REJECTED_SYSTEM_ERROR"),
            ),
            Beat.REJECTED: (Word(Status.REJECTED, "REJECTED_NETWORK"), Word(Status.REJECTED, "REJECTED_SOURCE")),
            Beat.DND: (Word(Status.DND, "REJECTED_DND"),),
            Beat.INVALID_NUMBER: (Word(Status.INVALIDNUMBER, "REJECTED_DESTINATION"),),
            Beat.DUPLICATE: (Word(Status.DUPLICATE, "REJECTED_DUPLICATE_MESSAGE_ID"),),
        },
        _uuid,
        callbacks.INFOBIP,
        channel_texts=("SMS",),
        has_parts=True,
    ),
    Voice(
        "smpp",
        Channel.SMS,
        12,
        {
            Beat.SENT: (Word(Status.SENT, "ENROUTE"), Word(Status.ACCEPTED, "ACCEPTD")),
            Beat.DELIVERED: (Word(Status.DELIVERED, "DELIVRD"), Word(Status.DELIVERED, "DELIVRD", "000")),
            Beat.EXPIRED: (Word(Status.EXPIRED, "EXPIRED"),),
            Beat.FAILED: (Word(Status.UNDELIVERED, "UNDELIV"), Word(Status.UNDELIVERED, "DELETED")),
            Beat.REJECTED: (Word(Status.REJECTED, "REJECTD"),),
        },
        _message_centre_id,
        callbacks.SMPP,
        accounts=("smsc-lagos", "smsc-abuja"),
        channel_texts=(None, "SMS"),
        has_parts=True,
    ),
    Voice(
        "africastalking",
        Channel.SMS,
        7,
        {
            Beat.SENT: (Word(Status.SENT, "Sent"), Word(Status.SENT, "Submitted"), Word(Status.SENT, "Buffered")),
            Beat.DELIVERED: (Word(Status.DELIVERED, "Success"),),
            Beat.FAILED: (Word(Status.UNDELIVERED, "Failed"), Word(Status.UNDELIVERED, "Failed", "DeliveryFailure")),
            Beat.REJECTED: (Word(Status.REJECTED, "Rejected"),),
            Beat.DND: (Word(Status.DND, "Failed", "UserInBlacklist"), Word(Status.DND, "Failed", "UserInBlackList")),
            Beat.INVALID_NUMBER: (Word(Status.INVALIDNUMBER, "Failed", "UserDoesNotExist"),),
        },
        _africas_talking_id,
        callbacks.AFRICAS_TALKING,
        names=("africas-talking", "AfricasTalking"),
        tells_time=False,
        channel_texts=(None, "SMS"),
    ),
    Voice(
        "termii",
        Channel.SMS,
        6,
        {
            Beat.SENT: (Word(Status.SENT, "Message Sent"),),
            Beat.DELIVERED: (
                Word(Status.DELIVERED, "Delivered"),
                Word(Status.DELIVERED, "DELIVERED | Message delivered to handset"),
            ),
            Beat.EXPIRED: (Word(Status.EXPIRED, "Expired"),),
            Beat.FAILED: (Word(Status.FAILED, "Message Failed"),),
            Beat.REJECTED: (Word(Status.REJECTED, "Rejected"),),
            Beat.DND: (Word(Status.DND, "DND Active on Phone Number"),),
        },
        _termii_id,
        callbacks.TERMII,
        tells_time=False,
        channel_texts=("SMS",),
    ),
    Voice(
        "meta-whatsapp",
        Channel.WHATSAPP,
        12,
        {
            Beat.SENT: (Word(Status.SENT, "sent"),),
            Beat.DELIVERED: (Word(Status.DELIVERED, "delivered"),),
            Beat.READ: (Word(Status.READ, "read"),),
            Beat.FAILED: (
                Word(Status.FAILED, "failed"),
                Word(Status.FAILED, "failed", "131047", "Re-engagement message"),
                Word(Status.UNDELIVERED, "failed", "131049"),
            ),
            Beat.DND: (Word(Status.UNDELIVERED, "failed", "131050"),),
            Beat.INVALID_NUMBER: (Word(Status.UNDELIVERED, "failed", "131026", "Message undeliverable"),),
            Beat.OTHER: (Word(None, "deleted"), Word(None, "warning")),
        },
        _wamid,
        callbacks.META,
        names=("meta",),
        channel_texts=(None, "WHATSAPP"),
        sender="106540352242922",
    ),
    Voice(
        "google-rcs",
        Channel.RCS,
        6,
        {
            Beat.DELIVERED: (Word(Status.DELIVERED, "DELIVERED"),),
            Beat.READ: (Word(Status.READ, "READ"),),
            Beat.EXPIRED: (Word(Status.EXPIRED, "TTL_EXPIRATION_REVOKED"),),
            Beat.REPLY: (Word(Status.REPLY, "suggestionResponse"),),
            Beat.OTHER: (Word(None, "TTL_EXPIRATION_REVOKE_FAILED"),),
        },
        _uuid,
        callbacks.GOOGLE_RBM,
        names=("google-rbm",),
        accounts=("acme_agent@rbm.goog",),
        channel_texts=(None, "RCS"),
        sender="acme_agent@rbm.goog",
    ),
)
"""Every simulated carrier, once for each of its channels."""

CARRIERS: Final = tuple(dict.fromkeys(voice.carrier for voice in VOICES))
"""The names that a simulation can be narrowed to."""
