"""Dead letters are counted by what they have in common, and nobody's number is shown."""

from __future__ import annotations

import json

from processor.cli.letters_shown import summary_as_json, summary_as_lines
from processor.letter_summary import Kind, LetterSummary
from processor.letters import LetterBox, LetterFilter
from processor.pack_files import builtin_texts
from processor.packs import Packs
from processor.testing import PipelineDriver, callback, raw_event
from tests.letter_records import letters_of, mark, reading_of

ACME = """carrier = "acme"
name = "Acme"
sources = ["https://acme.example/docs"]
[channels.SMS.statuses]
landed = "DELIVERED"
[[examples]]
channel = "SMS"
rows = [["landed", "DELIVERED"]]
"""


def box(driver: PipelineDriver, packs: Packs | None = None) -> LetterBox:
    found = LetterBox(reading_of(packs or driver.packs), LetterFilter())
    found.add(letters_of(driver))
    return found


def summary(driver: PipelineDriver, packs: Packs | None = None) -> LetterSummary:
    found = LetterSummary()
    found.add(box(driver, packs).open.values())
    return found


def test_letters_are_counted_by_what_the_carrier_said() -> None:
    driver = PipelineDriver()
    for number in range(3):
        driver.pipe(raw_event("twilio", f"SM{number}", "teleported", channel="SMS", error_code="9"))
    driver.pipe(raw_event("twilio", "SM9", "read", channel="SMS"))
    driver.pipe(b"no frame")

    found = summary(driver)

    assert [(kind, count.letters) for kind, count in found.ranked()] == [
        (Kind("unknown_status", "map", "twilio", "SMS", "teleported", "9"), 3),
        (Kind("status_not_on_channel", "map", "twilio", "SMS", "read"), 1),
        (Kind("undecodable", "decode", "unknown"), 1),
    ]
    assert found.reasons() == {"unknown_status": 3, "status_not_on_channel": 1, "undecodable": 1}


def test_the_failed_element_of_a_batch_is_the_one_that_is_told() -> None:
    driver = PipelineDriver()
    results = [{"messageId": "m1", "status": {"name": name}} for name in ("DELIVERED_TO_HANDSET", "GONE_FISHING")]
    driver.pipe(callback("infobip", json.dumps({"results": results}).encode(), channel="SMS"))

    ((kind, count),) = summary(driver).ranked()

    assert kind == Kind("unknown_status", "map", "infobip", "SMS", "GONE_FISHING")
    assert count.letters == 1


def test_what_the_present_packs_understand_is_told_apart() -> None:
    driver = PipelineDriver()
    driver.pipe(raw_event("acme", "m1", "landed"))
    driver.pipe(raw_event("acme", "m2", "lost"))

    found = summary(driver, Packs.load(builtin_texts() | {"acme.toml": ACME}))

    assert [(kind.status, count.letters, count.understood) for kind, count in found.ranked()] == [
        ("landed", 1, 1),
        ("lost", 1, 0),
    ]


def test_a_number_in_a_carriers_word_is_masked() -> None:
    driver = PipelineDriver()
    driver.pipe(raw_event("twilio", "SM1", "sent to +447700900123", channel="SMS"))

    found = summary(driver)
    shown = "\n".join(summary_as_lines(found, 10, 0)) + json.dumps(summary_as_json(found, found.ranked(), 0))

    assert "***23" in shown
    assert "447700900" not in shown


def test_a_table_has_the_most_first_and_says_what_it_leaves_out() -> None:
    driver = PipelineDriver()
    for word in ("one", "two", "two"):
        driver.pipe(raw_event("twilio", f"SM{word}", word, channel="SMS"))
    found = summary(driver)

    lines = [" ".join(line.split()) for line in summary_as_lines(found, 1, 0)]

    assert lines == [
        "letters understood now reason carrier channel status error code first last",
        "2 0 unknown_status twilio SMS two · 2026-01-01 00:00 2026-01-01 00:00",
        "3 dead letters: unknown_status 3",
        "1 more kinds: --top shows more",
    ]


def test_nothing_is_said_to_be_nothing() -> None:
    found = summary(PipelineDriver())

    assert summary_as_lines(found, 10, 0) == ["no dead letters"]


def test_letters_that_were_replayed_are_only_told_as_a_number() -> None:
    driver = PipelineDriver()
    for number in range(3):
        driver.pipe(raw_event("twilio", f"SM{number}", "teleported", channel="SMS"))
    found = box(driver)
    found.add([mark(3, [0, 2])])
    counted = LetterSummary()
    counted.add(found.open.values())

    assert summary_as_json(counted, counted.ranked(), len(found.replayed))["letters"] == 1
    assert summary_as_lines(counted, 10, len(found.replayed))[-1] == (
        "1 dead letters: unknown_status 1; 2 more were replayed"
    )
