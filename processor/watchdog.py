"""Ends a process whose loop is stuck: a supervisor starts it again, and it goes on from what is committed.

The loop beats once a turn, and whatever waits for a long time on purpose beats while it waits. Where no beat comes for
the limit, a thread of its own says in one line where the loop stands, by names of functions only, and ends the process
without any clean-up: that could hang in the same place. The group has given the worker up by then.

A call that holds Python's lock, as RocksDB's write does, holds this thread up as well. So it keeps an alarm of the
interpreter's own (faulthandler) running behind itself, which needs no lock: that one only writes the stack and exits
with 1.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import time
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Final, NoReturn

import structlog

from processor.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType

_log = structlog.get_logger(__name__)

MARGIN_S: Final = 30.0
"""Over max.poll.interval.ms: a single call that a broker holds up may take the whole of socket.timeout.ms."""
_FRAMES_MAX: Final = 8


def _end(code: int) -> NoReturn:
    os._exit(code)


def _arm(seconds: float) -> None:
    """End the process in so many seconds, unless armed anew; 0 disarms."""
    faulthandler.cancel_dump_traceback_later()
    if seconds:
        faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__ or sys.stderr)


class Watchdog(AbstractContextManager["Watchdog", None]):
    """Watches the thread that enters it."""

    def __init__(
        self,
        limit_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        end: Callable[[int], object] = _end,
        arm: Callable[[float], object] = _arm,
    ) -> None:
        """Watch nothing yet.

        Args:
            limit_s: Longest time between two beats, in seconds.
            clock: Seconds that only rise.
            end: Ends the process with an exit code.
            arm: Sets the alarm behind, in seconds from now; 0 takes it away.
        """
        self._limit_s = limit_s
        self._clock = clock
        self._end = end
        self._arm = arm
        self._beat_at = clock()
        self._watched = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def beat(self) -> None:
        """Say that the loop turns, or waits on purpose; safe from any thread."""
        self._beat_at = self._clock()

    def __enter__(self) -> Watchdog:  # noqa: PYI034  # nobody inherits from it
        """Watch from now on."""
        self._watched = threading.get_ident()
        self.beat()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Watch no longer."""
        self._over.set()
        self._thread.join()
        self._arm(0)

    def _watch(self) -> None:
        pause = min(1.0, self._limit_s / 4)
        before = self._clock()
        self._arm(2 * self._limit_s)
        while not self._over.wait(pause):
            now = self._clock()
            self._arm(2 * self._limit_s)
            # A process that was frozen wakes up with an old beat: the loop gets its time again.
            if now - before > self._limit_s / 2:
                self.beat()
            before = now
            if now - self._beat_at > self._limit_s:
                self._bark(now - self._beat_at)
                return

    def _bark(self, silent_s: float) -> None:
        where = place(sys._current_frames().get(self._watched))  # noqa: SLF001  # documented, if with an underscore
        _log.error(
            "the loop is stuck, ending the process; start again: it continues from what is committed",
            seconds=round(silent_s, 1),
            where=where,
        )
        self._end(ExitCode.UNKNOWN_OUTCOME)


def place(frame: FrameType | None) -> str:
    """Return where a thread stands: its innermost functions, the innermost first; no values."""
    names: list[str] = []
    while frame is not None and len(names) < _FRAMES_MAX:
        code = frame.f_code
        module = str(frame.f_globals.get("__name__", "?"))
        names.append(f"{module}.{code.co_qualname}:{frame.f_lineno}")
        frame = frame.f_back
    return " < ".join(names) or "nowhere"
