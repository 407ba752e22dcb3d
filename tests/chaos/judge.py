"""Holds what a run left in the topics and the books against the oracle. Pure: no broker, no clock.

The oracle is fed from the raw topics as they were read back, partition by partition. Where every event is reduced in
place, all that a partition published must be the oracle's, change for change; where events were forwarded, their order
is anybody's, and the changes must be lawful and end where the oracle's end.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from processor.books import Books
from processor.errors import DeadLetterReason
from processor.identity import identity_of
from processor.outbox import Outcome
from processor.simulator import ChangeKey, ExpectedChange, Oracle
from processor.simulator import judge as judge_changes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from processor.model import MessageState, Source, StatusChange
    from processor.simulator import SimulatedRecord

Input = tuple[str, int]
"""An input partition: topic and number."""
Place = tuple[str, int, int]
"""A raw record: topic, partition, offset."""

FINDINGS_MAX: Final = 15
"""Of each kind."""


class Landed(NamedTuple):
    """A raw record as it was read back, and what it means."""

    place: Place
    record: SimulatedRecord
    key: bytes | None


class Published(NamedTuple):
    """A change and the partition it was read from."""

    partition: int
    change: StatusChange


class Letter(NamedTuple):
    """A dead letter: the raw record that it came from, and what it holds."""

    place: Place
    reason: str
    key: bytes | None
    value: bytes | None
    is_original: bool = True
    """Whether it is the raw record itself; else it is what was forwarded of it."""


class Stored(NamedTuple):
    """What the changelog says last of a message."""

    partition: int
    identity: str
    state: MessageState


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that a run left behind; of each partition in order."""

    landed: Sequence[Landed]
    published: Sequence[Published]
    letters: Sequence[Letter]
    stored: Sequence[Stored]
    forwarded: int
    """Committed records of the rekeyed topic."""
    books: Mapping[Input, Books]
    offsets: Mapping[Input, Sequence[int]]
    """Every offset that the group committed, in order; -1 where it was deleted."""
    rekeyed: str
    """Name of the rekeyed topic."""
    exact: bool
    """Whether every event was reduced in place."""


@dataclass(slots=True)
class Judgement:
    """What is not as it should be: counts of changes, dead letters and entries of the books, and the first in words."""

    events: int = 0
    lost: int = 0
    doubled: int = 0
    wrong: int = 0
    findings: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing is lost, doubled or wrong."""
        return not (self.lost or self.doubled or self.wrong)

    def find(self, kind: str, words: str, number: int = 1) -> None:
        """Note findings of one kind: lost, doubled or wrong."""
        setattr(self, kind, getattr(self, kind) + number)
        if sum(known.startswith(kind) for known in self.findings) < FINDINGS_MAX:
            self.findings.append(f"{kind}: {words}")


Row = tuple[tuple[str, int, int, int], ChangeKey, int, str]
"""A change as far as order goes: source, message, sequence, status."""


class _Expected(NamedTuple):
    """What the raw topics should have become."""

    oracle: Oracle
    changes: dict[Input, list[Row]]
    """Of each raw partition, in order."""
    letters: Counter[tuple[Place, str]]
    keys: dict[Place, set[ChangeKey]]
    """The messages that a record speaks of."""


def judge(evidence: Evidence) -> Judgement:
    """Say what is lost, doubled and wrong."""
    judgement = Judgement()
    expected = _expected(evidence.landed)
    judgement.events = expected.oracle.totals.total()
    _judge_changes(judgement, evidence, expected)
    _judge_letters(judgement, evidence, expected)
    _judge_books(judgement, evidence, expected)
    _judge_states(judgement, evidence)
    _judge_offsets(judgement, evidence)
    return judgement


def _expected(landed: Iterable[Landed]) -> _Expected:
    expected = _Expected(Oracle(), {}, Counter(), {})
    for (topic, partition, offset), record, _ in landed:
        place = (topic, partition, offset)
        keys = expected.keys.setdefault(place, set())
        changes = expected.changes.setdefault((topic, partition), [])
        for index, event in enumerate(record.events):
            outcome = expected.oracle.feed(record.timestamp_ms, event)
            if event.key is not None:
                keys.add(event.key)
            if isinstance(outcome, DeadLetterReason):
                expected.letters[place, str(outcome)] += 1
            elif isinstance(outcome, ExpectedChange):
                source = (topic, partition, offset, index)
                changes.append((source, outcome.key, outcome.sequence, str(outcome.status)))
    return expected


def _judge_changes(judgement: Judgement, evidence: Evidence, expected: _Expected) -> None:
    changes = [one.change for one in evidence.published]
    verdict = judge_changes(expected.oracle, changes, exact=evidence.exact)
    for kind, number in (
        ("lost", verdict.lost),
        ("doubled", verdict.doubled),
        ("wrong", verdict.wrong + verdict.extra),
    ):
        if number:
            judgement.find(kind, f"{number} changes; the first findings are:", number)
    judgement.findings += verdict.samples
    if evidence.exact and verdict.equal:
        _judge_order(judgement, evidence, expected)
    _judge_sources(judgement, changes, expected)


def _judge_order(judgement: Judgement, evidence: Evidence, expected: _Expected) -> None:
    """Each message is right: see that each partition as a whole is, too, with the sources of its changes."""
    found: dict[int, list[Row]] = {}
    for partition, change in evidence.published:
        row: Row = (change.source, ChangeKey.of(change), change.sequence, str(change.status))
        found.setdefault(partition, []).append(row)
    for (topic, partition), rows in expected.changes.items():
        differing = sum(a != b for a, b in zip(rows, found.get(partition, []), strict=False))
        if differing:
            judgement.find("wrong", f"{differing} changes of {topic}[{partition}] in another order", differing)


def _judge_sources(judgement: Judgement, changes: Sequence[StatusChange], expected: _Expected) -> None:
    """A change names the raw event that caused it: one that speaks of its message, and causes no other change."""
    seen: Counter[Source] = Counter()
    for change in changes:
        topic, partition, offset, _ = change.source
        if ChangeKey.of(change) not in expected.keys.get((topic, partition, offset), ()):
            judgement.find("wrong", f"a change names {topic}[{partition}]@{offset}, which is not about its message")
        seen[change.source] += 1
    again = sum(seen.values()) - len(seen)
    if again and not judgement.doubled:
        judgement.find("doubled", f"{again} changes name the event of another change", again)


def _judge_letters(judgement: Judgement, evidence: Evidence, expected: _Expected) -> None:
    records = {landed.place: landed for landed in evidence.landed}
    found: Counter[tuple[Place, str]] = Counter()
    for place, reason, key, value, is_original in evidence.letters:
        found[place, reason] += 1
        raw = records.get(place)
        if is_original and raw is not None and (key, value) != (raw.key, raw.record.value):
            judgement.find("wrong", f"the dead letter of {place} has other bytes than the raw record")
    for (place, reason), number in (expected.letters - found).items():
        judgement.find("lost", f"{number} dead letters of {place}: {reason}", number)
    for (place, reason), number in (found - expected.letters).items():
        kind = "doubled" if expected.letters[place, reason] else "wrong"
        judgement.find(kind, f"{number} dead letters of {place} too many: {reason}", number)


def _judge_books(judgement: Judgement, evidence: Evidence, expected: _Expected) -> None:
    """Hold the durable books against themselves, the topics and the oracle."""
    books, rekeyed = evidence.books, evidence.rekeyed
    total: Counter[str] = Counter()
    for (topic, partition), entry in books.items():
        total.update(entry.outcomes)
        if not entry.balanced:
            judgement.find("wrong", f"the books of {topic}[{partition}] do not balance")
    records = Counter(landed.place[:2] for landed in evidence.landed)
    claims: list[tuple[str, int, int]] = [
        (f"records of {topic}[{partition}]", _entry(books, (topic, partition)).records, number)
        for (topic, partition), number in records.items()
    ]
    published = Counter(one.partition for one in evidence.published)
    inputs = {topic for topic, _ in books}
    claims += [
        (
            f"changes of partition {partition}",
            sum(_entry(books, (topic, partition)).outcomes[Outcome.PUBLISHED] for topic in inputs),
            published[partition],
        )
        for partition in sorted({number for _, number in books} | published.keys())
    ]
    taken = sum(entry.events for (topic, _), entry in books.items() if topic == rekeyed)
    oracle = expected.oracle.by_outcome
    claims += [
        ("forwarded events", total[Outcome.FORWARDED], evidence.forwarded),
        ("events taken from the rekeyed topic", taken, evidence.forwarded),
        ("dead letters", total[Outcome.DEAD_LETTERED], len(evidence.letters)),
        ("ignored events", total[Outcome.IGNORED], oracle["ignored"]),
        ("events with a final outcome", total.total() - total[Outcome.FORWARDED], judgement.events),
    ]
    if evidence.exact:
        claims += [(f"events {each}", total[each], oracle[each]) for each in Outcome]
    for what, booked, there in claims:
        if booked != there:
            judgement.find("wrong", f"the books say {booked} {what}, there should be {there}")


def _entry(books: Mapping[Input, Books], key: Input) -> Books:
    return books.get(key) or Books()


def _judge_states(judgement: Judgement, evidence: Evidence) -> None:
    """The changelog must say of each message what its last change says."""
    last: dict[tuple[int, str], StatusChange] = {}
    for partition, change in evidence.published:
        identity = identity_of(change.account, change.carrier, change.message_id, change.chain)
        last[partition, identity] = change
    for partition, identity, state in evidence.stored:
        end = last.pop((partition, identity)) if (partition, identity) in last else None
        rank, sequence = (-1, 0) if end is None else (end.status.rank, end.sequence)
        if (state.status, state.sequence) != (rank, sequence):
            judgement.find("wrong", f"the state of a message in partition {partition} is not that of its last change")
    if last:
        judgement.find("lost", f"{len(last)} messages have changes and no state", len(last))


def _judge_offsets(judgement: Judgement, evidence: Evidence) -> None:
    """What a group has committed it never takes back."""
    for (topic, partition), offsets in evidence.offsets.items():
        for before, after in pairwise(offsets):
            if after < before:
                judgement.find("wrong", f"the committed offset of {topic}[{partition}] fell from {before} to {after}")
