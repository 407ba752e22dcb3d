"""What other packs would make of what has come: told by kind, with a place to look at, and nobody's number."""

from __future__ import annotations

import json
from collections.abc import Sequence

from processor.cli.carriers_diff import diff_as_json, diff_as_lines
from processor.codec import Decoder, encode_callback, encode_raw_events
from processor.headers import REPLAY_INDEX
from processor.model import RawCallback, RawStatusEvent
from processor.pack_diff import Found, Kind, PackDiff, Words
from processor.packs import Packs
from processor.testing import FakeRecord, callback, raw_event

HEAD = """carrier = "acme"
name = "Acme"
sources = ["https://acme.example/docs"]
"""
EVENTS = """[channels.SMS.statuses]
landed = "DELIVERED"
lost = "FAILED"
[[examples]]
channel = "SMS"
rows = [["landed", "DELIVERED"], ["lost", "FAILED"]]
"""
CALLBACKS = """[[callbacks]]
format = "json"
each = ["reports"]
[callbacks.fields]
message_id = "id"
status = "state"
"""


def packs(text: str = EVENTS, head: str = HEAD) -> Packs:
    return Packs.load({"acme.toml": head + text}, b"key")


def records(values: Sequence[RawStatusEvent | RawCallback | bytes], **more: object) -> list[FakeRecord]:
    encoded = [
        encode_raw_events([value])[0]
        if isinstance(value, RawStatusEvent)
        else encode_callback(value)
        if isinstance(value, RawCallback)
        else value
        for value in values
    ]
    return [FakeRecord(at, 0, value, None, **more) for at, value in enumerate(encoded)]  # type: ignore[arg-type]  # by name


def compared(before: Packs, after: Packs, values: Sequence[RawStatusEvent | RawCallback | bytes]) -> PackDiff:
    found = PackDiff(Decoder(), before, after)
    found.add("raw", 3, records(values))
    return found


def event(status: str, number: int = 1, **facts: object) -> RawStatusEvent:
    return raw_event("acme", f"id-{number}", status, channel="SMS", **facts)


def test_the_same_packs_map_everything_as_before() -> None:
    found = compared(packs(), packs(), [event("landed"), event("unheard of"), b"no frame"])

    assert (found.same, found.different, found.undecodable, found.kinds) == (2, 0, 1, {})


def test_a_new_row_takes_events_out_of_the_dead_letters() -> None:
    after = packs(EVENTS.replace('lost = "FAILED"', 'lost = "EXPIRED"\ngone = "REJECTED"'))

    found = compared(packs(), after, [event("gone"), event("landed"), event("gone", 2), event("lost", error_code="7")])

    assert found.ranked() == [
        (
            Kind(Words("acme", "SMS", "gone", ""), "dead letter (unknown_status)", "REJECTED", ()),
            Found(2, "raw[3]@0"),
        ),
        (Kind(Words("acme", "SMS", "lost", "7"), "FAILED", "EXPIRED", ()), Found(1, "raw[3]@3")),
    ]
    assert (found.same, found.different) == (1, 3)


def test_another_identity_is_a_difference_and_is_not_shown() -> None:
    after = packs(EVENTS, HEAD + '[ids]\ncase = "lower"\n')

    found = compared(packs(), after, [event("landed")._replace(message_id="ABC-447700900123")])

    (kind,) = found.kinds
    assert (kind.before, kind.after, kind.facts) == ("DELIVERED", "DELIVERED", ("identity",))
    assert "447700900123" not in json.dumps(diff_as_json(found, 0, 10)).lower()


def test_elements_of_a_batch_are_compared_one_by_one() -> None:
    body = json.dumps({"reports": [{"id": "1", "state": "landed"}, {"id": "2", "state": "gone"}]}).encode()
    after = EVENTS.replace("lost =", 'gone = "FAILED"\nlost =')

    found = compared(packs(CALLBACKS + EVENTS), packs(CALLBACKS + after), [callback("acme", body, channel="SMS")])

    ((kind, count),) = found.ranked()
    assert (kind.words.status, kind.before, kind.after) == ("gone", "dead letter (unknown_status)", "FAILED")
    assert (count.events, found.same) == (1, 1)


def test_a_callback_that_only_one_of_them_can_read_is_different_event_by_event() -> None:
    body = json.dumps({"reports": [{"id": "1", "state": "landed"}, {"id": "2", "state": "landed"}]}).encode()

    found = compared(packs(EVENTS), packs(CALLBACKS + EVENTS), [callback("acme", body, channel="SMS")])

    assert found.different == 2
    assert sum(found.moves().values()) == 2
    assert {after for _, after in found.moves()} == {"DELIVERED"}


def test_a_replayed_letter_is_its_one_element() -> None:
    body = json.dumps({"reports": [{"id": "1", "state": "gone"}, {"id": "2", "state": "landed"}]}).encode()
    after = packs(CALLBACKS + EVENTS.replace("lost =", 'gone = "FAILED"\nlost ='))
    found = PackDiff(Decoder(), packs(CALLBACKS + EVENTS), after)

    headers = [(REPLAY_INDEX, b"1")]
    found.add("raw", 0, records([callback("acme", body, channel="SMS")], record_headers=headers))

    assert (found.same, found.different) == (1, 0)


def test_an_unknown_carrier_is_named_with_its_numbers_masked() -> None:
    found = compared(packs(), packs(EVENTS, HEAD.replace('"acme"', '"beta"')), [event("landed")])
    other = compared(packs(), packs(), [raw_event("+44 7700 900123", "id", "landed", channel="SMS")])

    (kind,) = found.kinds
    assert kind == Kind(Words("acme", "SMS", "landed", ""), "DELIVERED", "dead letter (unknown_carrier)", ())
    assert (other.same, other.kinds) == (1, {})


def test_a_comparison_is_told_to_people() -> None:
    after = packs(EVENTS.replace('lost = "FAILED"', 'lost = "EXPIRED"'))
    found = compared(packs(), after, [event("lost"), event("landed")])

    assert [" ".join(line.split()) for line in diff_as_lines(found, 1_795_420_800_000, 10)] == [
        "events carrier channel status error code before after also differs first at",
        "1 acme SMS lost · FAILED EXPIRED · raw[3]@0",
        "FAILED -> EXPIRED: 1",
        "2 records since 2026-11-23T08:00:00Z: 1 events map as before, 1 differently",
    ]
