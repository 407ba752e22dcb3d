"""A worker, or a replay, that ends itself with SIGKILL when it passes a named point for the n-th time.

Run as the command line is: ``python -m tests.broker.crashing POINT N run --ordinal 0``.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from processor.assignment import Assignment
from processor.changelog import ChangelogReader
from processor.cli import main
from processor.publisher import Publisher
from processor.replay_sender import ReplaySender
from processor.store import StatePartition

POINTS: dict[str, tuple[type, str, str]] = {
    "before the transaction": (Publisher, "_produce_batches", "before"),
    "after produce": (Publisher, "_produce_with_headers", "after"),
    "after flush": (Publisher, "_flush", "after"),
    "after send_offsets": (Publisher, "_commit", "before"),
    "after the commit, before the store": (StatePartition, "apply", "before"),
    "in the middle of the stores": (StatePartition, "apply", "after"),
    "in a restore": (ChangelogReader, "_apply", "after"),
    "in on_assign": (Assignment, "on_assign", "after"),
    "in on_revoke": (Assignment, "on_revoke", "before"),
}
"""Class and method of each point, and the side of the call at which it lies."""


REPLAY_POINTS: dict[str, tuple[type, str, str]] = {
    "before the commit": (ReplaySender, "_commit", "before"),
    "after the commit": (ReplaySender, "_commit", "after"),
}
"""The same for `dead-letters replay`."""


def crash_at(point: str, times: int) -> None:
    """Arm a point."""
    owner, name, side = {**POINTS, **REPLAY_POINTS}[point]
    original: Callable[..., Any] = getattr(owner, name)
    left = times

    def pass_it() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def wrapped(*arguments: Any, **named: Any) -> Any:
        if side == "before":
            pass_it()
        result = original(*arguments, **named)
        if side == "after":
            pass_it()
        return result

    setattr(owner, name, wrapped)


if __name__ == "__main__":
    crash_at(sys.argv[1], int(sys.argv[2]))
    sys.exit(main(sys.argv[3:]))
