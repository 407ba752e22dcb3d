"""When the changelog got a record is the broker's word, and now where it says nothing."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from processor.changelog import appended_ms


def message(kind: int, ms: int) -> Any:
    return SimpleNamespace(timestamp=lambda: (kind, ms))


def test_the_brokers_time_counts() -> None:
    assert appended_ms(message(2, 1_767_225_600_000)) == 1_767_225_600_000


@pytest.mark.parametrize("nothing", [0, -1, 1234])
def test_a_broker_that_tells_no_time_means_now(nothing: int) -> None:
    before = int(time.time() * 1000)
    assert before <= appended_ms(message(0, nothing)) <= int(time.time() * 1000)
