"""Carriers' times, in whatever form, to milliseconds since the epoch.

Carriers' clocks are coarse, wrong or without a zone, so a time is for display and never for order; a time that cannot
be true is left out, and counted, rather than passed on.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal, DecimalException
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from collections.abc import Callable

EARLIEST_MS: Final = 946_684_800_000  # 2000-01-01T00:00:00Z: no carrier's report is older, zeroed clocks are.
AHEAD_MS: Final = 2 * 24 * 3600 * 1000  # A zone read wrongly is at most 14 hours off; two days is no clock at all.
UNREADABLE: Final = -1
"""What stands for a text that is no time: as little believable as any other before 2000."""
_TEXT_MAX: Final = 64
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)
_OFFSET: Final = re.compile(r"([+-])(\d{2}):?(\d{2})")
_SMPP: Final = re.compile(r"(\d{10}|\d{12}|\d{14})|(\d{12})\d(\d{2})([+-])", re.ASCII)
_MILLIS_FROM: Final = 100_000_000_000  # As seconds this would be the year 5138, as milliseconds it is 1973.


def zone_of(name: str) -> tzinfo | None:
    """Find a zone: UTC, a fixed offset such as +01:00, or a name of the IANA database; None where there is none."""
    if name == "UTC":
        return UTC
    if match := _OFFSET.fullmatch(name):
        offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
        return timezone(-offset if match[1] == "-" else offset) if offset < timedelta(hours=24) else None
    try:
        return ZoneInfo(name)
    except (OSError, ValueError):  # ZoneInfoNotFoundError is a KeyError and caught below; a folder is an OSError.
        return None
    except KeyError:
        return None


def is_format(name: str) -> bool:
    """Tell whether `parse_time` knows a format: a name of `FORMATS` or a pattern of `strptime`."""
    return name in FORMATS or "%" in name


def is_believable(time: int, received_at: int) -> bool:
    """Tell whether a time can be true: not before 2000, and not more than two days after the report arrived (ms)."""
    return EARLIEST_MS <= time <= received_at + AHEAD_MS


def parse_time(text: str, format_name: str, zone: tzinfo) -> int | None:
    """Read a time as ms since the epoch; None where the text is no time of this form.

    Args:
        text: As the carrier wrote it; a JSON number by its literal text.
        format_name: A name of `FORMATS`, or a pattern of `strptime`.
        zone: Where the text itself has no offset.
    """
    text = text.strip()
    if not text or len(text) > _TEXT_MAX:
        return None
    try:
        read = FORMATS.get(format_name)
        time = read(text) if read else datetime.strptime(text, format_name)  # noqa: DTZ007  # the zone comes next
        if isinstance(time, datetime):
            aware = time if time.tzinfo else time.replace(tzinfo=zone)
            time = (aware - _EPOCH) // _MS
    except (ValueError, OverflowError, DecimalException):
        return None
    return time


def _iso8601(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _scaled(text: str, scale: int) -> int:
    number = Decimal(text)
    if not number.is_finite() or number.adjusted() > 15:  # 10**16 ms is beyond datetime's last year.
        raise ValueError
    return int(number * scale)


def _epoch(text: str) -> int:
    seconds = _scaled(text, 1)
    return seconds if seconds >= _MILLIS_FROM else _scaled(text, 1000)


def _smpp(text: str) -> datetime:
    """Read the dates of SMPP: YYMMDDhhmm[ss], with four digits of the year too, or absolute time with quarter hours."""
    match = _SMPP.fullmatch(text)
    if match is None:
        raise ValueError
    if match[2]:
        offset = timedelta(minutes=15 * int(match[3]))
        return _digits(f"20{match[2]}", timezone(-offset if match[4] == "-" else offset))
    digits = match[1]
    if len(digits) != 12:
        return _digits(digits if len(digits) == 14 else f"20{digits}")
    try:
        return _digits(f"20{digits}")
    except ValueError:  # A year of four digits, and no seconds.
        return _digits(digits)


def _digits(text: str, zone: tzinfo | None = None) -> datetime:
    """Read YYYYMMDDhhmm[ss]; strptime takes ten times as long."""
    month, day, hour, minute, second = (int(text[at : at + 2] or 0) for at in range(4, 14, 2))
    return datetime(int(text[:4]), month, day, hour, minute, second, tzinfo=zone)


FORMATS: Final[dict[str, Callable[[str], datetime | int]]] = {
    "iso8601": _iso8601,
    "epoch": _epoch,
    "epoch_s": lambda text: _scaled(text, 1000),
    "epoch_ms": lambda text: _scaled(text, 1),
    "smpp": _smpp,
}
"""The named formats. `epoch` tells seconds from milliseconds by their size, for carriers that do not say."""
