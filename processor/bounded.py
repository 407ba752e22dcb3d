"""Runs a call that may never return in a thread of its own, so that whoever waits for it can stop waiting.

librdkafka's send_offsets_to_transaction does not keep its timeout, and where the group's coordinator is killed and
another broker takes over it may wait for ever (confluentinc/librdkafka#5456, #5511).
"""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_LOOK_S: Final = 1.0


@dataclass(slots=True)
class _Hand:
    """A thread and what goes in and out of it."""

    todo: queue.SimpleQueue[Callable[[], object] | None] = field(default_factory=queue.SimpleQueue)
    done: queue.SimpleQueue[BaseException | None] = field(default_factory=queue.SimpleQueue)

    def work(self) -> None:
        while (act := self.todo.get()) is not None:
            try:
                act()
            except BaseException as error:  # noqa: BLE001  # raised again by whoever waits
                self.done.put(error)
            else:
                self.done.put(None)
            del act  # It may hold the last reference to a client that was given up.


class Bounded:
    """One call at a time, each in the same thread until one gets stuck; a stuck thread is left behind with its call."""

    def __init__(self) -> None:
        self._hand: _Hand | None = None

    def call(self, act: Callable[[], object], within_s: float, on_wait: Callable[[], object] = lambda: None) -> bool:
        """Do it, raise what it raises, and tell whether it returned in time; `on_wait` runs every second meanwhile."""
        if self._hand is None:
            self._hand = _Hand()
            threading.Thread(target=self._hand.work, name="bounded call", daemon=True).start()
        hand = self._hand
        hand.todo.put(act)
        deadline = time.monotonic() + within_s
        while True:
            try:
                error = hand.done.get(timeout=_LOOK_S)
            except queue.Empty:
                if time.monotonic() > deadline:
                    self._hand = None
                    hand.todo.put(None)
                    return False
                on_wait()
            else:
                if error is not None:
                    raise error
                return True

    def close(self) -> None:
        """Let the thread end."""
        if self._hand is not None:
            self._hand.todo.put(None)
            self._hand = None
