"""One schedule: a cluster, some workers, and a seeded draw of everything that may happen between two calls."""

from __future__ import annotations

import random
from collections import Counter, deque
from functools import cache
from typing import TYPE_CHECKING, Final

from processor.codec import encode_raw_events
from processor.control import FORGET, Forget, encode_forget, request_id
from processor.headers import CONTROL
from processor.identity import owner_of
from processor.testing import raw_event
from tests.schedules.group import Group
from tests.schedules.log import Cluster, Entry, Transaction
from tests.schedules.process import CrashError, Process
from tests.schedules.shapes import FAULTS, PROFILES, Shape
from tests.schedules.stand_ins import LOOSE, OWN, RAW

if TYPE_CHECKING:
    from collections.abc import Callable

START_S: Final = 1_767_225_600.0
STEPS: Final = 60
"""Turns with faults."""
CALM_STEPS: Final = 600
"""Turns without, after which everything must be done."""
_GROWS: Final = 0.03
_STATUSES: Final = ("QUEUED", "SENT", "DELIVRD", "UNDELIV", "EXPIRED", "ACCEPTD")
_IDS: Final = tuple(f"m{number}" for number in range(6))


class Broken(AssertionError):  # noqa: N818  # what a schedule raises is a finding, not an error of its own
    """A law does not hold at the end of a schedule."""


class World:
    """Everything of one schedule."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.profile = list(PROFILES)[seed % len(PROFILES)]
        profile = PROFILES[self.profile]
        self.shape = Shape.drawn(self.random, profile.shape)
        self.now = START_S
        self.counts: Counter[str] = Counter()
        self.faults_left = self.random.choice((0, 2, 6, 12, 20))
        # Each schedule prefers some faults and knows others not at all: so their rare combinations come up too.
        self.faults = {name: share * self.random.choice((0, 1, 1, 5)) for name, share in FAULTS.items()}
        self.markers_arrive = self.random.choice((0.03, 0.15, 0.6))
        self.late_requests_arrive = self.random.choice((0.03, 0.15, 0.6))
        self.sessions_end = self.random.choice((0.0, 0.02, 0.1))
        self.faults |= profile.faults
        self.disks_are_lost = profile.disks_are_lost
        self.faults_left = profile.faults_max or self.faults_left
        self.sessions_end = profile.sessions_end or self.sessions_end
        self.late_requests_arrive = profile.late_requests_arrive or self.late_requests_arrive
        self.late: list[Callable[[], None]] = []
        self.trace: deque[str] = deque(maxlen=60)
        topics = {RAW: self.shape.partitions} | ({LOOSE: self.shape.loose} if self.shape.loose else {})
        own = dict.fromkeys((OWN.changes, OWN.dead_letter, OWN.state, OWN.rekeyed), self.shape.partitions)
        group = Group({**topics, OWN.rekeyed: self.shape.partitions}, incremental=self.shape.incremental)
        self.raw = topics
        self.cluster = Cluster({**topics, **own}, group, lambda: self.now)
        for at in self.cluster.logs:
            if at[0] in topics and self.shape.deleted:
                self.cluster.delete_records(at, self.shape.deleted)
        self.processes = [Process(self, ordinal) for ordinal in range(self.shape.workers)]
        self._frozen: list[Process] = []
        self._unsent = self.shape.records
        self._grows = self.shape.grows if self.shape.loose else 0
        self._unasked = self.shape.forgets

    def run(self) -> None:
        """Live through the schedule, and let everything finish.

        Raises:
            Broken: It does not finish.
        """
        for _ in range(STEPS):
            self.tick()
        self.note("no more faults")
        self.faults_left = 0
        while self._unsent:
            self._produce()
        while self._unasked:
            self._ask_to_forget()
        for step in range(CALM_STEPS):
            self._calm()
            if step % 10 == 9 and self._is_done():
                return
        raise Broken("the workers do not finish")

    def close(self) -> None:
        """End what still runs."""
        for process in self.processes:
            process.end()

    def tick(self) -> None:
        """Let one thing happen."""
        self.now += 0.05
        draw = self.random.random()
        if self._unsent and draw < 0.3:
            self._produce()
        elif self._unasked and draw < 0.36:
            self._ask_to_forget()
        if self._grows and self.random.random() < _GROWS:
            self._grow()
        self._network()
        if draw > 1 - self.sessions_end:
            self._lose_a_session()
        process = self.random.choice(self.processes)
        if process not in self._frozen:
            process.turn()

    def _calm(self) -> None:
        self.now += 0.05
        self.cluster.settle()
        while self.late:
            self._deliver_late()
        self._bury()
        for process in self.processes:
            process.turn()

    def _network(self) -> None:
        if self.cluster.ending and self.random.random() < self.markers_arrive:
            transaction: Transaction = self.random.choice(self.cluster.ending)
            self.cluster.deliver_marker(transaction, self.random.randrange(len(transaction.unmarked)))
        if self.late and self.random.random() < self.late_requests_arrive:
            self._deliver_late()

    def _deliver_late(self) -> None:
        request = self.late.pop(0)
        try:
            request()
        except Exception as error:  # noqa: BLE001  # nobody waits for the answer any more
            self.note(f"a late request is refused: {error}")
        else:
            self.note("a late request arrives")

    def _bury(self) -> None:
        """Let the sessions and transactions of the dead run out."""
        alive = {
            process.worker.consumer.member.name  # type: ignore[attr-defined]  # it is one of ours
            for process in self.processes
            if process.worker is not None and process.worker.consumer.member is not None  # type: ignore[attr-defined]
        }
        for member in [one for one in self.cluster.group.members.values() if one.name not in alive]:
            self.cluster.group.leave(member)
        for process in self.processes:
            if process.dead:
                self.cluster.expire(f"app-{process.ordinal}")

    def _grow(self) -> None:
        """Add a partition to the raw topic that forwards."""
        self._grows -= 1
        self.cluster.add_partition(LOOSE)
        self.note(f"{LOOSE} has {self.cluster.topics[LOOSE]} partitions now")
        self.counts["topics grown"] += 1

    def _lose_a_session(self) -> None:
        """Let the session of somebody run out: dead, frozen, or only slow."""
        if self.faults_left and self.cluster.group.members:
            self.faults_left -= 1
            name = self.random.choice(sorted(self.cluster.group.members))
            self.note(f"{name} is expelled")
            self.cluster.group.leave(self.cluster.group.members[name])
            dead = [process for process in self.processes if process.dead]
            if dead and self.random.random() < 0.5:
                self.cluster.expire(f"app-{self.random.choice(dead).ordinal}")

    # What clients ask.

    def at_point(self, process: Process, name: str) -> None:
        """A client call begins, or has just been done."""
        self.note(f"worker {process.ordinal}: {name}")
        self._network()
        if self.fault(process, "crash"):
            raise CrashError
        if self.fault(process, "freeze"):
            self._freeze(process)

    def fault(self, process: Process, name: str) -> bool:
        """Draw whether a fault happens; there are only so many in a schedule."""
        if not self.faults_left or self.random.random() >= self.faults[name]:
            return False
        self.faults_left -= 1
        self.counts[name] += 1
        self.note(f"worker {process.ordinal}: {name}!")
        return True

    def _freeze(self, process: Process) -> None:
        """Let the others go on while this one stands still in the middle of a call."""
        if len(self._frozen) >= len(self.processes) - 1:
            return
        self._frozen.append(process)
        worker = process.worker
        member = worker.consumer.member if worker is not None else None  # type: ignore[attr-defined]
        if member is not None and self.random.random() < 0.8:
            self.note(f"worker {process.ordinal} is expelled, frozen")
            self.cluster.group.leave(member)
        if self.random.random() < 0.3:
            self.cluster.expire(f"app-{process.ordinal}")
        for _ in range(self.random.randint(3, 25)):
            self.tick()
        self._frozen.remove(process)
        self.note(f"worker {process.ordinal} wakes up")

    # Traffic, and the end.

    def _produce(self) -> None:
        self._unsent -= 1
        value, key = _values()[self.random.randrange(self.shape.ids * len(_STATUSES))]
        if self.random.random() < 0.06:
            value = b"\xff"  # No frame: a dead letter.
        if self.shape.loose and self.random.random() < 0.4:
            at = (LOOSE, self.random.randrange(self.cluster.topics[LOOSE]))
        else:
            at = (RAW, owner_of(key, self.shape.partitions))
        self.cluster.append(at, Entry(None, key.encode(), value))

    def _ask_to_forget(self) -> None:
        """Ask for a message to be forgotten, as an operator would; the same request may come again."""
        self._unasked -= 1
        message_id = _IDS[self.random.randrange(self.shape.ids)]
        again = self.random.randrange(2)
        request = request_id(message_id, str(again))
        forget = Forget(request, None, "smpp", message_id, "", 0, "")
        entry = Entry(None, message_id.encode(), encode_forget(forget), [(CONTROL, FORGET)])
        self.cluster.append((OWN.rekeyed, owner_of(message_id, self.shape.partitions)), entry)
        self.counts["asked to forget"] += 1

    def _is_done(self) -> bool:
        inputs = [*self.raw, OWN.rekeyed]
        for (topic, number), log in self.cluster.logs.items():
            if log.open:
                return False
            if topic in inputs:
                last = max((offset for offset, _ in log.committed()), default=-1)
                if last >= 0 and self.cluster.offsets.get((topic, number), (0, ""))[0] <= last:
                    return False
        settled = [process for process in self.processes if process.worker and process.worker.assignment._settled]
        return len(settled) == len(self.processes) and not self.cluster.ending

    def note(self, line: str) -> None:
        """Remember what happened, for whoever reads a failure."""
        self.trace.append(line)


@cache
def _values() -> list[tuple[bytes, str]]:
    """Return every report of the traffic, with its message's id."""
    return [
        (encode_raw_events([raw_event("smpp", message_id, status, channel="SMS")])[0], message_id)
        for message_id in _IDS
        for status in _STATUSES
    ]
