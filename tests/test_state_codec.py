"""Message state survives its bytes, and nothing else is taken for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.errors import FatalError
from processor.model import MessageState
from processor.settings_model import Limits
from processor.state_codec import decode_state, encode_state
from tests.strategies import states


@given(states())
def test_a_state_survives_its_bytes(state: MessageState) -> None:
    assert decode_state(encode_state(state)) == state


def test_as_many_replies_as_the_settings_allow_survive() -> None:
    (allowed,) = [rule.le for rule in Limits.model_fields["replies_max"].metadata if hasattr(rule, "le")]
    state = MessageState(19, allowed, 1, replies=tuple(f"{number:016x}" for number in range(allowed)))

    assert decode_state(encode_state(state)) == state


@given(st.binary(max_size=64))
def test_any_bytes_are_a_state_or_a_clear_refusal(value: bytes) -> None:
    try:
        state = decode_state(value)
    except FatalError:
        return
    assert decode_state(encode_state(state)) == state


def test_a_newer_format_is_named() -> None:
    value = bytearray(encode_state(MessageState(1, 1, 1)))
    value[0] = 9

    with pytest.raises(FatalError, match="format 9"):
        decode_state(bytes(value))


def test_the_bytes_of_format_1_stay_as_they_are() -> None:
    """A changelog written by an older version must be read for ever."""
    plain = MessageState(status=17, sequence=2, changed_at=1_795_420_805_000)
    full = plain._replace(parts_total=3, parts=((1, 3), (2, 17)), replies=("00ff00ff00ff00ff",))

    assert encode_state(plain).hex() == "01120000000200" + "0001a2076b5788"
    assert encode_state(full).hex() == "01120000000200" + "0001a2076b5788" + "03020104021201" + "00ff00ff00ff00ff"
