"""The oracle's laws, and that its quick way of telling a status is the plain definition."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.errors import DeadLetterReason
from processor.model import IgnoreReason, StatusEvent, SuppressReason
from processor.reduce import advance
from processor.simulator.expected import ChangeKey, ExpectedEvent, status_of, status_of_parts
from processor.simulator.oracle import Expected, ExpectedChange, Oracle
from processor.status import STATUSES_BY_RANK, Channel, Status
from tests.strategies import events as status_events

KEY = ChangeKey("test", "m1", "", "")


def said(
    status: Status, part_number: int | None = None, parts_total: int | None = None, reply: str | None = None
) -> ExpectedEvent:
    return ExpectedEvent("test", KEY, Channel.RCS, status, part_number, parts_total, reply)


@st.composite
def events(draw: st.DrawFn) -> ExpectedEvent:
    status = draw(st.sampled_from(Status))
    if status is Status.REPLY:
        return said(status, reply=draw(st.sampled_from(["a", "b", "c"])))
    if draw(st.booleans()):
        return said(status, parts_total=draw(st.sampled_from([None, 1, 3])))
    return said(status, draw(st.integers(1, 4)), draw(st.sampled_from([None, 1, 2, 3, 4])))


def feed(sequence: list[ExpectedEvent], **settings: int) -> tuple[Oracle, list[Expected]]:
    oracle = Oracle(**settings)
    return oracle, [oracle.feed(at, event) for at, event in enumerate(sequence)]


def outcome(first: list[ExpectedEvent], last: ExpectedEvent) -> Expected:
    return feed([*first, last])[1][-1]


SEQUENCES = st.lists(events(), min_size=1, max_size=12)


@given(SEQUENCES, st.randoms(use_true_random=False), st.data())
def test_any_permutation_and_repetition_ends_in_the_same_status(
    sequence: list[ExpectedEvent], shuffler: random.Random, data: st.DataObject
) -> None:
    again = sequence + data.draw(st.lists(st.sampled_from(sequence), max_size=6))
    shuffler.shuffle(again)
    ends = [{key: status for key, (status, _) in feed(order)[0].final.items()} for order in (sequence, again)]

    assert ends[0] == ends[1]


@given(SEQUENCES)
def test_a_change_is_expected_exactly_when_the_defined_status_rises_or_a_reply_is_new(
    sequence: list[ExpectedEvent],
) -> None:
    oracle, outcomes = feed(sequence)
    previous: Status | None = None
    sequence_number = 0
    for at, event in enumerate(sequence):
        defined = status_of(sequence[: at + 1])
        is_new_reply = event.status is Status.REPLY and event not in sequence[:at]
        if defined is not previous or is_new_reply:
            sequence_number += 1
            assert defined is not None
            assert outcomes[at] == ExpectedChange(KEY, sequence_number, defined, previous, Channel.RCS)
        else:
            assert isinstance(outcomes[at], SuppressReason)
        previous = defined

    assert oracle.final == ({KEY: (previous, sequence_number)} if previous else {})


@given(st.lists(status_events(), min_size=1, max_size=14))
def test_the_reducer_and_the_oracle_agree_on_any_events(sequence: list[StatusEvent]) -> None:
    oracle = Oracle()
    state = None
    for at, event in enumerate(sequence):
        report = event.report
        reply = report.event_id or f"{report.action} at {report.occurred_at}"
        status = event.meaning.status
        expected = oracle.feed(at, said(status, report.part_number, report.parts_total, reply))
        state, suppressed = advance(state, event, at)
        if suppressed is None:
            assert isinstance(expected, ExpectedChange)
            assert (expected.sequence, expected.status) == (state.sequence, STATUSES_BY_RANK[state.status])
        else:
            assert expected is suppressed


@pytest.mark.parametrize(
    ("known", "event", "reason"),
    [
        ([said(Status.SENT)], said(Status.SENT), SuppressReason.REPEAT),
        ([said(Status.FAILED)], said(Status.SENT), SuppressReason.LATE),
        ([said(Status.EXPIRED)], said(Status.FAILED), SuppressReason.LATE),
        ([said(Status.PARTIALDELIVERED)], said(Status.FAILED), SuppressReason.LATE),
        ([said(Status.DELIVERED)], said(Status.FAILED), SuppressReason.CONFLICT),
        ([said(Status.REPLY, reply="a")], said(Status.EXPIRED), SuppressReason.CONFLICT),
        ([said(Status.REPLY, reply="a")], said(Status.READ), SuppressReason.LATE),
        ([said(Status.REPLY, reply="a")], said(Status.REPLY, reply="a"), SuppressReason.REPEAT),
        ([], said(Status.PENDING, 1, 2), SuppressReason.PART),
        ([said(Status.DELIVERED, 1, 3)], said(Status.DELIVERED, 2, 3), SuppressReason.PART),
        ([said(Status.DELIVERED, 1, 3)], said(Status.DELIVERED, 1, 3), SuppressReason.REPEAT),
        ([said(Status.DELIVERED, 1, 3)], said(Status.SENT, 1, 3), SuppressReason.LATE),
        ([said(Status.DELIVERED, 1, 3)], said(Status.FAILED, 1, 3), SuppressReason.CONFLICT),
        ([said(Status.DELIVERED, 1, 3)], said(Status.FAILED, 2, 3), SuppressReason.PART),
        ([said(Status.SENT, 1, 4)], said(Status.SENT, 1, 3), SuppressReason.PART),
        ([said(Status.READ)], said(Status.DELIVERED, 1, 2), SuppressReason.PART),
        ([said(Status.SENT)], said(Status.SENT, 1, 1), SuppressReason.REPEAT),
    ],
)
def test_what_changes_nothing_has_its_reason(
    known: list[ExpectedEvent], event: ExpectedEvent, reason: SuppressReason
) -> None:
    assert outcome(known, event) is reason


@pytest.mark.parametrize(
    ("parts", "total", "expected"),
    [
        ([Status.DELIVERED, Status.DELIVERED], 2, Status.DELIVERED),
        ([Status.DELIVERED], 2, Status.PARTIALDELIVERED),
        ([Status.DELIVERED, Status.READ], None, Status.PARTIALDELIVERED),
        ([Status.SENT], 2, Status.PARTIALLYSENT),
        ([Status.QUEUED], 2, None),
        ([Status.PENDING, Status.QUEUED], 2, Status.PENDING),
        ([Status.EXPIRED, Status.FAILED], 2, Status.EXPIRED),
        ([Status.EXPIRED], None, Status.PARTIALLYSENT),
        ([Status.EXPIRED, Status.DELIVERED], 2, Status.PARTIALDELIVERED),
        ([Status.READ, Status.DELIVERED], 2, Status.DELIVERED),
    ],
)
def test_parts_say_what_the_design_says(parts: list[Status], total: int | None, expected: Status | None) -> None:
    assert status_of_parts(dict(enumerate(parts, 1)), total) is expected


def test_a_message_is_forgotten_after_the_retention_since_its_last_change() -> None:
    oracle = Oracle(retention_ms=100)

    assert isinstance(oracle.feed(0, said(Status.SENT)), ExpectedChange)
    assert oracle.feed(60, said(Status.SENT)) is SuppressReason.REPEAT
    assert oracle.feed(100, said(Status.SENT)) is SuppressReason.REPEAT
    assert oracle.feed(101, said(Status.SENT)) == ExpectedChange(KEY, 1, Status.SENT, None, Channel.RCS)
    assert oracle.forgotten == 1
    assert oracle.final == {KEY: (Status.SENT, 1)}


def test_parts_without_a_change_are_forgotten_after_the_retention_since_the_first() -> None:
    oracle = Oracle(retention_ms=100)

    assert oracle.feed(0, said(Status.PENDING, 1, 5)) is SuppressReason.PART
    assert oracle.feed(90, said(Status.PENDING, 2, 5)) is SuppressReason.PART
    assert oracle.feed(100, said(Status.PENDING, 2, 5)) is SuppressReason.REPEAT
    assert oracle.feed(101, said(Status.PENDING, 2, 5)) is SuppressReason.PART


def test_one_reply_more_than_the_limit_is_a_dead_letter() -> None:
    _, outcomes = feed([said(Status.REPLY, reply=name) for name in "abc"], replies_max=2)

    assert outcomes[2] is DeadLetterReason.TOO_MANY_REPLIES


def test_every_event_is_counted_once_in_the_words_of_the_metrics() -> None:
    ignored = ExpectedEvent("test", KEY, Channel.RCS, None, ignored=IgnoreReason.LISTED)
    dead = ExpectedEvent("unknown", None, None, None, dead_letter=DeadLetterReason.UNDECODABLE)
    oracle, _ = feed([said(Status.SENT), said(Status.SENT), said(Status.PENDING), ignored, dead, dead])

    assert oracle.totals == {
        ("test", "published", ""): 1,
        ("test", "repeat", ""): 1,
        ("test", "late", ""): 1,
        ("test", "ignored", "listed"): 1,
        ("unknown", "dead_lettered", "undecodable"): 2,
    }
    assert oracle.by_outcome["dead_lettered"] == 2
