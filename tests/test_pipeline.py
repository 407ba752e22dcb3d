"""The whole core through the test driver: every event has one outcome, and bad ones lose nothing."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.codec import encode_mapped
from processor.errors import DeadLetterReason
from processor.headers import (
    ERRORS_INDEX,
    ERRORS_MESSAGE,
    ERRORS_REASON,
    KEPT_HEADERS_BYTES_MAX,
    REPLAY_ATTEMPT,
    REPLAY_INDEX,
    REPLAY_OF,
    REPLAY_TIMESTAMP,
    Headers,
    dead_letter_headers,
    origin_header,
)
from processor.identity import owner_of
from processor.model import Action, Source, StatusEvent
from processor.outbox import DeadLetter, Outbox
from processor.simulator import Oracle, Simulator, judge
from processor.testing import START_MS, FakeRecord, MemoryStates, PipelineDriver, callback, raw_event

DAY_MS = 24 * 3600 * 1000


def infobip(*reports: tuple[str, str]) -> bytes:
    """Return a callback's body with a report for each (message id, status name)."""
    results = [{"messageId": message_id, "status": {"name": name}} for message_id, name in reports]
    return json.dumps({"results": results}).encode()


@pytest.mark.parametrize("shape", ["realistic", "few-repeats", "many-repeats", "all-new", "flood"])
def test_simulated_traffic_equals_the_oracle_outcome_by_outcome(shape: str) -> None:
    driver, oracle = PipelineDriver(), Oracle()
    for record in Simulator(11, events=4_000, shape=shape, poison=0.03, callbacks=0.2):
        for event in record.events:
            oracle.feed(record.timestamp_ms, event)
        driver.pipe(record.value, key=record.key, timestamp_ms=record.timestamp_ms)

    assert judge(oracle, driver.changes, exact=True).equal
    settled = {key: count for key, count in driver.outcomes.items() if key[1] != "forwarded"}
    assert settled == oracle.totals


@given(st.integers(0, 2**32), st.integers(1, 30))
def test_the_books_balance_for_any_traffic(seed: int, partitions: int) -> None:
    driver = PipelineDriver(partitions=partitions)
    events = 0
    for record in Simulator(seed, events=60, poison=0.2, callbacks=0.3):
        events += len(record.events)
        driver.pipe(record.value, key=record.key, timestamp_ms=record.timestamp_ms)

    assert driver.outcomes.total() - sum(n for key, n in driver.outcomes.items() if key[1] == "forwarded") == events


def test_a_record_of_a_partition_that_state_does_not_have_is_forwarded_to_its_owner() -> None:
    driver = PipelineDriver(partitions=3)

    (change,) = driver.pipe(raw_event("twilio", "SM1", "sent"), partition=50)

    assert change.source == Source("carrier.status.raw", 50, 0, 0)
    assert driver.outcomes == {("twilio", "forwarded", ""): 1, ("twilio", "published", ""): 1}


@given(st.binary(max_size=300), st.binary(max_size=20) | st.none())
def test_any_bytes_are_dead_lettered_with_a_reason(value: bytes, key: bytes | None) -> None:
    driver = PipelineDriver()

    changes = driver.pipe(value, key=key)

    assert changes == []
    (letter,) = driver.dead_letters
    assert (letter.record.value(), letter.record.key(), letter.source.index) == (value, key, -1)


def test_an_event_on_another_partition_ends_as_it_would_at_home() -> None:
    message_id = "SM1"
    elsewhere = (owner_of(message_id, 6) + 1) % 6
    away, home = PipelineDriver(), PipelineDriver()
    for status in ("sent", "delivered", "sent", "delivered"):
        event = raw_event("twilio", message_id, status, channel="SMS")
        away.pipe(event, partition=elsewhere)
        home.pipe(event)

    assert away.timeline(message_id) == home.timeline(message_id) == ["SENT", "DELIVERED"]
    assert away.outcomes["twilio", "forwarded", ""] == 4
    # The source stays the raw record, wherever the event was reduced.
    assert [change.source for change in away.changes] == [
        Source("carrier.status.raw", elsewhere, offset, 0) for offset in (0, 1)
    ]


def test_a_bad_element_of_a_batch_does_not_hold_up_the_rest() -> None:
    driver = PipelineDriver()

    driver.pipe(
        callback(
            "infobip",
            infobip(("a", "DELIVERED_TO_HANDSET"), ("b", "NO SUCH WORD"), ("c", "PENDING_ENROUTE")),
            "application/json",
        )
    )

    assert {change.message_id: str(change.status) for change in driver.changes} == {"a": "DELIVERED", "c": "SENT"}
    (letter,) = driver.dead_letters
    assert (letter.reason, letter.source.index) == (DeadLetterReason.UNKNOWN_STATUS, 1)


def test_a_replay_processes_only_the_element_that_its_header_names() -> None:
    driver = PipelineDriver()
    body = infobip(("a", "DELIVERED_TO_HANDSET"), ("b", "DELIVERED_TO_HANDSET"))

    driver.pipe(callback("infobip", body, "application/json"), headers=[(REPLAY_INDEX, b"1")])

    assert [change.message_id for change in driver.changes] == ["b"]


@pytest.mark.parametrize("index", [b"2", b"x", b"", b"9" * 30])
def test_a_replay_of_an_element_that_is_not_there_is_a_dead_letter(index: bytes) -> None:
    driver = PipelineDriver()

    driver.pipe(
        callback("infobip", infobip(("a", "DELIVERED_TO_HANDSET")), "application/json"),
        headers=[(REPLAY_INDEX, index)],
    )

    assert driver.changes == []
    assert [letter.reason for letter in driver.dead_letters] == [DeadLetterReason.MALFORMED]


def test_a_replay_counts_as_of_the_time_of_the_original_record() -> None:
    driver = PipelineDriver()
    driver.pipe(raw_event("twilio", "SM1", "delivered", channel="SMS"))
    driver.advance_time(8 * DAY_MS)
    late = raw_event("twilio", "SM1", "sent", channel="SMS")

    assert driver.pipe(late, headers=[(REPLAY_TIMESTAMP, str(START_MS).encode())]) == []
    assert [change.sequence for change in driver.pipe(late)] == [1], "without it the message would be forgotten"


def test_a_replay_that_fails_again_does_not_count_towards_the_limit() -> None:
    letters = []
    again: Headers = [(REPLAY_ATTEMPT, b"1"), (REPLAY_OF, b"3:7")]
    for headers in ([], again):
        outbox = Outbox()
        PipelineDriver().pipeline.process_raw("raw", 0, [FakeRecord(7, 0, b"no frame", None, headers)], None, outbox)
        letters.append((len(outbox.dead_letters), outbox.tallies["raw", 0].dead_offsets))

    assert letters == [(1, {7}), (1, set())]


@pytest.mark.parametrize("sound", [True, False])
def test_a_replayed_forward_is_booked_as_forwarded_by_its_replay(sound: bool) -> None:
    driver = PipelineDriver()
    owner = owner_of("SM1", 6)
    driver.pipe(raw_event("twilio", "SM1", "sent", channel="SMS"), partition=(owner + 1) % 6)
    (event,) = [driver.packs.interpret(raw_event("twilio", "SM1", "delivered", channel="SMS"))]
    assert isinstance(event, StatusEvent)
    headers = [origin_header(Source("raw", 5, 99, 2), START_MS), (REPLAY_ATTEMPT, b"1"), (REPLAY_OF, b"3:7")]
    record = FakeRecord(8, START_MS, encode_mapped(event) if sound else b"junk", b"SM1", headers)
    outbox = Outbox()

    driver.pipeline.process_rekeyed("rekeyed", owner, [record], MemoryStates(), outbox)

    outcomes = {outcome: count for (_, outcome, _), count in outbox.tallies["rekeyed", owner].outcomes.items()}
    assert outcomes == {"forwarded": 1, "published" if sound else "dead_lettered": 1}
    assert [change.source for change in outbox.changes[owner]] == ([Source("raw", 5, 99, 2)] if sound else [])


def test_a_callback_without_events_counts_as_one_ignored() -> None:
    driver = PipelineDriver()

    driver.pipe(callback("infobip", b'{"results": []}', "application/json"))

    assert [(outcome, count) for (_, outcome, _), count in driver.outcomes.items()] == [("ignored", 1)]


def test_a_message_that_was_forgotten_begins_again_with_other_ids() -> None:
    driver = PipelineDriver()
    event = raw_event("twilio", "SM1", "delivered", channel="SMS")
    driver.pipe(event)
    driver.advance_time(7 * DAY_MS)
    assert driver.pipe(event) == []
    driver.advance_time(1)

    (again,) = driver.pipe(event)

    assert again.sequence == 1
    assert len({change.change_id for change in driver.changes}) == 2


def test_equal_ids_of_two_accounts_never_meet() -> None:
    driver = PipelineDriver()
    for account in ("a", "b", None):
        driver.pipe(raw_event("twilio", "SM1", "sent", channel="SMS", account=account))

    assert [change.sequence for change in driver.changes] == [1, 1, 1]


def test_a_reply_carries_its_action_and_one_too_many_is_a_dead_letter() -> None:
    driver = PipelineDriver(replies_max=2)
    for number in range(3):
        driver.pipe(
            raw_event(
                "google-rcs",
                "m1",
                "suggestionResponse",
                channel="RCS",
                event_id=f"e{number}",
                action=Action("REPLY", f"choice {number}"),
            )
        )

    assert [change.action for change in driver.changes] == [Action("REPLY", "choice 0"), Action("REPLY", "choice 1")]
    assert [letter.reason for letter in driver.dead_letters] == [DeadLetterReason.TOO_MANY_REPLIES]


def test_the_same_input_gives_the_same_changes() -> None:
    def run() -> list[object]:
        driver = PipelineDriver()
        for record in Simulator(5, events=500):
            driver.pipe(record.value, timestamp_ms=record.timestamp_ms)
        return [*driver.changes]

    assert run() == run()


def letter_of(headers: list[tuple[str, bytes | None]], detail: str = "why", index: int = -1) -> DeadLetter:
    record = FakeRecord(7, 1000, b"value", b"key", headers)
    return DeadLetter(record, Source("raw", 3, 7, index), "map", DeadLetterReason.UNKNOWN_STATUS, detail)


def test_a_dead_letter_knows_the_pack_that_was_asked_and_no_name_from_outside() -> None:
    driver = PipelineDriver()
    driver.pipe(raw_event("Twilio", "SM1", "teleported"))
    driver.pipe(raw_event("made-up", "SM1", "delivered"))
    driver.pipe(b"no frame")

    assert [letter.carrier for letter in driver.dead_letters] == ["twilio", "unknown", "unknown"]


def test_a_dead_letters_headers_say_why_and_keep_the_originals() -> None:
    headers = dead_letter_headers(letter_of([("trace", b"1"), (ERRORS_REASON, b"an earlier round")]), "9.9")

    assert headers[0] == ("trace", b"1")
    assert [value for name, value in headers if name == ERRORS_REASON] == [b"unknown_status"]
    assert ERRORS_INDEX not in dict(headers)
    assert dict(dead_letter_headers(letter_of([], index=4), "9.9"))[ERRORS_INDEX] == b"4"


@given(
    st.lists(st.tuples(st.text(max_size=30), st.none() | st.binary(max_size=3000)), max_size=8), st.text(max_size=400)
)
def test_a_dead_letters_headers_are_bounded(headers: list[tuple[str, bytes | None]], detail: str) -> None:
    found = dead_letter_headers(letter_of(headers, detail), "9.9")

    assert sum(len(name.encode()) + len(value or b"") for name, value in found) <= KEPT_HEADERS_BYTES_MAX + 1024
    assert len(dict(found)[ERRORS_MESSAGE] or b"") <= 256


@pytest.mark.parametrize(
    "occurred_at",
    [0, -1, 946_684_799_999, START_MS + 2 * DAY_MS + 1, 2**62],
    ids=["1970", "unreadable", "1999", "in days", "far future"],
)
def test_a_time_that_cannot_be_true_is_left_out_and_counted(occurred_at: int) -> None:
    driver = PipelineDriver()

    (change,) = driver.pipe(raw_event("twilio", "SM1", "sent", channel="SMS", occurred_at=occurred_at))

    assert change.occurred_at is None
    assert driver.times_left_out == {"twilio": 1}


@pytest.mark.parametrize(
    ("done_at", "left_out"),
    [("2025-12-31T09:42:00.000+0000", 0), ("1970-01-01T00:00:00.000+0000", 1), ("soon", 1), ("", 0)],
)
def test_a_callback_tells_of_its_nonsense_times_too(done_at: str, left_out: int) -> None:
    driver = PipelineDriver()
    body = {"results": [{"messageId": "m1", "status": {"name": "DELIVERED_TO_HANDSET"}, "doneAt": done_at}]}

    (change,) = driver.pipe(callback("infobip", json.dumps(body).encode(), channel="SMS"))

    assert change.status == "DELIVERED"
    assert (change.occurred_at is None) == bool(left_out or not done_at)
    assert driver.times_left_out.total() == left_out


def test_words_without_a_row_are_counted_as_they_came() -> None:
    driver = PipelineDriver()

    driver.pipe(raw_event("twilio", "SM1", "teleported", channel="SMS", error_code="9"))
    driver.pipe(raw_event("twilio", "SM2", "read", channel="SMS"))
    driver.pipe(raw_event("nobody", "SM3", "x" * 1000))

    assert driver.unmapped == {
        ("twilio", "SMS", "teleported", "9"): 1,
        ("twilio", "SMS", "read", ""): 1,
        ("unknown", "", "x" * 64, ""): 1,
    }
