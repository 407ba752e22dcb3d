"""What repeats itself is told at most once in a while, with how often it was kept back."""

from __future__ import annotations

import logging

from processor.seldom import ClientLines, Seldom


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_same_kind_is_told_once_in_a_while_and_counts_what_was_kept_back() -> None:
    clock = Clock()
    seldom = Seldom(10.0, clock)

    told = [seldom.may_tell("down") for _ in range(4)]
    clock.now += 10.0

    assert told == [True, False, False, False]
    assert seldom.may_tell("down")
    assert seldom.kept_back("down") == {"repeated": 3}
    assert seldom.kept_back("down") == {}


def test_kinds_do_not_hold_one_another_back() -> None:
    seldom = Seldom(10.0, Clock())

    assert [seldom.may_tell("down"), seldom.may_tell("denied")] == [True, True]


def test_lines_of_the_client_are_thinned_and_what_its_error_callback_tells_is_left_out() -> None:
    lines = ClientLines(Seldom(10.0, Clock()))

    def passes(text: str) -> bool:
        return bool(lines.filter(logging.LogRecord("librdkafka", logging.INFO, "", 0, text, None, None)))

    assert not passes("FAIL [thrd:x]: Connect failed")
    assert passes("REQTMOUT [thrd:x]: Timed out")
    assert not passes("REQTMOUT [thrd:y]: Timed out")
    assert passes("PARTCNT [thrd:x]: changed")
