"""Lets a line that repeats itself through at most once in a while: an outage is told, not recited."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

_log = structlog.get_logger(__name__)

EVERY_S: Final = 10.0
_DROPPED: Final = frozenset({"FAIL", "FATAL"})
"""Lines of librdkafka that its error callback tells as well, in better words."""


class Seldom:
    """Answers whether it is time to tell something of a kind again."""

    def __init__(self, every_s: float = EVERY_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._every_s = every_s
        self._clock = clock
        self._told: dict[str, float] = {}
        self._kept_back: dict[str, int] = {}

    def may_tell(self, kind: str) -> bool:
        """Tell whether it is time; kinds have to come from a closed list."""
        now = self._clock()
        told = self._told.get(kind)
        if told is not None and now - told < self._every_s:
            self._kept_back[kind] = self._kept_back.get(kind, 0) + 1
            return False
        self._told[kind] = now
        return True

    def kept_back(self, kind: str) -> dict[str, int]:
        """Return how many were not told since the last one that was, as a field of the next line."""
        count = self._kept_back.pop(kind, 0)
        return {"repeated": count} if count else {}

    def warn(self, kind: str, event: str, **facts: object) -> None:
        """Log a warning if it is time."""
        if self.may_tell(kind):
            _log.warning(event, **facts, **self.kept_back(kind))


class ClientLines(logging.Filter):
    """Thins out librdkafka's own lines: at most one of a kind in a while, and none that its error callback tells."""

    def __init__(self, seldom: Seldom | None = None) -> None:
        super().__init__()
        self._seldom = seldom or Seldom()

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether the line is let through; its first word is its kind."""
        kind = record.getMessage().partition(" ")[0]
        return kind not in _DROPPED and self._seldom.may_tell(kind)
