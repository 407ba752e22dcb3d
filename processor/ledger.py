"""The books of a whole group: every input partition's, their sum, and whether the two equations hold.

Within a partition every event has exactly one outcome. Between partitions, whatever the raw topics forwarded has been
taken from the rekeyed topic, or still lies there unread. A worker may be at it while both sides are read, one after
the other: then what was taken and lies unread must be between what was forwarded before and after. Both are equal
where nothing moved, and the equation is then an exact one.

A dead letter of the rekeyed topic that is replayed goes back there without a raw partition: its rekeyed partition
books it as forwarded when it takes it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from processor.outbox import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from processor.books import Books


@dataclass(frozen=True, slots=True)
class Account:
    """A committed offset of one input partition."""

    topic: str
    partition: int
    offset: int
    books: Books | None
    """None where an operator's tool set the offset."""


@dataclass(frozen=True, slots=True)
class Forwarding:
    """Both sides of what went from raw topics to the rekeyed one."""

    forwarded: int
    """Events that the raw partitions had forwarded before the other side was read."""
    forwarded_after: int
    """The same, after it was read."""
    taken: int
    """Forwarded events that the rekeyed partitions had taken."""
    unread: int
    """Committed records of the rekeyed topic behind the committed offsets, control records left out."""

    @property
    def balanced(self) -> bool:
        """Whether nothing was lost or doubled on the way."""
        return self.forwarded <= self.taken + self.unread <= self.forwarded_after


@dataclass(frozen=True, slots=True)
class Ledger:
    """All accounts of a group."""

    accounts: tuple[Account, ...]
    """In order of topic and partition, at least one."""
    forwarding: Forwarding | None
    """None where an offset without books hides a part of it."""

    @property
    def without_books(self) -> list[Account]:
        """Offsets that an operator's tool set: what became of the records before them is not known here."""
        return [account for account in self.accounts if account.books is None]

    @property
    def balanced(self) -> bool:
        """Whether everything is accounted for; what cannot be seen is not."""
        partitions = all(account.books is not None and account.books.balanced for account in self.accounts)
        return partitions and self.forwarding is not None and self.forwarding.balanced

    def total(self) -> Counter[str]:
        """Return the sums: `records`, `events`, and each outcome by its name."""
        total: Counter[str] = Counter()
        for account in self.accounts:
            if account.books is not None:
                total.update(figures(account.books))
        return total


def figures(books: Books) -> dict[str, int]:
    """Return the counts of one partition: `records`, `events`, and each outcome by its name."""
    return {"records": books.records, "events": books.events, **{str(each): books.outcomes[each] for each in Outcome}}


def forwarding_of(rekeyed: str, before: Sequence[Account], after: Sequence[Account], unread: int) -> Forwarding | None:
    """Hold both sides of forwarding against each other, None where an offset has no books.

    Args:
        rekeyed: The rekeyed topic.
        before: All accounts, read first.
        after: All accounts, read once more when the unread records had been counted.
        unread: Committed records of the rekeyed topic behind the offsets in `before`, without replayed ones and control
            records.
    """
    if any(account.books is None for account in (*before, *after)):
        return None
    # What is ignored there is what nobody forwarded: control records.
    taken = sum(
        account.books.events - account.books.outcomes[Outcome.FORWARDED] - account.books.outcomes[Outcome.IGNORED]
        for account in before
        if account.books and account.topic == rekeyed
    )
    return Forwarding(_forwarded(before), _forwarded(after), taken, unread)


def _forwarded(accounts: Sequence[Account]) -> int:
    return sum(account.books.outcomes[Outcome.FORWARDED] for account in accounts if account.books is not None)
