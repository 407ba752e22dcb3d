"""The phone numbers that simulated traffic uses: one range, so that a search finds each place where one leaked."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from random import Random

NUMBER_PREFIX: Final = "+23480300"
"""Every simulated address is this and five digits: +2348030000000 to +2348030099999, senders as well."""
_DIGITS: Final = 5

SIMULATED_NUMBER: Final = re.compile(rf"(?<!\d){re.escape(NUMBER_PREFIX.lstrip('+'))}\d{{{_DIGITS}}}(?!\d)")
"""Finds a simulated number in any text, with or without its plus or another prefix; never inside a longer number."""

SENDERS: Final = tuple(f"{NUMBER_PREFIX}{number:0{_DIGITS}}" for number in (99_998, 99_999))
"""Numbers that messages are sent from."""

_NUMBERS: Final = tuple(f"{NUMBER_PREFIX}{number:0{_DIGITS}}" for number in range(10**_DIGITS))


def is_simulated_number(text: str) -> bool:
    """Tell whether a text holds a simulated number."""
    return SIMULATED_NUMBER.search(text) is not None


def draw_number(rng: Random) -> str:
    """Draw a recipient, in E.164."""
    return _NUMBERS[int(rng.random() * len(_NUMBERS))]
