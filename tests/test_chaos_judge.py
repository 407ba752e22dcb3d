"""The chaos test's judge finds each kind of failure when it is planted in a right result, and nothing in a right one.

A judge that never complains would make every run a success, so each failure here is one that a broken worker leaves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import pairwise

import pytest

from processor.books import Books, DeadLetterLimit
from processor.codec import Decoder, encode_mapped
from processor.headers import origin_header
from processor.identity import murmur2
from processor.model import Source
from processor.outbox import Forward, Outbox, Outcome
from processor.pack_files import builtin_texts
from processor.packs import Packs
from processor.pipeline import Pipeline
from processor.simulator import SimulatedRecord, Simulator
from processor.status import Status
from processor.testing import REKEYED_TOPIC, FakeRecord, MemoryStates
from tests.chaos.judge import Evidence, Judgement, Landed, Letter, Published, Stored, judge

PARTITIONS = 3
RAW = "raw"
NO_LIMIT = DeadLetterLimit(0, 1000, 0)


class World:
    """What a worker does, one record at a time, with everything that it leaves behind."""

    def __init__(self, *, forwarding: bool) -> None:
        self.forwarding = forwarding
        self.pipeline = Pipeline(Decoder(), Packs.load(builtin_texts()), PARTITIONS)
        self.states = [MemoryStates() for _ in range(PARTITIONS)]
        self.ends: Counter[tuple[str, int]] = Counter()
        self.books: dict[tuple[str, int], Books] = {}
        self.landed: list[Landed] = []
        self.published: list[Published] = []
        self.letters: list[Letter] = []
        self.forwarded = 0

    def take(self, number: int, simulated: SimulatedRecord) -> None:
        spread = number if self.forwarding else murmur2(simulated.key) & 0x7FFFFFFF
        partition = spread % PARTITIONS
        offset = self._next(RAW, partition)
        record = FakeRecord(offset, simulated.timestamp_ms, simulated.value, simulated.key)
        outbox = Outbox()
        states = None if self.forwarding else self.states[partition]
        self.pipeline.process_raw(RAW, partition, [record], states, outbox)
        self.landed.append(Landed((RAW, partition, offset), simulated, simulated.key))
        self._settle(outbox, (RAW, partition), offset)

    def _next(self, topic: str, partition: int) -> int:
        self.ends[topic, partition] += 1
        return self.ends[topic, partition] - 1

    def _settle(self, outbox: Outbox, key: tuple[str, int], offset: int) -> None:
        self.books[key], _ = self.books.get(key, Books()).after(outbox.tallies[key], [offset], NO_LIMIT)
        for partition, changes in outbox.changes.items():
            self.published += [Published(partition, change) for change in changes]
        for letter in outbox.dead_letters:
            place = letter.source[:3]
            self.letters.append(Letter(place, str(letter.reason), letter.record.key(), letter.record.value()))
        for forward in outbox.forwards:
            self._take_forwarded(forward)

    def _take_forwarded(self, forward: Forward) -> None:
        self.forwarded += 1
        offset = self._next(REKEYED_TOPIC, forward.owner)
        headers = [origin_header(forward.source, forward.timestamp)]
        record = FakeRecord(offset, 0, encode_mapped(forward.event), None, headers)
        outbox = Outbox()
        self.pipeline.process_rekeyed(REKEYED_TOPIC, forward.owner, [record], self.states[forward.owner], outbox)
        self._settle(outbox, (REKEYED_TOPIC, forward.owner), offset)

    def evidence(self) -> Evidence:
        stored = [
            Stored(partition, identity, state)
            for partition, states in enumerate(self.states)
            for identity, state in states.items()
        ]
        return Evidence(
            landed=sorted(self.landed, key=lambda one: one.place),
            published=self.published,
            letters=self.letters,
            stored=stored,
            forwarded=self.forwarded,
            books=self.books,
            offsets={key: [*range(1, end + 1)] for key, end in self.ends.items()},
            rekeyed=REKEYED_TOPIC,
            exact=not self.forwarding,
        )


@cache
def right(*, forwarding: bool) -> Evidence:
    """Return what a worker leaves behind that makes no mistake."""
    world = World(forwarding=forwarding)
    callbacks = 0.3 if forwarding else 0.0
    for number, record in enumerate(Simulator(11, events=3_000, poison=0.03, callbacks=callbacks)):
        world.take(number, record)
    return world.evidence()


def places(evidence: Evidence) -> list[list[int]]:
    """Return where the changes of each message with at least three of them stand."""
    by_message: dict[tuple[str, ...], list[int]] = {}
    for at, (_, change) in enumerate(evidence.published):
        by_message.setdefault((change.carrier, change.message_id, change.account or "", change.chain), []).append(at)
    return [found for found in by_message.values() if len(found) >= 3]


Plant = Callable[[Evidence], Evidence]


def without(*steps: int) -> Plant:
    """Leave out these changes of one message."""

    def plant(evidence: Evidence) -> Evidence:
        gone = {places(evidence)[0][step] for step in steps}
        return replace(evidence, published=[one for at, one in enumerate(evidence.published) if at not in gone])

    return plant


def edited(step: int, **facts: object) -> Plant:
    """Change one change of one message."""

    def plant(evidence: Evidence) -> Evidence:
        at = places(evidence)[0][step]
        published = list(evidence.published)
        change = published[at].change._replace(**facts)  # type: ignore[arg-type]  # by name, from a test
        published[at] = Published(published[at].partition, change)
        return replace(evidence, published=published)

    return plant


def lowered(evidence: Evidence) -> Evidence:
    """Let the last change of a message fall to where it began."""
    found = next(found for found in places(evidence) if not evidence.published[found[-1]].change.status.is_failure)
    published = list(evidence.published)
    partition, change = published[found[-1]]
    published[found[-1]] = Published(partition, change._replace(status=Status.PENDING))
    return replace(evidence, published=published)


def doubled(*, id_too: bool) -> Plant:
    """Publish a change a second time."""

    def plant(evidence: Evidence) -> Evidence:
        partition, change = evidence.published[places(evidence)[0][-1]]
        again = change if id_too else change._replace(change_id="another")
        return replace(evidence, published=[*evidence.published, Published(partition, again)])

    return plant


def swapped(evidence: Evidence) -> Evidence:
    """Swap two changes of two messages of one partition: each message is right, the partition is not."""
    published = list(evidence.published)
    rows = [at for at, one in enumerate(published) if one.partition == 0]
    a, b = next((a, b) for a, b in pairwise(rows) if published[a].change.message_id != published[b].change.message_id)
    published[a], published[b] = published[b], published[a]
    return replace(evidence, published=published)


def tail_of_partition_missing(evidence: Evidence) -> Evidence:
    """Leave out the last changes of a partition, as readers that stop early would not see."""
    rows = [at for at, one in enumerate(evidence.published) if one.partition == 1]
    gone = set(rows[-20:])
    return replace(evidence, published=[one for at, one in enumerate(evidence.published) if at not in gone])


def booked(outcome: Outcome | None, by: int, *, topic: str = RAW) -> Plant:
    """Add to an outcome of one partition's books, and to its events so that they balance; None: to its records."""

    def plant(evidence: Evidence) -> Evidence:
        key = (topic, 0)
        entry = evidence.books[key]
        if outcome is None:
            wrong = replace(entry, records=entry.records + by)
        else:
            outcomes = {**entry.outcomes, outcome: entry.outcomes[outcome] + by}
            wrong = replace(entry, events=entry.events + by, outcomes=outcomes)
        return replace(evidence, books={**evidence.books, key: wrong})

    return plant


def unbalanced(evidence: Evidence) -> Evidence:
    entry = evidence.books[RAW, 0]
    return replace(evidence, books={**evidence.books, (RAW, 0): replace(entry, events=entry.events + 1)})


def books_missing(evidence: Evidence) -> Evidence:
    return replace(evidence, books={key: entry for key, entry in evidence.books.items() if key != (RAW, 0)})


def letters(act: Callable[[list[Letter]], list[Letter]]) -> Plant:
    return lambda evidence: replace(evidence, letters=act(list(evidence.letters)))


def stale_state(evidence: Evidence) -> Evidence:
    at = next(at for at, one in enumerate(evidence.stored) if one.state.sequence > 1)
    stored = list(evidence.stored)
    state = stored[at].state
    stored[at] = stored[at]._replace(state=state._replace(sequence=state.sequence - 1))
    return replace(evidence, stored=stored)


def committed(*more: int) -> Plant:
    """Let the group commit these offsets of a partition once more."""

    def plant(evidence: Evidence) -> Evidence:
        key = (RAW, 1)
        return replace(evidence, offsets={**evidence.offsets, key: [*evidence.offsets[key], *more]})

    return plant


def lost_state(evidence: Evidence) -> Evidence:
    at = next(at for at, one in enumerate(evidence.stored) if one.state.sequence)
    return replace(evidence, stored=[*evidence.stored[:at], *evidence.stored[at + 1 :]])


PLANTED: dict[str, tuple[Plant, str]] = {
    "a change is missing": (without(1), "lost"),
    "the first change is missing": (without(0), "lost"),
    "the tail of a message is missing": (without(-1), "lost"),
    "a message is missing": (lambda evidence: without(*range(len(places(evidence)[0])))(evidence), "lost"),
    "the tail of a partition is missing": (tail_of_partition_missing, "lost"),
    "everything is missing": (lambda evidence: replace(evidence, published=[]), "lost"),
    "a change twice": (doubled(id_too=True), "doubled"),
    "a change twice under another id": (doubled(id_too=False), "doubled"),
    "a status falls": (lowered, "wrong"),
    "another source": (edited(0, source=Source(RAW, 0, 10**6, 0)), "wrong"),
    "another previous status": (edited(1, previous=Status.REPLY), "wrong"),
    "another message": (edited(0, message_id="nobody"), "wrong"),
    "the books do not balance": (unbalanced, "wrong"),
    "the books of a partition are missing": (books_missing, "wrong"),
    "more records in the books": (booked(None, 1), "wrong"),
    "more ignored in the books": (booked(Outcome.IGNORED, 1), "wrong"),
    "more forwarded in the books": (booked(Outcome.FORWARDED, 1), "wrong"),
    "more dead letters in the books": (booked(Outcome.DEAD_LETTERED, 1), "wrong"),
    "more published in the books": (booked(Outcome.PUBLISHED, 1), "wrong"),
    "fewer suppressed in the books": (booked(Outcome.REPEAT, -1), "wrong"),
    "a dead letter is missing": (letters(lambda them: them[1:]), "lost"),
    "a dead letter twice": (letters(lambda them: [*them, them[0]]), "doubled"),
    "a dead letter with other bytes": (letters(lambda them: [them[0]._replace(value=b"x"), *them[1:]]), "wrong"),
    "a dead letter without its key": (letters(lambda them: [them[0]._replace(key=None), *them[1:]]), "wrong"),
    "a dead letter for another reason": (letters(lambda them: [them[0]._replace(reason="x"), *them[1:]]), "wrong"),
    "a dead letter of a good record": (
        lambda evidence: replace(
            evidence, letters=[*evidence.letters, Letter(_good_place(evidence), "undecodable", None, None, False)]
        ),
        "wrong",
    ),
    "a state behind its changes": (stale_state, "wrong"),
    "a state is missing": (lost_state, "lost"),
    "a committed offset falls": (committed(3), "wrong"),
    "a committed offset is deleted": (committed(-1), "wrong"),
    "a partition begins anew": (committed(1, 10**6), "wrong"),
}


def _good_place(evidence: Evidence) -> tuple[str, int, int]:
    return next(one.place for one in evidence.landed if one.record.poison is None)


@pytest.mark.parametrize("forwarding", [False, True])
def test_nothing_is_found_in_a_right_result(forwarding: bool) -> None:
    evidence = right(forwarding=forwarding)

    assert judge(evidence) == Judgement(events=sum(len(one.record.events) for one in evidence.landed))
    assert evidence.letters
    assert bool(evidence.forwarded) is forwarding


@pytest.mark.parametrize("forwarding", [False, True])
@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_failure_is_found(name: str, forwarding: bool) -> None:
    plant, kind = PLANTED[name]

    judgement = judge(plant(right(forwarding=forwarding)))

    assert not judgement.clean
    assert getattr(judgement, kind) > 0
    assert judgement.findings


def test_where_all_is_reduced_in_place_the_order_of_a_partition_is_judged_too() -> None:
    judgement = judge(swapped(right(forwarding=False)))

    assert (judgement.lost, judgement.doubled) == (0, 0)
    assert judgement.wrong == 2
    assert "in another order" in judgement.findings[0]


def test_the_counts_are_of_changes() -> None:
    assert judge(without(0, 1)(right(forwarding=False))).lost >= 2
    judgement = judge(doubled(id_too=True)(right(forwarding=False)))
    # One change too many, and the books know of one less in that partition.
    assert (judgement.lost, judgement.doubled, judgement.wrong) == (0, 1, 1)
