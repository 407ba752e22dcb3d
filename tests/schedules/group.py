"""The group coordinator: who is a member, of which generation, and which partitions each one gets by range."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from confluent_kafka import KafkaError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.schedules.log import TopicPart

_MAGIC = b"CGMDv2:"


@dataclass(slots=True)
class Member:
    """One member as the coordinator sees it; its client learns of changes when it polls."""

    name: str
    owned: set[TopicPart] = field(default_factory=set)
    generation: int = 0
    joined: bool = False


class Group:
    """One consumer group: eager as the classic protocol, or incremental as KIP-848."""

    def __init__(self, topics: dict[str, int], *, incremental: bool) -> None:
        self.topics = topics
        self.incremental = incremental
        self.generation = 0
        self.members: dict[str, Member] = {}
        self.rebalances = 0
        self._names = 0
        self._preparing = False

    def join(self) -> Member:
        """Take a new member in, which starts a rebalance."""
        self._names += 1
        member = Member(f"member-{self._names:03}")
        self.members[member.name] = member
        self.rebalance()
        return member

    def leave(self, member: Member) -> None:
        """Take a member out: it left, or its session ran out."""
        if self.members.pop(member.name, None) is not None:
            self.rebalance()

    def rebalance(self) -> None:
        """Start one; it ends when every member has taken part."""
        self.rebalances += 1
        if self.incremental:
            self.generation += 1
            for member in self.members.values():
                member.generation = self.generation  # Heartbeats tell it without a callback.
            return
        self._preparing = True
        for member in self.members.values():
            member.joined = False

    def poll(
        self,
        member: Member,
        on_assign: Callable[[list[TopicPart]], None],
        on_revoke: Callable[[list[TopicPart]], None],
    ) -> None:
        """Bring a member one step further; the callbacks run here, inside its poll."""
        step = self._reconcile if self.incremental else self._rejoin
        step(member, on_assign, on_revoke)

    def metadata(self, member: Member | None, group: str) -> bytes:
        """Return consumer_group_metadata as librdkafka serialises it; before the first join it names nobody."""
        generation = -1 if member is None or member.generation == 0 else member.generation
        name = "" if generation < 0 or member is None else member.name
        return _MAGIC + generation.to_bytes(4, sys.byteorder, signed=True) + f"{group}\0{name}\0\0".encode()

    def check(self, metadata: bytes) -> None:
        """Fence a TxnOffsetCommit; one that names no member is let through, as real brokers do.

        Raises:
            KafkaException: The member is not there any more, or of an older generation.
        """
        from tests.schedules.log import failure  # noqa: PLC0415  # the two know each other

        at = len(_MAGIC)
        generation = int.from_bytes(metadata[at : at + 4], sys.byteorder, signed=True)
        name = metadata[at + 4 :].split(b"\0")[1].decode()
        if generation < 0 and not name:
            return
        member = self.members.get(name)
        if member is None:
            raise failure(KafkaError.UNKNOWN_MEMBER_ID, "unknown member", txn_requires_abort=True)
        if generation != member.generation:
            raise failure(KafkaError.ILLEGAL_GENERATION, "older generation", txn_requires_abort=True)

    def _rejoin(
        self,
        member: Member,
        on_assign: Callable[[list[TopicPart]], None],
        on_revoke: Callable[[list[TopicPart]], None],
    ) -> None:
        if self._preparing and not member.joined:
            if member.owned:
                on_revoke(sorted(member.owned))
                member.owned = set()
            member.joined = True
        if member.name not in self.members:
            return  # It stood still in the callback for too long.
        if self._preparing and all(one.joined for one in self.members.values()):
            self._preparing = False
            self.generation += 1
            for one in self.members.values():
                one.generation = 0  # Not told yet.
        if not self._preparing and member.generation != self.generation:
            member.generation = self.generation
            member.owned = self._target(member)
            on_assign(sorted(member.owned))

    def _reconcile(
        self,
        member: Member,
        on_assign: Callable[[list[TopicPart]], None],
        on_revoke: Callable[[list[TopicPart]], None],
    ) -> None:
        target = self._target(member)
        gone = member.owned - target
        if gone:
            on_revoke(sorted(gone))
            member.owned -= gone
        if member.name not in self.members:
            return
        target = self._target(member)
        taken = set().union(*(one.owned for one in self.members.values() if one is not member))
        new = target - member.owned - taken
        if new or not member.joined:
            member.joined = True
            member.owned |= new
            on_assign(sorted(new))  # The first one may well be empty.

    def _target(self, member: Member) -> set[TopicPart]:
        names = sorted(self.members)
        place = names.index(member.name)
        target: set[TopicPart] = set()
        for topic, count in self.topics.items():
            size, more = divmod(count, len(names))
            start = place * size + min(place, more)
            target |= {(topic, number) for number in range(start, start + size + (place < more))}
        return target
