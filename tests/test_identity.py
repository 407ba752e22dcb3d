"""Identities never collide, and owners are those of Kafka's own default partitioner."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.identity import identity_of, murmur2, owner_of

part = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)


def signed(value: int) -> int:
    return value - (1 << 32) if value >> 31 else value


@pytest.mark.parametrize(
    ("text", "java"),
    [
        ("21", -973932308),
        ("foobar", -790332482),
        ("a-little-bit-long-string", -985981536),
        ("a-little-bit-longer-string", -1486304829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        ("abc", 479470107),
    ],
)
def test_murmur2_gives_the_values_of_kafkas_own_tests(text: str, java: int) -> None:
    assert signed(murmur2(text.encode())) == java


def stepwise_murmur2(data: bytes) -> int:
    """The algorithm word by word, cut to 32 bits at each step as Java does it."""
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    h = 0x9747B28C ^ len(data)
    whole = len(data) // 4 * 4
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * m & mask
        k ^= k >> 24
        k = k * m & mask
        h = h * m & mask
        h ^= k
    for shift, byte in reversed(list(enumerate(data[whole:]))):
        h ^= byte << 8 * shift
        if shift == 0:
            h = h * m & mask
    h ^= h >> 13
    h = h * m & mask
    return h ^ h >> 15


@given(st.binary(max_size=300))
def test_murmur2_of_all_words_at_once_is_that_of_one_after_the_other(data: bytes) -> None:
    assert murmur2(data) == stepwise_murmur2(data)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=256), st.integers(1, 1000))
def test_the_owner_is_the_positive_hash_of_the_utf8_bytes(message_id: str, partitions: int) -> None:
    assert owner_of(message_id, partitions) == (stepwise_murmur2(message_id.encode()) & 0x7FFFFFFF) % partitions


@given(st.tuples(part, part, part, part), st.tuples(part, part, part, part))
def test_different_messages_have_different_identities(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    assert (identity_of(*one) == identity_of(*other)) == (one == other)


def test_no_account_and_an_empty_one_are_the_same() -> None:
    assert identity_of(None, "smpp", "1", "") == identity_of("", "smpp", "1", "")


def test_the_parts_of_an_identity_stand_in_a_fixed_order() -> None:
    assert identity_of("acct", "smpp", "id-1", "chain") == "smpp\0id-1\0acct\0chain"
