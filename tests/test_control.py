"""Control records: a message is forgotten once, whatever comes before and after, and nothing else is obeyed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.control import (
    FORGET,
    NOTE_CHARS_MAX,
    Forget,
    audit_key,
    decode_audit,
    encode_audit,
    encode_forget,
    forgotten_of,
    request_id,
)
from processor.errors import DeadLetterReason
from processor.headers import CONTROL
from processor.identity import identity_of, owner_of
from processor.pack_files import builtin_texts
from processor.packs import Packs
from processor.testing import START_MS, PipelineDriver, raw_event
from tests.strategies import states

PACKS = Packs.load(builtin_texts())
STATUSES = ("queued", "sent", "delivered", "undelivered", "failed")
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)


def forget(message_id: str = "SM1", place: str = "0 0", **facts: Any) -> Forget:
    account, chain = facts.get("account"), facts.get("chain", "")
    request = request_id(identity_of(account, "twilio", message_id, chain), place)
    return Forget(request, account, "twilio", message_id, chain, START_MS, facts.get("note", ""))


def pipe(driver: PipelineDriver, status: str, message_id: str = "SM1") -> None:
    driver.pipe(raw_event("twilio", message_id, status, channel="SMS"))


def test_what_a_message_was_is_dropped_and_the_next_report_begins_it_anew() -> None:
    driver = PipelineDriver(PACKS)
    pipe(driver, "delivered")
    pipe(driver, "sent", "SM2")

    driver.forget(forget())
    assert driver.state("twilio", "SM1") is None
    pipe(driver, "undelivered")
    pipe(driver, "delivered", "SM2")

    assert [(change.message_id, change.sequence, change.previous) for change in driver.changes] == [
        ("SM1", 1, None),
        ("SM2", 1, None),
        ("SM1", 1, None),
        ("SM2", 2, "SENT"),
    ]
    assert driver.timeline("SM1") == ["DELIVERED", "UNDELIVERED"]
    (forgotten,) = driver.forgotten
    assert (forgotten.status, forgotten.sequence) == ("DELIVERED", 1)


@given(
    st.lists(st.sampled_from(STATUSES), min_size=1, max_size=6),
    st.lists(st.sampled_from(STATUSES), min_size=1, max_size=6),
    st.booleans(),
)
def test_after_forget_every_message_begins_at_one_with_ids_that_were_never_used(
    before: list[str], after: list[str], elsewhere: bool
) -> None:
    driver, fresh = PipelineDriver(PACKS), PipelineDriver(PACKS)
    partition = (owner_of("SM1", 6) + elsewhere) % 6
    for status in before:
        driver.pipe(raw_event("twilio", "SM1", status, channel="SMS"), partition=partition)
    published = len(driver.changes)

    driver.forget(forget())
    for status in after:
        for each in (driver, fresh):
            each.pipe(raw_event("twilio", "SM1", status, channel="SMS"), partition=partition)

    again = driver.changes[published:]
    assert [change.sequence for change in again] == [*range(1, len(again) + 1)]
    assert [change.status for change in again] == [change.status for change in fresh.changes]
    assert len({change.change_id for change in driver.changes}) == len(driver.changes)


@given(st.lists(st.sampled_from([*STATUSES, "forget 1", "forget 2"]), max_size=12))
def test_a_request_has_an_effect_once_however_often_it_comes(steps: list[str]) -> None:
    driver, once = PipelineDriver(PACKS), PipelineDriver(PACKS)
    done: set[str] = set()
    for step in steps:
        if not step.startswith("forget"):
            pipe(driver, step)
            pipe(once, step)
            continue
        driver.forget(forget(place=step))
        if step not in done:
            once.forget(forget(place=step))
        done.add(step)

    assert [change[:3] for change in driver.changes] == [change[:3] for change in once.changes]
    assert driver.state("twilio", "SM1") == once.state("twilio", "SM1")
    assert len(driver.forgotten) == len(done)


def test_a_control_record_counts_as_one_event_that_is_ignored() -> None:
    driver = PipelineDriver(PACKS)

    for _ in range(2):
        driver.forget(forget())
    driver.forget(forget()._replace(carrier="nobody-knows", request=request_id("another", "")))

    assert driver.outcomes == {
        ("twilio", "ignored", "forgotten"): 2,
        ("unknown", "ignored", "forgotten"): 1,
    }
    assert driver.records == 3


def test_only_the_identity_that_is_named_is_forgotten() -> None:
    driver = PipelineDriver(PACKS)
    for account in ("a", "b", None):
        driver.pipe(raw_event("twilio", "SM1", "sent", channel="SMS", account=account))

    driver.forget(forget(account="b"))

    assert driver.state("twilio", "SM1", account="a") is not None
    assert driver.state("twilio", "SM1", account="b") is None
    assert driver.state("twilio", "SM1") is not None


def changed(**fields: object) -> bytes:
    return json.dumps({**forget()._asdict(), **fields}).encode()


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (b"remember", encode_forget(forget())),
        (None, encode_forget(forget())),
        (FORGET, None),
        (FORGET, b"no JSON"),
        (FORGET, b"[1]"),
        (FORGET, b"[" * 10_000),
        (FORGET, changed(note="x" * 20_000)),
        (FORGET, changed(note="x" * (NOTE_CHARS_MAX + 1))),
        (FORGET, changed(more=1)),
        (FORGET, json.dumps({"request": forget().request}).encode()),
        (FORGET, changed(message_id="")),
        (FORGET, changed(carrier="")),
        (FORGET, changed(message_id="SM\0one")),
        (FORGET, changed(chain=None)),
        (FORGET, changed(account=7)),
        (FORGET, changed(requested_at=True)),
        (FORGET, changed(requested_at=-1)),
        (FORGET, changed(request="not a UUID")),
        (FORGET, changed(request=forget().request.upper())),
        (FORGET, b'{"request": "\\ud800"}'),
        (FORGET, changed(note="\ud800")),
    ],
)
def test_a_control_record_that_is_not_in_its_form_is_a_dead_letter_and_changes_nothing(
    kind: bytes | None, value: bytes | None
) -> None:
    driver = PipelineDriver(PACKS)
    pipe(driver, "sent")

    driver.pipe_rekeyed(owner_of("SM1", 6), value, [(CONTROL, kind)])

    assert [letter.reason for letter in driver.dead_letters] == [DeadLetterReason.MALFORMED]
    assert driver.state("twilio", "SM1") is not None
    assert not driver.forgotten


@pytest.mark.parametrize("headers", [[], [("foreign", b"1")], [(CONTROL, FORGET), (CONTROL, FORGET)]])
def test_a_record_that_is_neither_forwarded_nor_one_control_record_is_a_dead_letter(
    headers: list[tuple[str, bytes | None]],
) -> None:
    driver = PipelineDriver(PACKS)

    driver.pipe_rekeyed(owner_of("SM1", 6), encode_forget(forget()), headers)

    assert [letter.reason for letter in driver.dead_letters] == [DeadLetterReason.MALFORMED]


def test_a_control_record_on_a_partition_that_does_not_own_its_message_is_a_dead_letter() -> None:
    driver = PipelineDriver(PACKS)

    driver.pipe_rekeyed((owner_of("SM1", 6) + 1) % 6, encode_forget(forget()), [(CONTROL, FORGET)])

    assert [letter.reason for letter in driver.dead_letters] == [DeadLetterReason.MALFORMED]


@given(st.binary(max_size=200))
def test_any_bytes_as_a_control_record_are_a_dead_letter(value: bytes) -> None:
    driver = PipelineDriver(PACKS)

    driver.pipe_rekeyed(0, value, [(CONTROL, FORGET)])

    assert [letter.reason for letter in driver.dead_letters] == [DeadLetterReason.MALFORMED]


@given(TEXT, TEXT, TEXT, st.none() | TEXT, st.none() | states())
def test_an_audit_entry_tells_what_was_asked_and_what_was_dropped(
    message_id: str, chain: str, note: str, account: str | None, state: Any
) -> None:
    asked = Forget(request_id("x", "y"), account, "twilio", message_id or "m", chain, START_MS, note)
    done = forgotten_of(asked, state)

    assert decode_audit(encode_audit(done)) == done


@pytest.mark.parametrize("change", [lambda _: b"", lambda v: v[:-1], lambda v: v.replace(b"note", b"nota")])
def test_an_audit_entry_of_another_form_is_none(change: Callable[[bytes], bytes]) -> None:
    assert decode_audit(change(encode_audit(forgotten_of(forget(), None)))) is None


def test_requests_for_one_state_have_one_id_and_others_have_others() -> None:
    ids = {request_id(identity, place) for identity in ("a", "b") for place in ("0 1 2", "0 2 2")}

    assert len(ids) == 4
    assert request_id("a", "0 1 2") in ids
    assert audit_key(request_id("a", "0 1 2")).startswith(b"\0")
