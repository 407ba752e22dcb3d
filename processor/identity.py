"""What makes a message one, and which partition owns it.

`owner_of` is Kafka's own default partitioner: a Java producer, or a librdkafka one set to `murmur2`, that keys by
message id puts a record on the very partition that owns the message.
"""

from __future__ import annotations

from functools import cache
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

from processor.speedups import SPEEDUPS

if TYPE_CHECKING:
    from collections.abc import Callable

_SEED: Final = 0x9747B28C
_M: Final = 0x5BD1E995
_MASK: Final = 0xFFFFFFFF
_from_bytes: Final = int.from_bytes


def identity_of(account: str | None, carrier: str, message_id: str, chain: str) -> str:
    """Join what makes a message one into one text; different messages never get the same text.

    No argument holds a NUL, which the caller has seen to. No account and an empty one are the same: neither names one.
    """
    return f"{carrier}\0{message_id}\0{account or ''}\0{chain}"


def owner_of(message_id: str, partitions: int) -> int:
    """Tell which of so many partitions owns a message: Kafka's murmur2 of the id's UTF-8 bytes, made positive."""
    if SPEEDUPS is not None:
        owner: int = SPEEDUPS.owner_of(message_id, partitions)
        return owner
    return (murmur2(message_id.encode()) & 0x7FFFFFFF) % partitions


def murmur2(data: bytes) -> int:
    """Hash as `org.apache.kafka.common.utils.Utils.murmur2` does, as an unsigned 32-bit integer.

    Each word is mixed alone before it meets the hash, so all words are mixed at once: in one long integer with a
    lane of 64 bits for each, where a product of two 32-bit factors never reaches the next lane.
    """
    length = len(data)
    m, mask = _M, _MASK  # Locals are read faster, and this is a hot path.
    words_of, lanes_of, mixed_of, size, lanes_mask = _lanes(length >> 2)
    lanes = _from_bytes(lanes_of(*words_of(data)), "little") * m & lanes_mask
    lanes = ((lanes ^ lanes >> 24) & lanes_mask) * m & lanes_mask
    h = _SEED ^ length
    for mixed in mixed_of(lanes.to_bytes(size, "little")):
        h = h * m & mask ^ mixed
    if length & 3:
        h = (h ^ _from_bytes(data[length & ~3 :], "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return h ^ h >> 15


_Lanes = tuple["Callable[..., tuple[Any, ...]]", "Callable[..., bytes]", "Callable[..., tuple[Any, ...]]", int, int]


@cache
def _lanes(count: int) -> _Lanes:
    """Give what spreads so many 32-bit words over 64-bit lanes and takes them back."""
    lanes = Struct(f"<{count}Q")
    mask = int.from_bytes(b"\xff\xff\xff\xff\0\0\0\0" * count, "little")
    return Struct(f"<{count}I").unpack_from, lanes.pack, lanes.unpack, lanes.size, mask
