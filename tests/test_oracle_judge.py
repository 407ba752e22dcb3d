"""The judge finds each kind of anomaly that a broken worker leaves behind, and nothing in lawful changes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from processor.model import Source, StatusChange
from processor.simulator import ChangeKey, ExpectedEvent, Oracle, Verdict, is_simulated_number, judge
from processor.status import Channel, Status, is_final

Changes = list[StatusChange]

LONG = ChangeKey("twilio", "SM1", "AC1", "")
SHORT = ChangeKey("termii", "300", "", "")
TALK = ChangeKey("google-rcs", "c6", "", "")


def story(key: ChangeKey, *statuses: Status) -> list[ExpectedEvent]:
    return [
        ExpectedEvent(key.carrier, key, Channel.RCS, status, reply=f"r{at}" if status is Status.REPLY else None)
        for at, status in enumerate(statuses)
    ]


def oracle_of(*events: ExpectedEvent, step_ms: int = 1) -> Oracle:
    oracle = Oracle(retention_ms=1_000)
    for at, event in enumerate(events):
        oracle.feed(at * step_ms, event)
    return oracle


EVENTS = [
    *story(LONG, Status.QUEUED, Status.SENT, Status.EXPIRED, Status.DELIVERED),
    *story(SHORT, Status.SENT, Status.DELIVERED),
    *story(TALK, Status.READ, Status.REPLY, Status.REPLY),
]


def change(key: ChangeKey, sequence: int, status: Status, previous: Status | None, **more: object) -> StatusChange:
    made = StatusChange(
        change_id=f"{key}{sequence}",
        message_id=key.message_id,
        account=key.account or None,
        chain=key.chain,
        client_reference=None,
        channel=Channel.RCS,
        status=status,
        previous=previous,
        final=is_final(Channel.RCS, status),
        carrier=key.carrier,
        raw_status=status.lower(),
        error_code=None,
        error_text=None,
        recipient="+2348030000001",
        parts=None,
        action=None,
        occurred_at=None,
        received_at=0,
        sequence=sequence,
        source=Source("raw", 0, sequence, 0),
    )
    return made._replace(**more)  # type: ignore[arg-type]  # by name, from a test


def published(oracle: Oracle) -> Changes:
    return [
        change(key, step.sequence, step.status, step.previous)
        for key, steps in oracle.histories().items()
        for step in steps
    ]


def at(changes: Changes, key: ChangeKey, sequence: int) -> int:
    return next(i for i, one in enumerate(changes) if ChangeKey.of(one) == key and one.sequence == sequence)


def without(key: ChangeKey, *sequences: int) -> Callable[[Changes], Changes]:
    return lambda changes: [c for c in changes if ChangeKey.of(c) != key or c.sequence not in sequences]


def replaced(key: ChangeKey, sequence: int, **facts: object) -> Callable[[Changes], Changes]:
    def replace(changes: Changes) -> Changes:
        index = at(changes, key, sequence)
        changed = changes[index]._replace(**facts)  # type: ignore[arg-type]  # by name, from a test
        return [*changes[:index], changed, *changes[index + 1 :]]

    return replace


def also(*more: StatusChange) -> Callable[[Changes], Changes]:
    return lambda changes: [*changes, *more]


def swapped(key: ChangeKey, first: int, second: int) -> Callable[[Changes], Changes]:
    def swap(changes: Changes) -> Changes:
        a, b = at(changes, key, first), at(changes, key, second)
        changes = list(changes)
        changes[a], changes[b] = changes[b], changes[a]
        return changes

    return swap


ANOMALIES: dict[str, tuple[Callable[[Changes], Changes], str]] = {
    "lost tail": (without(LONG, 4), "lost"),
    "lost head": (without(LONG, 1), "lost"),
    "gap": (without(LONG, 2), "lost"),
    "lost message": (without(SHORT, 1, 2), "lost"),
    "lost reply": (without(TALK, 3), "lost"),
    "lost everything": (lambda _: [], "lost"),
    "doubled change": (also(change(LONG, 4, Status.DELIVERED, Status.EXPIRED)), "doubled"),
    "doubled change under a new id": (
        also(change(LONG, 4, Status.DELIVERED, Status.EXPIRED, change_id="new")),
        "doubled",
    ),
    "fall": (also(change(LONG, 5, Status.SENT, Status.DELIVERED)), ""),
    "repetition as a change": (also(change(SHORT, 3, Status.DELIVERED, Status.DELIVERED)), ""),
    "rise beyond the end": (also(change(SHORT, 3, Status.READ, Status.DELIVERED)), ""),
    "reply that nobody gave": (also(change(TALK, 4, Status.REPLY, Status.REPLY)), "extra"),
    "wrong end": (replaced(SHORT, 2, status=Status.EXPIRED), ""),
    "wrong previous": (replaced(LONG, 3, previous=Status.QUEUED), "wrong"),
    "wrong channel": (replaced(LONG, 3, channel=Channel.SMS), "wrong"),
    "foreign message": (also(change(ChangeKey("termii", "9", "", ""), 1, Status.SENT, None)), "extra"),
    "foreign account": (also(change(LONG._replace(account="AC2"), 1, Status.SENT, None)), "extra"),
    "foreign chain": (also(change(LONG._replace(chain="x"), 1, Status.SENT, None)), "extra"),
    "out of order": (swapped(LONG, 2, 3), "wrong"),
    "started anew": (also(change(SHORT, 1, Status.SENT, None, change_id="new")), "doubled"),
}


@pytest.mark.parametrize("exact", [True, False])
def test_what_the_oracle_expects_is_equal(exact: bool) -> None:
    oracle = oracle_of(*EVENTS)

    verdict = judge(oracle, published(oracle), exact=exact)

    assert verdict == Verdict(exact=exact, messages=3, changes=9)
    assert verdict.equal
    assert verdict.summary().startswith("equal: 9 changes of 3 messages")


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("name", ANOMALIES)
def test_a_planted_anomaly_is_found(name: str, exact: bool) -> None:
    plant, kind = ANOMALIES[name]
    oracle = oracle_of(*EVENTS)

    verdict = judge(oracle, plant(published(oracle)), exact=exact)

    assert not verdict.equal
    assert not kind or getattr(verdict, kind) > 0
    assert 1 <= len(verdict.samples) <= 10
    assert verdict.summary().startswith("NOT equal: ")


def test_another_lawful_way_to_the_same_end_is_equal_unless_it_has_to_be_exact() -> None:
    oracle = oracle_of(*EVENTS)
    changes = without(LONG, 1, 2, 3, 4)(published(oracle))
    changes += [change(LONG, 1, Status.EXPIRED, None), change(LONG, 2, Status.DELIVERED, Status.EXPIRED)]

    assert judge(oracle, changes).equal
    assert not judge(oracle, changes, exact=True).equal


def test_in_exact_mode_a_status_in_place_of_another_is_wrong_and_not_lost() -> None:
    oracle = oracle_of(*EVENTS)

    verdict = judge(oracle, replaced(LONG, 2, status=Status.ACCEPTED)(published(oracle)), exact=True)

    assert (verdict.lost, verdict.doubled, verdict.wrong, verdict.extra) == (0, 0, 1, 0)


def test_a_message_without_any_change_may_have_none() -> None:
    pending_part = ExpectedEvent("termii", SHORT, Channel.SMS, Status.PENDING, 1, 2)
    oracle = oracle_of(pending_part)

    assert judge(oracle, []).equal
    assert judge(oracle, [change(SHORT, 1, Status.PENDING, None)]).extra == 1


@pytest.mark.parametrize("exact", [True, False])
def test_a_forgotten_message_may_begin_anew_as_often_as_it_was_forgotten(exact: bool) -> None:
    oracle = oracle_of(*story(SHORT, Status.SENT, Status.SENT), step_ms=2_000)
    changes = [change(SHORT, 1, Status.SENT, None, change_id=str(number)) for number in range(3)]

    assert judge(oracle, changes[:2], exact=exact).equal
    assert judge(oracle, changes, exact=exact).doubled == 1


def test_samples_are_few_and_hold_no_phone_number() -> None:
    oracle = oracle_of(*EVENTS)
    foreign = [change(ChangeKey("termii", str(n), "", ""), 1, Status.SENT, None) for n in range(50)]

    verdict = judge(oracle, foreign)

    assert (verdict.extra, verdict.lost, len(verdict.samples)) == (50, 3, 10)
    assert not is_simulated_number(verdict.summary())


def test_samples_show_no_more_of_a_message_id_than_its_end() -> None:
    key = ChangeKey("twilio", "SM0123456789", "AC1", "")

    summary = judge(oracle_of(*story(key, Status.SENT)), []).summary()

    assert "'6789'" in summary
    assert "56789" not in summary
