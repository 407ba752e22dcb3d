"""A worker that only looks alive is told from one that is."""

from __future__ import annotations

import pytest

from processor.health import stalled
from processor.telemetry import InputView

NOW = 1_000_000.0
AFTER_S = 120.0


def test_an_input_with_records_left_that_does_not_move_is_stalled() -> None:
    inputs = {
        ("raw", 1): InputView(lag=5, running=True, moved_at=NOW - AFTER_S - 1),
        ("raw", 0): InputView(lag=1, running=True, moved_at=NOW - 2 * AFTER_S),
        ("rekeyed", 0): InputView(lag=5, running=True, moved_at=NOW - 1),
    }

    assert stalled(inputs, NOW, AFTER_S) == [("raw", 0), ("raw", 1)]


@pytest.mark.parametrize(
    "calm",
    [
        pytest.param(InputView(lag=0, running=True, moved_at=0.0), id="nothing left"),
        pytest.param(InputView(lag=None, running=True, moved_at=0.0), id="end not known"),
        pytest.param(InputView(lag=9, running=False, moved_at=0.0), id="waits for its state"),
        pytest.param(InputView(lag=9, running=True, moved_at=NOW - AFTER_S), id="not long enough"),
        pytest.param(InputView(lag=9, running=True, moved_at=NOW + 3600), id="the clock was set back"),
    ],
)
def test_an_input_that_waits_for_a_reason_is_not_stalled(calm: InputView) -> None:
    assert stalled({("raw", 0): calm}, NOW, AFTER_S) == []
