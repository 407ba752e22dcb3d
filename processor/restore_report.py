"""Tells how a restore goes: in the log, and as a bar where somebody looks at a terminal."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import structlog
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from processor.changelog import Restore

_log = structlog.get_logger(__name__)

_EVERY_S: Final = 5.0


class RestoreReport:
    """Watches the restores of one worker. One that is over soon is not worth a word more than its begin and its end."""

    def __init__(self, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """Watch; a bar is drawn where the console, standard error by default, is a terminal."""
        self._console = console or Console(stderr=True)
        self._clock = clock
        self._began: float | None = None
        self._records_at_begin = 0
        self._told_at = 0.0
        self._bar: Progress | None = None

    def look(self, restores: Mapping[int, Restore], records_restored: int) -> None:
        """Take note of where the restores stand; cheap, to be called every second or so."""
        now = self._clock()
        if not restores:
            self._end(now, records_restored)
            return
        left = sum(restore.left for restore in restores.values())
        if self._began is None:
            self._began, self._told_at, self._records_at_begin = now, now, records_restored
            if self._console.is_terminal:
                self._bar = _bar(self._console)
                self._bar.start()
        done = records_restored - self._records_at_begin
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done, total=done + left)
        elif now - self._told_at >= _EVERY_S:
            self._told_at = now
            rate = done / (now - self._began)
            seconds_left = round(left / rate) if rate else None
            _log.info(
                "restoring state",
                partitions=len(restores),
                offsets_left=left,
                records=done,
                records_per_s=round(rate),
                seconds_left=seconds_left,
            )

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _end(self, now: float, records_restored: int) -> None:
        if self._began is None:
            return
        self.close()
        seconds = max(now - self._began, 0.001)
        records = records_restored - self._records_at_begin
        _log.info("restored", records=records, seconds=round(seconds, 1), records_per_s=round(records / seconds))
        self._began = None


def _bar(console: Console) -> Progress:
    columns = (
        TextColumn("restoring state"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("records"),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=console, transient=True)
    bar.add_task("", total=None)
    return bar
