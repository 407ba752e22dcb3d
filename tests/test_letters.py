"""A dead letter tells why, where from and how often; filters choose by that, and marks take out what was replayed."""

from __future__ import annotations

import json

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.cli.letter_options import LetterPosition
from processor.cli.letters_shown import full_as_lines, letter_as_json, letter_as_line, letter_in_full
from processor.errors import FatalError
from processor.headers import (
    ERRORS_REASON,
    REPLAY_ATTEMPT,
    REPLAY_FIRST_FAILED,
    REPLAY_INDEX,
    REPLAY_MARK,
    REPLAY_OF,
    REPLAY_TIMESTAMP,
    Headers,
    dead_letter_headers,
)
from processor.identity import owner_of
from processor.letter_marks import mark_of, marked_by, marked_offsets
from processor.letters import Letter, LetterBox, LetterFilter
from processor.model import Action, RawStatusEvent, Source
from processor.pack_files import builtin_texts
from processor.packs import Packs
from processor.testing import RAW_TOPIC, REKEYED_TOPIC, START_MS, PipelineDriver, callback, raw_event
from tests.letter_records import PARTITION, letter_record, letters_of, mark, reading_of
from tests.test_letter_summary import ACME

PACKS = Packs.load(builtin_texts())
WITH_ACME = Packs.load(builtin_texts() | {"acme.toml": ACME})
NUMBER = "447700900123"


def driver() -> PipelineDriver:
    return PipelineDriver(PACKS)


def read(of: PipelineDriver, packs: Packs = PACKS) -> list[Letter]:
    return reading_of(packs).read(letters_of(of))


def replayed_headers(attempt: int, index: int | None = None) -> Headers:
    headers: Headers = [
        (REPLAY_ATTEMPT, str(attempt).encode()),
        (REPLAY_OF, b"3:7"),
        (REPLAY_TIMESTAMP, str(START_MS - 5_000).encode()),
        (REPLAY_FIRST_FAILED, str(START_MS - 4_000).encode()),
    ]
    return headers if index is None else [*headers, (REPLAY_INDEX, str(index).encode())]


def test_a_letter_tells_why_whose_and_where_from() -> None:
    scene = driver()
    scene.pipe(raw_event("twilio", "SM1", "teleported", channel="SMS", error_code="9"), partition=2)

    assert read(scene) == [
        Letter(
            partition=PARTITION,
            offset=0,
            written_at=START_MS + 1000,
            reason="unknown_status",
            stage="map",
            source=Source(RAW_TOPIC, 2, 0, 0),
            happened_at=START_MS,
            attempt=0,
            first_failed_at=START_MS + 1000,
            sha256="",
            carrier="twilio",
            channel="SMS",
            status="teleported",
            error_code="9",
            understood=False,
        )
    ]


def test_a_letter_that_failed_again_tells_how_often_and_since_when() -> None:
    scene = driver()
    scene.pipe(raw_event("twilio", "SM1", "teleported", channel="SMS"), headers=replayed_headers(2))

    (letter,) = read(scene)

    assert (letter.attempt, letter.happened_at, letter.first_failed_at) == (2, START_MS - 5_000, START_MS - 4_000)


def test_a_replay_that_failed_as_a_whole_stays_about_its_element() -> None:
    scene = driver()
    scene.pipe(callback("infobip", b'{"results": "none"}', "application/json"), headers=replayed_headers(1, index=4))

    (letter,) = read(scene)

    assert (letter.stage, letter.source.index) == ("extract", 4)


def test_what_a_replay_wrote_is_kept_however_much_stands_before_it() -> None:
    scene = driver()
    own: Headers = [("trace", b"x" * 4000), ("more", b"y" * 4000)]
    scene.pipe(raw_event("acme", "m1", "landed"), headers=[*own, *replayed_headers(1, 0)])

    (failed,) = scene.dead_letters
    names = [name for name, _ in dead_letter_headers(failed, "test")]

    assert names[:6] == ["trace", REPLAY_ATTEMPT, REPLAY_OF, REPLAY_TIMESTAMP, REPLAY_FIRST_FAILED, REPLAY_INDEX]


def reply(number: int) -> RawStatusEvent:
    action = Action("REPLY", f"choice {number}")
    return raw_event("google-rcs", "m1", "suggestionResponse", channel="RCS", event_id=f"e{number}", action=action)


def test_letters_of_forwarded_events_are_read_as_what_they_are() -> None:
    scene = PipelineDriver(PACKS, replies_max=1)
    elsewhere = (owner_of("m1", 6) + 1) % 6
    for number in range(2):
        scene.pipe(reply(number), partition=elsewhere)

    (letter,) = read(scene)

    assert letter.source[:2] == (REKEYED_TOPIC, owner_of("m1", 6))
    assert (letter.stage, letter.reason, letter.happened_at) == ("reduce", "too_many_replies", START_MS)
    assert (letter.carrier, letter.channel, letter.status) == ("google-rcs", "RCS", "suggestionResponse")
    assert not letter.understood, "it was never the packs that did not understand"


@pytest.mark.parametrize(
    ("value", "understood"),
    [
        (raw_event("acme", "m1", "landed"), True),
        (raw_event("acme", "m1", "lost"), False),
        (b"no frame", False),
        (callback("acme", b"{}", "application/json"), False),
    ],
)
def test_understood_is_what_the_packs_of_now_understand(value: object, understood: bool) -> None:
    scene = driver()
    scene.pipe(value)  # type: ignore[arg-type]  # one of what a driver takes

    (letter,) = read(scene, WITH_ACME)

    assert letter.understood is understood


def test_a_record_of_somebody_elses_is_a_letter_from_nowhere() -> None:
    (letter,) = reading_of(PACKS).read([letter_record(5, None, [("theirs", b"1")])])

    assert (letter.reason, letter.stage, letter.source) == ("unknown", "unknown", Source("", -1, -1, -1))


LETTER = Letter(
    3, 17, 1000, "unknown_status", "map", Source("raw", 2, 118, 1), 900, 0, 1000, "", "twilio", "SMS", "odd", "", True
)


@pytest.mark.parametrize(
    ("wanted", "takes"),
    [
        (LetterFilter(), True),
        (LetterFilter(reasons=frozenset({"unknown_status", "malformed"})), True),
        (LetterFilter(reasons=frozenset({"malformed"})), False),
        (LetterFilter(stages=frozenset({"map"}), carriers=frozenset({"twilio"})), True),
        (LetterFilter(stages=frozenset({"map"}), carriers=frozenset({"vonage"})), False),
        (LetterFilter(channels=frozenset({"SMS"}), statuses=frozenset({"odd"})), True),
        (LetterFilter(channels=frozenset({"RCS"})), False),
        (LetterFilter(statuses=frozenset({"even"})), False),
        (LetterFilter(since_ms=1000, until_ms=1001), True),
        (LetterFilter(since_ms=1001), False),
        (LetterFilter(until_ms=1000), False),
        (LetterFilter(positions=frozenset({(3, 17)})), True),
        (LetterFilter(positions=frozenset({(3, 18)})), False),
        (LetterFilter(source_topic="raw", source_partition=2, source_offset=118), True),
        (LetterFilter(source_partition=0), False),
        (LetterFilter(source_offset=17), False),
        (LetterFilter(source_topic="rekeyed"), False),
        (LetterFilter(understood=True), True),
    ],
)
def test_a_filter_takes_what_has_all_that_it_names(wanted: LetterFilter, takes: bool) -> None:
    assert wanted.takes(LETTER) is takes


def test_not_understood_letters_are_left_out_where_that_is_asked_for() -> None:
    assert not LetterFilter(understood=True).takes(LETTER._replace(understood=False))


# Marks


@given(st.sets(st.integers(0, 400), min_size=1))
def test_a_mark_names_exactly_the_letters_that_it_was_made_of(offsets: set[int]) -> None:
    found = marked_offsets(mark(900, offsets))

    assert found is not None
    assert sorted(found) == sorted(offsets)


def test_a_mark_says_who_and_a_letter_is_no_mark() -> None:
    scene = driver()
    scene.pipe(b"no frame")

    assert marked_by(mark(9, [1])) == "alice@ops"
    assert [marked_offsets(record) for record in letters_of(scene)] == [None]


@pytest.mark.parametrize(
    ("version", "value"),
    [
        (b"2", mark_of([1], "x")[0]),
        (b"1", b"nonsense"),
        (b"1", b"{}"),
        (b"1", None),
        (b"1", b'{"replayed":[[1,99999999999]]}'),
        (b"1", b'{"replayed":[[2,1]]}'),
    ],
)
def test_a_mark_that_cannot_be_read_stops_whoever_reads_it(version: bytes, value: bytes | None) -> None:
    with pytest.raises(FatalError, match="newer version"):
        marked_offsets(letter_record(9, value, [(REPLAY_MARK, version)]))


def test_a_mark_takes_its_letters_out_of_its_own_partition_only() -> None:
    scene = driver()
    for number in range(4):
        scene.pipe(raw_event("acme", f"m{number}", "landed"))
    box = LetterBox(reading_of(PACKS), LetterFilter())

    box.add([*letters_of(scene), mark(4, [1, 2]), mark(0, [3], partition=PARTITION + 1)])

    assert sorted(box.open) == [(PARTITION, 0), (PARTITION, 3)]
    assert sorted(box.replayed) == [(PARTITION, 1), (PARTITION, 2)]
    assert box.seen == 4


# What is shown


def shown_in_full(scene: PipelineDriver) -> str:
    (record,) = letters_of(scene)
    reading = reading_of(PACKS)
    full = letter_in_full(reading.read([record])[0], record, reading.content(record), "alice@ops")
    return "\n".join(full_as_lines(full)) + json.dumps(full)


def test_a_line_has_place_time_reason_words_and_source() -> None:
    line = letter_as_line(LETTER._replace(attempt=2), replayed=True)

    assert line == (
        "3:17      1970-01-01 00:00:01  unknown_status (map)  twilio SMS 'odd'  from raw[2]@118 element 1 "
        "(understood now, replayed 2 times before, replayed)"
    )


def test_machines_get_null_for_what_is_not_known() -> None:
    shown = letter_as_json(LETTER._replace(source=Source("raw", 2, 118, -1), happened_at=-1))

    assert shown["source"] == {"topic": "raw", "partition": 2, "offset": 118, "index": None}
    assert (shown["happened_at"], shown["error_code"]) == (None, None)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (json.dumps({"results": [{"messageId": "m1", "to": NUMBER, "status": {"name": "ODD"}}]}), "application/json"),
        ('{"results": [{"messageId": "m1", "to": "\\u002b\\u0034' + NUMBER[1:] + '"}]}', "application/json"),
        (f"to=%2B{NUMBER}&status=odd", "application/x-www-form-urlencoded"),
        (f"<report><to>{NUMBER}</to></report>", "text/xml"),
    ],
)
def test_a_callback_is_shown_without_numbers(body: str, content_type: str) -> None:
    scene = driver()
    scene.pipe(
        callback("infobip", body.encode(), content_type, channel="SMS", attributes={"from": f"+{NUMBER}"}),
        key=NUMBER.encode(),
        headers=[("caller", NUMBER.encode())],
    )

    shown = shown_in_full(scene)

    assert "alice@ops" in shown
    assert NUMBER[1:] not in shown


def test_a_report_is_shown_with_its_ids_and_without_its_recipient() -> None:
    scene = driver()
    scene.pipe(
        raw_event(
            *("twilio", "9876543210987", "odd"), channel="SMS", recipient="some.user@example.com", sender=NUMBER,
            error_text=f"no route to {NUMBER}",
        )
    )  # fmt: skip

    shown = shown_in_full(scene)

    assert "9876543210987" in shown
    assert f"status.errors.timestamp = {START_MS}" in shown
    assert "no route to ***23" in shown
    assert "some.user" not in shown
    assert NUMBER not in shown


# What people type


@pytest.mark.parametrize("text", ["3", "3:", ":17", "a:b", "3:17:1", "-3:17"])
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="3:17"):
        LetterPosition().convert(text, None, None)


def test_a_word_of_the_first_round_is_not_taken_for_the_present_one() -> None:
    scene = driver()
    scene.pipe(raw_event("acme", "m1", "landed"), headers=[(ERRORS_REASON, b"malformed")])

    assert [letter.reason for letter in read(scene)] == ["unknown_carrier"]
