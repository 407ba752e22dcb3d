"""The reducer's laws: order and repetition must not matter, statuses never fall, reasons are right."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.errors import DeadLetterReason, InputError
from processor.model import Action, MessageState, Parts, StatusEvent, SuppressReason
from processor.reduce import advance, is_forgotten, parts_of, rank_of_parts
from processor.status import STATUSES_BY_RANK, Status
from tests.strategies import RANKS, event, events


def fold(sequence: list[StatusEvent]) -> tuple[MessageState | None, list[Status]]:
    """Run events through the reducer; return the last state and the statuses published."""
    state: MessageState | None = None
    published: list[Status] = []
    for at, each in enumerate(sequence):
        after, suppressed = advance(state, each, at)
        if suppressed is None:
            published.append(STATUSES_BY_RANK[after.status])
            assert after.sequence == len(published)
        elif suppressed is not SuppressReason.PART:
            assert after is state or (state is None and after.sequence == 0)
        state = after
    return state, published


def known(state: MessageState | None) -> object:
    """What must not depend on order: everything but when it happened, how often, and the order of replies."""
    assert state is not None
    return state.status, state.parts_total, state.parts, sorted(state.replies)


@given(st.lists(events(), min_size=1, max_size=12), st.randoms(use_true_random=False), st.data())
def test_any_permutation_and_repetition_ends_in_the_same_status(
    sequence: list[StatusEvent], shuffler: random.Random, data: st.DataObject
) -> None:
    again = sequence + data.draw(st.lists(st.sampled_from(sequence), max_size=6))
    shuffler.shuffle(again)

    assert known(fold(sequence)[0]) == known(fold(again)[0])


@given(st.lists(events(), min_size=1, max_size=12))
def test_published_statuses_rise_and_only_a_reply_follows_a_reply(sequence: list[StatusEvent]) -> None:
    _, published = fold(sequence)

    for before, after in pairwise(published):
        assert before.rank < after.rank or before is after is Status.REPLY


@given(st.lists(events(parts=False, replies=False), min_size=1, max_size=12))
def test_whole_reports_end_in_their_maximum(sequence: list[StatusEvent]) -> None:
    state, _ = fold(sequence)

    assert state is not None
    assert state.status == max(each.meaning.status.rank for each in sequence)


@given(st.lists(events(), min_size=1, max_size=8))
def test_a_repeated_event_publishes_nothing_and_writes_nothing(sequence: list[StatusEvent]) -> None:
    state, _ = fold(sequence)

    for each in sequence:
        after, suppressed = advance(state, each, 99)
        assert after is state
        assert suppressed is not None


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        (Status.SENT, Status.SENT, SuppressReason.REPEAT),
        (Status.FAILED, Status.SENT, SuppressReason.LATE),
        (Status.DELIVERED, Status.SENT, SuppressReason.LATE),
        (Status.DELIVERED, Status.FAILED, SuppressReason.CONFLICT),
        (Status.READ, Status.EXPIRED, SuppressReason.CONFLICT),
        (Status.READ, Status.DELIVERED, SuppressReason.LATE),
        (Status.EXPIRED, Status.FAILED, SuppressReason.LATE),
        (Status.PARTIALDELIVERED, Status.FAILED, SuppressReason.LATE),
        (Status.EXPIRED, Status.DELIVERED, None),
        (Status.FAILED, Status.EXPIRED, None),
        (Status.DELIVERED, Status.READ, None),
    ],
)
def test_what_does_not_raise_the_status_has_its_reason(
    first: Status, second: Status, reason: SuppressReason | None
) -> None:
    state, _ = advance(None, event(first), 0)

    _, suppressed = advance(state, event(second), 1)

    assert suppressed == reason


def test_a_suppressed_event_keeps_nothing_alive() -> None:
    state, _ = advance(None, event(Status.SENT), 5)

    after, _ = advance(state, event(Status.SENT), 1000)

    assert after.changed_at == 5


@pytest.mark.parametrize(
    ("parts", "total", "expected"),
    [
        ({1: Status.DELIVERED, 2: Status.DELIVERED}, 2, Status.DELIVERED),
        ({1: Status.DELIVERED}, 2, Status.PARTIALDELIVERED),
        ({1: Status.DELIVERED, 2: Status.DELIVERED}, None, Status.PARTIALDELIVERED),
        ({1: Status.SENT}, 2, Status.PARTIALLYSENT),
        ({1: Status.SENT, 2: Status.SENT}, 2, Status.SENT),
        ({1: Status.PENDING}, 2, None),
        ({1: Status.PENDING, 2: Status.QUEUED}, 2, Status.PENDING),
        ({1: Status.DELIVERED, 2: Status.EXPIRED}, 2, Status.PARTIALDELIVERED),
        ({1: Status.EXPIRED, 2: Status.FAILED}, 2, Status.EXPIRED),
        ({1: Status.EXPIRED, 2: Status.SENT}, 2, Status.SENT),
        ({1: Status.EXPIRED}, 2, Status.PARTIALLYSENT),
        ({1: Status.READ, 2: Status.DELIVERED}, 2, Status.DELIVERED),
        ({1: Status.FAILED, 2: Status.EXPIRED, 3: Status.PARTIALDELIVERED}, 2, Status.PARTIALDELIVERED),
    ],
)
def test_parts_give_the_whole_its_status(parts: dict[int, Status], total: int | None, expected: Status | None) -> None:
    rank = rank_of_parts([status.rank for status in parts.values()], total)

    assert (STATUSES_BY_RANK[rank] if rank >= 0 else None) == expected


@given(
    st.lists(RANKS.filter(lambda rank: rank < Status.REPLY.rank), min_size=1, max_size=5),
    st.none() | st.integers(2, 5),
    st.data(),
)
def test_more_knowledge_of_parts_never_lowers_the_whole(
    ranks: list[int], total: int | None, data: st.DataObject
) -> None:
    before = rank_of_parts(ranks, total)
    raised = list(ranks)
    at = data.draw(st.integers(0, len(ranks) - 1))
    raised[at] = data.draw(st.integers(ranks[at], Status.READ.rank))
    another = [*ranks, data.draw(st.integers(0, Status.READ.rank))]
    smaller = data.draw(st.integers(2, total or 5))

    assert rank_of_parts(raised, total) >= before
    assert rank_of_parts(another, total) >= before
    assert rank_of_parts(ranks, smaller) >= before


def test_a_part_that_moves_alone_writes_state_and_publishes_nothing() -> None:
    state, first = advance(None, event(Status.DELIVERED, part_number=1, parts_total=3), 0)
    moved, second = advance(state, event(Status.DELIVERED, part_number=2, parts_total=3), 1)

    assert (first, second) == (None, SuppressReason.PART)
    assert moved.sequence == 1
    assert parts_of(moved) == Parts(total=3, delivered=2, failed=0)


def test_one_parts_success_does_not_hide_anothers_failure() -> None:
    state, _ = fold(
        [
            event(Status.REJECTED, part_number=2, parts_total=2),
            event(Status.DELIVERED, part_number=1, parts_total=2),
        ]
    )

    assert state is not None
    assert STATUSES_BY_RANK[state.status] is Status.PARTIALDELIVERED
    assert parts_of(state) == Parts(total=2, delivered=1, failed=1)


def test_each_distinct_reply_is_published_once() -> None:
    yes, no = Action("REPLY", "yes"), Action("REPLY", "no")
    _, published = fold(
        [
            event(Status.REPLY, action=yes, occurred_at=1),
            event(Status.REPLY, action=no, occurred_at=1),
            event(Status.REPLY, action=yes, occurred_at=1),
            event(Status.REPLY, action=yes, occurred_at=2),
            event(Status.REPLY, event_id="a", action=yes, occurred_at=2),
            event(Status.REPLY, event_id="a", action=no, occurred_at=3),
        ]
    )

    assert published == [Status.REPLY] * 4


def test_a_reply_beyond_the_limit_is_a_dead_letter() -> None:
    state: MessageState | None = None
    for number in range(3):
        state, _ = advance(state, event(Status.REPLY, event_id=str(number)), 0, replies_max=3)

    with pytest.raises(InputError) as caught:
        advance(state, event(Status.REPLY, event_id="more"), 0, replies_max=3)

    assert caught.value.reason is DeadLetterReason.TOO_MANY_REPLIES


def test_state_is_forgotten_only_after_the_retention_since_its_own_change() -> None:
    state = MessageState(Status.SENT.rank, 1, changed_at=1_000)

    assert not is_forgotten(state, 1_000 + 500, 500)
    assert is_forgotten(state, 1_000 + 501, 500)
    assert not is_forgotten(state, 0, 500)
