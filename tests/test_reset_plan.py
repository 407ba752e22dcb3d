"""A reset says where everything goes before it goes there."""

from __future__ import annotations

import json

from processor.books import Books, decode_books
from processor.cli.reset import plan_as_json, plan_as_lines
from processor.group_reader import Range
from processor.reset_plan import EARLIEST, LATEST, Move, ResetPlan, moves_to
from processor.state_codec import RESET_KEY

RANGES = {("raw", 0): Range(5, 100), ("raw", 1): Range(0, 50)}
COMMITTED = {("raw", 0): 90}
TIME = 1_795_420_800_000


def plan(to: int | str, left: tuple[Move, ...] = ()) -> ResetPlan:
    raw = moves_to(to, COMMITTED, RANGES, {("raw", 0): 60} if isinstance(to, int) else {})
    rekeyed = (Move("rekeyed", 0, 7, 9, 0),)
    counts = {"raw": 2, "rekeyed": 1, "gone": 4}
    return ResetPlan("group", to, "state", "id", 2, raw=raw, rekeyed=rekeyed, left=left, counts=counts)


def test_a_word_is_an_end_of_the_log() -> None:
    assert [move.target for move in plan(EARLIEST).raw] == [5, 0]
    assert [move.target for move in plan(LATEST).raw] == [100, 50]


def test_a_time_is_the_first_record_that_is_not_older_and_the_end_where_all_are() -> None:
    assert [move.target for move in plan(TIME).raw] == [60, 50]


def test_an_offset_that_the_log_has_not_is_never_the_target() -> None:
    found = {("raw", 0): 1, ("raw", 1): 51}

    assert [move.target for move in moves_to(TIME, {}, RANGES, found)] == [5, 50]


def test_what_is_read_again_and_what_never_is_are_told_apart() -> None:
    assert (plan(EARLIEST).read_again, plan(EARLIEST).skipped) == (85, 0)
    assert (plan(LATEST).read_again, plan(LATEST).skipped) == (0, 10)
    assert plan(LATEST).dropped == 2


def test_every_offset_gets_fresh_books_that_say_when() -> None:
    made = plan(EARLIEST, left=(Move("gone", 3, 11, 11, 0),))

    offsets = {(topic, number): (offset, decode_books(books)) for topic, number, offset, books in made.offsets(TIME)}

    def fresh(siblings: int) -> Books:
        return Books(state_topic_id="id", siblings=siblings, reset_at=TIME)

    assert offsets == {
        ("raw", 0): (5, fresh(2)),
        ("raw", 1): (0, fresh(2)),
        ("rekeyed", 0): (9, fresh(1)),
        ("gone", 3): (11, fresh(4)),
    }


def test_every_changelog_partition_gets_the_record_that_voids_it() -> None:
    markers = plan(TIME).markers(TIME + 1, "1.2.3")

    assert set(markers) == {0, 1}
    ((key, value),) = markers[1]
    assert key == RESET_KEY
    assert json.loads(value) == {"reset_at": TIME + 1, "to": TIME, "version": "1.2.3"}


def test_a_plan_is_told_to_people_and_to_machines() -> None:
    made = plan(TIME, left=(Move("gone", 3, 11, 11, 0),))

    assert [" ".join(line.split()) for line in plan_as_lines(made)] == [
        "partition committed begins at read again never read",
        "raw[0] 90 60 30 0",
        "raw[1] - 50 0 0",
        "to 2026-11-23T08:00:00Z: 30 offsets of raw topics are read again, 0 never",
        "what state knows of messages is void, in all 2 partitions",
        "so are forwarded events that nobody has taken yet, if any: 2 offsets, markers among them",
        "the settings no longer name gone: offsets stay, books begin anew",
        "what is read again is published again: subscribers see sequences begin at 1",
    ]
    told = plan_as_json(made, [], done=False)
    assert told["to"] == "2026-11-23T08:00:00Z"
    assert told["raw"] == [
        {"topic": "raw", "partition": 0, "committed": 90, "target": 60},
        {"topic": "raw", "partition": 1, "committed": None, "target": 50},
    ]
