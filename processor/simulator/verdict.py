"""Holds what was read back from the changes topic against what the oracle expects."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from processor.simulator.expected import ChangeKey, Step
from processor.status import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from processor.model import StatusChange
    from processor.simulator.oracle import Oracle

SAMPLES_MAX: Final = 10
ID_TAIL: Final = 4
"""Characters of a message id that a sample shows: enough to tell two apart, too few to say whose it is."""


@dataclass(slots=True)
class Verdict:
    """What `judge` found; all four counts are 0 where everything is as it should be."""

    exact: bool
    messages: int = 0
    """Messages that should have a change."""
    changes: int = 0
    """Changes read."""
    lost: int = 0
    """Changes that are missing: none of a message at all, a gap in a sequence, or an end that is too low."""
    doubled: int = 0
    """Changes that came again, by their id or their sequence."""
    wrong: int = 0
    """Changes that are not as they should be: a fall, another status, previous status, channel or order."""
    extra: int = 0
    """Changes that nothing explains, such as one of a message that nobody sent."""
    samples: list[str] = field(default_factory=list)
    """The first few of them in words: of a message id only its last characters, of addresses nothing."""

    @property
    def equal(self) -> bool:
        """Whether nothing is lost, doubled, wrong or extra."""
        return not (self.lost or self.doubled or self.wrong or self.extra)

    def summary(self) -> str:
        """Say it in words: one line where all is well, else one more for each sample."""
        scope = f"{self.changes} changes of {self.messages} messages"
        if self.equal:
            return f"equal: {scope}" + (", record for record" if self.exact else "")
        counts = f"{self.lost} lost, {self.doubled} doubled, {self.wrong} wrong, {self.extra} extra"
        return "\n".join([f"NOT equal: {counts}; {scope}", *self.samples])


def judge(expected: Oracle, changes: Iterable[StatusChange], *, exact: bool = False) -> Verdict:
    """Hold changes, in the order they were read (that of each partition suffices), against the oracle.

    Args:
        expected: Has been fed the whole input.
        changes: Everything that was published.
        exact: Whether the events of each message were reduced in the order in which the oracle was fed. Then every
            change must be the oracle's; otherwise the changes must be lawful and end where the oracle's end.
    """
    court = _Court(Verdict(exact))
    histories = expected.histories()
    court.verdict.messages = len(histories)
    found = court.read(changes)
    for key, steps in histories.items():
        row = found.pop(key, [])
        if exact:
            court.compare(key, row, steps)
        else:
            court.check(key, row, steps)
    for key, row in found.items():
        court.find("extra", key, f"{len(row)} changes of a message that should have none", len(row))
    return court.verdict


class _Court:
    """Gathers what is not as it should be."""

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict

    def find(self, kind: str, key: ChangeKey, words: str, count: int = 1) -> None:
        """Note so many findings of one kind."""
        setattr(self.verdict, kind, getattr(self.verdict, kind) + count)
        if len(self.verdict.samples) < SAMPLES_MAX:
            self.verdict.samples.append(f"{kind}: {key.carrier} …{key.message_id[-ID_TAIL:]!r}: {words}")

    def read(self, changes: Iterable[StatusChange]) -> dict[ChangeKey, list[Step]]:
        """Sort changes by message, each change once."""
        found: dict[ChangeKey, list[Step]] = {}
        ids: set[str] = set()
        known: dict[Step, Step] = {}  # Few different ones, each kept once.
        for change in changes:
            self.verdict.changes += 1
            key = ChangeKey.of(change)
            step = Step(change.sequence, change.status, change.previous, change.channel)
            if change.change_id in ids:
                self.find("doubled", key, f"the id of change {change.sequence} came before")
                continue
            ids.add(change.change_id)
            found.setdefault(key, []).append(known.setdefault(step, step))
        return found

    def compare(self, key: ChangeKey, row: list[Step], steps: list[Step]) -> None:
        """Judge a message whose changes must be the oracle's, one by one."""
        if row == steps:
            return
        missing, surplus = Counter(steps) - Counter(row), Counter(row) - Counter(steps)
        again = sum(count for step, count in surplus.items() if step in steps)
        lost, other = missing.total(), surplus.total() - again
        wrong = min(lost, other) if lost or other or again else 1
        words = f"expected {_spell(steps)}, found {_spell(row)}"
        for kind, count in (("doubled", again), ("wrong", wrong), ("lost", lost - wrong), ("extra", other - wrong)):
            if count > 0:
                self.find(kind, key, words, count)

    def check(self, key: ChangeKey, row: list[Step], steps: list[Step]) -> None:
        """Judge a message whose events may have been reduced in another order than the oracle's."""
        if not row:
            self.find("lost", key, f"no change at all, it should end in {steps[-1].status}")
            return
        self._check_steps(key, row, lives=sum(step.sequence == 1 for step in steps))
        self._check_end(key, row, steps)
        strange = sum(step.channel is not steps[0].channel for step in row)
        if strange:
            self.find("wrong", key, f"{strange} changes are not on {steps[0].channel}", strange)

    def _check_steps(self, key: ChangeKey, row: list[Step], lives: int) -> None:
        """Check that sequences are 1, 2, 3 … and statuses rise; both begin anew where the message was forgotten."""
        last: Step | None = None
        seen: set[int] = set()
        for step in row:
            if step.sequence == 1 and last is not None and lives > 1:
                last, lives = None, lives - 1
                seen.clear()
            at = last.sequence if last else 0
            if step.sequence in seen:
                self.find("doubled", key, f"sequence {step.sequence} twice")
                continue
            seen.add(step.sequence)
            if step.sequence > at + 1:
                self.find("lost", key, f"sequence {step.sequence} after {at}", step.sequence - at - 1)
            elif step.sequence <= at:
                self.find("wrong", key, f"sequence {step.sequence} after {at}")
            elif step.previous is not (last.status if last else None):
                self.find("wrong", key, f"{step.status} says it follows {step.previous}")
            if last and not _may_follow(last.status, step.status):
                self.find("wrong", key, f"{step.status} after {last.status}")
            last = step

    def _check_end(self, key: ChangeKey, row: list[Step], steps: list[Step]) -> None:
        end, expected = row[-1].status, steps[-1].status
        if end.rank < expected.rank:
            self.find("lost", key, f"ends in {end}, it should in {expected}")
        elif end.rank > expected.rank:
            self.find("wrong", key, f"ends in {end}, it should in {expected}")
        replies = _replies(row) - _replies(steps)
        if replies < 0 and end is Status.REPLY:
            self.find("lost", key, f"{-replies} replies are missing", -replies)
        elif replies > 0 and expected is Status.REPLY:
            self.find("extra", key, f"{replies} replies too many", replies)


def _may_follow(before: Status, after: Status) -> bool:
    return after.rank > before.rank or before is after is Status.REPLY


def _replies(steps: Sequence[Step]) -> int:
    return sum(step.status is Status.REPLY for step in steps)


def _spell(steps: Sequence[Step]) -> str:
    return " ".join(f"{step.sequence}:{step.status}" for step in steps) or "nothing"
