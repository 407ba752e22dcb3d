"""A loop that is stuck ends the process, with one line that says where; one that turns or waits does not."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

from processor.errors import ExitCode
from processor.watchdog import Watchdog, place

_STUCK = """
import threading
from processor.logs import configure_logging
from processor.watchdog import Watchdog
configure_logging("info", "json")
def a_call_that_never_returns():
    threading.Event().wait()
with Watchdog(0.5):
    a_call_that_never_returns()
"""
_STUCK_IN_THE_STORE = """
import sys
from pathlib import Path
from processor.store import open_rocksdb
from processor.watchdog import Watchdog
with Watchdog(0.5):
    open_rocksdb(Path(sys.argv[1]))
"""


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=30, check=False
    )


def test_a_stuck_loop_ends_the_process_with_one_line_that_says_where() -> None:
    done = run(_STUCK)

    assert done.returncode == ExitCode.UNKNOWN_OUTCOME
    (line,) = done.stderr.splitlines()
    assert "the loop is stuck" in line
    assert "__main__.a_call_that_never_returns:" in line


def test_a_disk_that_never_answers_ends_the_process_although_it_holds_the_interpreter(tmp_path: Path) -> None:
    """RocksDB reads CURRENT first, and a pipe that nobody writes to has no end."""
    os.mkfifo(tmp_path / "CURRENT")

    done = run(_STUCK_IN_THE_STORE, str(tmp_path))

    assert done.returncode == ExitCode.FAILED
    assert "store.py" in done.stderr
    assert "open_rocksdb" in done.stderr


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def watched(clock: Clock, ended: threading.Event) -> Watchdog:
    return Watchdog(0.04, clock=clock, end=lambda _: ended.set(), arm=lambda _: None)


def test_a_loop_that_beats_is_left_alone() -> None:
    clock, ended = Clock(), threading.Event()
    with watched(clock, ended) as watchdog:
        for _ in range(20):
            clock.now += 0.015
            watchdog.beat()
            ended.wait(0.005)

    assert not ended.is_set()


def test_a_loop_that_does_not_beat_is_ended() -> None:
    clock, ended = Clock(), threading.Event()
    with watched(clock, ended):
        for _ in range(1_000):
            clock.now += 0.005
            if ended.wait(0.015):
                break

    assert ended.is_set()


def test_a_process_that_was_frozen_gets_its_time_again() -> None:
    clock, ended = Clock(), threading.Event()
    with watched(clock, ended):
        clock.now += 3_600.0
        ended.wait(0.1)

    assert not ended.is_set()


def test_a_place_names_functions_innermost_first_and_no_values() -> None:
    secret = "4915112345678"
    where = place(sys._getframe())

    assert where.startswith("tests.test_watchdog.") or "test_a_place_names_functions" in where.split(" < ")[0]
    assert secret not in where
    assert place(None) == "nowhere"
