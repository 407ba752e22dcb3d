"""A restore is told of while it lasts, with what is left of it."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from structlog.testing import capture_logs

from processor.changelog import Restore
from processor.restore_report import RestoreReport
from processor.store import StatePartition, StoreIdentity


class Clock:
    """Stands still until it is moved."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def restore(tmp_path: Path) -> Restore:
    store = StatePartition(tmp_path / "s", StoreIdentity("cluster", "state", "id", 0, 6))
    return Restore(store, 0, 1_000_000)


def test_progress_is_told_every_five_seconds_with_rate_and_time_left(restore: Restore) -> None:
    clock = Clock()
    report = RestoreReport(Console(file=StringIO()), clock)
    with capture_logs() as lines:
        for second in range(11):
            clock.now = 100.0 + second
            restore.store.offset = second * 50_000
            report.look({0: restore}, second * 50_000)
        clock.now = 120.0
        report.look({}, 1_000_000)

    told = [(line["records"], line["records_per_s"], line.get("seconds_left")) for line in lines]
    assert told == [(250_000, 50_000, 15), (500_000, 50_000, 10), (1_000_000, 50_000, None)]


def test_nothing_is_said_where_nothing_is_restored() -> None:
    report = RestoreReport(Console(file=StringIO()))
    with capture_logs() as lines:
        report.look({}, 0)
    assert lines == []


def test_a_terminal_gets_a_bar_that_goes_away(restore: Restore) -> None:
    drawn = StringIO()
    report = RestoreReport(Console(file=drawn, force_terminal=True, width=100))
    report.look({0: restore}, 0)
    restore.store.offset = 1_000_000
    report.look({0: restore}, 1_000_000)
    report.look({}, 1_000_000)

    assert report._bar is None
    assert "1000000/1000000" in drawn.getvalue()
