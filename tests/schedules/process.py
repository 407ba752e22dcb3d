"""A worker's process: it is started, killed, frozen and started again; its disk outlives it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from processor.errors import FatalError
from tests.schedules.disk import Disk
from tests.schedules.stand_ins import RAW, build

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from processor.worker import Worker
    from tests.schedules.world import World


class CrashError(BaseException):
    """The process is killed at this point; not an Exception, so that nothing but the world sees it."""


class Process:
    """One worker: its disk outlives it."""

    def __init__(self, world: World, ordinal: int) -> None:
        self.world = world
        self.ordinal = ordinal
        self.disk = self._new_disk()
        self.dead = True
        self.life = Life(self)
        self.worker: Worker | None = None
        self._context: AbstractContextManager[Worker] | None = None

    def _new_disk(self) -> Disk:
        return Disk(lambda: self.world.fault(self, "the store is corrupt"))

    def start(self) -> None:
        """Start it, as a supervisor would."""
        self.dead = False
        self.life = life = Life(self)
        self._context = build(self, life)
        self.worker = self._context.__enter__()
        self.worker.subscribe([RAW])

    def turn(self) -> None:
        """Turn the loop once; whatever ends the process ends it."""
        try:
            if self.worker is None:
                self.start()
            else:
                self.worker.run_once()
        except CrashError:
            self.kill()
        except FatalError as error:
            self.world.note(f"worker {self.ordinal} ends: {error}")
            self.world.counts["fatal"] += 1
            self.end()

    def kill(self) -> None:
        """End it as kill -9 does."""
        self.world.note(f"worker {self.ordinal} is killed")
        self.world.counts["kills"] += 1
        self.life.dead = self.dead = True
        self.disk.crash()
        if self.world.random.random() < self.world.disks_are_lost:
            self.world.note(f"worker {self.ordinal} loses its disk")
            self.disk = self._new_disk()
        self.end()

    def end(self) -> None:
        """End it in order: it leaves the group and closes its stores."""
        context, self._context, self.worker = self._context, None, None
        self.dead = True
        if context is not None:
            context.__exit__(None, None, None)
        self.life.dead = True


class Life:
    """One run of a process, as its clients see it."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.dead = False

    def point(self, name: str) -> None:
        """Pass a point."""
        if self.dead:
            raise CrashError
        self._process.world.at_point(self._process, name)
        if self.dead:
            raise CrashError

    def draw(self, name: str) -> bool:
        """Tell whether a fault happens now."""
        return self._process.world.fault(self._process, name)

    def late(self, request: Callable[[], None]) -> None:
        """Keep a request on the network."""
        self._process.world.late.append(request)

    def choose(self, upto: int) -> int:
        """Draw a number; without faults everything goes whole."""
        world = self._process.world
        return world.random.randint(0, upto) if world.faults_left else upto
