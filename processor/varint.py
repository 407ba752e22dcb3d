"""Avro's variable-length zig-zag integers (specification 1.12, "Binary Encoding"), strictly, and fast in plain Python.

What is written is composed as text in which each character stands for one byte (latin-1) and is encoded once, at the
end: joining text is cheaper than joining bytes. `text_of_*` makes such text.
"""

from __future__ import annotations

import struct
from typing import Final

LONG_MIN: Final = -(2**63)
LONG_MAX: Final = 2**63 - 1
_LONG_BITS: Final = 64
_LONG_BYTES_MAX: Final = 10
_CACHED: Final = 4096


class Malformed(Exception):  # noqa: N818  # it never leaves the codec: `DecodeError` is what callers see
    """Bytes that are not Avro of their schema. The words say what and where, and hold no byte of the payload."""

    def __init__(self, what: str, path: tuple[str, ...] = ()) -> None:
        super().__init__(what, path)
        self.what = what
        self.path = path

    def within(self, field: str) -> Malformed:
        """Return the same mistake as seen from the record that holds the field."""
        return Malformed(self.what, (field, *self.path))

    def __str__(self) -> str:
        """Return the words, after the field's name where there is one."""
        return f"field {'.'.join(self.path)}: {self.what}" if self.path else self.what


def read_long(data: bytes, at: int) -> tuple[int, int]:
    """Return the long that begins at `at`, and the position behind it.

    Raises:
        Malformed: Truncated, longer than it needs to be, or of more than 64 bits.
    """
    try:
        bits = data[at]
        if bits < 128:
            return bits >> 1 ^ -(bits & 1), at + 1
        second = data[at + 1]
        if 0 < second < 128:
            bits = bits & 127 | second << 7
            return bits >> 1 ^ -(bits & 1), at + 2
        return _read_longer(data, at)
    except IndexError:
        raise Malformed("truncated") from None


def _read_longer(data: bytes, at: int) -> tuple[int, int]:
    bits = 0
    for shift in range(0, 7 * _LONG_BYTES_MAX, 7):
        byte = data[at]
        at += 1
        bits |= (byte & 127) << shift
        if byte < 128:
            if not byte:
                raise Malformed("a number written longer than it needs to be")
            if bits >> _LONG_BITS:
                break
            return bits >> 1 ^ -(bits & 1), at
    raise Malformed("a number of more than 64 bits")


def text_of_long(value: int) -> str:
    """Return the text that stands for a long's bytes.

    Raises:
        OverflowError: More than 64 bits.
    """
    if 0 <= value < len(SMALL):
        return SMALL[value]
    if not LONG_MIN <= value <= LONG_MAX:
        raise OverflowError("a long of more than 64 bits")
    return _text_of_bits(value << 1 if value >= 0 else ~(value << 1))


def text_of_int(value: int) -> str:
    """Return the text that stands for an int's bytes.

    Raises:
        OverflowError: More than 32 bits.
    """
    if not -(2**31) <= value < 2**31:
        raise OverflowError("an int of more than 32 bits")
    return text_of_long(value)


def _text_of_bits(bits: int) -> str:
    text = ""
    while bits > 127:
        text += chr(bits & 127 | 128)
        bits >>= 7
    return text + chr(bits)


SMALL: Final[list[str]] = [_text_of_bits(value << 1) for value in range(1 << 13)]
"""The whole text of the longs from 0 up."""


# A time of our days in ms takes six bytes and an offset of a busy partition four or five. Both change in their low bits
# only, from one record to the next, so the two low bytes go through a table and the rest through a small cache.

LOW_BITS: Final = 13
"""Bits of a positive long that its first two bytes hold, where more bytes follow."""
LOW_MASK: Final = (1 << LOW_BITS) - 1
LOW_TEXT: Final[list[str]] = [chr(low << 1 & 127 | 128) + chr(low >> 6 | 128) for low in range(1 << LOW_BITS)]
LOW_VALUE: Final[dict[int, int]] = {
    int.from_bytes(text.encode("latin-1"), "little"): low for low, text in enumerate(LOW_TEXT)
}
"""By the first two bytes, taken as one little-endian number, what they say of a positive long."""
SIX_BYTES: Final = struct.Struct("<HI").unpack_from
"""Takes six bytes apart for `LOW_VALUE` and `HIGH_VALUE`."""
NO_SIX_BYTES: Final = (KeyError, struct.error)
"""What taking six bytes apart and looking them up raises where no positive long of six bytes is."""


class HighText(dict[int, str]):
    """The text behind the first two bytes, by the bits above `LOW_BITS`; remembers those met lately."""

    def __missing__(self, high: int) -> str:
        """Make the text of bits that were not met lately."""
        if not 0 < high <= LONG_MAX >> LOW_BITS:
            raise OverflowError("a long of more than 64 bits")
        if len(self) >= _CACHED:
            self.clear()
        text = self[high] = _text_of_bits(high)
        return text


class HighValue(dict[int, int]):
    """What the third to the sixth byte, one little-endian number, add to a long; remembers those met lately."""

    def __missing__(self, high: int) -> int:
        """Reckon the value of bytes that were not met lately.

        Raises:
            KeyError: They do not end a long of six bytes.
        """
        more, last = high & 0x808080, high >> 24
        if more != 0x808080 or not 0 < last < 128:
            raise KeyError
        if len(self) >= _CACHED:
            self.clear()
        value = self[high] = ((high & 127) | (high >> 8 & 127) << 7 | (high >> 16 & 127) << 14 | last << 21) << LOW_BITS
        return value


HIGH_TEXT: Final = HighText()
HIGH_VALUE: Final = HighValue()
