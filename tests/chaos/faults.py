"""The workers under a scenario: a supervisor that starts again whoever ends, and the faults that end them.

One thread does everything, in small steps; only a broker that starts has a thread of its own.
"""

from __future__ import annotations

import shutil
import signal
import threading
import time
from collections import Counter, deque
from enum import Enum, auto
from functools import partial
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Final, Self

from processor.errors import ExitCode
from tests.broker.deployment import WorkerProcess, wait_for
from tests.chaos.scenario import WORKERS, Fault, Kind, Scenario

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.broker.deployment import Deployment

_TICK_S: Final = 0.05
_GRACE_S: Final = 45.0
"""Time to leave in order; a frozen broker takes up some of it."""
_RESTART_S: Final = 0.5
_SUPERVISED: Final = {ExitCode.UNKNOWN_OUTCOME, ExitCode.UNAVAILABLE}
"""Exit codes by which a worker asks to be started again."""
_LEFT: Final = {ExitCode.OK, -signal.SIGTERM, *_SUPERVISED}
"""Exit codes of a worker that was told to leave; one that is still starting just ends."""


class Mood(Enum):
    """Where a worker stands."""

    UP = auto()
    FROZEN = auto()
    LEAVING = auto()
    DOWN = auto()


class Slot:
    """A place for a worker, with its ordinal."""

    def __init__(self, ordinal: int, protocol: str) -> None:
        self.ordinal = ordinal
        self.protocol = protocol
        self.mood = Mood.DOWN
        self.worker: WorkerProcess | None = None
        self.turn = 0
        """Counts what has been done to it, so that what was planned before does not strike after."""


class Fleet:
    """All workers of a deployment, and its broker, as a scenario has its way with them."""

    def __init__(self, deployment: Deployment, plan: Scenario) -> None:
        self.counts: Counter[str] = Counter()
        """Faults by kind, and restarts by exit code."""
        self.problems: list[str] = []
        self._deployment = deployment
        self._plan = plan
        self._slots = [Slot(ordinal, plan.protocol) for ordinal in range(WORKERS + 1)]
        self._guest = self._slots[-1]
        self._workers: list[WorkerProcess] = []
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._number = count()
        self._switches: deque[Slot] = deque()
        self._broker_busy = False
        self._starting: threading.Thread | None = None

    def __enter__(self) -> Self:
        for slot in self._slots[:WORKERS]:
            self._start(slot)
        return self

    def __exit__(self, *_: object) -> None:
        if self._starting is not None:
            self._starting.join()
        for worker in self._workers:
            worker.signal(signal.SIGCONT)
            worker.kill()

    def suffer(self) -> None:
        """Let the scenario happen, from its first fault to its end, once all workers have their share."""
        wait_for("every worker to have partitions", lambda: all("partitions assigned" in log for log in self.logs()))
        began = time.monotonic()
        for fault in self._plan.faults:
            self._after(fault.at_s, partial(self._strike, fault))
        if self._plan.switch_to is not None:
            self._after(self._plan.seconds / 2, self._begin_switch)
        while time.monotonic() - began < self._plan.seconds:
            self._tick()

    def settle(self, is_settled: Callable[[], bool], timeout_s: float) -> bool:
        """Strike no more; let what was struck recover, and go on until everything has drained. False: not in time."""
        deadline = time.monotonic() + timeout_s
        while not self._is_calm() or not is_settled():
            if time.monotonic() > deadline:
                return False
            self._tick()
        return True

    def stop(self) -> None:
        """Let all workers leave in order."""
        for slot in self._slots:
            if slot.mood is Mood.UP:
                self._leave(slot, lambda _: None)
        while any(slot.mood is Mood.LEAVING for slot in self._slots):
            self._tick()

    def abort(self) -> None:
        """End all workers at once, so that their logs say where each stood."""
        for slot in self._slots:
            if slot.worker is not None and slot.mood is not Mood.DOWN:
                slot.worker.abort()
                slot.mood = Mood.DOWN

    def logs(self) -> list[str]:
        """Return what every worker wrote, those that ended included."""
        return [worker.log for worker in self._workers]

    # The clock.

    def _after(self, seconds: float, act: Callable[[], None]) -> None:
        heappush(self._later, (time.monotonic() + seconds, next(self._number), act))

    def _tick(self) -> None:
        time.sleep(_TICK_S)
        while self._later and self._later[0][0] <= time.monotonic():
            heappop(self._later)[2]()
        for slot in self._slots:
            self._supervise(slot)

    def _is_calm(self) -> bool:
        up = all(slot.mood is Mood.UP for slot in self._slots[:WORKERS]) and self._guest.mood is Mood.DOWN
        return up and not self._broker_busy and not self._switches

    # The supervisor.

    def _start(self, slot: Slot) -> None:
        slot.worker = self._deployment.worker(slot.ordinal, "--set", f"group_protocol={slot.protocol}")
        self._workers.append(slot.worker)
        slot.mood = Mood.UP
        slot.turn += 1

    def _start_if_down(self, slot: Slot) -> None:
        if slot.mood is Mood.DOWN:
            self._start(slot)

    def _supervise(self, slot: Slot) -> None:
        code = slot.worker.exit_code if slot.worker is not None else None
        if code is None or slot.mood is not Mood.UP:
            return
        slot.mood = Mood.DOWN
        self.counts[f"exit {code}"] += 1
        if code not in _SUPERVISED:
            self.problems.append(f"worker {slot.ordinal} ended by itself with exit code {code}")
        self._after(_RESTART_S, lambda: self._start_if_down(slot))

    # The faults.

    def _strike(self, fault: Fault) -> None:
        if fault.kind.is_of_broker:
            self._strike_broker(fault)
            return
        slot = self._guest if fault.kind is Kind.JOIN else self._victim(fault)
        if slot is None or (slot is self._guest and slot.mood is not Mood.DOWN):
            self.counts["skipped"] += 1
            return
        self.counts[fault.kind] += 1
        match fault.kind:
            case Kind.KILL:
                self._kill(slot, fault)
            case Kind.FREEZE:
                self._freeze(slot, fault.lasts_s)
            case Kind.LEAVE:
                self._leave(slot, lambda one: self._after(fault.lasts_s, lambda: self._start_if_down(one)))
            case Kind.JOIN:
                self._start(slot)
                self._after(fault.lasts_s, lambda: self._send_away(slot))

    def _victim(self, fault: Fault) -> Slot | None:
        """Choose the worker; a frozen one may also be killed, otherwise it has to be up."""
        moods = {Mood.UP, Mood.FROZEN} if fault.kind is Kind.KILL else {Mood.UP}
        ordinals = [(fault.ordinal + step) % WORKERS for step in range(WORKERS)]
        return next((self._slots[ordinal] for ordinal in ordinals if self._slots[ordinal].mood in moods), None)

    def _kill(self, slot: Slot, fault: Fault) -> None:
        assert slot.worker is not None
        slot.worker.kill()
        slot.mood = Mood.DOWN
        slot.turn += 1
        if fault.wipe:
            self.counts["wipe"] += 1
            shutil.rmtree(self._deployment.state_of(slot.ordinal), ignore_errors=True)
        self._after(fault.lasts_s, lambda: self._start_if_down(slot))

    def _freeze(self, slot: Slot, seconds: float) -> None:
        assert slot.worker is not None
        slot.worker.signal(signal.SIGSTOP)
        slot.mood = Mood.FROZEN
        slot.turn += 1
        turn = slot.turn

        def wake() -> None:
            if slot.turn == turn and slot.worker is not None:
                slot.worker.signal(signal.SIGCONT)
                slot.mood = Mood.UP

        self._after(seconds, wake)

    def _leave(self, slot: Slot, then: Callable[[Slot], None]) -> None:
        """Tell a worker to leave; `then` follows when it has gone."""
        worker = slot.worker
        assert worker is not None
        worker.signal(signal.SIGTERM)
        slot.mood = Mood.LEAVING
        slot.turn += 1
        deadline = time.monotonic() + _GRACE_S

        def look() -> None:
            code = worker.exit_code
            if code is None and time.monotonic() < deadline:
                self._after(_TICK_S, look)
                return
            if code is None:
                self.problems.append(f"worker {slot.ordinal} had not left {_GRACE_S:.0f} s after SIGTERM")
                worker.abort()
            elif code not in _LEFT:
                self.problems.append(f"worker {slot.ordinal} was told to leave and ended with exit code {code}")
            if code in _SUPERVISED:
                self.counts[f"exit {code}"] += 1
            slot.mood = Mood.DOWN
            then(slot)

        look()

    def _send_away(self, slot: Slot) -> None:
        if slot.mood is Mood.UP:
            self._leave(slot, lambda _: None)
        else:
            # It is about to be started again: it ended by itself, or is being switched to the other protocol.
            self._after(2 * _RESTART_S, lambda: self._send_away(slot))

    def _strike_broker(self, fault: Fault) -> None:
        if self._broker_busy:
            self.counts["skipped"] += 1
            return
        self.counts[fault.kind] += 1
        self._broker_busy = True
        if fault.kind is Kind.BROKER_FREEZE:
            self._deployment.broker.pause()
            self._after(fault.lasts_s, self._thaw_broker)
        else:
            self._deployment.broker.kill()
            self._after(fault.lasts_s, self._start_broker)

    def _thaw_broker(self) -> None:
        self._deployment.broker.resume()
        self._broker_busy = False

    def _start_broker(self) -> None:
        def start() -> None:
            self._deployment.broker.start()
            self._broker_busy = False

        self._starting = threading.Thread(target=start, name="broker start")
        self._starting.start()

    # The switch from one group protocol to the other.

    def _begin_switch(self) -> None:
        self._switches.extend(self._slots)
        self._switch_next()

    def _switch_next(self) -> None:
        """Start the next worker again with the other protocol; whoever is down meanwhile comes back with it."""
        if not self._switches:
            return
        slot = self._switches[0]
        if slot.mood in {Mood.FROZEN, Mood.LEAVING}:
            self._after(1.0, self._switch_next)
            return
        self._switches.popleft()
        slot.protocol = self._plan.switch_to or slot.protocol
        if slot.mood is Mood.UP:
            self.counts["switch"] += 1
            self._leave(slot, self._start)
        self._after(1.5, self._switch_next)
