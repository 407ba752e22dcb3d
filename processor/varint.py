"""Avro's zig-zag variable-length integers (Avro 1.12 specification, "Binary Encoding"), fast in plain Python.

Fourteen bits at a time go through tables: a millisecond timestamp, six bytes, is three look-ups.
"""

from __future__ import annotations

from array import array
from struct import Struct
from typing import Final

_LOW_14: Final = (1 << 14) - 1
LONG_BYTES_MAX: Final = 10


def _pair(bits: int) -> bytes:
    """Return 14 bits as two bytes that both say that more follows."""
    return bytes((bits & 127 | 128, bits >> 7 | 128))


def _last(bits: int) -> bytes:
    """Return the last 14 bits as one or two bytes."""
    return bytes((bits,)) if bits < 128 else bytes((bits & 127 | 128, bits >> 7))


_PAIRS: Final = [_pair(bits) for bits in range(1 << 14)]
_LASTS: Final = [_last(bits) for bits in range(1 << 14)]


def encode_long(value: int) -> bytes:
    """Return the bytes of a long.

    Raises:
        OverflowError: More than 64 bits.
    """
    z = value << 1 if value >= 0 else (-value << 1) - 1
    if z <= _LOW_14:
        return _LASTS[z]
    if z < 1 << 28:
        return _PAIRS[z & _LOW_14] + _LASTS[z >> 14]
    if z < 1 << 42:
        return _PAIRS[z & _LOW_14] + _PAIRS[z >> 14 & _LOW_14] + _LASTS[z >> 28]
    if z >= 1 << 64:
        raise OverflowError("more than 64 bits")
    pairs = b""
    while z > _LOW_14:
        pairs += _PAIRS[z & _LOW_14]
        z >>= 14
    return pairs + _LASTS[z]


def read_long(data: bytes, at: int) -> tuple[int, int]:
    """Return the long that begins at `at` and the position after it.

    Raises:
        IndexError: The bytes end too early.
        ValueError: More than ten bytes or 64 bits.
    """
    z = 0
    for shift in range(0, 7 * LONG_BYTES_MAX, 7):
        byte = data[at]
        at += 1
        z |= (byte & 127) << shift
        if byte < 128:
            if z >> 64:
                break
            return (z >> 1) ^ -(z & 1), at
    raise ValueError("a number of more than 64 bits")


# Decoding a six-byte number: three little-endian pairs of bytes, looked up; -1 where a pair is not of its kind.
THREE_PAIRS: Final = Struct("<HHH")
PAIR_BITS: Final = array("h", [-1]) * (1 << 16)
LAST_BITS: Final = array("h", [-1]) * (1 << 16)
for _bits in range(1 << 14):
    PAIR_BITS[int.from_bytes(_PAIRS[_bits], "little")] = _bits
    LAST_BITS[int.from_bytes(bytes((_bits & 127 | 128, _bits >> 7)), "little")] = _bits
