"""What became of a message's reports, worked out from what is there to read, is what the worker had made of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.cli.inspect_view import inspected_as_json, inspected_as_lines
from processor.control import Forget, encode_audit, forgotten_of, request_id
from processor.inspection import Inspected, Letter, Report, Traced, reports_in, traced
from processor.inspector import Inspector
from processor.known import Choice, Knowledge
from processor.model import MessageState, RawStatusEvent, Source
from processor.pack_files import builtin_texts
from processor.packs import Packs
from processor.settings_model import Topics
from processor.state_codec import RESET_KEY, encode_state
from processor.testing import RAW_TOPIC, START_MS, FakeRecord, PipelineDriver, callback, raw_event

PACKS = Packs.load(builtin_texts())
ANY = Choice()
STATUSES = ("queued", "sent", "delivered", "undelivered", "failed")


def report(status: str, **facts: object) -> RawStatusEvent:
    return raw_event("twilio", "SM1", status, channel="SMS", **facts)


def found_of(driver: PipelineDriver, events: Iterable[RawStatusEvent]) -> Inspected:
    """Return what a reader would find of these reports, and of what a driver published of them."""
    found = Inspected(changes=[change for change in driver.changes if change.message_id == "SM1"])
    for offset, event in enumerate(events):
        for index, mapped, why_not in reports_in(PACKS, event, "SM1", ANY):
            source = Source(RAW_TOPIC, 0, offset, index)
            found.reports[source] = Report(source, START_MS + offset, mapped, why_not, is_forwarded=False)
    return found


def outcomes(lines: Iterable[Traced]) -> list[str]:
    return [str(line.outcome) for line in lines]


@given(
    st.lists(
        st.builds(
            report,
            st.sampled_from(STATUSES),
            account=st.sampled_from([None, "b"]),
            part_number=st.sampled_from([None, None, 1, 2]),
            parts_total=st.just(2),
        ),
        max_size=12,
    ),
    st.sets(st.integers(0, 12)),
)
def test_every_report_is_said_to_have_become_what_it_did(events: list[RawStatusEvent], forgets: set[int]) -> None:
    driver = PipelineDriver(PACKS, partitions=1)
    became: list[str] = []
    driver.pipeline.observe = lambda _, outcome: became.append(str(outcome))
    for number, event in enumerate(events):
        if number in forgets:
            driver.forget(Forget(request_id("SM1", str(number)), None, "twilio", "SM1", "", 0, ""))
        driver.pipe(event, partition=0)

    found = outcomes(traced(found_of(driver, events), lambda _: True))

    # Where a message was forgotten before a report that published nothing, that report's reason may be of before.
    assert [each == "published" for each in found] == [each == "published" for each in became]
    if not forgets:
        assert found == became


def test_a_report_that_was_overtaken_is_told_from_one_whose_change_is_gone() -> None:
    driver = PipelineDriver(PACKS, partitions=1)
    driver.pipe(report("sent"))
    found = found_of(driver, [report("sent")])
    earlier = Source(RAW_TOPIC, 1, 7, 0)
    for status, place in (("queued", earlier), ("delivered", earlier._replace(offset=8))):
        ((_, mapped, _),) = reports_in(PACKS, report(status), "SM1", ANY)
        found.reports[place] = Report(place, START_MS - 10, mapped, "", is_forwarded=True)

    assert outcomes(traced(found, lambda _: True)) == ["late", "unclear", "published"]


def test_what_lies_behind_the_offsets_waits_and_a_dead_letter_is_told_as_one() -> None:
    driver = PipelineDriver(PACKS, partitions=1)
    events = [report("sent"), report("teleported"), report("delivered")]
    for event in events[:2]:
        driver.pipe(event)
    found = found_of(driver, events)
    found.letters.append(Letter(Source(RAW_TOPIC, 0, 1, 0), START_MS, "unknown_status", "map", "no row"))

    assert outcomes(traced(found, lambda one: one.source.offset < 2)) == ["published", "dead_lettered", "waiting"]


def test_only_the_elements_about_the_message_are_taken_from_a_callback() -> None:
    body = b'{"results":[%s]}' % b",".join(
        b'{"messageId":"%s","status":{"name":"%s"}}' % pair
        for pair in [
            (b"a", b"PENDING_ENROUTE"),
            (b"b", b"PENDING_ENROUTE"),
            (b"a", b"NO_SUCH"),
            (b"a", b"REJECTED_DND"),
        ]
    )
    item = callback("infobip", body, "application/json", channel="SMS")

    found = [(index, why) for index, _, why in reports_in(PACKS, item, "a", ANY)]

    assert found[:2] == [(0, ""), (2, "unknown_status")]
    assert [index for index, _, _ in reports_in(PACKS, item, "a", ANY, only=2)] == [2]
    assert [*reports_in(PACKS, item, "a", Choice(carrier="twilio"))] == []
    assert [*reports_in(PACKS, callback("infobip", b"no JSON"), "a", ANY)] == []


def record(key: bytes, value: bytes | None, offset: int) -> Any:
    return FakeRecord(offset, START_MS + offset, value, key)


def test_the_changelog_tells_what_is_known_and_what_was_forgotten_of_one_id() -> None:
    state = MessageState(3, 2, START_MS)
    asked = Forget(request_id("x", "y"), None, "twilio", "SM1", "", START_MS, "why")
    others = Forget(request_id("x", "z"), None, "twilio", "SM2", "", START_MS, "")
    knowledge = Knowledge("SM1", ANY)

    knowledge.add(
        [
            record(b"twilio\0SM1\0\0", encode_state(state), 0),
            record(b"twilio\0SM1\0b\0chain", encode_state(state), 1),
            record(b"twilio\0SM12\0\0", encode_state(state), 2),
            record(b"twilio\0x\0SM1\0", encode_state(state), 3),
            record(b"\0forget\0one", encode_audit(forgotten_of(asked, state)), 4),
            record(b"\0forget\0two", encode_audit(forgotten_of(others, state)), 5),
            record(b"\0forget\0three", b"of a later version", 6),
            record(b"twilio\0SM1\0\0", None, 7),
        ]
    )

    (known,) = knowledge.known
    assert (known.account, known.chain, known.state, known.offset) == ("b", "chain", state, 1)
    assert [audit.forgotten.forget for audit in knowledge.audits.values()] == [asked]
    assert knowledge.next_offset == 8


def test_a_reset_voids_what_the_changelog_told_before_it() -> None:
    before, after = MessageState(3, 2, START_MS), MessageState(1, 1, START_MS)
    knowledge = Knowledge("SM1", ANY)

    knowledge.add(
        [
            record(b"twilio\0SM1\0\0", encode_state(before), 0),
            record(b"twilio\0SM1\0b\0", encode_state(before), 1),
            record(RESET_KEY, b"{}", 2),
            record(b"twilio\0SM1\0\0", encode_state(after), 3),
        ]
    )

    assert [known.state for known in knowledge.known] == [after]


@pytest.mark.parametrize(
    ("choice", "taken"),
    [
        (Choice(), True),
        (Choice(account="b"), True),
        (Choice(account=""), False),
        (Choice(carrier="twilio", chain="c"), True),
        (Choice(carrier="infobip"), False),
        (Choice(chain=""), False),
    ],
)
def test_a_choice_takes_the_messages_that_are_meant(choice: Choice, taken: bool) -> None:
    assert choice.takes("b", "twilio", "c") is taken
    assert Choice(account="").takes(None, "twilio", "")


def inspector_of(found: Inspected) -> Inspector:
    nothing = cast("Any", None)
    made = Inspector(nothing, Topics(), nothing, nothing, PACKS, "SM1", found=found, since_ms=START_MS)
    made.partitions = 6
    return made


def test_the_view_masks_recipients_and_words_and_escapes_what_comes_from_outside() -> None:
    driver = PipelineDriver(PACKS, partitions=1)
    events = [report("sent", recipient="+4915112345678"), report("delivered", recipient="+4915112345678")]
    for event in events:
        driver.pipe(event)
    found = found_of(driver, events)
    del found.reports[Source(RAW_TOPIC, 0, 1, 0)]
    detail = "\x1b[31m+4915112345678"
    found.letters.append(Letter(Source(RAW_TOPIC, 0, 9, -1), 2**62, "malformed", "extract", detail))
    knowledge = Knowledge("SM1", ANY)
    asked = Forget(request_id("x", "y"), None, "twilio", "SM1", "", START_MS, "call +4915112345678")
    knowledge.add([record(b"\0forget\0one", encode_audit(forgotten_of(asked, None)), 4)])

    lines = [*inspected_as_lines(inspector_of(found), knowledge, show_recipients=False)]
    text = "\n".join(lines)
    full = "\n".join(inspected_as_lines(inspector_of(found), knowledge, show_recipients=True))
    fields = inspected_as_json(inspector_of(found), knowledge, show_recipients=False)

    assert "nothing is known of it now" in text
    assert "published, sequence 1: SENT" in text
    assert "published, sequence 2: SENT -> DELIVERED (report no longer read)" in text
    assert "forgot nothing that was published: call" in text
    assert "to ***78" in text
    assert "12345" not in text
    assert "\x1b" not in text
    assert "+4915112345678" in full
    assert "12345" not in str(fields["changes"]) + str(fields["reports"])
