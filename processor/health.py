"""When a worker that looks alive is not: pure rules over what the loop last saw, for metrics and health checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from processor.telemetry import InputView

STALL_AFTER_S: Final = 120.0
"""How long an input may stand still in front of records: longer than any wait that ends by itself."""


def stalled(inputs: Mapping[tuple[str, int], InputView], now: float, after_s: float) -> list[tuple[str, int]]:
    """Return the inputs (topic, partition) that stand still, in order.

    One stands still when it is being processed, has something left to process, and has not moved for longer than
    `after_s` seconds. One that waits for its state does not, nor does one whose end nobody knows yet.

    Args:
        inputs: What the loop last saw of each input.
        now: Seconds since the epoch; the present time, not that of the view: a loop that hangs looks at nothing.
        after_s: How long standing still is nothing yet, in seconds.
    """
    return sorted(key for key, one in inputs.items() if one.running and one.lag and now - one.moved_at > after_s)
